import WireProtocol

/// The tokeniser of a published directory, and what its model puts around a text.
struct HubTokenizer {
    /// Cuts the text itself.
    var tokenizer: any Tokenizer
    /// Ids before a text.
    var prefix: [Int32] = []
    /// Ids after a text.
    var suffix: [Int32] = []
    /// Id of the words that the vocabulary lacks, where words are looked up whole.
    var unknown: Int32?
    /// Tokens of a text at most, where the file says so.
    var truncation: Int?

    /// Reads `tokenizer.json`, or `vocab.txt` where there is none, in a folder that is empty or ends in a slash.
    static func load(_ files: inout ModelFiles, folder: String) throws(ModelError) -> HubTokenizer {
        let name = folder + "tokenizer.json"
        if var file = try files.configuration(ifThere: name) {
            let tokenizer = try read(&file)
            try checkSettings(&files, folder: folder)
            return tokenizer
        }
        try checkSettings(&files, folder: folder)
        let vocabulary = folder + "vocab.txt"
        let text = try files.text(vocabulary, hint: "a model has tokenizer.json or vocab.txt")
        return try wordPieces(Self.lines(text), path: files.path(vocabulary))
    }

    /// The pieces of a `vocab.txt`, one a line.
    static func lines(_ text: String) -> [String] {
        // Characters would join a carriage return to the line feed after it, so this goes by bytes.
        var lines = text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .map { String(Substring($0)) }
        if lines.last == "" { lines.removeLast() }
        return lines
    }

    /// WordPiece between `[CLS]` and `[SEP]`.
    private static func wordPieces(_ pieces: [String], path: String) throws(ModelError) -> HubTokenizer {
        guard let tokenizer = WordPieceTokenizer(vocabulary: Vocabulary(pieces: pieces)) else {
            throw .malformed(path: path, reason: "there is no piece [UNK]")
        }
        guard let start = tokenizer.vocabulary.id(of: "[CLS]"), let end = tokenizer.vocabulary.id(of: "[SEP]") else {
            throw .malformed(path: path, reason: "there is no piece [CLS] or [SEP]")
        }
        return HubTokenizer(tokenizer: tokenizer, prefix: [start], suffix: [end], unknown: tokenizer.unknown)
    }

    /// `tokenizer_config.json`, where it contradicts what ``ScalarRules`` does.
    private static func checkSettings(_ files: inout ModelFiles, folder: String) throws(ModelError) {
        guard var settings = try files.configuration(ifThere: folder + "tokenizer_config.json") else { return }
        let kind = try settings.text("tokenizer_class") ?? "BertTokenizer"
        guard kind.hasPrefix("BertTokenizer") else { return }
        try settings.require("do_lower_case", .bool(true))
        try settings.require("tokenize_chinese_chars", .bool(true))
        try settings.require("strip_accents", .bool(true))
    }

    private static func read(_ file: inout ConfigurationFile) throws(ModelError) -> HubTokenizer {
        guard let value = file.value("model") else { throw .malformed(path: file.path, reason: "\"model\" is missing") }
        var model = try ConfigurationFile(value, path: file.path + " (model)")
        var tokenizer: HubTokenizer
        switch try model.text("type") ?? untold(&model) {
        case "WordPiece": tokenizer = try readWordPiece(&file, &model)
        case "Unigram": tokenizer = try readUnigram(&file, &model)
        case let type:
            throw .unsupported(
                path: model.path,
                reason: "\"type\" is \"\(type)\", this build runs \"WordPiece\" and \"Unigram\""
            )
        }
        (tokenizer.prefix, tokenizer.suffix) = ([], [])
        if let value = file.value("post_processor") {
            (tokenizer.prefix, tokenizer.suffix) = try frame(value, path: file.path + " (post_processor)")
        }
        if let value = file.value("truncation") {
            var truncation = try ConfigurationFile(value, path: file.path + " (truncation)")
            tokenizer.truncation = try truncation.integer("max_length", in: 1...Int(Int32.max))
        }
        file.ignore(["version", "padding", "decoder"])
        try file.finish()
        return tokenizer
    }

    /// Files from before types were written are of WordPiece if they have its prefix, of Unigram if they have scores.
    private static func untold(_ model: inout ConfigurationFile) -> String {
        if model.value("continuing_subword_prefix") != nil { return "WordPiece" }
        if case .array = model.value("vocab") { return "Unigram" }
        return "unknown"
    }

    private static func readUnigram(
        _ file: inout ConfigurationFile,
        _ model: inout ConfigurationFile
    ) throws(ModelError) -> HubTokenizer {
        guard case .array(let items) = model.value("vocab"), !items.isEmpty, items.count < Int(Int32.max) else {
            throw .malformed(path: model.path, reason: "\"vocab\" is no list of pieces and scores")
        }
        var pieces: [(text: String, score: Double)] = []
        for (index, item) in items.enumerated() {
            guard case .array(let pair) = item, pair.count == 2, case .string(let text) = pair[0] else {
                throw .malformed(path: model.path, reason: "\"vocab[\(index)]\" is not a piece and its score")
            }
            switch pair[1] {
            case .integer(let score): pieces.append((text, Double(score)))
            case .number(let score) where score.isFinite: pieces.append((text, score))
            default: throw .malformed(path: model.path, reason: "\"vocab[\(index)]\" has no score")
            }
        }
        // Without it a text with one new character would have no ids at all.
        let unknown = try model.integer("unk_id", in: 0...pieces.count - 1)
        let fallsBack = try model.flag("byte_fallback", default: false)
        // Left over where word pieces were made into such a model.
        model.ignore(["unk_token", "continuing_subword_prefix", "max_input_chars_per_word"])
        try model.finish()
        let normaliser = try TextNormaliser.read(file.value("normalizer"), path: file.path + " (normalizer)")
        let splitter = try TextSplitter.read(file.value("pre_tokenizer"), path: file.path + " (pre_tokenizer)")
        let added = try AddedToken.read(file.value("added_tokens"), path: file.path)
        return HubTokenizer(
            tokenizer: UnigramTokenizer(
                model: UnigramModel(pieces: pieces, unknown: Int32(unknown), fallsBackToBytes: fallsBack),
                normaliser: normaliser,
                splitter: splitter,
                added: added
            )
        )
    }

