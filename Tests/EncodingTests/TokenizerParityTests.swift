import Foundation
import Testing
import WireProtocol

@testable import Encoding

/// 1,200 texts and what the PyPI package `tokenizers` makes of them; `Golden/Tokens/make.py` wrote both.
@Suite("Tokenizer files")
struct TokenizerParityTests {
    /// `Golden/Tokens/unigram.json`: whole files, whose vocabulary and character map stand there once.
    private struct Unigram {
        let texts: [String]
        private let value: JSONValue

        init() throws {
            texts = try TokenizerParityTests.texts()
            value = try TokenizerParityTests.json("unigram.json")
        }

        var names: [String] {
            guard case .object(let members) = value["variants"] else { return [] }
            return members.map(\.key)
        }

        func hashes(_ name: String) -> [String] { TokenizerParityTests.words(value["variants"]?[name]?["hashes"]) }

        func ids(_ name: String) -> [String: [Int32]] {
            guard case .object(let members) = value["variants"]?[name]?["ids"] else { return [:] }
            var found: [String: [Int32]] = [:]
            for member in members {
                guard case .array(let ids) = member.value else { continue }
                found[member.key] = ids.map { if case .integer(let id) = $0 { Int32(id) } else { -1 } }
            }
            return found
        }

        /// The file as the package read it.
        func file(_ name: String) throws -> String {
            let file = try #require(value["variants"]?[name]?["tokenizer"])
            guard case .string(let map) = value["map"] else { throw CocoaError(.coderReadCorrupt) }
            return TokenizerParityTests.text(file).replacingOccurrences(of: "\"MAP\"", with: "\"\(map)\"")
                .replacingOccurrences(of: "\"VOCAB\"", with: TokenizerParityTests.text(try #require(value["vocab"])))
        }
    }

    private static func json(_ name: String) throws -> JSONValue {
        let path = GoldenFiles.folder + "/Tokens/" + name
        return try JSONValue(parsing: [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))))
    }

    private static func text(_ value: JSONValue) -> String { String(decoding: value.jsonBytes, as: UTF8.self) }

    private static func texts() throws -> [String] {
        guard case .array(let items) = try json("texts.json") else { return [] }
        return items.map { if case .string(let text) = $0 { text } else { "" } }
    }

    private static func words(_ value: JSONValue?) -> [String] {
        guard case .string(let text) = value else { return [] }
        return text.split(separator: " ").map(String.init)
    }

