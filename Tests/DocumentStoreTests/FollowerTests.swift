import DocumentStore
import Matryoshka
import PostgreSQL
import Testing

/// A reader's copy that is kept up by following the change log.
private struct Copy {
    let shape: CollectionShape
    let full: Bool
    var rows: [Int64: VectorRow] = [:]
    var position: FollowPosition

    init(_ store: Store, _ shape: CollectionShape, full: Bool) throws {
        self.shape = shape
        self.full = full
        position = try store.currentPosition()
        position = try load(store, allShards)
    }

    /// Loads shards anew.
    @discardableResult
    private mutating func load(_ store: Store, _ shards: [UInt16]) throws -> FollowPosition {
        let taken = Set(shards)
        rows = rows.filter { !taken.contains($0.value.shard) }
        var found: [VectorRow] = []
        let outcome: LoadOutcome
        if full {
            outcome = try store.loadVectors(shape, shards: shards) { shard, id, version, floats, externalID in
                let vector = copy(floats)
                found.append(
                    VectorRow(shard: shard, id: id, version: version, vector: vector, externalID: externalID)
                )
            }
        } else {
            outcome = try store.loadHeads(shape, shards: shards) { shard, id, version, floats in
                found.append(VectorRow(shard: shard, id: id, version: version, vector: copy(floats)))
            }
        }
        for row in found { rows[row.id] = row }
        return outcome.position
    }

    mutating func follow(_ store: Store) throws {
        let batch = try store.changes(shape, shards: allShards, since: position, full: full)
        for row in batch.upserts where (rows[row.id]?.version ?? 0) <= row.version { rows[row.id] = row }
        for row in batch.removed { rows[row.id] = nil }
        position = batch.next
        // What a load sees beyond `next` comes again with the next batch, which does no harm.
        if !batch.reload.isEmpty { try load(store, batch.reload.sorted()) }
    }

    func expected(_ table: [Int64: VectorRow]) -> [Int64: VectorRow] {
        full
            ? table
            : table.mapValues { row in
                var head = row
                head.vector = [Float](row.vector.prefix(shape.storedHeadWidth))
                head.externalID = nil
                return head
            }
    }
}

/// A writer whose transaction is open across steps.
private struct OpenWriter {
    let store: Store
    let name: String
    var isOpen = false
}

@Suite("Following changes")
struct FollowerTests {
    @Test(
        "the followed copy equals the table after commits out of order, rollbacks, TRUNCATE and restarts",
        arguments: 0..<6
    )
    func followedCopyEqualsTable(seed: Int) throws {
        var random = SeededGenerator(state: UInt64(seed))
        let database = try TestDatabase()
        let reader = try database.store()
        let shape = try reader.makeCollection()
        let number = shape.collection

        // Holds its transaction open from before the first load to the end.
        let idle = try database.connection()
        try idle.run(script: "BEGIN; SELECT pg_current_xact_id(); CREATE TABLE elsewhere ()")

        var writers = try (0..<4).map { OpenWriter(store: try database.store(), name: "w\($0)") }
        let truncating = try database.connection()
        try truncating.run(script: "SET lock_timeout = '20ms'")
        var copies = [try Copy(reader, shape, full: true), try Copy(reader, shape, full: false)]
        var truncations = 0

        for step in 0..<260 {
            let at = Int.random(in: 0..<writers.count, using: &random)
            let writer = writers[at]
            switch Int.random(in: 0..<14, using: &random) {
            case 0...5:
                if !writer.isOpen && Bool.random(using: &random) {
                    try writer.store.connection.run(script: "BEGIN")
                    writers[at].isOpen = true
                }
                // Writers have documents of their own, so that none waits for another.
                let rows = (0..<Int.random(in: 1...6, using: &random)).map { _ in
                    UpsertRow(
                        externalID: "\(writer.name)-\(Int.random(in: 0..<30, using: &random))",
                        text: "t\(step)",
                        vector: Int.random(in: 0..<8, using: &random) == 0
                            ? nil : (0..<8).map { _ in Float.random(in: -1...1, using: &random) }
                    )
                }
                _ = try writer.store.upsert(collection: number, rows: rows)
            case 6...7:
                if !writer.isOpen && Bool.random(using: &random) {
                    try writer.store.connection.run(script: "BEGIN")
                    writers[at].isOpen = true
                }
                let ids = (0..<3).map { _ in "\(writer.name)-\(Int.random(in: 0..<30, using: &random))" }
                _ = try writer.store.delete(collection: number, externalIDs: ids)
            case 8...10:
                if writer.isOpen {
                    let isKept = Int.random(in: 0..<3, using: &random) > 0
                    try writer.store.connection.run(script: isKept ? "COMMIT" : "ROLLBACK")
                    writers[at].isOpen = false
                }
            case 11 where step % 3 == 0:
                let table =
                    Bool.random(using: &random)
                    ? "heads_\(number)" : "heads_\(number)_\(Int.random(in: 0..<64, using: &random))"
                if try truncate(table, truncating) { truncations += 1 }
            case 12 where step % 5 == 0:
                copies[0] = try Copy(reader, shape, full: true)
                copies[1] = try Copy(reader, shape, full: false)
            default:
                let table = try reader.table(shape)
                for index in copies.indices {
                    try copies[index].follow(reader)
                    #expect(copies[index].rows == copies[index].expected(table), "step \(step)")
                }
            }
        }
        for writer in writers where writer.isOpen { try writer.store.connection.run(script: "COMMIT") }
        let table = try reader.table(shape)
        for index in copies.indices {
            try copies[index].follow(reader)
            #expect(copies[index].rows == copies[index].expected(table))
        }
        #expect(!table.isEmpty)
        try idle.run(script: "ROLLBACK")
    }

