import Matryoshka
import RetrievalTesting
import ServiceRuntime
import Testing
import WireProtocol

@testable import WorkerRuntime

@Suite("A scan crew")
struct ScanCrewTests {
    /// Rows with a score each, many of them equal.
    private func shards(_ count: Int) -> [HeldShard<CountedRows>] {
        var random = SeededGenerator(seed: 3)
        return (0..<count).map { shard in
            let held = HeldShard<CountedRows>(shard: UInt16(shard), shape: shape(), context: NoContext())
            for id in 0..<50 {
                held.rows.ids[Int64(id * count + shard)] = UInt32.random(in: 0..<20, using: &random)
            }
            return held
        }
    }

    @Test("finds with several threads what one thread finds", arguments: [2, 3, 8], [1, 2, 7, 64])
    func threads(threads: Int, shardCount: Int) {
        let shards = shards(shardCount)
        @Sendable func rank(_ part: [(shard: UInt16, rows: CountedRows)]) -> [CandidateColumns] {
            (0..<3).map { query in
                let all = part.flatMap { shard, rows in
                    rows.ids.map {
                        (id: $0.key, version: $0.value, shard: shard, score: Float($0.value % 7) + Float(query))
                    }
                }
                .sorted { ranksBefore(score: $0.score, id: $0.id, than: $1.score, id: $1.id) }.prefix(40)
                return CandidateColumns(
                    ids: all.map(\.id),
                    versions: all.map(\.version),
                    shards: all.map(\.shard),
                    scores: [all.map(\.score)]
                )
            }
        }
        let alone = ScanCrew(ThreadPlacement(count: 1)).scan(shards, keep: 40, rank)
        let crew = ScanCrew(ThreadPlacement(count: threads))
        for _ in 0..<20 { #expect(crew.scan(shards, keep: 40, rank) == alone) }
    }

    @Test("gives pieces in their order, whoever ran them", arguments: [1, 2, 5])
    func pieces(threads: Int) {
        let crew = ScanCrew(ThreadPlacement(count: threads))
        for count in [0, 1, 2, 40] { #expect(crew.map(count) { $0 * $0 } == (0..<count).map { $0 * $0 }) }
    }

    @Test("does not wait for a helper that is busy elsewhere")
    func busyHelper() {
        let crew = ScanCrew(ThreadPlacement(count: 2))
        let gate = Gate()
        let other = ServiceThread(name: "other") { crew.together { gate.pass() } }
        gate.waitForEntries(2)
        #expect(crew.map(8) { $0 } == Array(0..<8))
        gate.open()
        other.join()
    }

    @Test("merges rankings of unequal length, ties by id")
    func merging() {
        func ranking(_ rows: [(Int64, Float)]) -> CandidateColumns {
            CandidateColumns(
                ids: rows.map(\.0),
                versions: rows.map { _ in 1 },
                shards: rows.map { _ in 0 },
                scores: [rows.map(\.1)]
            )
        }
        let parts = [ranking([(4, 2), (1, 1)]), ranking([]), ranking([(3, 2), (2, 1), (9, 0)])]
        #expect(CandidateColumns.merging(parts, keep: 4).ids == [3, 4, 1, 2])
        #expect(CandidateColumns.merging(parts, keep: 9).ids == [3, 4, 1, 2, 9])
    }
}

/// Where threads wait until it is opened.
private final class Gate: @unchecked Sendable {
    // Unchecked: guarded by the lock.
    private let lock = Lock()
    private let condition: Condition
    private var entries = 0
    private var isOpen = false

    init() { condition = Condition(lock) }

    func pass() {
        lock.withLock {
            entries += 1
            condition.broadcast()
            while !isOpen { condition.wait() }
        }
    }

    func waitForEntries(_ count: Int) { lock.withLock { while entries < count { condition.wait() } } }

    func open() {
        lock.withLock { isOpen = true }
        condition.broadcast()
    }
}
