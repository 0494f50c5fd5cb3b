import Foundation
import Testing
import VectorMath
import WireProtocol

@testable import Encoding

/// Small models in published layouts; `Golden/Published/make.py` made them and what they make of some texts.
@Suite("Published models")
struct PublishedModelTests {
    static let folder = GoldenFiles.folder + "/Published/"
    static let kinds = ["bert", "nomic", "static", "model2vec", "snowflake", "mxbai", "leaf"]

    /// A copy of a model that can be changed.
    private final class Copy {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("mrl-\(UUID().uuidString)").path
        init(_ kind: String) throws { try FileManager.default.copyItem(atPath: folder + kind, toPath: path) }
        deinit { try? FileManager.default.removeItem(atPath: path) }

        func write(_ name: String, _ text: String) throws {
            try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/" + name))
        }

        /// Replaces the only place where `old` stands.
        func replace(_ name: String, _ old: String, _ new: String) throws {
            let text = try String(contentsOfFile: path + "/" + name, encoding: .utf8)
            try #require(text.components(separatedBy: old).count == 2, "\(old) is not once in \(name)")
            try write(name, text.replacingOccurrences(of: old, with: new))
        }

        func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: path + "/" + name) }

        /// What loading says.
        var complaint: String {
            do {
                _ = try loadEncoder(directory: path)
                return "loaded"
            } catch {
                return "\(error)"
            }
        }
    }

    struct Case {
        var text: String
        var role: String
        var vector: [Float]
    }

    private func cases(_ kind: String) throws -> [Case] {
        let data = try Data(contentsOf: URL(fileURLWithPath: Self.folder + "cases.json"))
        guard case .array(let items) = try JSONValue(parsing: [UInt8](data)) else { return [] }
        return try items.filter { $0["model"] == .string(kind) }.map { item in
            guard case .string(let text) = item["text"], case .string(let role) = item["role"],
                case .array(let vector) = item["vector"]
            else { throw CocoaError(.coderReadCorrupt) }
            let numbers = vector.map { value -> Float in
                switch value {
                case .number(let number): Float(number)
                case .integer(let number): Float(number)
                default: .nan
                }
            }
            return Case(text: text, role: role, vector: numbers)
        }
    }

    @Test("give the vectors that NumPy computes from the definitions, in batches and alone", arguments: kinds)
    func vectors(kind: String) throws {
        let encoder = try loadEncoder(directory: Self.folder + kind)
        let cases = try cases(kind)
        #expect(cases.count >= 12)
        for role in ["query", "document"] {
            let texts = cases.filter { $0.role == role }
            let together = encoder.encode(texts.map(\.text), role: role)
            #expect(GoldenFiles.difference(together, texts.flatMap(\.vector)) < 2e-6)
        }
        let last = try #require(cases.last)
        #expect(GoldenFiles.difference(encoder.encode([last.text], role: last.role), last.vector) < 2e-6)
        #expect(encoder.encode([], role: "query").isEmpty)
    }

    @Test("stay near in bfloat16, and tables as they are", arguments: kinds)
    func bfloat16(kind: String) throws {
        let encoder = try loadEncoder(directory: Self.folder + kind, precision: .bfloat16)
        let cases = try cases(kind).filter { $0.role == "query" }
        let found = encoder.encode(cases.map(\.text), role: "query")
        let isTable = kind == "static" || kind == "model2vec"
        #expect(GoldenFiles.difference(found, cases.flatMap(\.vector)) < (isTable ? 2e-6 : 0.05))
    }

    @Test(
        "tell their sizes",
        arguments: [
            ("bert", [8, 12, 24]), ("nomic", [8, 16, 32]), ("static", [4, 8, 16]), ("model2vec", [16]),
            ("snowflake", [16]), ("mxbai", [16]), ("leaf", [24]),
        ]
    )
    func sizes(kind: String, nesting: [Int]) throws {
        let model = try loadEncoder(directory: Self.folder + kind).model
        #expect(model.nesting == nesting)
        #expect(model.smallestDimensions == nesting.first)
        #expect(model.dimensions == nesting.last)
        #expect(model.name == kind)
    }

    @Test("are cut to truncate_dim, at unit length, after layer normalisation over the full vector", arguments: kinds)
    func truncation(kind: String) throws {
        let copy = try Copy(kind)
        let nesting = kind == "nomic" ? ", \"nesting\": [8, 16, 32]" : ""
        try copy.write("matryoshka.json", "{\"truncate_dim\": 8, \"name\": \"short\"\(nesting)}")
        let encoder = try loadEncoder(directory: copy.path)
        let whole = try loadEncoder(directory: Self.folder + kind)
        #expect(encoder.model.dimensions == 8)
        #expect(encoder.model.nesting.last == 8)
        #expect(encoder.model.name == "short")
        #expect(encoder.model.id != whole.model.id)
        var prefix = Array(whole.encode(["play chess"], role: "query").prefix(8))
        VectorHead.normalise(&prefix, width: 8)
        #expect(GoldenFiles.difference(encoder.encode(["play chess"], role: "query"), prefix) < 1e-6)
    }

    @Test("keep their lengths where they are published for dot products")
    func dot() throws {
        let copy = try Copy("static")
        try copy.replace("config_sentence_transformers.json", "cosine", "dot")
        let encoder = try loadEncoder(directory: copy.path)
        let (one, three) = (
            encoder.encode(["chess"], role: "query"), encoder.encode(["chess chess chess"], role: "query")
        )
        #expect(GoldenFiles.difference(one, three) < 1e-6)
        #expect(abs(one.reduce(0) { $0 + $1 * $1 } - 1) > 0.01)
    }

    @Test("take prompts and a limit of tokens from matryoshka.json before all else")
    func notes() throws {
        let copy = try Copy("bert")
        try copy.write("matryoshka.json", "{\"prompts\": {\"document\": \"search: \"}, \"maximum_tokens\": 4}")
        let encoder = try loadEncoder(directory: copy.path)
        #expect(
            encoder.encode(["play"], role: "document") == encoder.encode(["search: chess game"], role: "query")
        )
    }

    @Test("are known by what their files say, not by their model card")
    func identity() throws {
        let copy = try Copy("static")
        let id = try loadEncoder(directory: copy.path).model.id
        try copy.write("README.md", "nothing")
        let changed = try loadEncoder(directory: copy.path).model
        #expect(changed.id == id)
        #expect(changed.nesting == [16])
        try copy.replace("config_sentence_transformers.json", "\"prompts\": {}", "\"prompts\": {\"query\": \"a \"}")
        #expect(try loadEncoder(directory: copy.path).model.id != id)
    }

    @Test(
        "are refused by the name of what this build does not run",
        arguments: [
            ("bert", "config.json", "\"gelu\"", "\"relu\"", "\"hidden_act\" is \"relu\""),
            ("bert", "config.json", "\"absolute\"", "\"relative_key\"", "\"position_embedding_type\""),
            ("bert", "config.json", "\"bert\"", "\"xlm-roberta\"", "\"model_type\" is \"xlm-roberta\""),
            ("bert", "config.json", "\"hidden_size\": 16", "\"hidden_size\": 18", "\"word_embedding_dimension\" is 16"),
            ("bert", "config.json", "\"intermediate_size\": 32", "\"intermediate_size\": 48", "asks for [48, 16]"),
            ("bert", "config.json", "\"vocab_size\": ", "\"vocab_size\": 1e9, \"x\": ", "\"vocab_size\""),
            ("bert", "config.json", "[\n  8,\n  12\n ]", "[8, 99]", "sizes [8, 99]"),
            ("bert", "config.json", "\"type_vocab_size\": 2", "\"new_idea\": 2", "\"new_idea\" is 2"),
            ("bert", "sentence_bert_config.json", "false", "true", "\"do_lower_case\" is true"),
            ("bert", "1_Pooling/config.json", "max_tokens\": false", "max_tokens\": true", "pooling_mode_max_tokens"),
            ("bert", "1_Pooling/config.json", "mean_tokens\": false", "mean_tokens\": true", "exactly one"),
            ("bert", "2_Dense/config.json", "Tanh", "GELU", "activation_function"),
            ("bert", "2_Dense/config.json", "\"in_features\": 16", "\"in_features\": 8", "\"in_features\" is 8"),
            ("bert", "modules.json", "models.Normalize", "models.LayerNorm", "module \"LayerNorm\""),
            ("bert", "modules.json", "2_Dense", "../2_Dense", "leads out"),
            ("bert", "tokenizer_config.json", "true", "false", "\"do_lower_case\" is false"),
            ("bert", "config_sentence_transformers.json", "cosine", "manhattan", "\"similarity_fn_name\""),
            ("bert", "model.safetensors.index.json", "\"encoder.layer.0.output.dense.bias\"", "\"b\"", "no shard has"),
            ("nomic", "config.json", "\"causal\": false", "\"causal\": true", "\"causal\" is true"),
            ("nomic", "config.json", "\"rotary_scaling_factor\": null", "\"rotary_scaling_factor\": 2", "scaling_fac"),
            ("nomic", "config.json", "\"rotary_emb_fraction\": 1.0", "\"rotary_emb_fraction\": 0.5", "fraction"),
            ("nomic", "config.json", "\"qkv_proj_bias\": false,", "", "\"qkv_proj_bias\" is not false"),
            ("nomic", "config.json", "\"n_head\": 2", "\"n_head\": 5", "does not divide"),
            ("nomic", "tokenizer.json", "\"lowercase\": true", "\"lowercase\": false", "\"lowercase\" is false"),
            ("nomic", "tokenizer.json", "BertPreTokenizer", "Whitespace", "\"Whitespace\""),
            ("nomic", "tokenizer.json", "\"content\": \"[MASK]\"", "\"content\": \"<mask>\"", "<mask>"),
            ("nomic", "tokenizer.json", "\"[UNK]\": 1,", "\"[UNK]\": 77,", "vocab.[UNK]"),
            ("nomic", "tokenizer.json", "TemplateProcessing", "ByteLevel", "\"ByteLevel\""),
            ("nomic", "matryoshka.json", "\"nesting\"", "\"sizes\"", "\"sizes\""),
            ("nomic", "matryoshka.json", "{", "(", "not JSON"),
            ("static", "modules.json", "StaticEmbedding\"\n", "WordEmbeddings\"\n", "\"WordEmbeddings\""),
            ("model2vec", "config.json", "model2vec", "model3vec", "modules.json is missing"),
        ]
    )
    func refusals(kind: String, file: String, old: String, new: String, complaint: String) throws {
        let copy = try Copy(kind)
        try copy.replace(file, old, new)
        #expect(copy.complaint.contains(complaint), "\(copy.complaint)")
    }

    @Test("are refused where a file is missing, by its name", arguments: ["vocab.txt", "1_Pooling/config.json"])
    func missing(file: String) throws {
        let copy = try Copy("bert")
        try copy.remove(file)
        #expect(copy.complaint.contains("\(file) is missing"), "\(copy.complaint)")
    }

    @Test("are computed in batches of like lengths, each text once")
    func batches() {
        let lengths = (0..<300).map { 2 + $0 * 37 % 200 }
        let batches = TransformerEncoder.batches(lengths, tokens: 512)
        #expect(batches.flatMap { $0 }.sorted() == Array(0..<300))
        for batch in batches { #expect(batch.count == 1 || batch.map { lengths[$0] }.reduce(0, +) <= 512) }
        #expect(zip(batches, batches.dropFirst()).allSatisfy { lengths[$0.last!] <= lengths[$1.first!] })
        #expect(TransformerEncoder.batches([600, 3], tokens: 512) == [[1], [0]])
    }

    @Test("tell of progress after every batch")
    func progress() throws {
        let encoder = try loadEncoder(directory: Self.folder + "nomic")
        var count = 0
        _ = encoder.encode(Array(repeating: "play chess", count: 200), role: "query") { count += 1 }
        #expect(count > 1)
    }
}
