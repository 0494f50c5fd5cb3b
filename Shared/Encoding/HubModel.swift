import Foundation
import VectorMath
import WireProtocol

/// Directories as the Hugging Face hub publishes them: sentence-transformers' modules, or a model2vec table.
///
/// Prefixes of such a model are legal where the directory tells of them: in ``MatryoshkaNotes``, as
/// `matryoshka_dimensions` in `config.json`, or as `matryoshka_dims` in the loss that a generated model card quotes.
enum HubModel {
    private struct Module {
        var type: String
        /// Empty, or ending in a slash.
        var folder: String
    }

    private static let modulesName = "modules.json"
    private static let configurationName = "config.json"

    /// Whether a directory is of this kind rather than our own.
    static func isThere(_ files: ModelFiles) -> Bool {
        if files.exists(modulesName) { return true }
        guard let data = FileManager.default.contents(atPath: files.path(configurationName)),
            let value = try? JSONValue(parsing: [UInt8](data))
        else { return false }
        return value["format"] == nil && value["model_type"] != nil
    }

    /// Loads the model of a directory.
    static func load(
        _ files: inout ModelFiles,
        _ precision: LinearPrecision
    ) throws(ModelError) -> any TextEncoder {
        let notes = try MatryoshkaNotes(&files)
        let modules = try modules(&files)
        guard let first = modules.first else {
            throw .malformed(path: files.path(modulesName), reason: "it lists no module")
        }
        let settings = try SentenceSettings(&files)
        switch first.type {
        case "StaticEmbedding": return try loadStatic(&files, modules, settings, notes)
        case "Transformer": return try loadTransformer(&files, modules, settings, notes, precision)
        case let type:
            throw .unsupported(
                path: files.path(modulesName),
                reason: "the first module is \"\(type)\", this build runs \"Transformer\" and \"StaticEmbedding\""
            )
        }
    }

    /// `modules.json`, or what it would be for a model2vec directory.
    private static func modules(_ files: inout ModelFiles) throws(ModelError) -> [Module] {
        guard let data = try files.contents(ifThere: modulesName) else {
            guard var file = try files.configuration(ifThere: configurationName),
                try file.text("model_type") == "model2vec"
            else {
                throw .missing(path: files.path(modulesName), hint: "it says how tokens' vectors become a text's")
            }
            let table = [Module(type: "StaticEmbedding", folder: "")]
            return try file.flag("normalize", default: true) ? table + [Module(type: "Normalize", folder: "")] : table
        }
        let path = files.path(modulesName)
        guard let value = try? JSONValue(parsing: [UInt8](data)), case .array(let items) = value else {
            throw .malformed(path: path, reason: "it is no JSON list")
        }
        var modules: [Module] = []
        for item in items {
            guard case .string(let type) = item["type"], case .string(let folder) = item["path"] else {
                throw .malformed(path: path, reason: "a module has no \"type\" or \"path\"")
            }
            let parts = folder.split(separator: "/").filter { $0 != "." }
            guard !parts.contains("..") else {
                throw .malformed(path: path, reason: "\"\(folder)\" leads out of the directory")
            }
            modules.append(
                Module(
                    type: type.split(separator: ".").last.map(String.init) ?? type,
                    folder: parts.isEmpty ? "" : parts.joined(separator: "/") + "/"
                )
            )
        }
        return modules
    }

