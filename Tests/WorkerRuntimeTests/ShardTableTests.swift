import DocumentStore
import Matryoshka
import Testing
import WireProtocol

@testable import WorkerRuntime

/// Rows that only count.
final class CountedRows: HeldRows {
    var ids: [Int64: UInt32] = [:]
    init(shape: CollectionShape, context: NoContext) {}
    static func readsFullVectors(_ shape: CollectionShape) -> Bool { false }
    static func bytesPerRow(_ shape: CollectionShape) -> Int { 10 }
    func upsert(id: Int64, version: UInt32, vector: Span<Float>, externalID: String) { ids[id] = version }
    func remove(id: Int64) { ids[id] = nil }
    func seal() {}
    var rowCount: Int { ids.count }
    var residentBytes: Int { ids.count * 10 }
}

/// Rows that searches reach by a number, four shards at a load.
final class OpenRows: HeldRows {
    private let rows: CountedRows
    init(shape: CollectionShape, context: NoContext) { rows = CountedRows(shape: shape, context: context) }
    static func readsFullVectors(_ shape: CollectionShape) -> Bool { false }
    static func bytesPerRow(_ shape: CollectionShape) -> Int { 10 }
    static func shardsPerLoad(_ shape: CollectionShape) -> Int { 4 }
    var handle: Int? { 5 }
    func upsert(id: Int64, version: UInt32, vector: Span<Float>, externalID: String) { rows.ids[id] = version }
    func remove(id: Int64) { rows.ids[id] = nil }
    func seal() {}
    var rowCount: Int { rows.rowCount }
    var residentBytes: Int { rows.residentBytes }
}

func shape(_ generation: UInt32 = 1) -> CollectionShape {
    CollectionShape(
        collection: 1,
        name: "things",
        model: "m",
        dimensions: 8,
        smallestDimensions: 2,
        isMatryoshka: true,
        similarity: .cosine,
        storedHeadWidth: 4,
        residentWidth: 4,
        residentPrecision: .int8,
        generation: generation
    )
}

func map(_ epoch: UInt64, _ shards: [UInt16], generation: UInt32 = 1) -> ShardAssignments {
    ShardAssignments(
        epoch: epoch,
        collections: shards.isEmpty ? [] : [.init(shape: WireShape(shape(generation)), shards: shards)]
    )
}

@Suite("What a worker holds")
struct ShardTableTests {
    private let key = HoldingKey(collection: 1, generation: 1)

    private func position(_ xmax: UInt64, inProgress: [UInt64] = []) -> FollowPosition {
        FollowPosition(
            snapshot: TransactionSnapshot(xmin: inProgress.first ?? xmax, xmax: xmax, inProgress: inProgress),
            primary: "p"
        )
    }

    private func loaded(_ shards: [UInt16], rows: Int = 1) -> [HeldShard<CountedRows>] {
        shards.map { shard in
            let held = HeldShard<CountedRows>(shard: shard, shape: shape(), context: NoContext())
            for id in 0..<rows {
                held.rows.upsert(id: Int64(id), version: 1, vector: [Float]().span, externalID: "")
            }
            return held
        }
    }

    @Test("a map tells what to load and what to let go")
    func difference() {
        let held: Set = [ShardKey(key, 1), ShardKey(key, 2)]
        let difference = MapDifference(listed: map(1, [2, 3]).listed, held: held)
        #expect(difference.load == [ShardKey(key, 3)])
        #expect(difference.release == [ShardKey(key, 1)])
    }

    @Test("shards serve only when published, and are let go only after the delay")
    func lifecycle() {
        let table = ShardTable<CountedRows>()
        #expect(table.apply(map(1, [0, 1]))?.load == [key: [0, 1]] || table.wanted(key, [0, 1]) != nil)
        #expect(table.select(key, shards: [0, 1])?.answers.map(\.status) == [.notHere, .notHere])
        table.publish(key, loaded([0, 1]), applied: position(10))
        #expect(table.select(key, shards: [0, 1, 5])?.answers.map(\.status) == [.searched, .searched, .notHere])
        #expect(table.select(key, shards: [0])?.answers.first?.appliedXmax == 10)

        #expect(table.apply(map(2, [1]))?.releasesAny == true)
        #expect(table.reports.map(\.shard) == [1])
        #expect(table.select(key, shards: [0])?.answers.map(\.status) == [.searched])
        #expect(table.letGo(epoch: 2))
        #expect(table.select(key, shards: [0])?.answers.map(\.status) == [.notHere])
    }

    @Test("an older map changes nothing, and a shard listed again is kept")
    func epochs() {
        let table = ShardTable<CountedRows>()
        _ = table.apply(map(5, [0]))
        table.publish(key, loaded([0]), applied: position(10))
        #expect(table.apply(map(4, [])) == nil)
        _ = table.apply(map(6, []))
        #expect(table.isNothingListed)
        #expect(table.apply(map(7, [0]))?.load.isEmpty == true)
        #expect(!table.letGo(epoch: 6))
        #expect(table.select(key, shards: [0])?.answers.map(\.status) == [.searched])
    }

