import Coordination
import Testing
import WireProtocol

@Suite("Which worker holds what")
struct ShardDirectoryTests {
    @Test("rows of shards on their way are loaded, and are not searched")
    func loadedRows() {
        func report(_ shard: UInt16, _ state: ShardState, rows: Int) -> ShardReport {
            ShardReport(collection: 1, generation: 2, shard: shard, state: state, rows: rows, bytes: 0, applied: "")
        }
        var registry = WorkerRegistry()
        let shards = [
            [report(0, .ready, rows: 10), report(1, .loading, rows: 4), report(2, .catchingUp, rows: 5)],
            [report(0, .loading, rows: 3), report(3, .draining, rows: 7)],
        ]
        for (number, shards) in shards.enumerated() {
            let register = Register(
                role: .shortlist,
                host: "h",
                pid: 1,
                process: .random(),
                build: "t",
                capacityBytes: 1,
                credit: 4,
                shards: shards
            )
            let incarnation = UInt64(number + 1)
            _ = registry.register(
                register,
                route: [UInt8(number)],
                proposed: incarnation,
                fresh: { incarnation },
                now: 0
            )
        }
        let directory = ShardDirectory(registry)
        let holding = Holding(collection: 1, generation: 2, role: .shortlist)
        #expect(directory.rows(holding) == 17)
        #expect(directory.loadedRows(holding) == 26)
        #expect(registry.workers.values.map(\.rows).sorted() == [7, 10])
        #expect(directory.rows(Holding(collection: 9, generation: 1, role: .shortlist)) == 0)
    }
}
