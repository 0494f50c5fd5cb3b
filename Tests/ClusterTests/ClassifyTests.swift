import Encoding
import Glibc
import Matryoshka
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("Classifying texts", .serialized, .timeLimit(.minutes(1)))
    struct Classifying {
        /// Labels are the tiny model's words: the smaller head knows half of them, the larger one all.
        private static func writeClassifier(_ directory: String, model: String) throws -> any TextEncoder {
            let encoder = try loadEncoder(directory: model)
            let words = TinyModel.words
            let vectors = encoder.encode(words, role: "query")
            /// A word's own prefix times its row is `gain`.
            func weights(_ size: Int, _ gain: (Int) -> Float) -> [Float] {
                words.indices.flatMap { word -> [Float] in
                    let prefix = vectors[word * TinyModel.dimensions..<word * TinyModel.dimensions + size]
                    let square = prefix.reduce(0) { $0 + $1 * $1 }
                    return prefix.map { $0 * gain(word) / square }
                }
            }
            func biases(_ bias: (Int) -> Float) -> [Float] { words.indices.map(bias) }
            let heads = try #require(
                ClassifierHeads(
                    nesting: [16, 64],
                    labels: words,
                    form: .separate,
                    weights: [weights(16) { $0 < 5 ? 60 : 0 }, weights(64) { _ in 40 }],
                    biases: [biases { $0 < 5 ? -50 : 0 }, biases { _ in 0 }]
                )
            )
            let classifier = try #require(
                FeatureClassifier(adapter: nil, heads: heads, encoder: encoder.model.id, training: nil)
            )
            try ClassifierDirectory.write(to: directory, classifier)
            let cascade = try #require(ConfidenceCascade(sizes: [16, 64], thresholds: [0.9]))
            try CascadeFile.write(cascade, to: directory)
            return encoder
        }

        @Test("gives label, confidence and the size that decided; the same through mrl classify and a single process")
        func classify() throws {
            let cluster = try TestCluster()
            let client = try cluster.client()
            let missing = try client.refusal(.classify(ClassifyRequest(texts: ["chess"])))
            #expect(missing?.code == .unavailable, "\(missing as Any)")

            let model = "\(cluster.folder)/model"
            try TinyModel.write(to: model)
            let directory = "\(cluster.folder)/classifier"
            let encoder = try Self.writeClassifier(directory, model: model)
            let local = try CascadeClassifier(directory: directory, for: encoder.model)
            try cluster.addEncoder(["MRL_ENCODER_CLASSIFIER": directory])
            try cluster.waitUntilEncoders()

            let texts = TinyModel.words + ["xyzzy"]
            let expected = local.labels(of: encoder.encode(texts, role: "query"))
            #expect(Set(expected.map(\.size)) == [16, 64], "both sizes decide something")
            guard case .labels(let reply) = try client.call(.classify(ClassifyRequest(texts: texts))) else {
                return #expect(Bool(false), "another reply")
            }
            #expect(
                reply.labels == expected.map { TextLabel(label: $0.label, confidence: $0.confidence, size: $0.size) }
            )
            #expect(reply.labels.map(\.label) == TinyModel.words + [nil])
            #expect(reply.classifier == local.id && reply.model == encoder.model.id)
            guard
                case .labels(let full) = try client.call(
                    .classify(ClassifyRequest(classifier: local.id, threshold: 1, texts: texts))
                )
            else { return #expect(Bool(false), "another reply") }
            #expect(full.labels.dropLast().allSatisfy { $0.size == 64 })
            let stranger = try client.refusal(.classify(ClassifyRequest(classifier: "other", texts: ["chess"])))
            #expect(stranger?.code == .modelMismatch && stranger?.allowed == local.id)

            let child = try ChildProcess(
                "mrl",
                executable: executable("mrl"),
                arguments: ["classify", "--json", "--front", cluster.front(), "chess"],
                environment: cluster.environment.merging(["MRL_HOME": cluster.folder]) { $1 },
                logPath: "\(cluster.folder)/classify.log"
            )
            #expect(child.waitForExit(seconds: 20) == 0, "\(child.log)")
            #expect(child.log.hasPrefix(#"{"text":"chess","label":"chess","confidence":"#), "\(child.log)")
        }

        @Test("an encoder refuses to start with a classifier of another model")
        func otherModel() throws {
            let cluster = try TestCluster(shortlists: 0, rerankers: 0)
            let other = "\(cluster.folder)/other"
            try TinyModel.write(to: other, seed: 2)
            let directory = "\(cluster.folder)/classifier"
            _ = try Self.writeClassifier(directory, model: other)
            let child = try cluster.addEncoder(["MRL_ENCODER_CLASSIFIER": directory])
            #expect(child.waitForExit(seconds: 10) != 0)
            #expect(child.log.contains("it was trained on vectors of the model"), "\(child.log)")
        }
    }
}
