import Coordination
import Matryoshka
import Testing
import WireProtocol

@Suite("Lag behind the database")
struct FollowLagTests {
    private let holding = Holding(collection: 1, generation: 1, role: .shortlist)

    private func directory(applied: [String]) -> ShardDirectory {
        var registry = WorkerRegistry()
        let reports = applied.enumerated().map {
            ShardReport(
                collection: 1,
                generation: 1,
                shard: UInt16($0.offset),
                state: .ready,
                rows: 1,
                bytes: 1,
                applied: $0.element
            )
        }
        let registration = Register(
            role: .shortlist,
            host: "h",
            pid: 1,
            process: .random(),
            build: "t",
            capacityBytes: 1,
            credit: 1,
            shards: reports
        )
        _ = registry.register(registration, route: [1], proposed: 1, fresh: { 1 }, now: 0)
        return ShardDirectory(registry)
    }

    @Test("counts from the first noted position that the replica most behind has not applied")
    func behind() {
        var lag = FollowLag()
        for (xmax, at) in [(5, 100), (7, 200), (7, 250), (9, 300)] as [(UInt64, UInt64)] {
            lag.note(TransactionSnapshot(xmin: xmax, xmax: xmax, inProgress: []), at: at)
        }
        #expect(lag.microseconds(of: holding, in: directory(applied: ["9:9:", "6:6:"]), now: 1000) == 800)
        #expect(lag.microseconds(of: holding, in: directory(applied: ["9:9:", "7:7:"]), now: 1000) == 700)
        #expect(lag.microseconds(of: holding, in: directory(applied: ["9:9:", "9:9:"]), now: 1000) == 0)
    }

    @Test("is nothing, not 0, where no replica is ready")
    func nobody() {
        #expect(FollowLag().microseconds(of: holding, in: ShardDirectory(), now: 1) == nil)
    }
}