    private static func hash(_ ids: [Int32]) -> String {
        var value: UInt64 = 0xCBF2_9CE4_8422_2325
        for id in ids {
            for byte in 0..<4 { value = (value ^ UInt64(id >> (8 * byte) & 0xFF)) &* 0x0000_0100_0000_01B3 }
        }
        let digits = String(UInt32(truncatingIfNeeded: value), radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }

    private func load(_ file: String, in folder: String) throws -> HubTokenizer {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try Data(file.utf8).write(to: URL(fileURLWithPath: folder + "/tokenizer.json"))
        var files = try ModelFiles(directory: folder)
        return try HubTokenizer.load(&files, folder: "")
    }

    private func inFolder(_ body: (String) throws -> Void) throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("mrl-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(path)
    }

    @Test("of Unigram give the package's ids for 1,200 texts in each of 11 variants")
    func unigram() throws {
        let golden = try Unigram()
        #expect(golden.texts.count == 1200 && golden.names.count == 11)
        for name in golden.names {
            try inFolder { folder in
                let tokenizer = try load(try golden.file(name), in: folder)
                func ids(_ text: String) -> [Int32] {
                    tokenizer.prefix + tokenizer.tokenizer.tokenize(text) + tokenizer.suffix
                }
                for (text, expected) in golden.ids(name) { #expect(ids(text) == expected, "\(name): \(text)") }
                let hashes = golden.hashes(name)
                try #require(hashes.count == golden.texts.count)
                let wrong = zip(golden.texts, hashes).filter { Self.hash(ids($0)) != $1 }.map(\.0)
                #expect(wrong.isEmpty, "\(name): \(wrong.count) differ, such as \(wrong.prefix(5))")
            }
        }
    }

    @Test(
        "of word pieces give the package's ids for 1,200 texts",
        .enabled(if: MiniLM.isThere, "run deploy/fetch-minilm")
    )
    func wordPieces() throws {
        let (texts, hashes) = (try Self.texts(), Self.words(try Self.json("wordpiece.json")))
        try #require(texts.count == 1200 && hashes.count == 1200)
        var files = try ModelFiles(directory: MiniLM.folder)
        let tokenizer = try HubTokenizer.load(&files, folder: "")
        let wrong = zip(texts, hashes).filter { text, hash in
            Self.hash(tokenizer.prefix + tokenizer.tokenizer.tokenize(text) + tokenizer.suffix) != hash
        }
        #expect(wrong.isEmpty, "\(wrong.count) differ, such as \(wrong.map(\.0).prefix(5))")
    }

    @Test("of Unigram are cut at the limit")
    func limit() throws {
        let golden = try Unigram()
        try inFolder { folder in
            let tokenizer = try load(try golden.file("xlm-roberta"), in: folder).tokenizer
            for text in golden.texts.prefix(60) {
                #expect(tokenizer.tokenize(text, limit: 3) == Array(tokenizer.tokenize(text).prefix(3)))
            }
        }
    }

    @Test(
        "of Unigram are refused by the name of what this build does not run",
        arguments: [
            ("t5", "\"Metaspace\"", "\"ByteLevel\"", "\"type\" is \"ByteLevel\""),
            ("t5", "\" {2,}\"", "\"[a-z]\"", "\"pattern.Regex\" is \"[a-z]\""),
            ("t5", "\"Strip\"", "\"Shorten\"", "(normalizer)[1] is not supported: \"type\" is \"Shorten\""),
            ("t5", "\"always\"", "\"sometimes\"", "\"prepend_scheme\" is \"sometimes\""),
            ("t5", "\"split\"", "\"join\"", "\"join\" is true"),
            ("t5", "\"precompiled_charsmap\":\"", "\"precompiled_charsmap\":\"?", "\"precompiled_charsmap\" is no"),
            ("xlm-roberta", "\"unk_id\":3", "\"unk_id\":null", "\"unk_id\" is missing"),
            ("xlm-roberta", "\"unk_id\":3", "\"unk_id\":99999", "\"unk_id\" is 99999"),
            ("xlm-roberta", "\"byte_fallback\":false", "\"dropout\":0.1", "\"dropout\" is 0.1"),
            ("xlm-roberta", "[\"<pad>\",0.0]", "[\"<pad>\"]", "\"vocab[1]\" is not a piece"),
            ("xlm-roberta", "\"Unigram\"", "\"BPE\"", "\"type\" is \"BPE\""),
            ("xlm-roberta", "TemplateProcessing", "ByteLevel", "\"ByteLevel\""),
        ]
    )
    func refusals(variant: String, old: String, new: String, complaint: String) throws {
        let file = try Unigram().file(variant)
        try #require(file.components(separatedBy: old).count == 2, "\(old) is not once in the file")
        try inFolder { folder in
            let error = #expect(throws: ModelError.self) {
                try load(file.replacingOccurrences(of: old, with: new), in: folder)
            }
            #expect(error?.description.contains(complaint) == true, "\(error as Any)")
        }
    }

    @Test("of Unigram serve a static model: the mean of the rows of the package's ids")
    func staticModel() throws {
        let golden = try Unigram()
        try inFolder { folder in
            let rows = try load(try golden.file("t5"), in: folder).tokenizer.idCount
            let table = (0..<rows * 4).map { Float(($0 * 7919) % 1009) / 504.5 - 1 }
            let tensor = Safetensors.Tensor(name: "embedding.weight", shape: [rows, 4], values: table)
            try Data(Safetensors.file([tensor])).write(to: URL(fileURLWithPath: folder + "/model.safetensors"))
            try Data(
                """
                [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"}]
                """.utf8
            ).write(to: URL(fileURLWithPath: folder + "/modules.json"))
            let encoder = try loadEncoder(directory: folder)
            for (text, ids) in golden.ids("t5") where !ids.isEmpty {
                var mean = (0..<4).map { d in ids.reduce(0) { $0 + table[Int($1) * 4 + d] } }
                VectorHead.normalise(&mean, width: 4)
                #expect(GoldenFiles.difference(encoder.encode([text], role: "query"), mean) < 1e-6)
            }
        }
    }
}
