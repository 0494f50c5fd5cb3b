import Coordination
import Matryoshka
import Testing
import WireProtocol

private let holding = Holding(collection: 1, generation: 1, role: .shortlist)

private func demand(bytes: Int = 10) -> Placement.Demand {
    Placement.Demand(holding: holding, shardBytes: Array(repeating: bytes, count: Slots.shardCount))
}

private func hosts(_ workers: [UInt64], capacity: Int = 10_000, draining: Set<UInt64> = []) -> [WorkerRole: [Placement
    .Host]]
{
    [
        .shortlist: workers.map {
            Placement.Host(worker: $0, capacityBytes: capacity, isDraining: draining.contains($0))
        }
    ]
}

/// What the workers would report, had each done all that the map asks of it.
private func obeyed(_ placement: Placement, _ workers: [UInt64]) -> ShardDirectory {
    var registry = WorkerRegistry()
    for worker in workers {
        let shards = placement.shards(of: holding, at: worker).map {
            ShardReport(
                collection: 1,
                generation: 1,
                shard: $0,
                state: .ready,
                rows: 1,
                bytes: 10,
                applied: "5:5:"
            )
        }
        let registration = Register(
            role: .shortlist,
            host: "h",
            pid: Int32(worker),
            process: ProcessToken(high: 0, low: worker),
            build: "t",
            capacityBytes: 10_000,
            credit: 8,
            shards: shards
        )
        _ = registry.register(registration, route: [UInt8(worker)], proposed: worker, fresh: { worker }, now: 0)
    }
    return ShardDirectory(registry)
}

private func settled(_ placement: inout Placement, _ workers: [UInt64], draining: Set<UInt64> = []) {
    for _ in 0..<4 {
        placement.update(
            demands: [demand()],
            hosts: hosts(workers, draining: draining),
            directory: obeyed(placement, workers)
        )
    }
}

@Suite("Placement of logical shards")
struct PlacementTests {
    @Test("deals all shards evenly", arguments: [1, 2, 3, 5])
    func even(count: Int) {
        var placement = Placement()
        let workers = (1...UInt64(count)).map { $0 }
        settled(&placement, workers)
        let shares = workers.map { placement.shards(of: holding, at: $0).count }
        #expect(shares.reduce(0, +) == Slots.shardCount)
        #expect((shares.max() ?? 0) - (shares.min() ?? 0) <= 1)
        #expect(!placement.isMoving)
    }

    @Test("keeps a shard at its holder until the next one reports ready")
    func moveInTwoSteps() {
        var placement = Placement()
        settled(&placement, [1, 2])
        let before = obeyed(placement, [1, 2])
        placement.update(demands: [demand()], hosts: hosts([1, 2, 3]), directory: before)
        #expect(placement.isMoving)
        #expect(placement.shards(of: holding, at: 1).count + placement.shards(of: holding, at: 2).count == 64)
        #expect(placement.shards(of: holding, at: 3).count >= 20)
        settled(&placement, [1, 2, 3])
        #expect(!placement.isMoving)
        #expect([1, 2, 3].map { placement.shards(of: holding, at: $0).count }.sorted() == [21, 21, 22])
    }

    @Test("moves the shards of a worker that leaves, and leaves them there when nobody can take them")
    func draining() {
        var placement = Placement()
        settled(&placement, [1, 2])
        settled(&placement, [1, 2], draining: [1])
        #expect(placement.shards(of: holding, at: 1).isEmpty)
        #expect(placement.shards(of: holding, at: 2).count == 64)
        settled(&placement, [1, 2], draining: [1, 2])
        #expect(placement.shards(of: holding, at: 2).count == 64)
    }

    @Test("gives the shards of a dead worker to the others at once")
    func death() {
        var placement = Placement()
        settled(&placement, [1, 2])
        placement.update(demands: [demand()], hosts: hosts([2]), directory: obeyed(placement, [2]))
        #expect(placement.shards(of: holding, at: 2).count == 64)
    }

    @Test("places up to 95 % of a worker's capacity and names what has no room")
    func capacity() {
        var placement = Placement()
        placement.update(demands: [demand()], hosts: hosts([1], capacity: 100), directory: ShardDirectory())
        #expect(placement.shards(of: holding, at: 1).count == 9)
        #expect(placement.withoutRoom[holding]?.count == 55)
    }

    @Test("says nothing about room where there is no worker at all")
    func withoutWorkers() {
        var placement = Placement()
        placement.update(
            demands: [Placement.Demand(holding: holding, shardBytes: Array(repeating: 1, count: 64))],
            hosts: [:],
            directory: ShardDirectory(WorkerRegistry())
        )
        #expect(placement.withoutRoom.isEmpty)
    }

    @Test("gives a rerank worker shards beyond its capacity, which says where they go first")
    func rerankBeyondCapacity() {
        let rerank = Holding(collection: 1, generation: 1, role: .rerank)
        let demand = Placement.Demand(holding: rerank, shardBytes: Array(repeating: 10, count: Slots.shardCount))
        func update(_ placement: inout Placement, _ capacities: [Int]) {
            let hosts = capacities.enumerated().map {
                Placement.Host(worker: UInt64($0 + 1), capacityBytes: $1, isDraining: false)
            }
            placement.update(demands: [demand], hosts: [.rerank: hosts], directory: ShardDirectory())
        }
        var alone = Placement()
        update(&alone, [100])
        #expect(alone.shards(of: rerank, at: 1).count == 64)
        #expect(alone.withoutRoom.isEmpty)
        // One with room takes what fits, two without share evenly.
        var before = alone
        update(&alone, [100, 200])
        #expect(alone.shards(of: rerank, at: 2).count >= 20)
        update(&before, [100, 100])
        #expect(before.shards(of: rerank, at: 2).count == 32)
    }

    @Test("changes nothing when nothing has changed")
    func idempotent() {
        var placement = Placement()
        settled(&placement, [1, 2, 3])
        let before = placement
        placement.update(demands: [demand()], hosts: hosts([1, 2, 3]), directory: obeyed(placement, [1, 2, 3]))
        #expect(placement == before)
    }
}
