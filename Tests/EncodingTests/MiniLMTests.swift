import Foundation
import Testing
import VectorMath
import WireProtocol

@testable import Encoding

/// all-MiniLM-L6-v2 as its PyPI wheel has it, which `deploy/fetch-minilm` brings.
enum MiniLM {
    static let folder: String = {
        let environment = ProcessInfo.processInfo.environment
        if let folder = environment["MRL_MINILM"] { return folder }
        let cache = environment["XDG_CACHE_HOME"] ?? (environment["HOME"] ?? "") + "/.cache"
        return cache + "/matryoshka/all-MiniLM-L6-v2"
    }()
    static let isThere = FileManager.default.fileExists(atPath: folder + "/model.safetensors")

    /// Loaded once for all tests.
    static let encoder = Result {
        let encoder = try loadEncoder(directory: folder)
        return try #require(encoder as? TransformerEncoder)
    }

    struct Case {
        var text: String
        var ids: [Int32]
    }

    static func cases() throws -> [Case] {
        let data = try Data(contentsOf: URL(fileURLWithPath: GoldenFiles.folder + "/MiniLM/cases.json"))
        guard case .array(let cases) = try JSONValue(parsing: [UInt8](data))["cases"] else { return [] }
        return try cases.map { item in
            guard case .string(let text) = item["text"], case .array(let ids) = item["ids"] else {
                throw CocoaError(.coderReadCorrupt)
            }
            return Case(text: text, ids: ids.compactMap { if case .integer(let id) = $0 { Int32(id) } else { nil } })
        }
    }
}

@Suite("MiniLM", .enabled(if: MiniLM.isThere, "run deploy/fetch-minilm, which needs PyPI"))
struct MiniLMTests {
    @Test("gives the reference's ids for all 70 texts")
    func ids() throws {
        let encoder = try MiniLM.encoder.get()
        let cases = try MiniLM.cases()
        #expect(cases.count == 70)
        for golden in cases { #expect(encoder.ids(golden.text) == golden.ids, "\(golden.text)") }
    }

    @Test("gives the reference's vectors for all 70 texts to 1e-5, in one batch and one by one")
    func vectors() throws {
        let encoder = try MiniLM.encoder.get()
        let texts = try MiniLM.cases().map(\.text)
        let golden = try GoldenFiles.floats("MiniLM/norm.npy")
        let together = encoder.encode(texts, role: "document")
        #expect(GoldenFiles.difference(together, golden) < 1e-5)
        for index in [0, 11, 69] {
            let alone = encoder.encode([texts[index]], role: "query")
            #expect(GoldenFiles.difference(alone, golden[index * 384..<(index + 1) * 384]) < 1e-5)
        }
    }

    @Test("gives in bfloat16 vectors within 5e-3 and a cosine of 0.9998 of the reference's")
    func bfloat16() throws {
        let encoder = try #require(
            try loadEncoder(directory: MiniLM.folder, precision: .bfloat16) as? TransformerEncoder
        )
        #expect(encoder.model.id == (try MiniLM.encoder.get().model.id))
        let golden = try GoldenFiles.floats("MiniLM/norm.npy")
        let found = encoder.encode(try MiniLM.cases().map(\.text), role: "document")
        let worst = GoldenFiles.difference(found, golden)
        let cosines = stride(from: 0, to: golden.count, by: 384).map { start in
            (start..<start + 384).reduce(Float(0)) { $0 + found[$1] * golden[$1] }
        }
        #expect(worst < 5e-3 && worst > 1e-5, "\(worst)")
        #expect(cosines.min()! > 0.9998, "\(cosines.min()!)")
    }

    @Test("gives the reference's rows after every layer")
    func layers() throws {
        let encoder = try MiniLM.encoder.get()
        let ids = try MiniLM.cases()[11].ids
        var rows: [Float] = []
        let scratch = TransformerStack.Scratch()
        encoder.stack.run(ids, lengths: [ids.count], scratch: scratch, onLayer: { rows += $0 })
        #expect(GoldenFiles.difference(rows, try GoldenFiles.floats("MiniLM/case11_hidden.npy")) < 2e-5)
    }

    @Test("gives the reference's means before they are normalised")
    func pooled() throws {
        let encoder = try MiniLM.encoder.get()
        let plain = TransformerEncoder(
            model: encoder.model,
            tokenizer: encoder.tokenizer,
            prompts: [:],
            maximumTokens: encoder.maximumTokens,
            stack: encoder.stack,
            pooling: .mean,
            head: VectorHead(dimensions: 384, dimensionsFull: 384, isUnit: false)
        )
        let texts = try MiniLM.cases().map(\.text)
        let means = plain.encode(texts, role: "document")
        #expect(GoldenFiles.difference(means, try GoldenFiles.floats("MiniLM/pooled.npy")) < 2e-5)
    }

    @Test("is told from its directory: 384 dimensions, none smaller, 256 tokens")
    func description() throws {
        let encoder = try MiniLM.encoder.get()
        #expect(encoder.model.dimensions == 384)
        #expect(encoder.model.nesting == [384])
        #expect(encoder.model.smallestDimensions == 384)
        #expect(encoder.maximumTokens == 256)
    }
}
