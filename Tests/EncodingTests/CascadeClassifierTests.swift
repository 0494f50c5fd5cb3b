import Encoding
import Foundation
import Matryoshka
import Testing

@Suite("Cascade classifier")
struct CascadeClassifierTests {
    /// The first number tells a from b, the second c from d; each head is as sure as its numbers are large.
    private func classifier(encoder: String? = nil) throws -> FeatureClassifier {
        let heads = try #require(
            ClassifierHeads(
                nesting: [1, 2],
                labels: ["a", "b", "c"],
                form: .separate,
                weights: [[4, -4, 0], [0, 0, 0, 0, 0, 9]],
                biases: [[0, 0, 0], [0, 1, 0]]
            )
        )
        return try #require(FeatureClassifier(adapter: nil, heads: heads, encoder: encoder, training: nil))
    }

    private let cascade = ConfidenceCascade(sizes: [1, 2], thresholds: [0.9])!

    @Test("answers by the smallest size that is sure, in the order of the vectors")
    func stops() throws {
        let classifier = try #require(CascadeClassifier(try classifier(), cascade: cascade, id: "x"))
        let found = classifier.labels(of: [1, 0, 0.1, 1, 0, 0, -2, 1, 0.2, -1])
        #expect(found.map(\.label) == ["a", "c", nil, "b", "b"])
        #expect(found.map(\.size) == [1, 2, 1, 1, 2])
        #expect(found[2].confidence == 0)
        // softmax(4, -4, 0) at "a"
        #expect(abs(found[0].confidence - 0.98169) < 1e-4)
    }

    @Test("one threshold replaces the learnt ones: 1 asks the full size, 0 the smallest")
    func threshold() throws {
        let classifier = try #require(CascadeClassifier(try classifier(), cascade: cascade, id: "x"))
        #expect(classifier.labels(of: [1, 0.5, 0.1, 1], threshold: 1).map(\.size) == [2, 2])
        #expect(classifier.labels(of: [1, 0.5, 0.1, 1], threshold: 0).map(\.label) == ["a", "a"])
    }

    @Test("a size without a head makes no classifier")
    func missingHead() throws {
        let cascade = try #require(ConfidenceCascade(sizes: [1, 3], thresholds: [0.5]))
        #expect(CascadeClassifier(try classifier(), cascade: cascade, id: "x") == nil)
    }

    private let model = ModelDescription(id: "m", name: "n", dimensions: 2, smallestDimensions: 1, nesting: [1, 2])

    private func inFolder(_ body: (String) throws -> Void) throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("mrl-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(path)
    }

    @Test("is loaded with its cascade, and is another one once that changes")
    func loads() throws {
        try inFolder { folder in
            try ClassifierDirectory.write(to: folder, try classifier(encoder: "m"))
            let plain = try CascadeClassifier(directory: folder, for: model)
            #expect(plain.cascade.sizes == [2] && plain.labelCount == 3)
            try CascadeFile.write(cascade, to: folder)
            let adaptive = try CascadeClassifier(directory: folder, for: model)
            #expect(adaptive.cascade == cascade)
            #expect(adaptive.id != plain.id)
        }
    }

    @Test("is refused for another model's vectors, and where the cascade is none")
    func refusals() throws {
        try inFolder { folder in
            try ClassifierDirectory.write(to: folder, try classifier(encoder: "other"))
            let error = #expect(throws: ModelError.self) { try CascadeClassifier(directory: folder, for: model) }
            #expect(error?.description.contains("vectors of the model other") == true, "\(error as Any)")
            try ClassifierDirectory.write(to: folder, try classifier())
            var wide = model
            wide.dimensions = 4
            #expect(throws: ModelError.self) { try CascadeClassifier(directory: folder, for: wide) }
            for (text, complaint) in [
                (#"{"format":"matryoshka-cascade-1","sizes":[1,2],"thresholds":[2]}"#, "threshold"),
                (#"{"format":"matryoshka-cascade-1","sizes":[1,3],"thresholds":[0.5]}"#, "heads for [1, 2]"),
                (#"{"format":"matryoshka-cascade-9","sizes":[1,2],"thresholds":[0.5]}"#, "matryoshka-cascade-9"),
                ("{", "not JSON"),
            ] {
                try text.write(toFile: folder + "/cascade.json", atomically: true, encoding: .utf8)
                let error = #expect(throws: ModelError.self) { try CascadeClassifier(directory: folder, for: model) }
                #expect(error?.description.contains(complaint) == true, "\(error as Any)")
            }
        }
    }
}