    private static func loadStatic(
        _ files: inout ModelFiles,
        _ modules: [Module],
        _ settings: SentenceSettings,
        _ notes: MatryoshkaNotes
    ) throws(ModelError) -> StaticEncoder {
        let folder = modules[0].folder
        let tokenizer = try HubTokenizer.load(&files, folder: folder)
        let tensors = try TensorFiles(&files, folder: folder)
        // A table with weights or a mapping beside it would need more than its own rows.
        let name = tensors.has("embedding.weight") ? "embedding.weight" : "embeddings"
        if let other = tensors.names.first(where: { $0 != name }), tensors.has(name) {
            throw .unsupported(path: tensors.path, reason: "tensor \"\(other)\" stands beside the table \"\(name)\"")
        }
        let (shape, whole) = try tensors.floats(name, nil, nil)
        guard tokenizer.tokenizer.idCount <= shape[0] else {
            throw .malformed(
                path: tensors.path,
                reason: "the table has \(shape[0]) rows for \(tokenizer.tokenizer.idCount) tokens"
            )
        }
        var head = try head(&files, modules.dropFirst(), width: shape[1], settings, notes)
        var (table, width) = (whole, shape[1])
        let isCutEarly = !head.isCentred && head.steps.allSatisfy { if case .normalise = $0 { true } else { false } }
        if isCutEarly, head.dimensions < width {
            // Scaling does not turn a vector, so the columns that will be cut off need not be summed.
            table = (0..<shape[0]).flatMap { whole[$0 * width..<$0 * width + head.dimensions] }
            width = head.dimensions
            if settings.isCosine { head.steps = [] }
        }
        // model2vec leaves out what it does not know; sentence-transformers counts its row.
        let isBare = !files.exists(modulesName)
        return StaticEncoder(
            model: try description(files, head.dimensions, full: shape[1], notes, noted: nil),
            tokenizer: tokenizer.tokenizer,
            prompts: notes.prompts ?? settings.prompts,
            maximumTokens: notes.maximumTokens ?? tokenizer.truncation ?? (isBare ? 512 : .max),
            table: table,
            width: width,
            skipping: isBare ? [tokenizer.unknown].compactMap { $0 } : [],
            head: head
        )
    }

    private static func loadTransformer(
        _ files: inout ModelFiles,
        _ modules: [Module],
        _ settings: SentenceSettings,
        _ notes: MatryoshkaNotes,
        _ precision: LinearPrecision
    ) throws(ModelError) -> TransformerEncoder {
        let folder = modules[0].folder
        var file = try files.configuration(folder + configurationName, hint: "it describes the transformer")
        let kind = try file.text("model_type") ?? "null"
        let noted = try file.integers("matryoshka_dimensions", in: 1...65_535)
        let shape: TransformerShape
        switch kind {
        case "bert": shape = try .bert(&file)
        case "nomic_bert": shape = try .nomic(&file)
        default:
            throw .unsupported(
                path: file.path,
                reason: "\"model_type\" is \"\(kind)\", this build runs \"bert\" and \"nomic_bert\""
            )
        }
        let tokenizer = try HubTokenizer.load(&files, folder: folder)
        guard !tokenizer.prefix.isEmpty else {
            throw .unsupported(
                path: files.path(folder + "tokenizer.json"),
                reason: "\"post_processor\" puts nothing before a text"
            )
        }
        let ids = (tokenizer.prefix + tokenizer.suffix).map(Int.init) + [tokenizer.tokenizer.idCount - 1]
        guard ids.allSatisfy({ (0..<shape.tokens).contains($0) }) else {
            throw .malformed(
                path: file.path,
                reason: "the tokeniser has ids up to \(ids.max()!), \"vocab_size\" is \(shape.tokens)"
            )
        }
        guard modules.count > 1, modules[1].type == "Pooling" else {
            throw .unsupported(path: files.path(modulesName), reason: "the second module is not \"Pooling\"")
        }
        let pooling = try pooling(&files, modules[1].folder, width: shape.width)
        let tensors = try TensorFiles(&files, folder: folder)
        let stack =
            try kind == "bert" ? TransformerStack.bert(shape, tensors, precision) : .nomic(shape, tensors, precision)
        let head = try head(
            &files,
            modules.dropFirst(2),
            width: shape.width,
            settings,
            notes,
            isCentred: kind == "nomic_bert" && notes.nesting != nil
        )
        let nomicPrompts = ["query": "search_query: ", "document": "search_document: "]
        return TransformerEncoder(
            model: try description(files, head.dimensions, full: head.dimensionsFull, notes, noted: noted),
            tokenizer: tokenizer,
            prompts: notes.prompts
                ?? (kind == "nomic_bert" && settings.prompts.isEmpty ? nomicPrompts : settings.prompts),
            maximumTokens: try maximumTokens(&files, folder, shape.positions, notes),
            stack: stack,
            pooling: pooling,
            head: head
        )
    }

    private static func maximumTokens(
        _ files: inout ModelFiles,
        _ folder: String,
        _ positions: Int,
        _ notes: MatryoshkaNotes
    ) throws(ModelError) -> Int {
        var limit = positions
        if var file = try files.configuration(ifThere: folder + "sentence_bert_config.json") {
            if let asked = try file.integerIfThere("max_seq_length", in: 3...1_000_000) { limit = min(limit, asked) }
            try file.require("do_lower_case", .bool(false))
            try file.require("transformer_task", .string("feature-extraction"))
            try file.require("module_output_name", .string("token_embeddings"))
            file.ignore(["modality_config"])
            try file.finish()
        }
        return min(limit, notes.maximumTokens ?? limit)
    }

