import DocumentStore
import Matryoshka
import PostgreSQL
import Testing

#if canImport(Glibc)
import Glibc
#endif

@Suite("Leadership and reports")
struct LeadershipTests {
    @Test("a leader whose lease was taken by another cannot write the map any more")
    func fencing() throws {
        let database = try TestDatabase()
        let a = try database.store()
        let b = try database.store()
        let row = AssignmentRow(collection: 1, generation: 1, role: "shortlist", shard: 5, worker: 9, state: "ready")
        let first = try #require(try a.acquireLease(holder: "a", seconds: 60))
        #expect(try b.acquireLease(holder: "b", seconds: 60) == nil)
        #expect(try a.renewLease(term: first, holder: "a", seconds: 0.01))
        #expect(try a.saveAssignments(term: first, epoch: 1, [row]))
        usleep(30_000)
        let second = try #require(try b.acquireLease(holder: "b", seconds: 60))
        #expect(second > first)
        #expect(try !a.renewLease(term: first, holder: "a", seconds: 60))
        #expect(try !a.saveAssignments(term: first, epoch: 2, []))
        #expect(try b.loadAssignments().rows == [row])
        #expect(try !b.saveAssignments(term: second, epoch: 1, []))
        #expect(try b.saveAssignments(term: second, epoch: 2, []))
        let now = try a.loadAssignments()
        #expect(now.epoch == 2)
        #expect(now.rows.isEmpty)
        try b.releaseLease(term: second)
        #expect(try a.acquireLease(holder: "a", seconds: 1) != nil)
    }

    @Test("incarnations are never given twice")
    func incarnations() throws {
        let database = try TestDatabase()
        let a = try database.store()
        #expect(try a.reserveIncarnations(count: 100) == 1..<101)
        #expect(try database.store().reserveIncarnations(count: 3) == 101..<104)
    }

    @Test("what processes report is what the views of ops show")
    func reports() throws {
        let store = try TestDatabase().store()
        let shape = try store.makeCollection()
        let number = shape.collection
        let worker = WorkerStatusRow(
            incarnation: 7,
            role: "shortlist",
            host: "h",
            pid: 1,
            state: "ready",
            shards: 64,
            rows: 1,
            residentBytes: 80,
            capacityBytes: 1000,
            inFlight: 0,
            queued: 0,
            answered: 5
        )
        try store.recordWorkers([worker])
        try store.recordWorkers([worker])
        let applied = try store.currentPosition().snapshot
        try store.recordCoverage(
            allShards.dropLast().map {
                CoverageRow(
                    collection: number,
                    generation: 1,
                    role: "shortlist",
                    shard: $0,
                    worker: 7,
                    state: "ready",
                    rows: 2,
                    applied: applied
                )
            }
        )
        _ = try store.upsert(collection: number, rows: [UpsertRow(externalID: "a", vector: [1, 2, 3, 4, 5, 6, 7, 8])])
        let minute = SearchMinuteRow(
            minute: 1_700_000_040,
            coordinator: 1,
            collection: number,
            searches: 100,
            complete: 97,
            partial: 1,
            degraded: 2,
            shardsAsked: 98 * 64,
            shardsMissing: ["timed_out": 3, "failed": 1],
            errors: ["BAD_PLAN": 2],
            buckets: [(1000, 60), (2000, 38), (5000, 2)]
        )
        var other = minute
        other.coordinator = 2
        try store.recordSearchRollup([minute, other])
        try store.recordSearchRollup([other])
        try store.recordSlowSearches([
            SlowSearchRow(
                traceID: "00",
                coordinator: 1,
                collection: number,
                plan: "[(8,1)]",
                totalMicroseconds: 200_000,
                stageTimings: #"{"scan": 1}"#,
                coverage: 0.5,
                hits: 1,
                error: nil
            )
        ])
        let query = store.connection
        #expect(try query.execute("SELECT alive FROM ops.workers WHERE incarnation = 7").bool(0, 0))
        let coverage = try query.execute(
            "SELECT shards_ready, shards_missing FROM ops.shard_coverage ORDER BY role DESC"
        )
        #expect(coverage.int64(0, 0) == 63)
        #expect(coverage.int32s(0, 1) == [63])
        // No rerank worker holds anything: all its shards are missing, and that is told.
        #expect(coverage.rowCount == 2)
        #expect(coverage.int64(1, 0) == 0)
        #expect(coverage.int32s(1, 1) == allShards.map(Int32.init))
        let searches = try query.execute(
            """
            SELECT searches, errors, p50_microseconds, p95_microseconds, p99_microseconds, errors_by_code->>'BAD_PLAN'
            FROM ops.search_per_minute WHERE collection = 'docs'
            """
        )
        #expect(searches.rowCount == 1)
        #expect((0..<5).map { searches.int64(0, $0) } == [200, 4, 1000, 2000, 5000])
        #expect(searches.text(0, 5) == "4")
        let seen = try query.execute(
            """
            SELECT complete, partial, degraded, shards_asked, shards_missing, shards_unavailable, shards_timed_out,
                shards_failed, shards_no_capacity, (round(coverage::numeric, 5) * 100000)::bigint
            FROM ops.search_per_minute
            """
        )
        #expect((0..<10).map { seen.int64(0, $0) } == [194, 2, 4, 12_544, 8, 0, 6, 2, 0, 99_936])
        #expect(try query.execute("SELECT coverage FROM ops.slow_searches").float64(0, 0) == 0.5)
        let lag = try query.execute("SELECT changes_behind, seconds_behind >= 0 FROM ops.replication_lag")
        #expect(lag.int64(0, 0) == 1)
        #expect(lag.bool(0, 1))
    }

