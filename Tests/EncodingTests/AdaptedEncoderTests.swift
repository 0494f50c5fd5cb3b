import Encoding
import Foundation
import Testing

@Suite("Model directory of an adapter")
final class AdaptedEncoderTests {
    private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("mrl-\(UUID().uuidString)").path

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    private func writeBase(_ name: String, sign: Float = 1) throws -> String {
        let pieces = ["[UNK]", "play", "chess"]
        try ModelDirectory.write(
            to: folder + "/" + name,
            configuration: ModelConfiguration(name: name, dimensions: 4, nesting: [4], maximumTokens: 8),
            pieces: pieces,
            table: [0, 0, 0, 0, 1, 2, 3, 4, 4 * sign, -3, 2, -1]
        )
        return folder + "/" + name
    }

    private func adapter() throws -> VectorAdapter {
        let layer = try #require(
            FeatureAdapter.Layer(
                inputs: 4,
                outputs: 3,
                weights: [1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3, 1],
                bias: [0.5, 0, -1],
                activation: .relu
            )
        )
        let shift = try #require(FeatureAdapter(matrix: [1, 1, 0, 0, 1, 0], inputs: 3, outputs: 2))
        let first = try #require(FeatureAdapter(layers: [layer]))
        return try #require(VectorAdapter(steps: [.normalise, .dense(first), .normalise, .dense(shift)]))
    }

    private func write(_ name: String, base: String?, isLinked: Bool = false) throws -> String {
        let adapter = try adapter()
        return try ModelDirectory.write(
            to: folder + "/" + name,
            configuration: AdapterConfiguration(
                name: name == "linked" ? "held" : name,
                nesting: [1, 2],
                base: try base.map { .init(try loadEncoder(directory: $0).model) },
                adapter: adapter,
                training: nil
            ),
            adapter: adapter,
            base: base,
            isLinked: isLinked
        )
    }

    private func sentence(_ name: String) -> String {
        do {
            _ = try loadEncoder(directory: folder + "/" + name)
            return "loaded"
        } catch {
            return "\(error)"
        }
    }

    @Test("makes adapted vectors of unit length of texts, zeros of texts without a known token")
    func encodes() throws {
        let base = try writeBase("base")
        let id = try write("held", base: base)
        let encoder = try loadEncoder(directory: folder + "/held")
        #expect(
            encoder.model
                == ModelDescription(id: id, name: "held", dimensions: 2, smallestDimensions: 1, nesting: [1, 2])
        )
        let vectors = encoder.encode(["play", "xyzzy", "play chess"], role: "query")
        // play at unit length is (1, 2, 3, 4)/√30: the first layer makes (x₀ + ½, 2 x₁, 3 x₂ + x₃ − 1).
        let unit = (1...4).map { Float($0) / Float(30).squareRoot() }
        let hidden = [unit[0] + 0.5, 2 * unit[1], 3 * unit[2] + unit[3] - 1]
        let length = hidden.reduce(0) { $0 + $1 * $1 }.squareRoot()
        let made = [(hidden[0] + hidden[1]) / length, hidden[1] / length]
        let norm = (made[0] * made[0] + made[1] * made[1]).squareRoot()
        #expect(abs(vectors[0] - made[0] / norm) < 1e-6 && abs(vectors[1] - made[1] / norm) < 1e-6)
        #expect(vectors[2] == 0 && vectors[3] == 0)
        #expect(try loadEncoder(directory: base).encode(["play chess"], role: "query") != Array(vectors[4...]))
    }

    @Test("is the same model whether it holds its encoder or refers to it")
    func links() throws {
        let base = try writeBase("base")
        #expect(try write("held", base: base) == write("linked", base: base, isLinked: true))
        let vectors = try loadEncoder(directory: folder + "/held").encode(["chess"], role: "query")
        #expect(try loadEncoder(directory: folder + "/linked").encode(["chess"], role: "query") == vectors)
        try FileManager.default.removeItem(atPath: base)
        #expect(try loadEncoder(directory: folder + "/held").encode(["chess"], role: "query") == vectors)
        #expect(sentence("linked").contains("linked/base is missing"))
    }

    @Test("copies what a published encoder reads, and adapts an adapter")
    func published() throws {
        let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        let bert = here.appendingPathComponent("Golden/Published/bert").path
        let model = try loadEncoder(directory: bert).model
        let row = [Float](repeating: 0, count: model.dimensions - 1)
        let matrix = [1] + row + row.dropLast() + [1, 0]
        let adapter = try #require(
            FeatureAdapter(matrix: matrix, inputs: model.dimensions, outputs: 2).flatMap {
                VectorAdapter(steps: [.dense($0)])
            }
        )
        func write(_ name: String, over base: String) throws {
            let below = try loadEncoder(directory: base).model
            let map =
                below.dimensions == 2
                ? try #require(
                    FeatureAdapter(matrix: [0, 1, 1, 0], inputs: 2, outputs: 2).flatMap {
                        VectorAdapter(steps: [.dense($0)])
                    }
                )
                : adapter
            try ModelDirectory.write(
                to: folder + "/" + name,
                configuration: AdapterConfiguration(
                    name: name,
                    nesting: [2],
                    base: .init(below),
                    adapter: map,
                    training: nil
                ),
                adapter: map,
                base: base
            )
        }
        try write("first", over: bert)
        try write("second", over: folder + "/first")
        let first = try loadEncoder(directory: folder + "/first").encode(["play chess"], role: "query")
        let second = try loadEncoder(directory: folder + "/second").encode(["play chess"], role: "query")
        #expect(first.contains { $0 != 0 })
        #expect(zip(second, first.reversed()).allSatisfy { abs($0 - $1) < 1e-6 })
        let kept = try FileManager.default.subpathsOfDirectory(atPath: folder + "/first/base")
        #expect(kept.contains("1_Pooling/config.json") && kept.contains("vocab.txt"))
    }

    @Test("takes the place of a model or of nothing, never of anything else")
    func place() throws {
        let base = try writeBase("base")
        _ = try writeBase("base", sign: -1)
        #expect(try loadEncoder(directory: base).encode(["chess"], role: "query")[0] < 0)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["base"])
        try Data("mine".utf8).write(to: URL(fileURLWithPath: base + "/thesis.txt"))
        #expect(ModelDirectory.obstacle(to: base)?.contains("holds thesis.txt") == true)
        #expect(throws: ModelError.self) { try self.writeBase("base") }
        #expect(FileManager.default.fileExists(atPath: base + "/thesis.txt"))
        try Data("mine".utf8).write(to: URL(fileURLWithPath: folder + "/file"))
        #expect(throws: ModelError.self) { try self.writeBase("file") }
        #expect(try String(contentsOfFile: folder + "/file", encoding: .utf8) == "mine")
        #expect(ModelDirectory.obstacle(to: folder + "/nowhere") == nil)
    }

    @Test("refuses another encoder than its own, and texts where it has none")
    func refuses() throws {
        let base = try writeBase("base")
        _ = try write("held", base: base)
        let other = try writeBase("other", sign: -1)
        try FileManager.default.removeItem(atPath: folder + "/held/base")
        #expect(sentence("held").contains("held/base is missing"))
        try FileManager.default.copyItem(atPath: other, toPath: folder + "/held/base")
        #expect(sentence("held").contains("the adapter was trained on base"))
        _ = try write("vectors", base: nil)
        #expect(sentence("vectors").contains("has no encoder for texts"))
        #expect(try AdapterDirectory(folder + "/vectors").adapter == adapter())
        #expect(ModelDirectory.exists(folder + "/vectors") && !ModelDirectory.exists(folder + "/nowhere"))
    }

    @Test(
        "says what of the configuration is wrong",
        arguments: [
            ("\"cosine\"", "\"dot\"", "metric is \"dot\""), ("\"unit\"", "\"layer\"", "pre_normalisation is \"layer\""),
            ("\"adapter\"", "\"mixture\"", "kind is \"mixture\""),
            ("\"relu\"", "\"gelu\"", "value that is not allowed"),
            ("\"dimensions\" : 2", "\"dimensions\" : 3", "end with 3"),
        ]
    )
    func configuration(old: String, new: String, expected: String) throws {
        _ = try write("held", base: try writeBase("base"))
        let file = URL(fileURLWithPath: folder + "/held/config.json")
        let text = try String(contentsOf: file, encoding: .utf8)
        #expect(text.contains(old))
        try Data(text.replacingOccurrences(of: old, with: new).utf8).write(to: file)
        #expect(sentence("held").contains(expected), "\(sentence("held"))")
    }
}
