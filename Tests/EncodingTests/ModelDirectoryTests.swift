import Encoding
import Foundation
import Testing

@Suite("Model directory")
struct ModelDirectoryTests {
    private static let pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "chess", "##es"]

    private final class Folder {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("mrl-\(UUID().uuidString)").path
        deinit { try? FileManager.default.removeItem(atPath: path) }
        func write(_ name: String, _ text: String) throws {
            try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/" + name))
        }
        func text(_ name: String) throws -> String { try String(contentsOfFile: path + "/" + name, encoding: .utf8) }
        func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: path + "/" + name) }
    }

    private func table() -> [Float] { (0..<Self.pieces.count * 16).map { Float($0 % 23) - 11 } }

    private func makeModel(prompts: [String: String] = [:]) throws -> (Folder, id: String) {
        let folder = Folder()
        let configuration = ModelConfiguration(
            name: "tiny",
            dimensions: 16,
            nesting: [8, 16],
            prompts: prompts,
            maximumTokens: 4
        )
        let id = try ModelDirectory.write(
            to: folder.path,
            configuration: configuration,
            pieces: Self.pieces,
            table: table(),
            extraFiles: ["costs.json": "{}"]
        )
        return (folder, id)
    }

    @Test("loads what was written")
    func roundTrip() throws {
        let (folder, id) = try makeModel()
        #expect(ModelDirectory.exists(folder.path))
        let model = try loadEncoder(directory: folder.path).model
        #expect(
            model == ModelDescription(id: id, name: "tiny", dimensions: 16, smallestDimensions: 8, nesting: [8, 16])
        )
        #expect(id.count == 64)
    }

    @Test("encodes the mean of the known tokens at unit length, zeros for none")
    func encodes() throws {
        let (folder, _) = try makeModel()
        let encoder = try loadEncoder(directory: folder.path)
        let vectors = encoder.encode(["Play chess!", "", "[CLS] ?", "chess play"], role: "query")
        let rows: [Float] = table()
        let sum: [Float] = (0..<16).map { (d: Int) -> Float in rows[80 + d] + rows[96 + d] }
        let norm: Float = sum.reduce(0) { (total: Float, x: Float) -> Float in total + x * x }.squareRoot()
        for d in 0..<16 {
            #expect(abs(vectors[d] - sum[d] / norm) < 1e-6)
            #expect(vectors[3 * 16 + d] == vectors[d])
        }
        #expect(vectors[16..<48].allSatisfy { $0 == 0 })
    }

    @Test("puts the role's prompt first and cuts at the limit")
    func prompts() throws {
        let (folder, id) = try makeModel(prompts: ["query": "chess "])
        let encoder = try loadEncoder(directory: folder.path)
        #expect(encoder.encode(["play"], role: "query") == encoder.encode(["chess play"], role: "document"))
        #expect(
            encoder.encode(["play play play play chess"], role: "document")
                == encoder.encode(["play"], role: "document")
        )
        #expect(try makeModel().id != id)
    }

    @Test("has an id that follows its three files alone")
    func identity() throws {
        let (folder, id) = try makeModel()
        try folder.write("costs.json", "other")
        #expect(try loadEncoder(directory: folder.path).model.id == id)
        try folder.write("config.json", try folder.text("config.json") + "\n")
        #expect(try loadEncoder(directory: folder.path).model.id != id)
    }

    private func sentence(_ folder: Folder) -> String {
        do {
            _ = try loadEncoder(directory: folder.path)
            return "loaded"
        } catch {
            return "\(error)"
        }
    }

    @Test("names the file that is missing", arguments: ["config.json", "vocab.txt", "model.safetensors"])
    func missing(name: String) throws {
        let (folder, _) = try makeModel()
        try folder.remove(name)
        #expect(!ModelDirectory.exists(folder.path))
        #expect(sentence(folder).contains("\(name) is missing"))
    }

    @Test("names a directory that is missing")
    func noDirectory() {
        #expect(sentence(Folder()).contains("made by `mrl train`"))
    }

    @Test(
        "says what of the configuration is wrong",
        arguments: [
            ("matryoshka-model-1", "matryoshka-model-9", "format is"), ("\"static\"", "\"transformer\"", "kind is"),
            ("\"cosine\"", "\"euclid\"", "metric is"), ("\"nesting\"", "\"sizes\"", "\"nesting\" is missing"),
            ("\"dimensions\" : 16", "\"dimensions\" : \"x\"", "\"dimensions\" has the wrong type"),
            ("\"dimensions\" : 16", "\"dimensions\" : 24", "end with 24"), ("{", "(", "not JSON"),
            ("\"maximum_tokens\" : 4", "\"maximum_tokens\" : 0", "maximum_tokens"),
        ]
    )
    func configuration(old: String, new: String, expected: String) throws {
        let (folder, _) = try makeModel()
        let text = try folder.text("config.json")
        #expect(text.contains(old))
        try folder.write("config.json", text.replacingOccurrences(of: old, with: new))
        #expect(sentence(folder).contains(expected))
    }

    @Test("says what of the vocabulary is wrong")
    func vocabulary() throws {
        let (folder, _) = try makeModel()
        try folder.write("vocab.txt", "[UNK]\nplay\n")
        #expect(sentence(folder).contains("the table is [8, 16]"))
        try folder.write("vocab.txt", "play\n")
        #expect(sentence(folder).contains("no piece [UNK]"))
    }

    @Test("refuses a table that is cut off, of another kind, or not finite")
    func tables() throws {
        let (folder, _) = try makeModel()
        let file = URL(fileURLWithPath: folder.path + "/model.safetensors")
        let whole = try Data(contentsOf: file)
        try whole.dropLast(4).write(to: file)
        #expect(sentence(folder).contains("does not lie within the file"))
        try whole.prefix(5).write(to: file)
        #expect(sentence(folder).contains("shorter than its header"))
        let header = "{\"embeddings\":{\"dtype\":\"I64\",\"shape\":[8,16],\"data_offsets\":[0,256]}}"
        try (Data([UInt8(header.utf8.count), 0, 0, 0, 0, 0, 0, 0]) + Data(header.utf8) + Data(count: 256)).write(
            to: file
        )
        #expect(sentence(folder).contains("is I64"))
        let broken = table().map { $0 / 0 }
        try Data(Safetensors.file([.init(name: "embeddings", shape: [8, 16], values: broken)])).write(to: file)
        #expect(sentence(folder).contains("not finite"))
        try Data(Safetensors.file([.init(name: "other", shape: [8, 16], values: table())])).write(to: file)
        #expect(sentence(folder).contains("no tensor \"embeddings\""))
    }

    @Test(
        "widens halves and truncated floats without loss",
        arguments: [("F16", 0x3C00, 0xC100), ("BF16", 0x3F80, 0xC020)]
    )
    func halves(type: String, one: Int, minusTwoAndAHalf: Int) throws {
        let header = "{\"a\":{\"dtype\":\"\(type)\",\"shape\":[2],\"data_offsets\":[0,4]}}"
        let numbers = [one, minusTwoAndAHalf].flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }
        let file = try Safetensors(
            Data([UInt8(header.utf8.count), 0, 0, 0, 0, 0, 0, 0]) + Data(header.utf8) + Data(numbers),
            path: "file"
        )
        #expect(try file.floats("a").values == [1, -2.5])
    }

    @Test("reads tensors past metadata")
    func metadata() throws {
        let header =
            "{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"
        let bytes =
            [UInt8(header.utf8.count), 0, 0, 0, 0, 0, 0, 0] + Array(header.utf8) + [0, 0, 128, 63, 0, 0, 0, 64]
        let file = try Safetensors(Data(bytes), path: "file")
        #expect(file.names == ["a"])
        #expect(try file.floats("a").values == [1, 2])
    }
}
