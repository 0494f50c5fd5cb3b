import Coordination
import Matryoshka
import RetrievalTesting
import Testing
import WireProtocol

/// Workers that do what the map says, some of them late.
private struct World {
    var placement = Placement()
    var capacities: [UInt64: Int] = [:]
    /// By holding and shard.
    var sizes: [Holding: [Int]] = [:]
    var held: [UInt64: [Holding: Set<UInt16>]] = [:]

    init(capacities: [Int], collections: Int, size: Int) {
        for (index, capacity) in capacities.enumerated() { self.capacities[UInt64(index + 1)] = capacity }
        for number in 0..<collections {
            let holding = Holding(collection: UInt32(number + 1), generation: 1, role: .shortlist)
            sizes[holding] = Array(repeating: size, count: Slots.shardCount)
        }
    }

    private var directory: ShardDirectory {
        var registry = WorkerRegistry()
        for (worker, capacity) in capacities {
            let shards = (held[worker] ?? [:]).flatMap { holding, shards in
                shards.sorted().map {
                    ShardReport(
                        collection: holding.collection,
                        generation: holding.generation,
                        shard: $0,
                        state: .ready,
                        rows: 1,
                        bytes: sizes[holding]?[Int($0)] ?? 0,
                        applied: "5:5:"
                    )
                }
            }
            let registration = Register(
                role: .shortlist,
                host: "h",
                pid: Int32(worker),
                process: ProcessToken(high: 0, low: worker),
                build: "t",
                capacityBytes: capacity,
                credit: 8,
                shards: shards
            )
            _ = registry.register(registration, route: [UInt8(worker)], proposed: worker, fresh: { worker }, now: 0)
        }
        return ShardDirectory(registry)
    }

    mutating func update() {
        placement.update(
            demands: sizes.sorted { $0.key < $1.key }.map { .init(holding: $0.key, shardBytes: $0.value) },
            hosts: [
                .shortlist: capacities.sorted { $0.key < $1.key }.map {
                    .init(worker: $0.key, capacityBytes: $0.value, isDraining: false)
                }
            ],
            directory: directory
        )
    }

    mutating func obey(_ worker: UInt64) {
        held[worker] = Dictionary(
            uniqueKeysWithValues: sizes.keys.map { ($0, Set(placement.shards(of: $0, at: worker))) }
        )
    }

    func bytes(at worker: UInt64) -> Int {
        sizes.reduce(0) { sum, entry in
            sum + placement.shards(of: entry.key, at: worker).reduce(0) { $0 + entry.value[Int($1)] }
        }
    }

    /// Rounds until nothing changes any more; nil where that does not come.
    mutating func settle(limit: Int = 60) -> Int? {
        for round in 0..<limit {
            let before = placement
            update()
            if round > 0, placement == before { return round }
            for worker in capacities.keys { obey(worker) }
        }
        return nil
    }

    var missing: [Int] {
        sizes.flatMap { holding, bytes in (placement.withoutRoom[holding] ?? []).map { bytes[Int($0)] } }
    }
}

@Suite("Placement of shards that grow")
struct GrowthTests {
    @Test("a worker over its capacity hands its largest shards to one that has room")
    func handsOver() throws {
        var world = World(capacities: [1_000, 10_000], collections: 1, size: 10)
        #expect(world.settle() != nil)
        let holding = try #require(world.sizes.keys.first)
        let largest = try #require(world.placement.shards(of: holding, at: 1).first)
        world.sizes[holding]?[Int(largest)] = 800
        world.update()
        // It stays where it is until it is ready at the other.
        #expect(world.placement.units[holding]?[Int(largest)] == Placement.Unit(holder: 1, next: 2))
        #expect(world.placement.withoutRoom.isEmpty)
        #expect(world.settle() != nil)
        #expect(world.placement.units[holding]?[Int(largest)].holder == 2)
        #expect(world.bytes(at: 1) <= 1_000)
    }

    @Test("where nobody has room it releases them, takes none back, and a new worker gets them")
    func releases() throws {
        var world = World(capacities: [1_000], collections: 2, size: 7)
        #expect(world.settle() != nil)
        #expect(world.missing.isEmpty)
        for holding in world.sizes.keys { world.sizes[holding] = Array(repeating: 10, count: Slots.shardCount) }
        world.update()
        #expect(world.missing.count == 28)
        // The worker has not heard of it and still reports all.
        let before = world.placement
        world.update()
        #expect(world.placement == before)
        #expect(world.settle() != nil)
        #expect(world.missing.count == 28)
        world.capacities[2] = 1_000
        #expect(world.settle() != nil)
        #expect(world.missing.isEmpty)
    }

    @Test("comes to rest after any growth, within every capacity, and leaves out nothing that fits", arguments: 0..<60)
    func rests(seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed) + 900)
        func below(_ bound: Int) -> Int { Int(random.next() % UInt64(bound)) }
        var world = World(
            capacities: (0..<(1 + below(4))).map { _ in 300 + below(3_000) },
            collections: 1 + below(2),
            size: 1 + below(30)
        )
        for step in 0..<8 {
            for holding in world.sizes.keys.sorted() {
                for shard in 0..<Slots.shardCount where below(3) == 0 {
                    world.sizes[holding]?[shard] += below(12)
                }
            }
            if step == 5 { world.capacities[UInt64(world.capacities.count + 1)] = 500 + below(4_000) }
            // Some hear of the map late.
            for _ in 0..<below(4) {
                world.update()
                for worker in world.capacities.keys.sorted() where below(2) == 0 { world.obey(worker) }
            }
            #expect(world.settle() != nil)
            #expect(!world.placement.isMoving)
            for (worker, capacity) in world.capacities {
                #expect(world.bytes(at: worker) <= capacity)
                for bytes in world.missing { #expect(world.bytes(at: worker) + bytes > capacity * 95 / 100) }
            }
            for holding in world.sizes.keys {
                let without = world.placement.units[holding]?.filter { $0.holder == nil }.count
                #expect(without == world.placement.withoutRoom[holding, default: []].count)
            }
        }
    }
}
