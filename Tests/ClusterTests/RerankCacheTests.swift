import DocumentStore
import FoundationEssentials
import Glibc
import Matryoshka
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("A rerank worker with less memory than rows", .serialized, .timeLimit(.minutes(3)))
    struct RerankCache {
        static let rows = 12_000
        static let plans = [
            [Stage(dimensions: 16, keep: 300), Stage(dimensions: 64, keep: 20)],
            [
                Stage(dimensions: 8, keep: 400), Stage(dimensions: 40, keep: 100),
                Stage(dimensions: 48, keep: 50, precision: .float16), Stage(dimensions: 64, keep: 10),
            ],
            [Stage(dimensions: 64, keep: 15)],
        ]

        /// 12,000 rows of 64 dimensions take 4 MB or so whole: 1 MiB of memory has room for some shards only, and the
        /// cache of 512 KiB for 1,600 rows of the others.
        static func makeCluster(
            rerankers: Int = 1,
            settings: [String: String] = ["MRL_WORKER_CAPACITY_BYTES": "1MiB", "MRL_RERANK_CACHE_BYTES": "512KiB"]
        ) throws -> (TestCluster, CollectionShape, SyntheticCorpus) {
            let cluster = try TestCluster(shortlists: 1, rerankers: 0)
            for _ in 0..<rerankers {
                try cluster.addReranker(
                    ["MRL_RERANK_CACHE_DIRECTORY": cacheFolder(of: cluster)].merging(settings) { $1 }
                )
            }
            let corpus = SyntheticCorpus(rows: rows, dimensions: 64, seed: 61)
            let shape = try cluster.serve("writes", corpus)
            return (cluster, shape, corpus)
        }

        static func cacheFolder(of cluster: TestCluster) -> String {
            let path = cluster.folder + "/cache"
            try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
            return path
        }

        static func searches(_ truth: Truth, _ queries: [[Float]]) throws -> [KnownSearch] {
            try plans.flatMap { plan in
                try (0..<queries.count / 2).map { number in
                    try truth.answer(
                        to: SearchRequest("writes", [queries[2 * number], queries[2 * number + 1]], plan: plan)
                    )
                }
            }
        }

        static func expect(
            _ searches: [KnownSearch],
            _ client: TestClient,
            _ location: SourceLocation = #_sourceLocation
        ) throws {
            for search in searches {
                let fault = search.fault(in: try client.search(search.request))
                #expect(fault == nil, sourceLocation: location)
            }
        }

        @Test("answers completely and as the oracle says, cold and from its cache", arguments: [1, 2], [1, 3])
        func complete(rerankers: Int, threads: Int) throws {
            let (cluster, shape, corpus) = try Self.makeCluster(
                rerankers: rerankers,
                settings: [
                    "MRL_WORKER_CAPACITY_BYTES": "1MiB", "MRL_RERANK_CACHE_BYTES": "512KiB",
                    "MRL_WORKER_THREADS": "\(threads)",
                ]
            )
            let client = try cluster.client()
            try cluster.waitUntilRerankers(client, holders: rerankers)
            let searches = try Self.searches(cluster.truth(shape), corpus.queries(24, seed: 62))
            for _ in 0..<2 { try Self.expect(searches, client) }
            // Many at once, in any order.
            let load = SearchLoad(cluster.front(), searches, perSecond: 40, deadline: 10_000)
            pause(3)
            let result = load.stop(after: 40)
            #expect(result.faults.isEmpty, "\(result.faults.prefix(3))")
            #expect(result.answered > 40)
            for worker in try ClusterStatus(client).workers where worker.role == "rerank" {
                #expect(worker.bytes <= 1 << 20, "\(worker)")
                // Not all rows, but those of the whole shards and some of the others.
                #expect(worker.rows > 500 && worker.rows < Self.rows / rerankers, "\(worker)")
            }
            // The files have no names.
            #expect(try FileManager.default.contentsOfDirectory(atPath: Self.cacheFolder(of: cluster)).isEmpty)
        }

        @Test("rows that are changed and deleted while they are cached are never answered as they were")
        func changes() throws {
            let (cluster, shape, corpus) = try Self.makeCluster()
            let client = try cluster.client()
            let queries = corpus.queries(8, seed: 63)
            var known = try Self.searches(cluster.truth(shape), queries)
            for round in 0..<6 {
                for _ in 0..<2 { try Self.expect(known, client) }
                // What the last answers were made of goes, or becomes something else.
                let hits = Array(Set(known.flatMap { $0.hits.flatMap { $0.map(\.id) } }).sorted().prefix(60))
                let changed = hits.enumerated().filter { $0.offset % 3 != 0 }.map { place, id in
                    (
                        id: id,
                        vector: queries[place % queries.count].map { $0 * Float(place % 7 + 1) - Float(round) / 9 }
                    )
                }
                let gone = hits.enumerated().filter { $0.offset % 3 == 0 }.map(\.element)
                #expect(try client.write(Writes.upsert(changed)).state == "searchable")
                let deletion = DeleteRequest(collection: "writes", ids: gone, wait: .searchable)
                #expect(try client.write(.delete(deletion)).state == "searchable")
                known = try Self.searches(cluster.truth(shape), queries)
            }
            try Self.expect(known, client)
        }

        @Test("after many writes beside many searches every answer is right again")
        func busy() throws {
            let (cluster, shape, corpus) = try Self.makeCluster()
            let client = try cluster.client()
            let queries = corpus.queries(8, seed: 64)
            let known = try Self.searches(cluster.truth(shape), queries)
            let load = SearchLoad(cluster.front(), known, perSecond: 20, deadline: 10_000)
            var random = SeededGenerator(seed: 65)
            let end = now() + 5
            while now() < end {
                let rows = (0..<40).map { _ in
                    (id: corpus.ids[Int(random.next() % UInt64(corpus.count))], vector: Writes.vector(random.next()))
                }
                let unique = Dictionary(rows.map { ($0.id, $0.vector) }) { first, _ in first }
                _ = try client.write(Writes.upsert(unique.map { (id: $0.key, vector: $0.value) }, wait: .durable))
            }
            let result = load.stop()
            // Their hits changed under them; complete they were all.
            let partial = result.faults.filter { $0.contains("incomplete") || $0.contains("degraded") }
            #expect(partial.isEmpty, "\(partial.count) of \(result.answered): \(partial.prefix(2))")
            _ = try client.write(Writes.upsert([(id: corpus.ids[0], vector: Writes.vector(1))]))
            try Self.expect(try Self.searches(cluster.truth(shape), queries), client)
        }

        @Test("kill -9 leaves nothing behind, and the next one answers as the tables say then")
        func kill() throws {
            let (cluster, shape, corpus) = try Self.makeCluster()
            let client = try cluster.client()
            let queries = corpus.queries(8, seed: 66)
            let before = try Self.searches(cluster.truth(shape), queries)
            try Self.expect(before, client)
            cluster.rerankers[0].kill()
            #expect(try FileManager.default.contentsOfDirectory(atPath: Self.cacheFolder(of: cluster)).isEmpty)
            // While it is away, rows change that it had cached.
            let hits = Set(before.flatMap { $0.hits.flatMap { $0.map(\.id) } }).sorted()
            let changed = hits.enumerated().map { (id: $1, vector: Writes.vector(UInt64($0))) }
            _ = try client.write(Writes.upsert(changed, wait: .durable))
            try cluster.addReranker([
                "MRL_WORKER_CAPACITY_BYTES": "1MiB", "MRL_RERANK_CACHE_BYTES": "512KiB",
                "MRL_RERANK_CACHE_DIRECTORY": Self.cacheFolder(of: cluster),
            ])
            try cluster.waitUntilServing(shape, rows: Self.rows)
            for _ in 0..<2 { try Self.expect(try Self.searches(cluster.truth(shape), queries), client) }
        }

        @Test("rows that come beyond the memory, and a worker that takes them over, change no answer")
        func growth() throws {
            let (cluster, shape, corpus) = try Self.makeCluster(
                settings: ["MRL_WORKER_CAPACITY_BYTES": "6MiB", "MRL_RERANK_CACHE_BYTES": "1MiB"]
            )
            let client = try cluster.client()
            func worker() throws -> ClusterStatus.Worker? {
                try ClusterStatus(client).workers.first { $0.role == "rerank" }
            }
            #expect(try worker()?.rows == Self.rows)
            let more = SyntheticCorpus(rows: Self.rows, dimensions: 64, seed: 67)
            let store = try cluster.database.store()
            for first in stride(from: 0, to: more.count, by: 2_000) {
                let rows = (first..<first + 2_000).map { UpsertRow(externalID: "more-\($0)", vector: more[$0]) }
                _ = try store.stageAndUpsert(collection: shape.collection, rows: rows)
            }
            try store.notifyWritten(collection: shape.collection)
            try cluster.waitUntilServing(shape, rows: 2 * Self.rows)
            let isBounded = try poll(seconds: 5) { try worker().map { $0.bytes <= 6 << 20 } == true }
            let bounded = try worker()
            #expect(isBounded, "\(bounded as Any)")
            let known = try Self.searches(cluster.truth(shape), corpus.queries(8, seed: 68) + more.queries(8, seed: 69))
            try Self.expect(known, client)
            // Another worker has room: all rows are in memory again.
            try cluster.addReranker(["MRL_WORKER_CAPACITY_BYTES": "64MiB"])
            let isWhole = try poll(seconds: 15) {
                try Self.expect(known, client)
                let workers = try ClusterStatus(client).workers.filter { $0.role == "rerank" }
                return workers.map(\.rows).reduce(0, +) == 2 * Self.rows
            }
            let workers = try ClusterStatus(client).workers
            #expect(isWhole, "\(workers)")
        }
    }
}
