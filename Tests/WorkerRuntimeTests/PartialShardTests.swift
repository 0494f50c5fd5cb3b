import DocumentStore
import Matryoshka
import Testing
import WireProtocol

@testable import WorkerRuntime

/// Rows that are whole or not.
private final class SomeRows: HeldRows {
    var ids: [Int64: UInt32] = [:]
    let isWhole: Bool
    init(isWhole: Bool) { self.isWhole = isWhole }
    convenience init(shape: CollectionShape, context: NoContext) { self.init(isWhole: true) }
    static func readsFullVectors(_ shape: CollectionShape) -> Bool { true }
    static func bytesPerRow(_ shape: CollectionShape) -> Int { 10 }
    func upsert(id: Int64, version: UInt32, vector: Span<Float>, externalID: String) {
        if isWhole || ids[id] != nil { ids[id] = version }
    }
    func admit(id: Int64, version: UInt32, vector: Span<Float>, externalID: String) { ids[id] = version }
    func remove(id: Int64) { ids[id] = nil }
    func seal() {}
    var rowCount: Int { ids.count }
    var residentBytes: Int { isWhole ? ids.count * 10 : 0 }
}

@Suite("Shards that are held in part")
struct PartialShardTests {
    private let key = HoldingKey(collection: 1, generation: 1)
    private let table = ShardTable<SomeRows>()

    private func position(_ xmax: UInt64) -> FollowPosition {
        FollowPosition(snapshot: TransactionSnapshot(xmin: xmax, xmax: xmax, inProgress: []), primary: "p")
    }

    private func publish(_ shards: [UInt16], isWhole: Bool, rows: Int = 0, wholeBytes: Int = 0) {
        let held = shards.map { HeldShard(shard: $0, rows: SomeRows(isWhole: isWhole)) }
        for held in held { for id in 0..<rows { held.rows.ids[Int64(id)] = 1 } }
        table.publish(
            key,
            held,
            wholeBytes: Dictionary(uniqueKeysWithValues: shards.map { ($0, wholeBytes) }),
            applied: position(10)
        )
    }

    private func row(_ id: Int64, shard: UInt16 = 0, version: UInt32 = 1) -> VectorRow {
        VectorRow(shard: shard, id: id, version: version, vector: [1], externalID: "x")
    }

    private func held(_ shard: UInt16) -> [Int64: UInt32]? {
        table.readyShards(of: key)[Int(shard)]?.withRows { $0.ids }
    }

    @Test("are ready, but not scanned, and count for the map with all that they stand for")
    func ready() {
        _ = table.apply(map(1, [0, 1]))
        publish([0], isWhole: true, rows: 3)
        publish([1], isWhole: false, wholeBytes: 500)
        let selection = table.select(key, shards: [0, 1, 2])
        #expect(selection?.ready.map(\.shard) == [0])
        #expect(selection?.partial == [1])
        #expect(selection?.answers.map(\.status) == [.searched, .searched, .notHere])
        #expect(table.reports.map(\.bytes) == [30, 500])
        #expect(table.residentBytes == 30)
    }

    @Test("keep rows that were read, unless the change log told of the shard since the read began")
    func admission() {
        _ = table.apply(map(1, [0, 1, 2]))
        publish([0, 1], isWhole: false)
        publish([2], isWhole: true)
        let mark = table.markBeforeReading(key, [0, 1, 2])
        table.change(key, 1) { $0.upsert(id: 7, version: 2, vector: [Float]().span, externalID: "") }
        table.admit([row(5), row(7, shard: 1), row(8, shard: 2)], readFrom: "p", since: mark)
        #expect(held(0) == [5: 1])
        #expect(held(1) == [:])
        #expect(held(2) == [:])
        // What is told of later comes upon the row.
        table.change(key, 0) { $0.remove(id: 5) }
        #expect(held(0) == [:])
    }

    @Test("keep nothing from another server, nor while they are loaded anew")
    func otherServer() {
        _ = table.apply(map(1, [0]))
        publish([0], isWhole: false)
        table.admit([row(5)], readFrom: "q", since: table.markBeforeReading(key, [0]))
        #expect(held(0) == [:])
        let mark = table.markBeforeReading(key, [0])
        #expect(table.reload(key, [0]) == [0])
        table.admit([row(5)], readFrom: "p", since: table.markBeforeReading(key, [0]))
        #expect(held(0) == [:])
        // A read that began before reaches the old copy at most.
        publish([0], isWhole: false)
        table.admit([row(5)], readFrom: "p", since: mark)
        #expect(held(0) == [:])
    }

    @Test("take the place of whole ones, the largest first, when rows exceed the capacity")
    func demotion() {
        _ = table.apply(map(1, [0, 1, 2]))
        publish([0], isWhole: true, rows: 5)
        publish([1], isWhole: true, rows: 9)
        publish([2], isWhole: true, rows: 6)
        #expect(table.demote(beyond: 200) { _ in SomeRows(isWhole: false) } == 0)
        #expect(table.demote(beyond: 120) { _ in SomeRows(isWhole: false) } == 1)
        #expect(table.select(key, shards: [0, 1, 2])?.partial == [1])
        #expect(table.residentBytes == 110)
        #expect(table.reports.map(\.bytes) == [50, 90, 60])
    }

    @Test("are loaded whole when there is room again")
    func promotion() {
        _ = table.apply(map(1, [0, 1]))
        publish([0, 1], isWhole: false, wholeBytes: 100)
        #expect(table.retryRefused(room: 99).isEmpty)
        #expect(table.retryRefused(room: 150) == [key: [0]])
        #expect(table.retryRefused(room: 50).isEmpty)
        #expect(table.wanted(key, [0, 1])?.shards == [0])
        publish([0], isWhole: true, rows: 2)
        #expect(table.select(key, shards: [0, 1])?.partial == [1])
    }
}
