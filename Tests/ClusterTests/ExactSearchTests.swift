import DocumentStore
import Glibc
import Matryoshka
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("Exact searches", .serialized, .timeLimit(.minutes(3)))
    struct ExactSearches {
        static let rows = 12_000

        static func makeCluster(
            rerankers: Int,
            settings: [String: String] = [:]
        ) throws -> (TestCluster, CollectionShape, SyntheticCorpus) {
            let cluster = try TestCluster(shortlists: 1, rerankers: 0)
            for _ in 0..<rerankers { try cluster.addReranker(settings) }
            let corpus = SyntheticCorpus(rows: rows, dimensions: 64, seed: 81)
            let shape = try cluster.serve("writes", corpus)
            return (cluster, shape, corpus)
        }

        static func searches(_ truth: Truth, _ queries: [[Float]]) throws -> [KnownSearch] {
            try stride(from: 0, to: queries.count, by: 2).map { first in
                var known = try truth.answer(
                    to: SearchRequest(
                        "writes",
                        Array(queries[first..<first + 2]),
                        plan: [Stage(dimensions: 64, keep: 12)]
                    )
                )
                known.request.plan = nil
                known.request.isExact = true
                return known
            }
        }

        static func expect(
            _ searches: [KnownSearch],
            _ client: TestClient,
            _ location: SourceLocation = #_sourceLocation
        ) throws {
            for search in searches {
                let reply = try client.search(search.request)
                let fault = search.fault(in: reply)
                #expect(fault == nil, sourceLocation: location)
                #expect(reply.isProven, sourceLocation: location)
            }
        }

        static func waitUntilPrepared(_ cluster: TestCluster) throws {
            let isPrepared = poll(seconds: 20) {
                cluster.rerankers.allSatisfy { $0.log.contains("exact searches of writes are prepared") }
            }
            if !isPrepared { throw cluster.failure("exact searches are not prepared") }
        }

        @Test(
            "are proven and equal the oracle's full scan to the bit, before bounds are there and after, under upserts",
            arguments: [1, 2],
            [1, 3]
        )
        func equalOracle(rerankers: Int, threads: Int) throws {
            let (cluster, shape, corpus) = try Self.makeCluster(
                rerankers: rerankers,
                settings: ["MRL_WORKER_THREADS": "\(threads)"]
            )
            let client = try cluster.client()
            try cluster.waitUntilRerankers(client, holders: rerankers)
            let queries = corpus.queries(16, seed: 82)
            var known = try Self.searches(cluster.truth(shape), queries)
            try Self.expect(known, client)
            try Self.waitUntilPrepared(cluster)
            try Self.expect(known, client)
            for round in 0..<4 {
                // What the last answers were made of goes, or becomes something else; new rows come.
                let hits = Array(Set(known.flatMap { $0.hits.flatMap { $0.map(\.id) } }).sorted().prefix(80))
                let changed = hits.enumerated().filter { $0.offset % 3 != 0 }.map { place, id in
                    (
                        id: id,
                        vector: queries[place % queries.count].map { $0 * Float(place % 7 + 1) - Float(round) / 9 }
                    )
                }
                let new = (0..<20).map { (id: "new-\(round)-\($0)", vector: queries[$0 % queries.count]) }
                let gone = hits.enumerated().filter { $0.offset % 3 == 0 }.map(\.element)
                #expect(try client.write(Writes.upsert(changed + new)).state == "searchable")
                let deletion = DeleteRequest(collection: "writes", ids: gone, wait: .searchable)
                #expect(try client.write(.delete(deletion)).state == "searchable")
                known = try Self.searches(cluster.truth(shape), queries)
                try Self.expect(known, client)
            }
            // Many writes beside many searches.
            let load = SearchLoad(cluster.front(), known, perSecond: 30, deadline: 10_000)
            var random = SeededGenerator(seed: 83)
            let end = now() + 3
            while now() < end {
                let rows = (0..<100).map { _ in
                    (id: corpus.ids[Int(random.next() % UInt64(corpus.count))], vector: Writes.vector(random.next()))
                }
                #expect(try client.write(Writes.upsert(rows)).state == "searchable")
            }
            #expect(load.stop().answered > 0)
            known = try Self.searches(cluster.truth(shape), queries)
            for _ in 0..<2 { try Self.expect(known, client) }
        }

        @Test("are proven too where neither memory nor disk has room")
        func withoutRoom() throws {
            for settings in [
                ["MRL_RERANK_CACHE_BYTES": "0"],
                ["MRL_RERANK_CACHE_BYTES": "64KiB"],
                ["MRL_RERANK_CACHE_BYTES": "512KiB", "MRL_WORKER_CAPACITY_BYTES": "1MiB"],
            ] {
                let (cluster, shape, corpus) = try Self.makeCluster(rerankers: 1, settings: settings)
                let known = try Self.searches(cluster.truth(shape), corpus.queries(6, seed: 84))
                let client = try cluster.client()
                for _ in 0..<3 { try Self.expect(known, client) }
            }
        }

        @Test("say that nothing is proven where a shard is missing")
        func missing() throws {
            let (cluster, shape, corpus) = try Self.makeCluster(rerankers: 2)
            let client = try cluster.client()
            try cluster.waitUntilRerankers(client, holders: 2)
            var known = try Self.searches(cluster.truth(shape), corpus.queries(2, seed: 85))[0]
            known.request.minCoverage = 0.1
            #expect(try client.search(known.request).isProven)
            cluster.rerankers[0].signal(SIGSTOP)
            let reply = try client.search(known.request, deadline: 2_000)
            #expect(!reply.isProven && !reply.coverage.isComplete)
            cluster.rerankers[0].signal(SIGCONT)
        }
    }
}