    /// Gives up where somebody is writing.
    private func truncate(_ table: String, _ connection: Connection) throws -> Bool {
        do {
            try connection.run(script: "TRUNCATE matryoshka.\(table)")
            return true
        } catch {
            #expect(error.sqlState == "55P03")
            return false
        }
    }

    @Test("open transactions elsewhere delay no change, and what they write comes once they commit")
    func openTransactionsDelayNothing() throws {
        let database = try TestDatabase()
        let store = try database.store()
        let shape = try store.makeCollection()
        let vector = [Float](repeating: 1, count: 8)

        let reading = try database.connection()
        try reading.run(script: "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM matryoshka.changes")
        let other = try database.store()
        try other.connection.run(script: "BEGIN")
        let early = try other.upsert(
            collection: shape.collection,
            rows: [UpsertRow(externalID: "early", vector: vector)]
        )

        let start = try store.currentPosition()
        let written = try store.upsert(
            collection: shape.collection,
            rows: [UpsertRow(externalID: "late", vector: vector)]
        )
        let batch = try store.changes(shape, shards: allShards, since: start, full: true)
        #expect(batch.upserts.map(\.externalID) == ["late"])
        #expect(batch.next.snapshot.includes(written.token))
        #expect(!batch.next.snapshot.includes(early.token))

        let nothing = try store.changes(shape, shards: allShards, since: batch.next, full: true)
        #expect(nothing.isEmpty)
        try other.connection.run(script: "COMMIT")
        let rest = try store.changes(shape, shards: allShards, since: nothing.next, full: true)
        #expect(rest.upserts.map(\.externalID) == ["early"])
        #expect(rest.next.snapshot.includes(early.token))
        try reading.run(script: "ROLLBACK")
    }

    @Test("a follower hears of its own shards alone and locks no other partition")
    func ownShardsAlone() throws {
        let database = try TestDatabase()
        let store = try database.store()
        let shape = try store.makeCollection()
        let start = try store.currentPosition()
        let rows = (0..<500).map { UpsertRow(externalID: "d\($0)", vector: [Float](repeating: 1, count: 8)) }
        _ = try store.upsert(collection: shape.collection, rows: rows)
        let mine: [UInt16] = [3, 4, 60]
        let batch = try store.changes(shape, shards: mine, since: start, full: false)
        #expect(Set(batch.upserts.map(\.shard)) == Set(mine))
        #expect(batch.upserts.count == (try store.table(shape, shards: mine).count))

        // Somebody holds the whole of another partition, as TRUNCATE does.
        let holder = try database.connection()
        try holder.run(script: "BEGIN; LOCK TABLE matryoshka.heads_\(shape.collection)_5 IN ACCESS EXCLUSIVE MODE")
        let hasty = Store(try database.connection(statementTimeoutMilliseconds: 1000))
        #expect(try hasty.changes(shape, shards: mine, since: start, full: true).upserts.count == batch.upserts.count)
        #expect(try hasty.table(shape, shards: mine).count == batch.upserts.count)
        let ids = batch.upserts.map(\.id)
        #expect(try hasty.fetchVectors(shape, ids: ids, shards: mine).rows.count == ids.count)
        try holder.run(script: "ROLLBACK")
    }

