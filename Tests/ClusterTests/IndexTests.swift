import DocumentStore
import Matryoshka
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("Indexes", .serialized, .timeLimit(.minutes(3)))
    struct Indexes {
        static let dimensions = 64

        /// The right answer to a search that looks into some lists only.
        static func known(
            _ truth: Truth,
            _ centroids: [[Float]],
            _ query: [Float],
            probes: Int,
            plan: [Stage]
        ) throws -> KnownSearch {
            func near(_ vector: [Float]) -> [Int] {
                Oracle.lists(near: vector, storedHeadWidth: truth.shape.storedHeadWidth, centroids)
            }
            let wanted = Set(near(query).prefix(probes))
            let inside = truth.keeping { wanted.contains(near($0.vector)[0]) }
            var request = SearchRequest(truth.shape.name, [query], plan: plan)
            request.effort.probes = probes
            var known = try inside.answer(to: request)
            known.rows = truth.rows.count
            return known
        }

        @Test("lists are learnt in the background, and answers equal the oracle's over the probed lists on any workers")
        func invertedLists() throws {
            let cluster = try TestCluster(shortlists: 1)
            let corpus = SyntheticCorpus(rows: 3_000, dimensions: Self.dimensions, seed: 31)
            let flat = try cluster.fill(
                CreateCollection(
                    name: "lists",
                    dimensions: Self.dimensions,
                    smallestDimensions: 8,
                    residency: ResidencyChange(
                        width: 32,
                        holdsSigns: true,
                        index: .ivf,
                        lists: 40,
                        coarseDimensions: 24
                    )
                ),
                corpus
            )
            #expect(flat.index.kind == .flat)
            let client = try cluster.client()
            let store = try cluster.database.store()
            let isSwitched = try poll(seconds: 20) {
                try store.collections().first { $0.shape.name == "lists" }?.shape.index.kind == .ivf
            }
            guard isSwitched else { throw cluster.failure("no lists: \(try ClusterStatus(client))") }
            let shape = try #require(try store.collections().first { $0.shape.name == "lists" }).shape
            try cluster.waitUntilServing(shape, rows: corpus.count)
            let learnt = try store.artefact(shape.index.centroids)
            #expect(learnt.rowCount == 40 && learnt.columnCount == 24 && learnt.learntFrom <= corpus.count)
            let centroids = (0..<learnt.rowCount).map {
                Array(learnt.values[$0 * learnt.columnCount..<($0 + 1) * learnt.columnCount])
            }
            let plan = [(16, 200), (32, 60), (64, 10)].map { Stage(dimensions: $0.0, keep: $0.1) }
            let bits = [Stage(dimensions: 16, keep: 200, precision: .bit)] + plan.dropFirst()
            let queries = corpus.queries(6, seed: 32)
            func check(_ place: Comment) throws {
                let truth = try cluster.truth(shape)
                for (number, query) in queries.enumerated() {
                    let probes = [1, 2, 5, 10, 40, 3][number]
                    for plan in [plan, bits] {
                        let known = try Self.known(truth, centroids, query, probes: probes, plan: plan)
                        let reply = try client.search(known.request)
                        #expect(known.fault(in: reply) == nil, place)
                        #expect(reply.index == .ivf && !reply.isProven)
                    }
                }
            }
            try check("1 worker")
            try cluster.addShortlist()
            try cluster.waitUntilBalanced(client, holders: 2, rows: corpus.count)
            try check("2 workers")
            // Rows that move to other lists, and go.
            let moved = SyntheticCorpus(rows: 400, dimensions: Self.dimensions, seed: 33)
            let documents = (0..<400).map {
                UpsertDocument(id: corpus.ids[$0], text: nil, payload: nil, vectorIndex: $0)
            }
            let vectors = moved.vectors
            let reply = try client.write(
                .upsert(
                    UpsertRequest(
                        collection: "lists",
                        documents: documents,
                        vectors: vectors,
                        width: Self.dimensions,
                        wait: .searchable
                    )
                )
            )
            #expect(reply.state == "searchable")
            #expect(
                try client.write(
                    .delete(
                        DeleteRequest(
                            collection: "lists",
                            ids: Array(corpus.ids[100..<200]),
                            wait: .searchable
                        )
                    )
                ).state == "searchable"
            )
            try check("after writes")
            // All lists are all rows, so the plan without an index answers the same.
            let all = try cluster.truth(shape).answer(to: SearchRequest("lists", [queries[0]], plan: plan))
            var request = all.request
            request.effort.probes = 65_536
            #expect(all.fault(in: try client.search(request)) == nil)
        }

        @Test("an index comes and goes under load without a failed reply, and is learnt anew when asked")
        func switching() throws {
            let cluster = try TestCluster(shortlists: 2)
            let corpus = SyntheticCorpus(rows: 2_000, dimensions: Self.dimensions, seed: 41)
            let shape = try cluster.serve("switching", corpus)
            let client = try cluster.client()
            let truth = try cluster.truth(shape)
            let plan = [(16, 200), (64, 10)].map { Stage(dimensions: $0.0, keep: $0.1) }
            // All lists are probed, so that every answer is the flat one's.
            let searches = try corpus.queries(20, seed: 42).map { query in
                var known = try truth.answer(to: SearchRequest("switching", [query], plan: plan))
                known.request.effort.probes = 65_536
                return known
            }
            let load = SearchLoad(cluster.front(), searches, perSecond: 100)
            var generation = shape.generation
            for change in [
                ResidencyChange(index: .ivf, lists: 32), ResidencyChange(retrains: true), ResidencyChange(index: .flat),
            ] {
                _ = try client.object(.collections(.configure(name: "switching", change)))
                generation += 1
                let isSwitched = try poll(seconds: 20) {
                    try client.search(searches[0].request).generation == generation
                }
                #expect(isSwitched, "generation \(generation)")
                pause(0.5)
            }
            let result = load.stop(after: 100)
            #expect(result.faults.isEmpty, "\(result.faults.prefix(3))")
            #expect(result.answered == result.sent && result.answered > 100)
        }
    }
}