    private static func pooling(
        _ files: inout ModelFiles,
        _ folder: String,
        width: Int
    ) throws(ModelError) -> TransformerEncoder.Pooling {
        var file = try files.configuration(folder + configurationName, hint: "it says how tokens are pooled")
        for key in ["word_embedding_dimension", "embedding_dimension"] {
            try file.require(key, .integer(Int64(width)))
        }
        try file.require("include_prompt", .bool(true))
        var isMean = try file.flag("pooling_mode_mean_tokens", default: false)
        var isFirst = try file.flag("pooling_mode_cls_token", default: false)
        switch try file.text("pooling_mode") {
        case nil: break
        case "mean": isMean = true
        case "cls": isFirst = true
        case .some(let mode):
            throw .unsupported(
                path: file.path,
                reason: "\"pooling_mode\" is \"\(mode)\", this build runs \"mean\" and \"cls\""
            )
        }
        // Every other way of pooling is a member that is true, and refused by its name.
        try file.finish()
        guard isMean != isFirst else {
            throw .unsupported(path: file.path, reason: "not exactly one of mean and cls pooling is asked for")
        }
        return isMean ? .mean : .first
    }

    /// What follows the pooled vector.
    private static func head(
        _ files: inout ModelFiles,
        _ modules: ArraySlice<Module>,
        width: Int,
        _ settings: SentenceSettings,
        _ notes: MatryoshkaNotes,
        isCentred: Bool = false
    ) throws(ModelError) -> VectorHead {
        var (steps, width): ([VectorHead.Step], Int) = ([], width)
        for module in modules {
            switch module.type {
            case "Normalize": steps.append(.normalise)
            case "Dense":
                let step = try dense(&files, module.folder, inputs: width)
                if case .dense(let linear, _) = step { width = linear.outputs }
                steps.append(step)
            case let type:
                throw .unsupported(
                    path: files.path(modulesName),
                    reason: "module \"\(type)\", this build runs \"Dense\" and \"Normalize\" after pooling"
                )
            }
        }
        let isNormalised = steps.contains { if case .normalise = $0 { true } else { false } }
        if let size = notes.truncation, size > width {
            throw .malformed(path: notes.path, reason: "\"truncate_dim\" is \(size), the model has \(width) dimensions")
        }
        return VectorHead(
            steps: steps,
            isCentred: notes.isCentred ?? isCentred,
            dimensions: notes.truncation ?? width,
            dimensionsFull: width,
            isUnit: isNormalised || settings.isCosine
        )
    }

    private static func dense(
        _ files: inout ModelFiles,
        _ folder: String,
        inputs: Int
    ) throws(ModelError) -> VectorHead.Step {
        var file = try files.configuration(folder + configurationName, hint: "it describes the dense layer")
        try file.require("in_features", .integer(Int64(inputs)))
        let outputs = try file.integer("out_features", in: 1...65_535)
        let hasBias = try file.flag("bias", default: true)
        for key in ["module_input_name", "module_output_name"] { try file.require(key, .string("sentence_embedding")) }
        let activation = try file.text("activation_function") ?? "Tanh"
        let isTanh = activation.hasSuffix("Tanh")
        guard isTanh || activation.hasSuffix("Identity") else {
            throw .unsupported(
                path: file.path,
                reason: "\"activation_function\" is \"\(activation)\", this build runs Tanh and Identity"
            )
        }
        try file.finish()
        let tensors = try TensorFiles(&files, folder: folder)
        let weight = try tensors.floats("linear.weight", outputs, inputs).values
        let bias = hasBias ? try tensors.floats("linear.bias", outputs).values : []
        // One row for each text: rounding it would save nothing.
        let linear = PackedLinear(weight, bias: bias, outputs: outputs, inputs: inputs, precision: .float32)
        return .dense(linear, isTanh: isTanh)
    }