    @Test("another server or timeline means loading everything anew")
    func otherPrimary() throws {
        let store = try TestDatabase().store()
        let shape = try store.makeCollection()
        var position = try store.currentPosition()
        #expect(position.primary.hasSuffix(":00000001"))
        position.primary = "7000000000000000000:00000001"
        let batch = try store.changes(shape, shards: [1, 2], since: position, full: false)
        #expect(batch.isOtherPrimary)
        #expect(batch.reload == [1, 2])
        #expect(try store.changes(shape, shards: [1, 2], since: batch.next, full: false).isEmpty)
    }

    @Test("a follower behind the log's retention loads anew, one ahead of it does not")
    func behindRetention() throws {
        let database = try TestDatabase()
        let store = try database.store()
        let shape = try store.makeCollection()
        let other = try database.connection()
        try other.run(script: "BEGIN")
        let open = try other.execute("SELECT pg_current_xact_id()").xid8(0, 0)
        let before = try store.currentPosition()
        try store.connection.run(
            script: """
                CREATE TABLE matryoshka.changes_20200101 PARTITION OF matryoshka.changes
                    FOR VALUES FROM ('2020-01-01') TO ('2020-01-02');
                INSERT INTO matryoshka.changes (collection, shard, slots, ids, at)
                    VALUES (\(shape.collection), 1, '{1024}', '{1}', '2020-01-01 12:00');
                """
        )
        #expect(try store.changes(shape, shards: [1], since: before, full: false).removed.count == 1)
        try store.maintain()
        #expect(try store.changes(shape, shards: [1], since: before, full: false).reload == [1])
        // A transaction that is still open from then has nothing in what was dropped. (Other tests use the server too:
        // wait until none of theirs is older than the horizon.)
        let horizon = try store.connection.execute("SELECT xid FROM matryoshka.change_horizon").xid8(0, 0)
        var after = try store.currentPosition()
        while after.snapshot.inProgress.contains(where: { $0 <= horizon && $0 != open }) {
            after = try store.currentPosition()
        }
        #expect(after.snapshot.inProgress.contains(open))
        #expect(try store.changes(shape, shards: [1], since: after, full: false).reload.isEmpty)
        try other.run(script: "COMMIT")
        let days = try store.connection.execute(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'matryoshka.changes'::regclass"
        )
        #expect(days.int64(0, 0) == 5)
    }

    @Test("rows that somebody spoiled are quarantined and counted, and never delivered")
    func quarantine() throws {
        let store = try TestDatabase().store()
        let shape = try store.makeCollection()
        let number = shape.collection
        let rows = (0..<10).map { UpsertRow(externalID: "d\($0)", vector: [Float](repeating: 1, count: 8)) }
        _ = try store.upsert(collection: number, rows: rows)
        let start = try store.currentPosition()
        let bad = try #require(try store.table(shape).keys.max())
        // 0x7FC00000 is a NaN.
        try store.connection.execute(
            "UPDATE matryoshka.heads_\(number) SET head = '\\x0000c07f' || substr(head, 5) WHERE id = \(bad)"
        )
        var delivered = 0
        let heads = try store.loadHeads(shape, shards: allShards) { _, _, _, _ in delivered += 1 }
        #expect(heads.rows == 9)
        #expect(delivered == 9)
        #expect(heads.quarantined == 1)
        #expect(try store.table(shape).count == 9)
        let batch = try store.changes(shape, shards: allShards, since: start, full: true)
        #expect(batch.upserts.isEmpty)
        #expect(batch.removed.map(\.id) == [bad])
        #expect(batch.quarantined == 1)
        #expect(try store.fetchVectors(shape, ids: [bad], shards: allShards).rows.isEmpty)
        let listed = try store.connection.execute("SELECT id, reason FROM ops.quarantine")
        #expect(listed.rowCount == 1)
        #expect(listed.int64(0, 0) == bad)
        #expect(listed.text(0, 1) == "not finite")
    }
}
