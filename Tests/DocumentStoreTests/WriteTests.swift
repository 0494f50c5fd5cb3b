import DocumentStore
import Foundation
import Matryoshka
import PostgreSQL
import Testing

@Suite("Writes")
struct WriteTests {
    let database: TestDatabase
    let store: Store
    let shape: CollectionShape

    init() throws {
        database = try TestDatabase()
        store = try database.store()
        shape = try store.makeCollection()
    }

    private func vector(_ first: Float) -> [Float] { [first, 2, 3, 4, 5, 6, 7, 8] }

    @Test("an upserted document is read back, and each upsert raises its version under the same id")
    func roundTrip() throws {
        let row = UpsertRow(externalID: "Zoë/1", text: "a text", payload: #"{"a": 1}"#, vector: vector(1))
        let first = try store.upsert(collection: shape.collection, rows: [row])
        #expect(first.applied == 1)
        #expect(first.touchedShards.count == 1)
        let id = try #require(try store.table(shape).keys.first)
        var changed = row
        changed.vector = vector(9)
        let second = try store.upsert(collection: shape.collection, rows: [changed])
        #expect(second.token > first.token)
        #expect(second.touchedShards == first.touchedShards)

        let read = try store.get(shape, externalIDs: ["nobody", "Zoë/1"], withVector: true)
        #expect(read.count == 1)
        #expect(read[0].text == "a text")
        #expect(read[0].payload == #"{"a": 1}"#)
        #expect(read[0].version == 2)
        #expect(read[0].vector == vector(9))
        let stored = try #require(try store.table(shape)[id])
        #expect(stored.version == 2)
        #expect(stored.vector == vector(9))
        #expect(first.touchedShards == [stored.shard])
        #expect(try store.fetchPayloads(shape, ids: [id, id + 1]) == [id: .some(#"{"a": 1}"#)])
        #expect(try store.fetchVectors(shape, ids: [id, id + 1], shards: [stored.shard]).rows == [stored])
    }

    @Test("a deleted document is gone, and its id is not used again")
    func deletes() throws {
        _ = try store.upsert(collection: shape.collection, rows: [UpsertRow(externalID: "a", vector: vector(1))])
        let before = try #require(try store.table(shape).keys.first)
        let outcome = try store.delete(collection: shape.collection, externalIDs: ["b", "a", "c"])
        #expect(outcome.applied == 1)
        #expect(outcome.unknown == ["b", "c"])
        #expect(try store.table(shape).isEmpty)
        #expect(try store.get(shape, externalIDs: ["a"]).isEmpty)
        try store.connection.run(script: "TRUNCATE matryoshka.documents_\(shape.collection) RESTART IDENTITY")
        _ = try store.upsert(collection: shape.collection, rows: [UpsertRow(externalID: "a", vector: vector(1))])
        let after = try #require(try store.table(shape).keys.first)
        #expect(after > before)
        #expect(try store.table(shape)[after]?.version == 1)
    }

    @Test("slots are the first 16 bits of md5 of the id in UTF-8")
    func slots() throws {
        // printf 'Zoë/1' | md5sum, printf 'a' | md5sum
        let result = try store.connection.execute("SELECT matryoshka.slot('a'), matryoshka.slot('Zoë/1')")
        #expect(result.int32(0, 0) == 0x0CC1)
        #expect(result.int32(0, 1) == 0x4DB5)
    }

    @Test(
        "a vector that is not finite, zero or of another length is refused by its place in the batch",
        arguments: [
            ([1, 2, .nan, 4, 5, 6, 7, 8], StoreError.nonFinite(index: 2)),
            ([1, 2, 3, 4, 5, 6, 7, -.infinity], .nonFinite(index: 2)),
            ([1e30, 2, 3, 4, 5, 6, 7, 8], .nonFinite(index: 2)),
            ([0, 0, 0, -0.0, 0, 0, 0, 0], .zeroVector(index: 2)),
            ([1e-30, 0, 0, 0, 0, 0, 0, 0], .zeroVector(index: 2)),
            ([1, 2, 3], .wrongLength(index: 2, got: 3, expected: 8)),
            ([], .wrongLength(index: 2, got: 0, expected: 8)),
            (nil, .nothingToStore(index: 2)),
        ] as [([Float]?, StoreError)]
    )
    func refusesBadVectors(bad: [Float]?, error: StoreError) throws {
        var rows = (0..<4).map { UpsertRow(externalID: "d\($0)", vector: vector(Float($0))) }
        rows[2].vector = bad
        #expect(throws: error) { try store.upsert(collection: shape.collection, rows: rows) }
        #expect(throws: error) { try store.stageAndUpsert(collection: shape.collection, rows: rows) }
        #expect(try store.table(shape).isEmpty)
        if let bad {
            let fault = VectorFault.find(in: bad.span, dimensions: 8)
            switch error {
            case .nonFinite: #expect(fault == .nonFinite)
            case .zeroVector: #expect(fault == .zero)
            default: #expect(fault == .wrongLength)
            }
        }
    }

    @Test("very small and very large vectors whose norm a float32 can hold are stored bit by bit")
    func storesExtremes() throws {
        let vectors: [[Float]] = [
            [1e-20, 0, 0, 0, 0, 0, 0, 0], [-1e18, 1e18, 0, 0, 0, 0, 0, .leastNonzeroMagnitude],
            [0, 0, 0, 0, 0, 0, 0, 1], [-0.0, 1, .pi, -2.5, 1e10, 1e-10, 3, 0],
        ]
        let rows = vectors.enumerated().map { UpsertRow(externalID: "x\($0)", vector: $1) }
        _ = try store.upsert(collection: shape.collection, rows: rows)
        let read = try store.get(shape, externalIDs: rows.map(\.externalID), withVector: true)
        #expect(read.map { $0.vector?.map(\.bitPattern) } == vectors.map { $0.map(\.bitPattern) })
    }

    @Test("ids, texts and payloads that the database cannot hold are refused")
    func refusesBadDocuments() throws {
        for row in [
            UpsertRow(externalID: "", vector: vector(1)),
            UpsertRow(externalID: String(repeating: "x", count: 513), vector: vector(1)),
            UpsertRow(externalID: "nul", text: "a\0b", vector: vector(1)),
            UpsertRow(externalID: "json", payload: "{", vector: vector(1)),
            UpsertRow(externalID: "json", payload: #"{"a":"\u0000"}"#, vector: vector(1)),
        ] {
            do {
                _ = try store.upsert(collection: shape.collection, rows: [row])
                Issue.record("stored \(row.externalID)")
            } catch StoreError.invalidDocument {}
        }
        #expect(throws: StoreError.unknownCollection("there is no collection number 77")) {
            try store.upsert(collection: 77, rows: [UpsertRow(externalID: "a", vector: vector(1))])
        }
    }

    @Test("text without a vector waits to be encoded, is counted, and is not found by its older vector")
    func pending() throws {
        let number = shape.collection
        _ = try store.upsert(
            collection: number,
            rows: [
                UpsertRow(externalID: "a", text: "old", vector: vector(1)),
                UpsertRow(externalID: "b", text: "new", vector: nil),
            ]
        )
        #expect(try store.pendingCounts() == ["docs": 1])
        #expect(try store.pending(collection: number, limit: 10).map(\.text) == ["new"])
        // The same text keeps its vector, another text loses it.
        _ = try store.upsert(collection: number, rows: [UpsertRow(externalID: "a", text: "old", vector: nil)])
        #expect(try store.table(shape).count == 1)
        let position = try store.currentPosition()
        _ = try store.upsert(collection: number, rows: [UpsertRow(externalID: "a", text: "other", vector: nil)])
        #expect(try store.table(shape).isEmpty)
        #expect(try store.changes(shape, shards: allShards, since: position, full: true).removed.count == 1)
        let waiting = try store.pending(collection: number, limit: 10)
        #expect(waiting.map(\.externalID) == ["a", "b"])
        #expect(
            try store.pending(collection: number, after: waiting[0].id, limit: 10).map(\.externalID) == ["b"]
        )
        #expect(try store.get(shape, externalIDs: ["a"])[0].isPending)
        _ = try store.upsert(collection: number, rows: [UpsertRow(externalID: "b", text: "new", vector: vector(2))])
        #expect(try store.pendingCounts() == ["docs": 1])
    }

