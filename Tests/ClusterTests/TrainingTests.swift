import DocumentStore
import Encoding
import FoundationEssentials
import Matryoshka
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("What mrl train makes", .serialized, .timeLimit(.minutes(1)))
    struct Training {
        /// Runs `mrl` to its end.
        private static func mrl(_ cluster: TestCluster, _ arguments: [String]) throws -> ChildProcess {
            let child = try ChildProcess(
                "mrl",
                executable: executable("mrl"),
                arguments: arguments,
                environment: cluster.environment.merging(["MRL_HOME": cluster.folder]) { $1 },
                logPath: "\(cluster.folder)/mrl-\(UUID().uuidString).log"
            )
            _ = child.waitForExit(seconds: 40)
            return child
        }

        /// Texts of the tiny model's words: query and document share the first, which is the label.
        private static func write(_ folder: String) throws -> (pairs: String, texts: String) {
            let words = TinyModel.words
            var (pairs, texts) = ("", "")
            for first in words {
                for second in words where second != first {
                    pairs += #"{"query":"\#(first) \#(first)","document":"\#(first) \#(second)"}"# + "\n"
                    texts += "\(first)\t\(first) \(first) \(second)\n"
                }
            }
            let paths = ("\(folder)/pairs.jsonl", "\(folder)/texts.tsv")
            try pairs.write(toFile: paths.0, atomically: true, encoding: .utf8)
            try texts.write(toFile: paths.1, atomically: true, encoding: .utf8)
            return paths
        }

        @Test("an adapter is served as the model that it is: texts in, adapted vectors out, no other model's let in")
        func adapter() throws {
            let cluster = try TestCluster()
            let base = "\(cluster.folder)/base"
            try TinyModel.write(to: base)
            let (pairs, texts) = try Self.write(cluster.folder)
            let model = "\(cluster.folder)/adapted"
            let checkpoints = "\(cluster.folder)/checkpoints"
            let trained = try Self.mrl(
                cluster,
                ["train", "adapter", "--pairs", pairs, "--model", base, "--output", model, "--nesting", "4,8,16"]
                    + ["--epochs", "3", "--batch", "16", "--validation", "0.2", "--checkpoint", checkpoints]
            )
            #expect(trained.exitCode == 0 && trained.log.contains("16, adapted"), "\(trained.log)")
            #expect(!FileManager.default.fileExists(atPath: checkpoints), "the result is written")
            let local = try loadEncoder(directory: model)
            #expect(local.model.nesting == [4, 8, 16] && local.model.name == "adapted")

            try cluster.addEncoder(["MRL_ENCODER_MODEL": model])
            try cluster.waitUntilEncoders()
            let client = try cluster.client()
            _ = try client.object(.collections(.create(CreateCollection(name: "texts"))), deadline: 20_000)
            let store = try cluster.database.store()
            let shape = try #require(try store.collections().first?.shape)
            #expect(shape.model == local.model.id && shape.dimensions == 16 && shape.smallestDimensions == 4)
            let record = try #require(try store.models().first { $0.id == local.model.id })
            #expect(record.name == "adapted" && record.dimensions == 16 && record.nesting == [4, 8, 16])

            let documents = TinyModel.words.enumerated().map {
                UpsertDocument(id: $1, text: "\($1) \($1)", payload: nil, vectorIndex: nil, index: $0)
            }
            _ = try client.write(
                .upsert(UpsertRequest(collection: "texts", documents: documents, wait: .searchable)),
                deadline: 20_000
            )
            let plan = Plan(stages: [Stage(dimensions: 4, keep: 5), Stage(dimensions: 16, keep: 1)])
            func search(_ query: QuerySource, model: String? = nil) throws -> SearchRequest {
                SearchRequest(collection: "texts", query: query, plan: plan, k: 1, model: model)
            }
            #expect(try client.search(search(.texts(["chess"]))).hits[0].map(\.id) == ["chess"])
            let own = local.encode(["music"], role: "query")
            // Vectors that name no model count as the collection's; those that name it too.
            for name in [nil, local.model.id] {
                let reply = try client.search(search(.vectors(values: own, count: 1, width: 16), model: name))
                #expect(reply.hits[0].map(\.id) == ["music"])
            }
            let baseID = try loadEncoder(directory: base).model.id
            let foreign = try client.refusal(
                .search(search(.vectors(values: own, count: 1, width: 16), model: baseID))
            )
            #expect(foreign?.code == .modelMismatch && foreign?.allowed == local.model.id, "\(foreign as Any)")
            let wide = try client.refusal(
                .search(search(.vectors(values: [Float](repeating: 1, count: 64), count: 1, width: 64)))
            )
            #expect(wide?.code == .badDimension && wide?.allowed == "16", "\(wide as Any)")
            let encoded = try client.refusal(.encode(EncodeRequest(model: baseID, role: .query, texts: ["chess"])))
            #expect(encoded?.code == .modelMismatch, "\(encoded as Any)")

            // A classifier of the adapted vectors, on the same encoder.
            let intents = "\(cluster.folder)/intents"
            let classifier = try Self.mrl(
                cluster,
                ["train", "classifier", "--texts", texts, "--model", model, "--output", intents, "--json"]
                    + ["--nesting", "4,8,16", "--epochs", "30", "--batch", "16", "--lr", "0.02", "--validation", "0.3"]
            )
            #expect(classifier.exitCode == 0 && classifier.log.contains("\"final_dimensions\""), "\(classifier.log)")
            try cluster.addEncoder(["MRL_ENCODER_MODEL": model, "MRL_ENCODER_CLASSIFIER": intents])
            let isServed = poll(seconds: 20) {
                (try? client.refusal(.classify(ClassifyRequest(texts: ["chess"])))) == nil
            }
            #expect(isServed)
            guard case .labels(let reply) = try client.call(.classify(ClassifyRequest(texts: TinyModel.words))) else {
                throw TestFailure("no labels")
            }
            #expect(zip(reply.labels, TinyModel.words).count { $0.label == $1 } >= 8, "\(reply.labels)")
            #expect(reply.model == local.model.id)
            let other = try cluster.addEncoder(["MRL_ENCODER_MODEL": base, "MRL_ENCODER_CLASSIFIER": intents])
            #expect(other.waitForExit(seconds: 10) == 1)
            #expect(other.log.contains("it was trained on vectors of the model"), "\(other.log)")
        }

        @Test("a training that was cut short goes on to the same model, and one without --resume does not overwrite it")
        func resumed() throws {
            let cluster = try TestCluster(shortlists: 0, rerankers: 0)
            let (pairs, texts) = try Self.write(cluster.folder)
            let common = ["--dimensions", "16", "--batch", "16", "--epochs", "300", "--patience", "300"]
            func train(_ name: String, _ more: [String] = []) throws -> ChildProcess {
                try Self.mrl(
                    cluster,
                    ["train", "static", "--pairs", pairs, "--output", "\(cluster.folder)/\(name)", "--name", "m"]
                        + common + more
                )
            }
            #expect(try train("whole").exitCode == 0)
            let checkpoint = ["--checkpoint", "\(cluster.folder)/kept", "--checkpoint-steps", "3"]
            let cut = try ChildProcess(
                "mrl",
                executable: executable("mrl"),
                arguments: ["train", "static", "--pairs", pairs, "--output", "\(cluster.folder)/cut", "--name", "m"]
                    + common + checkpoint,
                environment: cluster.environment,
                logPath: "\(cluster.folder)/cut.log"
            )
            let file = "\(cluster.folder)/kept/run-1.safetensors"
            #expect(poll(seconds: 20, every: 0.001) { FileManager.default.fileExists(atPath: file) })
            cut.kill()
            #expect(cut.exitCode == 137, "\(cut.log)")
            let refused = try train("cut", checkpoint)
            #expect(refused.exitCode != 0 && refused.log.contains("--resume goes on from it"), "\(refused.log)")
            let other = try train("cut", checkpoint + ["--resume", "--seed", "2"])
            #expect(other.exitCode != 0 && other.log.contains("other settings or other data"), "\(other.log)")
            let resumed = try train("cut", checkpoint + ["--resume"])
            #expect(resumed.exitCode == 0 && resumed.log.contains("going on after step"), "\(resumed.log)")
            let ids = try ["whole", "cut"].map { try loadEncoder(directory: "\(cluster.folder)/\($0)").model.id }
            #expect(ids[0] == ids[1])

            // Without an encoder, a table of its own.
            let intents = "\(cluster.folder)/intents"
            let classifier = try Self.mrl(
                cluster,
                ["train", "classifier", "--texts", texts, "--output", intents, "--dimensions", "16", "--batch", "16"]
                    + ["--method", "mrl-e"]
            )
            #expect(classifier.exitCode == 0, "\(classifier.log)")
            let encoder = try loadEncoder(directory: intents + "/model")
            let served = try CascadeClassifier(directory: intents, for: encoder.model)
            let words = ["chess chess", "music"]
            #expect(served.labels(of: encoder.encode(words, role: "query")).map(\.label) == ["chess", "music"])
        }
    }
}
