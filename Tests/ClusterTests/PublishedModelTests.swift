import FoundationEssentials
import Matryoshka
import Testing
import WireProtocol

extension ClusterTests {
    /// The models of EncodingTests, which have vectors that NumPy computed.
    @Suite("A published transformer", .serialized, .timeLimit(.minutes(1)))
    struct PublishedModel {
        static let folder: String = {
            let here = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(2)
            return here.joined(separator: "/") + "/EncodingTests/Golden/Published/"
        }()

        private struct Case: Decodable {
            var model: String
            var role: String
            var text: String
            var vector: [Float]
        }

        @Test("is served from its directory: prompts by role, its sizes alone, texts in and out")
        func served() throws {
            let data = try #require(FileManager.default.contents(atPath: Self.folder + "cases.json"))
            let cases = try JSONDecoder().decode([Case].self, from: data)
                .filter { $0.model == "nomic" && !$0.text.isEmpty }
            let cluster = try TestCluster(shortlists: 1, rerankers: 1)
            try cluster.addEncoder(["MRL_ENCODER_MODEL": Self.folder + "nomic"])
            try cluster.waitUntilEncoders()
            let client = try cluster.client()
            _ = try client.object(.collections(.create(CreateCollection(name: "texts"))), deadline: 20_000)

            for role in [TextRole.query, .document] {
                let known = cases.filter { $0.role == role.rawValue }
                let request = EncodeRequest(collection: "texts", role: role, texts: known.map(\.text))
                guard case .vectors(let dimensions, let values, _) = try client.call(.encode(request)) else {
                    throw TestFailure("not vectors")
                }
                #expect(dimensions == 32)
                let worst = zip(values, known.flatMap(\.vector)).map { abs($0 - $1) }.max()
                #expect(try #require(worst) < 2e-6)
            }

            let documents = cases.filter { $0.role == "document" }.enumerated().map {
                UpsertDocument(id: "\($0)", text: $1.text, payload: nil, vectorIndex: nil, index: $0)
            }
            _ = try client.write(
                .upsert(UpsertRequest(collection: "texts", documents: documents, wait: .searchable)),
                deadline: 20_000
            )
            let plan = Plan(stages: [Stage(dimensions: 8, keep: 4), Stage(dimensions: 32, keep: 2)])
            let search = SearchRequest(collection: "texts", query: .texts(["play chess"]), plan: plan, k: 2)
            let reply = try client.search(search)
            #expect(reply.hits.first?.count == 2)
            #expect(reply.coverage.rowsSearched == documents.count)

            let tooSmall = Plan(stages: [Stage(dimensions: 4, keep: 4), Stage(dimensions: 32, keep: 2)])
            let refusal = try client.refusal(
                .search(SearchRequest(collection: "texts", query: .texts(["play chess"]), plan: tooSmall, k: 2))
            )
            #expect(refusal?.allowed?.contains("8 to 32") == true, "\(String(describing: refusal))")
        }

        @Test("that this build does not run ends the encoder with a sentence that names the member")
        func refused() throws {
            let cluster = try TestCluster(shortlists: 0, rerankers: 0)
            let model = cluster.folder + "/model"
            try FileManager.default.copyItem(atPath: Self.folder + "nomic", toPath: model)
            let path = model + "/config.json"
            let text = try String(contentsOfFile: path, encoding: .utf8)
            try text.replacing("\"causal\": false", with: "\"causal\": true")
                .write(toFile: path, atomically: true, encoding: .utf8)
            let encoder = try cluster.addEncoder(["MRL_ENCODER_MODEL": model])
            #expect(encoder.waitForExit(seconds: 10) == 1)
            #expect(encoder.log.contains("\"causal\" is true, this build runs false"), "\(encoder.log)")
        }
    }
}