    private static func description(
        _ files: ModelFiles,
        _ dimensions: Int,
        full: Int,
        _ notes: MatryoshkaNotes,
        noted: [Int]?
    ) throws(ModelError) -> ModelDescription {
        let sizes = notes.nesting ?? noted ?? modelCardSizes(files) ?? []
        guard sizes.allSatisfy({ (1...full).contains($0) }) else {
            throw .malformed(
                path: files.directory,
                reason: "it tells of Matryoshka sizes \(sizes), allowed are 1 to \(full)"
            )
        }
        let nesting = Set(sizes.filter { $0 < dimensions } + [dimensions]).sorted()
        return ModelDescription(
            id: files.identity,
            name: notes.name ?? name(files.directory),
            dimensions: dimensions,
            smallestDimensions: notes.smallest.map { min($0, dimensions) } ?? nesting[0],
            nesting: nesting
        )
    }

    /// The sizes in the loss that sentence-transformers writes into its model cards.
    private static func modelCardSizes(_ files: ModelFiles) -> [Int]? {
        guard let card = try? String(contentsOfFile: files.path("README.md"), encoding: .utf8),
            let start = card.range(of: "\"matryoshka_dims\":"),
            let open = card[start.upperBound...].firstIndex(of: "["),
            let close = card[open...].firstIndex(of: "]")
        else { return nil }
        let parts = card[card.index(after: open)..<close].split(separator: ",")
        let sizes = parts.compactMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
        return sizes.count == parts.count && !sizes.isEmpty ? sizes : nil
    }

    /// The last part of the path, or `owner/name` within a cache of the hub's own client.
    private static func name(_ directory: String) -> String {
        let parts = URL(fileURLWithPath: directory).standardizedFileURL.pathComponents
        if let cached = parts.last(where: { $0.hasPrefix("models--") }) {
            return cached.dropFirst("models--".count).replacingOccurrences(of: "--", with: "/")
        }
        return parts.last ?? directory
    }
}

/// `matryoshka.json`: what a published directory does not say of itself, written by whoever serves it.
///
/// All members may be missing: `name`, `nesting` (trained sizes), `smallest_dimensions`, `truncate_dim` (leading
/// values to serve), `layer_norm` (over the full vector before it is cut; by default for NomicBERT with `nesting`),
/// `prompts` (by role, `query` and `document`), `maximum_tokens`.
struct MatryoshkaNotes {
    /// For messages.
    let path: String
    var name: String?
    var nesting: [Int]?
    var smallest: Int?
    var truncation: Int?
    var isCentred: Bool?
    var prompts: [String: String]?
    var maximumTokens: Int?

    init(_ files: inout ModelFiles) throws(ModelError) {
        path = files.path("matryoshka.json")
        guard var file = try files.configuration(ifThere: "matryoshka.json") else { return }
        let sizes = 1...65_535
        name = try file.text("name")
        nesting = try file.integers("nesting", in: sizes)
        smallest = try file.integerIfThere("smallest_dimensions", in: sizes)
        truncation = try file.integerIfThere("truncate_dim", in: sizes)
        if file.value("layer_norm") != nil { isCentred = try file.flag("layer_norm", default: false) }
        if file.value("prompts") != nil { prompts = try file.texts("prompts") }
        maximumTokens = try file.integerIfThere("maximum_tokens", in: 3...1_000_000)
        if let role = prompts?.keys.sorted().first(where: { $0 != "query" && $0 != "document" }) {
            throw .malformed(path: path, reason: "\"prompts.\(role)\": roles are \"query\" and \"document\"")
        }
        try file.finish()
    }
}

/// `config_sentence_transformers.json`.
private struct SentenceSettings {
    /// By our roles.
    var prompts: [String: String] = [:]
    /// Whether lengths of vectors mean nothing.
    var isCosine = true

    init(_ files: inout ModelFiles) throws(ModelError) {
        guard var file = try files.configuration(ifThere: "config_sentence_transformers.json") else { return }
        let named = try file.texts("prompts")
        let fallback = try file.text("default_prompt_name").flatMap { named[$0] }
        let names = [
            "query": ["query", "search_query"], "document": ["document", "passage", "corpus", "search_document"],
        ]
        for (role, names) in names {
            prompts[role] = names.compactMap { named[$0] }.first ?? fallback
        }
        try file.require("similarity_fn_name", .string("cosine"), .string("dot"))
        isCosine = try file.text("similarity_fn_name") != "dot"
        try file.require("model_type", .string("SentenceTransformer"))
        file.ignore(["__version__"])
        try file.finish()
    }
}