    @Test("writes are announced once to who listens")
    func notifies() throws {
        let database = try TestDatabase()
        let listener = try database.connection()
        try listener.listen(Store.writtenChannel)
        #expect(try listener.notifications(waitingMilliseconds: 10) == [])
        try database.store().notifyWritten(collection: 4)
        #expect(try listener.notifications(waitingMilliseconds: 2000).map(\.payload) == ["4"])
    }
}

@Suite("Connection")
struct ConnectionTests {
    @Test("a server that cannot be reached or refuses is told in one line")
    func refused() throws {
        let error = #expect(throws: PostgreSQLError.self) {
            try Connection(ConnectionSettings(url: "postgresql:///none?host=/nowhere"))
        }
        #expect(error?.isConnectionLost == true)
        #expect(error?.message.contains("\n") == false)
        let database = try TestDatabase()
        let unknown = #expect(throws: PostgreSQLError.self) { try database.connection(user: "nobody_knows") }
        #expect(unknown?.message.contains("nobody_knows") == true)
    }

    @Test("a statement that takes too long is given up by the server, and the connection lives")
    func statementTimeout() throws {
        let connection = try TestDatabase().connection(statementTimeoutMilliseconds: 50)
        let error = #expect(throws: PostgreSQLError.self) { try connection.execute("SELECT pg_sleep(5)") }
        #expect(error?.sqlState == "57014")
        #expect(connection.isUsable)
        #expect(try connection.execute("SELECT 1").int32(0, 0) == 1)
    }

    @Test("a server that says nothing any more is given up by us")
    func silentServer() throws {
        let connection = try TestDatabase().connection(statementTimeoutMilliseconds: 100)
        #expect(kill(connection.serverProcessID, SIGSTOP) == 0)
        defer { kill(connection.serverProcessID, SIGCONT) }
        let error = #expect(throws: PostgreSQLError.self) { try connection.execute("SELECT 1") }
        #expect(error?.isConnectionLost == true)
        #expect(!connection.isUsable)
    }

    @Test("a connection that the server ends is lost")
    func terminated() throws {
        let database = try TestDatabase()
        let connection = try database.connection()
        try database.connection().execute("SELECT pg_terminate_backend($1)", [.int32(connection.serverProcessID)])
        let error = #expect(throws: PostgreSQLError.self) { try connection.execute("SELECT 1") }
        #expect(error?.isConnectionLost == true)
        #expect(!connection.isUsable)
    }

    @Test("values go there and come back")
    func values() throws {
        let connection = try TestDatabase().connection()
        let result = try connection.execute(
            "SELECT $1, $2, $3, $4, $5, $6::text[], $7, $8::text, $9::xid8, $10::bytea, $11::bytea[]",
            [
                .bool(true), .int32(-5), .int64(.min), .float64(0.1), .text(""), .texts(["a", "", "ü"]),
                .bytes([0, 255]),
                .json(#"{"k": [1]}"#), .xid8(1 << 40), .bytes([]), .floatVectors([[1], nil]),
            ],
            isPrepared: true
        )
        #expect(result.bool(0, 0))
        #expect(result.int32(0, 1) == -5)
        #expect(result.int64(0, 2) == .min)
        #expect(result.float64(0, 3) == 0.1)
        #expect(result.text(0, 4) == "")
        #expect(!result.isNull(0, 4))
        #expect(result.texts(0, 5) == ["a", "", "ü"])
        #expect(result.bytes(0, 6) == [0, 255])
        #expect(result.text(0, 7) == #"{"k": [1]}"#)
        #expect(result.xid8(0, 8) == 1 << 40)
        #expect(!result.isNull(0, 9))
        #expect(try connection.execute("SELECT ($1::text) IS NULL", [.optionalText(nil)]).bool(0, 0))
        #expect(try connection.execute("SELECT ($1::int8) IS NULL", [.null]).bool(0, 0))
    }

    @Test("a COPY that its reader gives up leaves the connection usable")
    func abandonedCopy() throws {
        struct Enough: Error {}
        let connection = try TestDatabase().connection()
        #expect(throws: Enough.self) {
            try connection.copyOut("COPY (SELECT generate_series(1, 5000000)) TO STDOUT (FORMAT binary)") { _ in
                throw Enough()
            }
        }
        #expect(try connection.execute("SELECT 1").int32(0, 0) == 1)
        #expect(throws: PostgreSQLError.self) { try connection.copyOut("COPY nothing TO STDOUT") { _ in } }
        #expect(try connection.execute("SELECT 1").int32(0, 0) == 1)
    }

    @Test("a COPY stream is read the same however it is cut", arguments: [1, 2, 3, 7, 19, 20, 64, 1000])
    func cutStream(size: Int) throws {
        let connection = try TestDatabase().connection()
        var stream: [UInt8] = []
        try connection.copyOut(
            """
            COPY (SELECT i, 'text ' || i, CASE WHEN i % 3 = 0 THEN NULL ELSE i::bigint END FROM generate_series(1, 50) AS i)
            TO STDOUT (FORMAT binary)
            """
        ) { stream.append(contentsOf: $0) }
        var reader = CopyReader(columns: 3)
        var seen: [String] = []
        for start in Swift.stride(from: 0, to: stream.count, by: size) {
            try stream[start..<min(start + size, stream.count)].withUnsafeBytes { piece in
                try reader.consume(piece) { row in
                    seen.append("\(row.int32(0)) \(row.text(1)) \(row.isNull(2) ? "null" : "\(row.int64(2))")")
                }
            }
        }
        #expect(seen == (1...50).map { "\($0) text \($0) \($0 % 3 == 0 ? "null" : "\($0)")" })
    }
}