    @Test("another payload for the same text is a new version of the vector, which followers hear of")
    func payloadAlone() throws {
        let number = shape.collection
        let rows = ["a", "b"].map { UpsertRow(externalID: $0, text: $0, payload: #"{"n": 1}"#, vector: vector(1)) }
        _ = try store.upsert(collection: number, rows: rows)
        let before = try store.table(shape)
        let position = try store.currentPosition()
        _ = try store.upsert(
            collection: number,
            rows: [UpsertRow(externalID: "a", text: "a", payload: #"{"n": 2}"#, vector: nil)]
        )
        let told = try store.changes(shape, shards: allShards, since: position, full: true).upserts
        #expect(told.map(\.externalID) == ["a"])
        #expect(told.map(\.version) == [2])
        #expect(try store.get(shape, externalIDs: ["a"])[0].version == 2)
        #expect(told.first.map { before[$0.id]?.vector == $0.vector } == true)
        #expect(try store.changes(shape, shards: allShards, since: position, full: false).upserts.map(\.version) == [2])
    }

    @Test("reads of many sets of shards leave no more statements prepared than the bound")
    func preparedStatements() throws {
        let query = store.connection
        func prepared() throws -> Int64 { try query.execute("SELECT count(*) FROM pg_prepared_statements").int64(0, 0) }
        let position = try store.currentPosition()
        let before = try prepared()
        for shard in allShards {
            _ = try store.fetchVectors(shape, ids: [1], shards: [shard])
            _ = try store.changes(shape, shards: [shard], since: position, full: true)
        }
        #expect(try prepared() <= before + 1)
        for number in 0..<200 {
            #expect(try query.execute("SELECT \(number)", isPrepared: true).int32(0, 0) == Int32(number))
        }
        #expect(try prepared() == Int64(Connection.preparedMax))
        // What is in use stays, what was forgotten is prepared again.
        #expect(try query.execute("SELECT 0", isPrepared: true).int32(0, 0) == 0)
        #expect(try query.execute("SELECT 199", isPrepared: true).int32(0, 0) == 199)
        #expect(try prepared() == Int64(Connection.preparedMax))
    }

    @Test("a staged batch lets the last of a repeated id win and stores its offset in the same transaction")
    func staged() throws {
        let number = shape.collection
        #expect(try store.importOffset(collection: number, source: "file") == nil)
        var rows = (0..<3000).map { UpsertRow(externalID: "d\($0 % 1000)", text: "\($0)", vector: vector(Float($0))) }
        let outcome = try store.stageAndUpsert(collection: number, rows: rows, source: ("file", 3000))
        #expect(outcome.applied == 1000)
        #expect(outcome.touchedShards.count == 64)
        #expect(try store.importOffset(collection: number, source: "file") == 3000)
        let read = try store.get(shape, externalIDs: ["d0", "d999"], withVector: true)
        #expect(read.map(\.text) == ["2000", "2999"])
        #expect(read.map { $0.vector?.first } == [2000, 2999])
        #expect(read.map(\.version) == [1, 1])
        rows[7].vector = [1]
        #expect(throws: StoreError.wrongLength(index: 7, got: 1, expected: 8)) {
            try store.stageAndUpsert(collection: number, rows: rows, source: ("file", 6000))
        }
        #expect(try store.importOffset(collection: number, source: "file") == 3000)
        #expect(try store.connection.execute("SELECT count(*) FROM matryoshka.staging").int64(0, 0) == 0)
        #expect(
            try store.connection.execute("SELECT count(*) FROM matryoshka.changes WHERE ids IS NOT NULL").int64(0, 0)
                == 64
        )
    }

    @Test("within an upsert too the last of a repeated id wins")
    func lastWins() throws {
        let rows = [1, 2, 3].map { UpsertRow(externalID: "a", vector: vector($0)) }
        #expect(try store.upsert(collection: shape.collection, rows: rows).applied == 1)
        #expect(try store.get(shape, externalIDs: ["a"], withVector: true)[0].vector == vector(3))
    }

    @Test("an idempotency key gives the stored reply again, and a conflict for another body")
    func idempotency() throws {
        let number = shape.collection
        let key = IdempotencyKey(client: "c", key: "k", bodyHash: "h1")
        let rows = [UpsertRow(externalID: "a", vector: vector(1))]
        let first = try store.upsert(collection: number, rows: rows, idempotency: key) { "applied \($0.applied)" }
        #expect(first.replayedReply == nil)
        let again = try store.upsert(collection: number, rows: rows, idempotency: key) { _ in "never" }
        #expect(again.replayedReply == "applied 1")
        #expect(again.token == first.token)
        #expect(again.touchedShards == first.touchedShards)
        #expect(try store.get(shape, externalIDs: ["a"])[0].version == 1)
        let other = IdempotencyKey(client: "c", key: "k", bodyHash: "h2")
        #expect(throws: StoreError.idempotencyConflict) {
            try store.upsert(collection: number, rows: rows, idempotency: other)
        }
        let elsewhere = IdempotencyKey(client: "d", key: "k", bodyHash: "h2")
        #expect(try store.delete(collection: number, externalIDs: ["a"], idempotency: elsewhere).replayedReply == nil)
        // A write that fails leaves the key free.
        let failing = IdempotencyKey(client: "c", key: "f", bodyHash: "h")
        let bad = [UpsertRow(externalID: "a", vector: [1])]
        #expect(throws: StoreError.self) { try store.upsert(collection: number, rows: bad, idempotency: failing) }
        #expect(try store.upsert(collection: number, rows: rows, idempotency: failing).replayedReply == nil)
    }

    @Test("writers of the same documents in different orders do not deadlock")
    func noDeadlock() throws {
        let ids = (0..<40).map { "d\($0)" }
        let failures = Failures()
        DispatchQueue.concurrentPerform(iterations: 4) { writer in
            do {
                let store = try database.store()
                var random = SeededGenerator(state: UInt64(writer))
                for round in 0..<20 {
                    let mine = ids.shuffled(using: &random)
                    if (round + writer) % 5 == 0 {
                        _ = try store.delete(collection: shape.collection, externalIDs: mine)
                    } else {
                        let rows = mine.map { UpsertRow(externalID: $0, vector: vector(Float(round))) }
                        _ = try store.upsert(collection: shape.collection, rows: rows)
                    }
                }
            } catch {
                failures.add("\(error)")
            }
        }
        #expect(failures.all == [])
        let tables = try store.connection.execute(
            """
            SELECT (SELECT array_agg(id::int ORDER BY id) FROM matryoshka.documents_\(shape.collection)),
                (SELECT array_agg(id::int ORDER BY id) FROM matryoshka.heads_\(shape.collection)),
                (SELECT array_agg(id::int ORDER BY id) FROM matryoshka.tails_\(shape.collection))
            """
        )
        #expect(tables.int32s(0, 0) == tables.int32s(0, 1))
        #expect(tables.int32s(0, 0) == tables.int32s(0, 2))
    }
}

/// Failures of several threads.
final class Failures: @unchecked Sendable {
    private let lock = NSLock()
    private var found: [String] = []
    func add(_ text: String) { lock.withLock { found.append(text) } }
    var all: [String] { lock.withLock { found } }
}
