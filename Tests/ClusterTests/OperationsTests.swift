import Matryoshka
import PostgreSQL
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("What operators see", .serialized, .timeLimit(.minutes(1)))
    struct Operations {
        @Test("the views of schema ops fill, and the dashboard role reads them and nothing else")
        func views() throws {
            let cluster = try TestCluster(shortlists: 2, encoders: 1, settings: ["MRL_SLOW_SEARCH_MS": "1"])
            let corpus = SyntheticCorpus(rows: 2_000, dimensions: 64, seed: 95)
            let shape = try cluster.serve("ops", corpus)
            let client = try cluster.client()
            let traced = FrontRequest(
                id: "traced",
                deadlineMilliseconds: 5_000,
                traceHigh: 0x1111_2222_3333_4444,
                traceLow: 0x5555_6666_7777_8888,
                body: .search(
                    SearchRequest("ops", corpus.queries(64, seed: 1), plan: [Stage(dimensions: 64, keep: 100)])
                )
            )
            try client.post(frames: traced.encode())
            guard case .search(let reply) = try client.reply(to: "traced") else { throw TestFailure("no reply") }
            #expect(reply.traceHigh == 0x1111_2222_3333_4444)
            for query in corpus.queries(30, seed: 2) { _ = try client.search(SearchRequest("ops", [query])) }
            _ = try client.refusal(.search(SearchRequest("ops", [corpus[0]], plan: [Stage(dimensions: 1, keep: 1)])))

            let dashboard = try Connection(ConnectionSettings(url: cluster.database.url(as: "matryoshka_dashboard")))
            func count(_ sql: String) throws -> Int { Int(try dashboard.execute(sql).int64(0, 0)) }
            let hasRows = try poll(seconds: 20, every: 0.3) {
                try count("SELECT count(*) FROM ops.workers WHERE alive") >= 4
                    && count(
                        "SELECT coalesce(sum(searches), 0)::bigint FROM ops.search_per_minute WHERE collection = 'ops'"
                    ) > 30
                    && count("SELECT count(*) FROM ops.slow_searches") > 0
                    && count(
                        "SELECT coalesce(max(shards_ready), 0)::bigint FROM ops.shard_coverage WHERE role = 'shortlist'"
                    ) == 64
            }
            for view in [
                "workers", "shard_coverage", "search_per_minute", "slow_searches", "replication_lag", "pending",
                "quarantine",
            ] {
                print("ops.\(view): \(try count("SELECT count(*) FROM ops.\(view)")) rows")
            }
            #expect(hasRows)
            #expect(
                try count(
                    "SELECT count(*) FROM ops.search_per_minute WHERE abs(extract(epoch FROM now() - minute)) > 120"
                ) == 0
            )
            #expect(
                try count("SELECT count(*) FROM ops.slow_searches WHERE trace_id = '11112222333344445555666677778888'")
                    == 1
            )
            #expect(try count("SELECT count(*) FROM ops.replication_lag") > 0)
            #expect(throws: PostgreSQLError.self) {
                try dashboard.execute("SELECT count(*) FROM matryoshka.collections")
            }
            #expect(throws: PostgreSQLError.self) {
                try dashboard.execute("SELECT count(*) FROM matryoshka.documents_\(shape.collection)")
            }
            #expect(throws: PostgreSQLError.self) { try dashboard.execute("CREATE TABLE ops.mine (a int)") }
        }

        @Test("a cluster runs as a member of matryoshka_service, which owns nothing")
        func serviceRole() throws {
            let cluster = try TestCluster(encoders: 1, serviceUser: "cluster_service")
            let corpus = SyntheticCorpus(rows: 300, dimensions: 64, seed: 98)
            let create = CreateCollection(
                name: "mine",
                dimensions: 64,
                smallestDimensions: 8,
                residency: ResidencyChange(width: 32)
            )
            let shape = try cluster.fill(create, corpus)
            try cluster.waitUntilServing(shape, rows: corpus.count)
            let client = try cluster.client()
            let written = try client.write(
                .upsert(
                    UpsertRequest(
                        collection: "mine",
                        documents: [UpsertDocument(id: "new", text: "new", payload: nil, vectorIndex: 0)],
                        vectors: Array(corpus[0]),
                        width: 64,
                        wait: .searchable
                    )
                )
            )
            #expect(written.applied == 1)
            try cluster.waitUntilServing(shape, rows: corpus.count + 1)
            let owners = try cluster.database.connection().execute(
                """
                SELECT count(*) FROM pg_class WHERE relnamespace = 'matryoshka'::regnamespace
                    AND relowner = 'cluster_service'::regrole
                """
            )
            #expect(owners.int64(0, 0) == 0)
            _ = try client.object(.collections(.drop(name: "mine")), deadline: 20_000)
            let sql = try cluster.database.connection()
            let isGone = try poll(seconds: 10) {
                try sql.execute("SELECT to_regclass('matryoshka.heads_\(shape.collection)') IS NULL").bool(0, 0)
            }
            #expect(isGone)
            for child in cluster.children {
                #expect(!child.log.contains("permission denied"), "\(child.name): \(child.log)")
                #expect(child.isRunning)
            }
        }

        @Test("searches that are refused before they have a plan are counted by code, and replies by their coverage")
        func refusals() throws {
            let cluster = try TestCluster()
            let corpus = SyntheticCorpus(rows: 500, dimensions: 64, seed: 97)
            _ = try cluster.serve("ops", corpus)
            let client = try cluster.client()
            for _ in 0..<3 {
                _ = try client.refusal(
                    .search(SearchRequest("ops", [corpus[0]], plan: [Stage(dimensions: 1, keep: 1)]))
                )
            }
            _ = try client.refusal(.search(SearchRequest("ops", [[1, 2, 3]])))
            // Found while the request is decoded.
            _ = try client.refusal(.search(SearchRequest("ops", [[Float](repeating: .nan, count: 64)])))
            _ = try client.refusal(.search(SearchRequest("ops", [[Float](repeating: 0, count: 64)])))
            _ = try client.refusal(.search(SearchRequest("nowhere", [corpus[0]])))
            // What is no search is not counted here.
            _ = try client.refusal(.get(GetRequest(collection: "nowhere", ids: ["a"])))

            let dashboard = try Connection(ConnectionSettings(url: cluster.database.url(as: "matryoshka_dashboard")))
            func row(_ collection: String) throws -> [String: Int64] {
                let result = try dashboard.execute(
                    """
                    SELECT x.key, sum(x.value::bigint)::bigint FROM ops.search_per_minute AS s,
                        jsonb_each_text(s.errors_by_code) AS x WHERE s.collection = $1 GROUP BY x.key
                    """,
                    [.text(collection)]
                )
                return Dictionary(
                    uniqueKeysWithValues: (0..<result.rowCount).map { (result.text($0, 0), result.int64($0, 1)) }
                )
            }
            let expected: [String: Int64] = ["BAD_PLAN": 3, "BAD_DIM": 1, "NON_FINITE": 1, "ZERO_VECTOR": 1]
            let areCounted = try poll(seconds: 20, every: 0.3) {
                let known = try row("ops").filter { expected[$0.key] != nil }
                return try known == expected && row("(unknown)") == ["UNKNOWN_COLLECTION": 1]
            }
            let counted = try (row("ops"), row("(unknown)"))
            #expect(areCounted, "\(counted)")
            let sums = try dashboard.execute(
                """
                SELECT sum(searches - errors - complete - partial)::bigint, sum(complete)::bigint,
                    sum(shards_asked - 64 * (complete + partial))::bigint
                FROM ops.search_per_minute WHERE collection = 'ops'
                """
            )
            #expect(sums.int64(0, 0) == 0)
            #expect(sums.int64(0, 1) > 0)
            #expect(sums.int64(0, 2) >= 0)
            // Rerank workers hold whole vectors, which no generation changes.
            let held = try dashboard.execute(
                """
                SELECT role, current, shards_ready, rows::bigint FROM ops.shard_coverage WHERE collection = 'ops'
                    ORDER BY role
                """
            )
            #expect((0..<held.rowCount).map { held.text($0, 0) } == ["rerank", "shortlist"])
            for line in 0..<held.rowCount {
                #expect(held.bool(line, 1))
                #expect(held.int64(line, 2) == 64)
                #expect(held.int64(line, 3) == 500)
            }
        }

        @Test("rows that cannot be served are put in quarantine, counted, and never delivered")
        func quarantine() throws {
            let cluster = try TestCluster()
            let corpus = SyntheticCorpus(rows: 200, dimensions: 64, seed: 96)
            let shape = try cluster.serve("ops", corpus)
            let sql = try cluster.database.connection()
            // A NaN where the first number of one row was; only the owner of the tables can do this.
            try sql.run(
                script: """
                    UPDATE matryoshka.heads_\(shape.collection) SET version = version + 1,
                        head = overlay(head PLACING '\\x0000c07f'::bytea FROM 1)
                    WHERE id = (SELECT id FROM matryoshka.documents_\(shape.collection) WHERE external_id = 'doc-7')
                    """
            )
            try cluster.waitUntilServing(shape, rows: 199, seconds: 5)
            let reply = try cluster.client().search(
                SearchRequest(
                    "ops",
                    [corpus[7]],
                    plan: [Stage(dimensions: 16, keep: 200), Stage(dimensions: 64, keep: 200)]
                )
            )
            #expect(reply.hits[0].count == 199)
            #expect(!reply.hits[0].contains { $0.id == "doc-7" })
            let isCounted = try poll(seconds: 10) {
                try sql.execute("SELECT count(*) FROM ops.quarantine WHERE collection = 'ops'").int64(0, 0) > 0
            }
            #expect(isCounted)
        }
    }
}
