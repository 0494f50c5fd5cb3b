import DocumentStore
import Matryoshka
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("Index hnsw", .serialized, .timeLimit(.minutes(3)))
    struct Graphs {
        static let dimensions = 64

        /// The share of the true best of the first stage among the hits of searches that keep as many to the end.
        static func recall(_ truth: Truth, _ client: TestClient, _ queries: [[Float]], keep: Int) throws -> Double {
            let plan = [Stage(dimensions: 32, keep: keep), Stage(dimensions: dimensions, keep: keep)]
            var found = 0
            for query in queries {
                let known = try truth.answer(to: SearchRequest(truth.shape.name, [query], plan: plan))
                let reply = try client.search(known.request)
                #expect(reply.index == .hnsw && !reply.isProven && reply.coverage.isComplete)
                #expect(reply.coverage.rowsSearched == truth.rows.count)
                // Copies of a document tie; any of them will do.
                let least = known.hits[0].map { Float(bitPattern: $0.scores[0]) }.min() ?? 0
                let scores = Dictionary(uniqueKeysWithValues: known.hits[0].map { ($0.id, $0.scores) })
                for hit in reply.hits[0] {
                    let got = hit.scores ?? []
                    if let right = scores[hit.id] { #expect(got.map(\.bitPattern) == right) }
                    if got[0] >= least { found += 1 }
                }
                #expect(Set(reply.hits[0].map(\.id)).count == reply.hits[0].count)
            }
            return Double(found) / Double(keep * queries.count)
        }

        @Test(
            "finds at least 95 in 100 at the default effort, through moves, writes and deletes; exact search finds all"
        )
        func recallFloor() throws {
            let cluster = try TestCluster(shortlists: 1)
            let corpus = SyntheticCorpus(rows: 10_000, dimensions: Self.dimensions, seed: 51)
            _ = try cluster.fill(
                CreateCollection(
                    name: "graph",
                    dimensions: Self.dimensions,
                    smallestDimensions: 8,
                    residency: ResidencyChange(width: 32, index: .hnsw, links: 12, constructionEffort: 80)
                ),
                corpus
            )
            let client = try cluster.client()
            let store = try cluster.database.store()
            let isSwitched = try poll(seconds: 60) {
                try store.collections().first { $0.shape.name == "graph" }?.shape.index.kind == .hnsw
            }
            guard isSwitched else { throw cluster.failure("no graph: \(try ClusterStatus(client))") }
            let shape = try #require(try store.collections().first { $0.shape.name == "graph" }).shape
            #expect(shape.index.links == 12 && shape.index.constructionEffort == 80)
            try cluster.waitUntilServing(shape, rows: corpus.count, seconds: 60)
            let queries = corpus.queries(25, seed: 52)
            #expect(try Self.recall(try cluster.truth(shape), client, queries, keep: 100) >= 0.95)

            // Both workers walk a graph of their own.
            try cluster.addShortlist()
            try cluster.waitUntilBalanced(client, holders: 2, rows: corpus.count, seconds: 60)
            #expect(try Self.recall(try cluster.truth(shape), client, queries, keep: 40) >= 0.95)

            // Writes go on while searches do.
            let moved = SyntheticCorpus(rows: 500, dimensions: Self.dimensions, seed: 53)
            let upsert = UpsertRequest(
                collection: "graph",
                documents: (0..<500).map {
                    UpsertDocument(id: corpus.ids[$0], text: nil, payload: nil, vectorIndex: $0)
                },
                vectors: moved.vectors,
                width: Self.dimensions,
                wait: .searchable
            )
            let writer = try cluster.client()
            let id = try writer.post(.upsert(upsert), deadline: 20_000)
            let plan = [Stage(dimensions: 32, keep: 40), Stage(dimensions: Self.dimensions, keep: 10)]
            var searches = 0
            var written: FrontReplyBody?
            while written == nil || searches < 20 {
                let reply = try client.search(SearchRequest("graph", [queries[searches % 25]], plan: plan))
                #expect(reply.coverage.isComplete && reply.degraded.isEmpty && reply.hits[0].count == 10)
                searches += 1
                if let reply = try writer.next(seconds: 0.001), reply.id == id { written = reply.body }
            }
            guard case .write(let reply)? = written else { throw cluster.failure("not written: \(written as Any)") }
            #expect(reply.state == "searchable")
            let deletion = DeleteRequest(collection: "graph", ids: Array(corpus.ids[500..<3_500]), wait: .searchable)
            #expect(try client.write(.delete(deletion), deadline: 20_000).state == "searchable")
            let truth = try cluster.truth(shape)
            #expect(truth.rows.count == 7_000)
            #expect(try Self.recall(truth, client, queries, keep: 40) >= 0.95)

            // The true answer is there for whoever asks for it.
            for query in queries.prefix(3) {
                var request = SearchRequest("graph", [query], k: 10)
                request.isExact = true
                let reply = try client.search(request)
                let known = try truth.answer(
                    to: SearchRequest("graph", [query], plan: [Stage(dimensions: Self.dimensions, keep: 10)])
                )
                #expect(known.fault(in: reply) == nil)
                #expect(reply.index == .flat)
            }
        }

        @Test(
            "flat, graph, lists and flat again follow under load without a failed reply, and status shows how far it is"
        )
        func switching() throws {
            let cluster = try TestCluster(shortlists: 2)
            let corpus = SyntheticCorpus(rows: 4_000, dimensions: Self.dimensions, seed: 61)
            let shape = try cluster.serve("switching", corpus)
            let client = try cluster.client()
            let truth = try cluster.truth(shape)
            let plan = [(16, 200), (64, 10)].map { Stage(dimensions: $0.0, keep: $0.1) }
            // All lists and all of a graph are looked through, so that every answer is the flat one's.
            let searches = try corpus.queries(20, seed: 62).map { query in
                var known = try truth.answer(to: SearchRequest("switching", [query], plan: plan))
                known.request.effort.probes = SearchEffort.effortMax
                known.request.effort.ef = SearchEffort.effortMax
                return known
            }
            let load = SearchLoad(cluster.front(), searches, perSecond: 50)
            var generation = shape.generation
            for kind in [CollectionIndex.Kind.hnsw, .ivf, .flat] {
                _ = try client.object(
                    .collections(.configure(name: "switching", ResidencyChange(index: kind, lists: 32)))
                )
                generation += 1
                var seen: Set<Int> = []
                let isSwitched = try poll(seconds: 40, every: 0.01) {
                    let collection = try ClusterStatus(client).json["collections"]?.elements.first
                    if let rows = collection?["next"]?["loaded_rows"]?.int { seen.insert(rows) }
                    return collection?["index"]?.text == kind.rawValue
                }
                #expect(isSwitched, "generation \(generation)")
                if kind == .hnsw { #expect(seen.contains { (1..<corpus.count).contains($0) }, "\(seen.sorted())") }
                let reply = try client.search(searches[0].request)
                #expect(reply.index == kind && reply.generation == generation)
                pause(0.5)
            }
            let result = load.stop(after: 50)
            #expect(result.faults.isEmpty, "\(result.faults.prefix(3))")
            #expect(result.answered == result.sent && result.answered > 50)
        }

        @Test("numbers out of range are refused with their field and what is allowed")
        func refusals() throws {
            let cluster = try TestCluster()
            let client = try cluster.client()
            func create(_ change: ResidencyChange) -> FrontRequestBody {
                .collections(.create(CreateCollection(name: "bad", dimensions: 8, residency: change)))
            }
            _ = try client.object(.collections(.create(CreateCollection(name: "good", dimensions: 8))))
            var tooHard = SearchRequest("good", [[Float](repeating: 1, count: 8)])
            tooHard.effort.ef = SearchEffort.effortMax + 1
            let cases: [(String, String, FrontRequestBody)] = [
                ("m", "2 to 128", create(ResidencyChange(index: .hnsw, links: 1))),
                ("m", "2 to 128", .collections(.configure(name: "good", ResidencyChange(links: 129)))),
                (
                    "ef_construction", "2 to 2000", create(ResidencyChange(index: .hnsw, constructionEffort: 2_001))
                ), ("ef", "1 to 65536", .search(tooHard)),
            ]
            for (field, allowed, body) in cases {
                let error = try client.refusal(body)
                #expect(error?.code == .badHeader && error?.field == field, "\(error as Any)")
                #expect(error?.allowed == "an integer from \(allowed)", "\(error as Any)")
            }
        }
    }
}
