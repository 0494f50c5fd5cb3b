import Matryoshka
import PostgreSQL
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite(
        "A full disk",
        .serialized,
        .timeLimit(.minutes(2)),
        .enabled(if: TinyDisk.isPossible, "only root can mount a file system")
    )
    struct FullDisk {
        @Test("of PostgreSQL refuses writes, loses none that was acknowledged, and takes them again once there is room")
        func database() throws {
            let disk = try #require(try TinyDisk(bytes: 40 << 20, ballast: 16 << 20))
            let tables = try disk.makeServerFolder()
            let cluster = try TestCluster(server: PrivateCluster()) { database in
                let sql = try database.connection()
                try sql.run(script: "CREATE TABLESPACE tiny LOCATION '\(tables)'")
                // Of sessions from now on: the tables of collections that the cluster makes.
                try sql.run(script: "ALTER DATABASE \(database.name) SET default_tablespace = tiny")
            }
            let corpus = SyntheticCorpus(rows: 400, dimensions: 64, seed: 71)
            let client = try cluster.client()
            _ = try client.object(
                .collections(
                    .create(
                        CreateCollection(
                            name: "writes",
                            dimensions: 64,
                            smallestDimensions: 8,
                            residency: ResidencyChange(width: 32)
                        )
                    )
                ),
                deadline: 20_000
            )
            var random = SeededGenerator(seed: 72)
            var acknowledged: [String] = []
            // Texts of 200 kB that do not compress.
            func write(_ number: Int) throws -> FrontError? {
                let letters = (0..<200_000).map { _ in UInt8.random(in: 32..<127, using: &random) }
                let request = UpsertRequest(
                    collection: "writes",
                    documents: [
                        UpsertDocument(
                            id: "d\(number)",
                            text: String(decoding: letters, as: UTF8.self),
                            payload: nil,
                            vectorIndex: 0
                        )
                    ],
                    vectors: corpus[number],
                    width: 64
                )
                let refusal = try client.refusal(.upsert(request), deadline: 10_000)
                if refusal == nil { acknowledged.append("d\(number)") }
                return refusal
            }
            func search(_ expected: Int) throws {
                let plan = [Stage(dimensions: 16, keep: 400), Stage(dimensions: 64, keep: 400)]
                var ids: [String] = []
                _ = try poll(seconds: 10) {
                    ids = try client.search(SearchRequest("writes", [corpus[0]], plan: plan)).hits[0].map(\.id)
                    return ids.count == expected
                }
                #expect(ids.sorted() == acknowledged.sorted())
            }

            var refusal: FrontError?
            var number = 0
            while refusal == nil, number < 300 {
                refusal = try write(number)
                number += 1
            }
            #expect(refusal?.code == .storeUnavailable, "\(refusal as Any) after \(number), \(disk.freeBytes) free")
            #expect(refusal?.message.contains("disk is full") == true)
            #expect(acknowledged.count > 10)
            for attempt in 0..<5 { #expect(try write(number + attempt)?.code == .storeUnavailable) }
            number += 5
            try search(acknowledged.count)

            disk.dropBallast()
            let before = acknowledged.count
            for attempt in 0..<10 {
                let error = try write(number + attempt)
                #expect(error == nil, "\(error as Any)")
            }
            #expect(acknowledged.count == before + 10)
            try search(acknowledged.count)
            let stored = try cluster.database.connection().execute(
                "SELECT array_agg(external_id::text) FROM matryoshka.documents_1"
            )
            #expect(stored.texts(0, 0).sorted() == acknowledged.sorted())
            for child in cluster.children { #expect(child.isRunning, "\(child.name): \(child.log.suffix(2000))") }
        }

        @Test("of a rerank worker's cache makes it read rows from PostgreSQL, and it goes on")
        func cache() throws {
            // Room for some rows of some shards, of 512 KiB that the cache may take.
            let disk = try #require(try TinyDisk(bytes: 128 << 10))
            let (cluster, shape, corpus) = try RerankCache.makeCluster(
                settings: [
                    "MRL_WORKER_CAPACITY_BYTES": "1MiB", "MRL_RERANK_CACHE_BYTES": "512KiB",
                    "MRL_RERANK_CACHE_DIRECTORY": disk.folder,
                ]
            )
            let client = try cluster.client()
            let searches = try RerankCache.searches(cluster.truth(shape), corpus.queries(24, seed: 73))
            for _ in 0..<3 { try RerankCache.expect(searches, client) }
            #expect(disk.freeBytes < 16 << 10, "\(disk.freeBytes)")
            for child in cluster.children { #expect(child.isRunning, "\(child.name): \(child.log.suffix(2000))") }
        }
    }
}
