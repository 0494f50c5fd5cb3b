import DocumentStore
import Matryoshka
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("A rotated collection", .serialized, .timeLimit(.minutes(2)))
    struct Rotated {
        static let dimensions = 64

        static func collection(
            _ rotation: Rotation = .pca,
            _ similarity: Similarity = .cosine,
            index: CollectionIndex.Kind = .flat
        ) -> CreateCollection {
            CreateCollection(
                name: "writes",
                dimensions: dimensions,
                isMatryoshka: false,
                similarity: similarity,
                storedHeadWidth: 48,
                rotation: rotation,
                residency: ResidencyChange(width: 32, holdsSigns: index != .hnsw, index: index)
            )
        }

        static let plans: [[Stage]?] = [
            nil,
            [Stage(dimensions: 8, keep: 200), Stage(dimensions: 64, keep: 10)],
            [(2, 400), (16, 100), (32, 50), (64, 10)].map { Stage(dimensions: $0.0, keep: $0.1) },
            // Stages at the rerank workers that are not the last.
            [
                Stage(dimensions: 16, keep: 150), Stage(dimensions: 48, keep: 80, precision: .float16),
                Stage(dimensions: 63, keep: 40), Stage(dimensions: 64, keep: 20),
            ],
            [Stage(dimensions: 64, keep: 10)],
            [
                Stage(dimensions: 32, keep: 300, precision: .bit), Stage(dimensions: 32, keep: 60),
                Stage(dimensions: 64, keep: 10),
            ],
        ]

        /// The shape once the rotation is in use.
        static func waitUntilRotated(_ cluster: TestCluster, seconds: Double = 20) throws -> CollectionShape {
            let store = try cluster.database.store()
            var found: CollectionShape?
            _ = try poll(seconds: seconds) {
                found = try store.collections().first { $0.shape.name == "writes" && $0.shape.isTrained }?.shape
                return found?.learntRotation ?? 0 != 0
            }
            guard let found, found.learntRotation != 0 else { throw cluster.failure("no rotation has been learnt") }
            return found
        }

        /// Coordinators hear of a generation a moment later.
        static func expectTruth(
            _ cluster: TestCluster,
            _ shape: CollectionShape,
            _ queries: [[Float]],
            _ location: SourceLocation = #_sourceLocation
        ) throws {
            let truth = try cluster.truth(shape)
            let client = try cluster.client()
            _ = poll(seconds: 10) {
                (try? client.search(SearchRequest("writes", [queries[0]], k: 1)))?.generation == shape.generation
            }
            for (number, plan) in plans.enumerated() {
                let pair = [queries[number % queries.count], queries[(number + 1) % queries.count]]
                let known = try truth.answer(to: SearchRequest("writes", pair, plan: plan))
                let reply = try client.search(known.request)
                let fault = known.fault(in: reply)
                #expect(fault == nil, sourceLocation: location)
            }
        }

        @Test(
            "is searched in stages as the oracle says, by any number of workers, and follows writes",
            arguments: Similarity.allCases
        )
        func oracle(similarity: Similarity) throws {
            let cluster = try TestCluster()
            let corpus = SyntheticCorpus(rows: 1_500, dimensions: Self.dimensions, seed: 91)
            _ = try cluster.fill(Self.collection(.pca, similarity), corpus)
            let shape = try Self.waitUntilRotated(cluster)
            let queries = corpus.queries(10, seed: 92)
            try Self.expectTruth(cluster, shape, queries)
            try cluster.addShortlist()
            try cluster.addReranker()
            let client = try cluster.client()
            try cluster.waitUntilBalanced(client, holders: 2, rows: corpus.count)
            try cluster.waitUntilRerankers(client, holders: 2)
            try Self.expectTruth(cluster, shape, queries)
            let changed = queries.enumerated().map { number, query in
                (id: corpus.ids[number * 7], vector: query.map { $0 * 1.5 - Float(number) / 20 })
            }
            #expect(try client.write(Writes.upsert(changed)).state == "searchable")
            let gone = DeleteRequest(collection: "writes", ids: [corpus.ids[100], corpus.ids[101]], wait: .searchable)
            #expect(try client.write(.delete(gone)).state == "searchable")
            try Self.expectTruth(cluster, shape, queries)
            // H changes, the rotation stays.
            _ = try client.object(.collections(.configure(name: "writes", ResidencyChange(width: 16))))
            let store = try cluster.database.store()
            var narrow = shape
            #expect(
                try poll(seconds: 20) {
                    narrow = try store.collections().first { $0.shape.name == "writes" }?.shape ?? shape
                    return narrow.residentWidth == 16
                }
            )
            #expect(narrow.learntRotation == shape.learntRotation)
            let known = try cluster.truth(narrow).answer(to: SearchRequest("writes", queries))
            _ = poll(seconds: 10) {
                (try? client.search(known.request))?.generation == narrow.generation
            }
            #expect(known.fault(in: try client.search(known.request)) == nil)
        }

        @Test("makes small prefixes of vectors that are not Matryoshka worth comparing")
        func recall() throws {
            let cluster = try TestCluster()
            // What tells rows apart lies in the last dimensions.
            let ordered = SyntheticCorpus(rows: 1_500, dimensions: Self.dimensions, seed: 93)
            let create = Self.collection()
            _ = try cluster.client().object(.collections(.create(create)), deadline: 20_000)
            let store = try cluster.database.store()
            let record = try #require(try store.collections().first { $0.shape.name == "writes" })
            let rows = (0..<ordered.count).map { row in
                UpsertRow(
                    externalID: ordered.ids[row],
                    text: "",
                    payload: nil,
                    vector: ordered[row].reversed()
                )
            }
            _ = try store.stageAndUpsert(collection: record.shape.collection, rows: rows)
            try store.notifyWritten(collection: record.shape.collection)
            let shape = try Self.waitUntilRotated(cluster)
            let queries = ordered.queries(20, seed: 94).map { [Float]($0.reversed()) }
            try Self.expectTruth(cluster, shape, queries)
            let client = try cluster.client()
            let stages = [Stage(dimensions: 16, keep: 100), Stage(dimensions: 64, keep: 10)]
            let found = try client.search(SearchRequest("writes", queries, plan: stages)).hits
            let true10 = try client.search(SearchRequest("writes", queries, plan: [stages[1]])).hits
            let recall =
                zip(found, true10).reduce(0.0) { sum, pair in
                    sum + Double(Set(pair.0.map(\.id)).intersection(pair.1.map(\.id)).count) / 10
                } / Double(queries.count)
            #expect(recall > 0.9, "\(recall)")
        }

        @Test("allows any size but for the last stage; before its rotation, and without one, the full size alone")
        func refusals() throws {
            let cluster = try TestCluster()
            let corpus = SyntheticCorpus(rows: 40, dimensions: Self.dimensions, seed: 95)
            let early = try cluster.fill(Self.collection(), corpus)
            try cluster.waitUntilExhaustive(early, rows: corpus.count)
            let client = try cluster.client()
            let query = corpus.queries(1, seed: 96)
            let small = [Stage(dimensions: 16, keep: 20), Stage(dimensions: 64, keep: 10)]
            // There are fewer rows than dimensions to learn from.
            #expect(throws: FrontError.self) { try client.search(SearchRequest("writes", query, plan: small)) }
            let more = SyntheticCorpus(rows: 200, dimensions: Self.dimensions, seed: 97)
            try cluster.stage(more, into: early.collection, cluster.database.store())
            let shape = try Self.waitUntilRotated(cluster)
            try Self.expectTruth(cluster, shape, more.queries(4, seed: 98))
            for stages in [
                [Stage(dimensions: 16, keep: 10)],
                [Stage(dimensions: 40, keep: 20), Stage(dimensions: 64, keep: 10)],
                [Stage(dimensions: 16, keep: 20), Stage(dimensions: 48, keep: 10)],
            ] {
                #expect(throws: FrontError.self) { try client.search(SearchRequest("writes", query, plan: stages)) }
            }
        }

        @Test("serves inverted lists and a graph over rotated heads too", arguments: [CollectionIndex.Kind.ivf, .hnsw])
        func indexes(kind: CollectionIndex.Kind) throws {
            let cluster = try TestCluster()
            let corpus = SyntheticCorpus(rows: 1_500, dimensions: Self.dimensions, seed: 99)
            _ = try cluster.fill(Self.collection(index: kind), corpus)
            let shape = try Self.waitUntilRotated(cluster)
            #expect(shape.index.kind == kind)
            let client = try cluster.client()
            var request = SearchRequest("writes", corpus.queries(8, seed: 100))
            request.effort = SearchEffort(probes: 65_536, ef: 2_000)
            _ = poll(seconds: 10) { (try? client.search(request))?.generation == shape.generation }
            // All lists, and a graph that keeps all rows in view, find what a scan finds.
            let known = try cluster.truth(shape).answer(to: request)
            let fault = known.faultInHits(of: try client.search(request))
            #expect(fault == nil)
        }
    }
}