    @Test("what every map since has left out goes, even when maps keep coming")
    func steadyMaps() {
        let table = ShardTable<CountedRows>()
        _ = table.apply(map(1, [0, 1]))
        _ = table.apply(map(2, [1]))
        _ = table.apply(map(3, [1]))
        #expect(table.letGo(epoch: 2))
        #expect(table.wanted(key, [0, 1])?.shards == [1])
    }

    @Test("shards are followed together, from the oldest snapshot")
    func following() {
        let table = ShardTable<CountedRows>()
        _ = table.apply(map(1, [0, 1, 2]))
        table.publish(key, loaded([0]), applied: position(20))
        table.publish(key, loaded([1]), applied: position(20, inProgress: [12]))
        #expect(table.following(key)?.shards == [0, 1])
        #expect(table.following(key)?.since == position(20, inProgress: [12]))
        table.applied(key, [0, 1], position(30))
        #expect(table.following(key)?.since == position(30))
    }

    @Test("a shard that is loaded anew serves its old copy, which is not followed")
    func reload() {
        let table = ShardTable<CountedRows>()
        _ = table.apply(map(1, [0, 1]))
        table.publish(key, loaded([0, 1], rows: 2), applied: position(10))
        #expect(table.reload(key, [1]) == [1])
        #expect(table.reload(key, [1]) == [])
        #expect(table.following(key)?.shards == [0])
        #expect(table.select(key, shards: [1])?.answers.first?.rows == 2)
        #expect(table.wanted(key, [0, 1])?.shards == [1])
        table.publish(key, loaded([1], rows: 3), applied: position(11))
        #expect(table.select(key, shards: [1])?.answers.first?.rows == 3)
    }

    @Test("changes are counted, a dropped collection is gone")
    func changes() {
        let table = ShardTable<CountedRows>()
        _ = table.apply(map(1, [0]))
        table.publish(key, loaded([0], rows: 2), applied: position(10))
        table.change(key, 0) { $0.remove(id: 0) }
        #expect(table.residentBytes == 10)
        table.drop(key)
        #expect(table.select(key, shards: [0]) == nil)
        #expect(table.reports.isEmpty)
    }

    @Test("loaded rows take their room before they are in service, beside the copy that serves")
    func incoming() {
        let table = ShardTable<CountedRows>()
        _ = table.apply(map(1, [0, 1]))
        table.publish(key, loaded([0], rows: 2), applied: position(10))
        table.expect(key, loaded([0, 1], rows: 3))
        #expect(table.residentBytes == 20 + 60)
        table.publish(key, loaded([1], rows: 3), applied: position(11))
        #expect(table.residentBytes == 20 + 60)
        _ = table.reload(key, [0])
        table.publish(key, loaded([0], rows: 3), applied: position(11))
        #expect(table.residentBytes == 60)
    }

    @Test("a load stops at the capacity and keeps the shards that fit")
    func capacity() {
        let builder = ShardBuilder<CountedRows>(shape: shape(), context: NoContext(), shards: [0, 1, 2], roomBytes: 50)
        for shard in UInt16(0)..<3 {
            for id in Int64(0)..<2 { builder.add(shard, id, 1, [Float]().span, "") }
        }
        #expect(builder.finish().map(\.shard) == [0, 1])
        #expect(builder.seenRows(2) == 2)
        #expect(builder.rowCount == 4)
    }

    @Test("a load tells how far it has come, and beats tell it on")
    func progress() {
        let table = ShardTable<CountedRows>()
        _ = table.apply(map(1, [0, 1]))
        table.publish(key, loaded([1], rows: 7), applied: position(10))
        var told: [UInt16: [Int]] = [:]
        let builder = ShardBuilder<CountedRows>(
            shape: shape(),
            context: NoContext(),
            shards: [0],
            roomBytes: 1_000_000
        ) {
            told[$0, default: []].append($1)
            table.isLoading(key, $0, rows: $1)
        }
        for id in Int64(0)..<5_000 { builder.add(0, id, 1, [Float]().span, "") }
        #expect(told == [0: [4_096]])
        #expect(table.reports.map(\.rows) == [4_096, 7])
        #expect(table.reports.map(\.state) == [.loading, .ready])
        _ = builder.finish()
        #expect(told == [0: [4_096, 5_000]])
        // A shard that serves goes on to tell what it serves.
        _ = table.reload(key, [1])
        table.isLoading(key, 1, rows: 3)
        #expect(table.reports.map(\.rows) == [5_000, 7])
    }

    @Test("changes of rows that are searched without the lock keep no other search waiting", .timeLimit(.minutes(1)))
    func openRows() {
        let table = ShardTable<OpenRows>()
        _ = table.apply(map(1, [0]))
        let held = HeldShard<OpenRows>(shard: 0, shape: shape(), context: NoContext())
        #expect(held.handle == 5)
        table.publish(key, [held], applied: position(10))
        // It would stand still for ever if followers had to be waited for.
        table.change(key, 0) { _ in table.yieldToFollowers() }
    }

    @Test("snapshots are ordered by what they have seen")
    func age() {
        let old = position(20, inProgress: [12, 13]).snapshot
        #expect(old.isOlder(than: position(20, inProgress: [12]).snapshot))
        #expect(old.isOlder(than: position(20).snapshot))
        #expect(!position(20).snapshot.isOlder(than: position(20).snapshot))
    }
}
