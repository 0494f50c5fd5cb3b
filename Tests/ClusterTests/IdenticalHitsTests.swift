import Matryoshka
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("The answer does not depend on placement", .serialized, .timeLimit(.minutes(2)))
    struct IdenticalHits {
        static let dimensions = 96
        static let rows = 2_000

        static let collections: [CreateCollection] = [
            CreateCollection(
                name: "cosine8",
                dimensions: dimensions,
                smallestDimensions: 8,
                similarity: .cosine,
                storedHeadWidth: 64,
                residency: ResidencyChange(width: 48, precision: .int8, holdsSigns: true)
            ),
            CreateCollection(
                name: "dot8",
                dimensions: dimensions,
                smallestDimensions: 8,
                similarity: .dot,
                storedHeadWidth: 64,
                residency: ResidencyChange(width: 64, precision: .int8, holdsSigns: true)
            ),
            CreateCollection(
                name: "cosine32",
                dimensions: dimensions,
                smallestDimensions: 8,
                similarity: .cosine,
                storedHeadWidth: 96,
                residency: ResidencyChange(width: 33, precision: .float32)
            ),
        ]

        /// nil: the standard plan.
        static let plans: [[Stage]?] = [
            nil,
            [Stage(dimensions: 16, keep: 200), Stage(dimensions: 96, keep: 10)],
            // A funnel: resident at first, then wider than any H here.
            [(8, 300), (16, 100), (32, 50), (64, 25), (96, 10)].map { Stage(dimensions: $0.0, keep: $0.1) },
            // Odd widths; a last stage below full size.
            [(17, 120), (33, 60), (95, 7)].map { Stage(dimensions: $0.0, keep: $0.1) },
            // The same dimensions at a higher precision.
            [
                Stage(dimensions: 16, keep: 150), Stage(dimensions: 16, keep: 60, precision: .float32),
                Stage(dimensions: 96, keep: 10),
            ],
            [
                Stage(dimensions: 24, keep: 200), Stage(dimensions: 64, keep: 80, precision: .float16),
                Stage(dimensions: 96, keep: 20),
            ],
            // Exhaustive: one stage, and a first stage wider than H.
            [Stage(dimensions: 96, keep: 10)],
            [Stage(dimensions: 16, keep: 10)],
            [Stage(dimensions: 80, keep: 100), Stage(dimensions: 96, keep: 10)],
            // Everything is kept.
            [Stage(dimensions: 16, keep: 4_000), Stage(dimensions: 96, keep: 4_000)],
            [Stage(dimensions: 32, keep: 1), Stage(dimensions: 96, keep: 1)],
            // Funnels of precisions: sign bits first, or after a few codes; wider than H.
            [
                Stage(dimensions: 48, keep: 400, precision: .bit), Stage(dimensions: 48, keep: 150),
                Stage(dimensions: 48, keep: 90, precision: .float16),
                Stage(dimensions: 48, keep: 50, precision: .float32), Stage(dimensions: 96, keep: 10),
            ],
            [Stage(dimensions: 64, keep: 300, precision: .bit), Stage(dimensions: 96, keep: 12)],
            [
                Stage(dimensions: 8, keep: 500), Stage(dimensions: 33, keep: 100, precision: .bit),
                Stage(dimensions: 80, keep: 60, precision: .float16), Stage(dimensions: 95, keep: 7),
            ],
            // Exhaustive on rounded rows.
            [Stage(dimensions: 80, keep: 100, precision: .float16), Stage(dimensions: 96, keep: 10)],
        ]

        static func knownSearches(_ truth: Truth, _ queries: [[Float]]) throws -> [KnownSearch] {
            var known: [KnownSearch] = []
            for (number, plan) in plans.enumerated() {
                // Where float32 is resident, nothing is more precise.
                let isRepeated =
                    plan.map { zip($0, $0.dropFirst()).contains { $0.dimensions == $1.dimensions } } ?? false
                if isRepeated && truth.shape.residentPrecision == .float32 { continue }
                let asksForBits = plan?.contains { $0.precision == .bit } ?? false
                if asksForBits && !truth.shape.holdsSigns { continue }
                let some =
                    number == 9
                    ? [queries[0]] : [queries[number % queries.count], queries[(number + 3) % queries.count]]
                known.append(try truth.answer(to: SearchRequest(truth.shape.name, some, plan: plan)))
            }
            return known
        }

        static func check(_ known: [KnownSearch], _ client: TestClient, _ place: String) throws {
            for search in known {
                let reply = try client.search(search.request)
                let fault = search.fault(in: reply)
                #expect(fault == nil, "\(place), \(search.request.collection)")
            }
        }

        @Test("hits, order and all scores equal the oracle's on 1, 2, 3 and 5 shortlist and 1 and 2 rerank workers")
        func placements() throws {
            let cluster = try TestCluster()
            let corpus = SyntheticCorpus(rows: Self.rows, dimensions: Self.dimensions, seed: 11)
            let queries = corpus.queries(12, seed: 12)
            var known: [KnownSearch] = []
            var shapes: [CollectionShape] = []
            for create in Self.collections {
                let shape = try cluster.fill(create, corpus)
                known += try Self.knownSearches(cluster.truth(shape), queries)
                shapes.append(shape)
            }
            // Ties must have been there, or the test shows less than it says.
            #expect(
                known.contains {
                    $0.hits.contains { list in zip(list, list.dropFirst()).contains { $0.scores == $1.scores } }
                }
            )
            let client = try cluster.client()
            for shape in shapes { try cluster.waitUntilServing(shape, rows: Self.rows) }
            try Self.check(known, client, "1 shortlist, 1 rerank")
            for count in [2, 3, 5] {
                while cluster.shortlists.count < count { try cluster.addShortlist() }
                try cluster.waitUntilBalanced(client, holders: count, rows: Self.rows * shapes.count)
                try Self.check(known, client, "\(count) shortlist, 1 rerank")
            }
            try cluster.addReranker()
            try cluster.waitUntilRerankers(client, holders: 2)
            try Self.check(known, client, "5 shortlist, 2 rerank")
        }

        @Test("a batch gives each query what it gets alone")
        func batches() throws {
            let cluster = try TestCluster(shortlists: 2, rerankers: 2)
            let corpus = SyntheticCorpus(rows: 1_500, dimensions: 64, seed: 21)
            let shape = try cluster.fill(
                CreateCollection(
                    name: "batches",
                    dimensions: 64,
                    smallestDimensions: 8,
                    residency: ResidencyChange(width: 32)
                ),
                corpus
            )
            let truth = try cluster.truth(shape)
            try cluster.waitUntilServing(shape, rows: corpus.count)
            let client = try cluster.client()
            for plan in [Self.funnel64, [Stage(dimensions: 64, keep: 5)]] {
                let batch = try truth.answer(to: SearchRequest("batches", corpus.queries(24, seed: 5), plan: plan))
                #expect(batch.fault(in: try client.search(batch.request)) == nil)
            }
            // Columns say the same as lines.
            var request = SearchRequest("batches", corpus.queries(3, seed: 6), plan: Self.funnel64)
            let known = try truth.answer(to: request)
            request.columns = true
            request.explain = false
            #expect(known.fault(in: try client.search(request)) == nil)
            request.withPayload = true
            let reply = try client.search(request)
            #expect(known.fault(in: reply) == nil)
            for hit in reply.hits.joined() {
                #expect(hit.payload.map { $0.filter { $0 != " " } } == "{\"row\":\(hit.id.dropFirst(4))}")
            }
        }

        static let funnel64 = [(8, 200), (16, 100), (32, 50), (64, 10)].map { Stage(dimensions: $0.0, keep: $0.1) }
    }
}