    private static func readWordPiece(
        _ file: inout ConfigurationFile,
        _ model: inout ConfigurationFile
    ) throws(ModelError) -> HubTokenizer {
        try model.require("unk_token", .string("[UNK]"))
        try model.require("continuing_subword_prefix", .string("##"))
        try model.require("max_input_chars_per_word", .integer(100))
        let pieces = try pieces(model.value("vocab"), path: model.path)
        try model.finish()

        try part(&file, "normalizer", type: "BertNormalizer") { (part) throws(ModelError) in
            try part.require("clean_text", .bool(true))
            try part.require("handle_chinese_chars", .bool(true))
            try part.require("strip_accents", .bool(true))
            try part.require("lowercase", .bool(true))
        }
        try part(&file, "pre_tokenizer", type: "BertPreTokenizer") { _ in }
        for token in try AddedToken.read(file.value("added_tokens"), path: file.path) {
            guard WordSplitter.specials.contains(token.content), token.isPlain else {
                throw .unsupported(
                    path: file.path,
                    reason: "added token \"\(token.content)\"; this build knows \(WordSplitter.specials), found as "
                        + "they are written"
                )
            }
        }
        return try wordPieces(pieces, path: model.path)
    }

    /// A member that must be an object of that type.
    private static func part(
        _ file: inout ConfigurationFile,
        _ key: String,
        type: String,
        check: (inout ConfigurationFile) throws(ModelError) -> Void
    ) throws(ModelError) {
        guard let value = file.value(key) else {
            throw .unsupported(path: file.path, reason: "\"\(key)\" is null, this build runs \"\(type)\"")
        }
        var part = try ConfigurationFile(value, path: file.path + " (\(key))")
        guard let found = try part.text("type"), found == type else {
            throw .unsupported(
                path: part.path,
                reason: "\"type\" is \(ConfigurationFile.written(value["type"] ?? .null)), this build runs \"\(type)\""
            )
        }
        try check(&part)
        try part.finish()
    }

    /// Pieces by id, out of an object of ids by piece.
    private static func pieces(_ value: JSONValue?, path: String) throws(ModelError) -> [String] {
        guard case .object(let members) = value, !members.isEmpty else {
            throw .malformed(path: path, reason: "\"vocab\" is no object of ids")
        }
        var pieces = [String?](repeating: nil, count: members.count)
        for member in members {
            guard case .integer(let id) = member.value, pieces.indices.contains(Int(id)), pieces[Int(id)] == nil else {
                throw .malformed(
                    path: path,
                    reason: "\"vocab.\(member.key)\" is not one of 0 to \(members.count - 1), each once"
                )
            }
            pieces[Int(id)] = member.key
        }
        return pieces.map { $0! }
    }

    /// What stands before and after a single text.
    private static func frame(
        _ value: JSONValue,
        path: String
    ) throws(ModelError) -> (prefix: [Int32], suffix: [Int32]) {
        var part = try ConfigurationFile(value, path: path)
        switch try part.text("type") ?? "" {
        case "BertProcessing", "RobertaProcessing":
            func id(_ key: String) throws(ModelError) -> Int32 {
                guard case .array(let pair) = value[key], case .integer(let id) = pair.last else {
                    throw .malformed(path: path, reason: "\"\(key)\" is not a token and its id")
                }
                return Int32(truncatingIfNeeded: id)
            }
            return ([try id("cls")], [try id("sep")])
        case "TemplateProcessing":
            guard case .array(let items) = value["single"] else {
                throw .malformed(path: path, reason: "\"single\" is no list")
            }
            var parts: [[Int32]] = [[]]
            for item in items {
                if item["Sequence"] != nil {
                    parts.append([])
                } else if case .string(let name) = item["SpecialToken"]?["id"],
                    case .array(let ids) = value["special_tokens"]?[name]?["ids"]
                {
                    for case .integer(let id) in ids { parts[parts.count - 1].append(Int32(truncatingIfNeeded: id)) }
                } else {
                    throw .malformed(path: path, reason: "\"single\" holds neither a sequence nor a special token")
                }
            }
            guard parts.count == 2 else {
                throw .unsupported(path: path, reason: "\"single\" does not hold its text exactly once")
            }
            return (parts[0], parts[1])
        case let type:
            throw .unsupported(
                path: path,
                reason: "\"type\" is \"\(type)\", this build runs TemplateProcessing, BertProcessing and "
                    + "RobertaProcessing"
            )
        }
    }
}
