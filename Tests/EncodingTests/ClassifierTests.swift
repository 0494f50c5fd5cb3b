import Encoding
import Foundation
import Testing

@Suite("Classifier")
struct ClassifierTests {
    private let labels = ["bank", "travel", "work"]

    private func separate() throws -> ClassifierHeads {
        try #require(
            ClassifierHeads(
                nesting: [1, 2],
                labels: labels,
                form: .separate,
                weights: [[1, 0, -1], [1, 0, 0, 2, -1, -1]],
                biases: [[0, 0.5, 0], [0, 0, 1]]
            )
        )
    }

    private func shared() throws -> ClassifierHeads {
        try #require(
            ClassifierHeads(
                nesting: [1, 3],
                labels: labels,
                form: .shared,
                weights: [[1, 0, 2, 0, 1, 0, -1, 1, 1]],
                biases: [[0, 0.25, -0.5]]
            )
        )
    }

    @Test("reads the prefix of a vector alone, with that size's own matrix and bias")
    func separateHeads() throws {
        let heads = try separate()
        #expect(heads.logits(of: [2, 100, 3, -100], size: 1) == [2, 0.5, -2, 3, 0.5, -3])
        #expect(heads.logits(of: [2, 3], size: 2) == [2, 6, -4])
        #expect(!heads.canPredict(at: 3))
        #expect(heads.dimensions == 2)
    }

    @Test("takes columns of the shared matrix, at sizes never trained too")
    func sharedHeads() throws {
        let heads = try shared()
        #expect(heads.logits(of: [2, 3, 5], size: 1) == [2, 0.25, -2.5])
        #expect(heads.logits(of: [2, 3, 5], size: 2) == [2, 3.25, 0.5])
        #expect(heads.logits(of: [2, 3, 5], size: 3) == [12, 3.25, 5.5])
        #expect(heads.canPredict(at: 2))
        #expect(!heads.canPredict(at: 4))
    }

    @Test("gives probabilities that sum to 1 and survive large logits, and the most probable label")
    func probabilities() throws {
        let heads = try separate()
        let found = heads.probabilities(of: [2000, 0, 0, 0], size: 1)
        #expect(found.allSatisfy { $0.isFinite })
        #expect(abs(found[0..<3].reduce(0, +) - 1) < 1e-6)
        #expect(abs(found[3] - Float(1 / (2 + exp(0.5)))) < 1e-6)
        let best = heads.predictions(of: [2000, 0, 0, 0], size: 1)
        #expect(best.map(\.label) == [0, 1])
        #expect(abs(best[1].confidence - Float(exp(0.5) / (2 + exp(0.5)))) < 1e-6)
    }

    @Test("is not made of parts that contradict each other")
    func contradictions() {
        func make(_ nesting: [Int], _ labels: [String], _ weights: [[Float]], _ biases: [[Float]]) -> Bool {
            ClassifierHeads(nesting: nesting, labels: labels, form: .separate, weights: weights, biases: biases) != nil
        }
        #expect(make([1], ["a", "b"], [[1, 2]], [[0, 0]]))
        #expect(!make([0], ["a", "b"], [[]], [[0, 0]]))
        #expect(!make([2, 1], ["a", "b"], [[1, 2, 3, 4], [1, 2]], [[0, 0], [0, 0]]))
        #expect(!make([1], ["a", "a"], [[1, 2]], [[0, 0]]))
        #expect(!make([1], ["a", "b"], [[1, 2, 3]], [[0, 0]]))
        #expect(!make([1], ["a", "b"], [[1, 2]], [[0]]))
    }

    @Test("applies an adapter's layers in order, with activation and residual")
    func adapter() throws {
        let hidden = try #require(
            FeatureAdapter.Layer(
                inputs: 2,
                outputs: 3,
                weights: [1, 0, 0, 1, -1, -1],
                bias: [0, 1, 0],
                activation: .relu
            )
        )
        let residual = try #require(
            FeatureAdapter.Layer(
                inputs: 3,
                outputs: 3,
                weights: [0, 0, 1, 0, 1, 0, 1, 0, 0],
                bias: [1, 0, 0],
                isResidual: true
            )
        )
        let adapter = try #require(FeatureAdapter(layers: [hidden, residual]))
        #expect(adapter.outputs(of: [1, 2, -3, 1], layerCount: 1) == [1, 3, 0, 0, 2, 2])
        #expect(adapter.outputs(of: [1, 2]) == [2, 6, 1])
        #expect(FeatureAdapter(layers: [residual, hidden]) == nil)
        #expect(FeatureAdapter(matrix: [1, 2, 3], inputs: 2, outputs: 2) == nil)
    }

    private func inFolder(_ body: (String) throws -> Void) throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("mrl-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(path)
    }

    @Test("loads what was written, of both forms, with and without an adapter")
    func roundTrip() throws {
        for (heads, outputs) in [(try separate(), 2), (try shared(), 3)] {
            for adapter in [
                nil, FeatureAdapter(matrix: (0..<4 * outputs).map(Float.init), inputs: 4, outputs: outputs),
            ] {
                let written = try #require(
                    FeatureClassifier(adapter: adapter, heads: heads, encoder: "id", training: nil)
                )
                try inFolder { folder in
                    try ClassifierDirectory.write(to: folder, written)
                    #expect(ClassifierDirectory.exists(folder))
                    #expect(try ClassifierDirectory.load(folder) == written)
                }
            }
        }
        let wrong = FeatureAdapter(matrix: [1, 1, 1, 1], inputs: 1, outputs: 4)
        #expect(FeatureClassifier(adapter: wrong, heads: try shared(), encoder: nil, training: nil) == nil)
    }

    @Test("says which file is wrong and how")
    func errors() throws {
        let classifier = try #require(
            FeatureClassifier(adapter: nil, heads: try separate(), encoder: nil, training: nil)
        )
        try inFolder { folder in
            #expect(throws: ModelError.self) { try ClassifierDirectory.load(folder) }
            try ClassifierDirectory.write(to: folder, classifier)
            let path = folder + "/classifier.json"
            let text = try String(contentsOfFile: path, encoding: .utf8)
            for (old, new, complaint) in [
                ("matryoshka-classifier-1", "matryoshka-classifier-9", "matryoshka-classifier-9"),
                ("\"bank\"", "\"work\"", "labels"),
                ("\"bank\",", "", "heads.1.weight is [3, 1]"),
                ("\"mrl\"", "\"other\"", "\"heads\" has a value that is not allowed"),
            ] {
                try text.replacingOccurrences(of: old, with: new).write(toFile: path, atomically: true, encoding: .utf8)
                let error = #expect(throws: ModelError.self) { try ClassifierDirectory.load(folder) }
                #expect(error?.description.contains(complaint) == true, "\(String(describing: error))")
            }
        }
    }
}
