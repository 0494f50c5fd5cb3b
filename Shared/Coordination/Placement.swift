import Matryoshka
public import WireProtocol

/// The shard map: which worker shall hold which logical shard, and how it changes.
///
/// Only the leader changes it. A shard moves by loading at its next holder first: until that one reports `ready`, the
/// present holder keeps it and answers, so no move ever takes a shard away.
public struct Placement: Sendable, Equatable {
    /// One logical shard of one holding.
    public struct Unit: Sendable, Hashable {
        /// Who answers, or will once loaded.
        public var holder: UInt64?
        /// Who loads it to take over.
        public var next: UInt64?

        /// Makes a unit.
        public init(holder: UInt64? = nil, next: UInt64? = nil) {
            self.holder = holder
            self.next = next
        }
    }

    /// A worker as placement sees it.
    public struct Host: Sendable {
        /// Incarnation.
        public var worker: UInt64
        /// Bytes that it may hold.
        public var capacityBytes: Int
        /// Takes no new shards.
        public var isDraining: Bool

        /// Makes a host.
        public init(worker: UInt64, capacityBytes: Int, isDraining: Bool) {
            self.worker = worker
            self.capacityBytes = capacityBytes
            self.isDraining = isDraining
        }
    }

    /// A holding that shall be placed, with the bytes that each shard is expected to take.
    public struct Demand: Sendable {
        /// What.
        public var holding: Holding
        /// By logical shard.
        public var shardBytes: [Int]

        /// Its workers can answer for shards that they have no room for: capacity says where shards go first, and none
        /// stays missing.
        var mayExceedCapacity: Bool { holding.role == .rerank }

        /// Makes a demand.
        public init(holding: Holding, shardBytes: [Int]) {
            self.holding = holding
            self.shardBytes = shardBytes
        }
    }

    /// By holding and logical shard.
    public private(set) var units: [Holding: [Unit]] = [:]
    /// Shards for which no worker has room.
    public private(set) var withoutRoom: [Holding: Set<UInt16>] = [:]

    /// Makes an empty map.
    public init() {}

    /// Makes a map from stored rows.
    public init(units: [Holding: [Unit]]) { self.units = units }

    /// Brings the map up to date; calling it again without a change of its inputs changes nothing.
    ///
    /// - Parameters:
    ///   - demands: What shall be held.
    ///   - hosts: Live workers by role.
    ///   - directory: What they report.
    public mutating func update(
        demands: [Demand],
        hosts: [WorkerRole: [Host]],
        directory: ShardDirectory
    ) {
        let wanted = Set(demands.map(\.holding))
        units = units.filter { wanted.contains($0.key) }
        withoutRoom = [:]
        var used: [UInt64: Int] = [:]

        // 1. What is: drop the dead, finish moves, adopt what workers already hold.
        for demand in demands {
            let holding = demand.holding
            let live = Set((hosts[holding.role] ?? []).map(\.worker))
            var shards = units[holding] ?? Array(repeating: Unit(), count: Slots.shardCount)
            for index in shards.indices {
                var unit = shards[index]
                if let holder = unit.holder, !live.contains(holder) { unit.holder = nil }
                if let next = unit.next, !live.contains(next) { unit.next = nil }
                let ready = directory.ready(holding, shard: UInt16(index)).filter { live.contains($0.worker) }
                if let next = unit.next, ready.contains(where: { $0.worker == next && $0.state == .ready }) {
                    unit.holder = next
                    unit.next = nil
                }
                if unit.holder == nil, let held = ready.map(\.worker).min() {
                    unit.holder = held
                    if unit.next == held { unit.next = nil }
                }
                if unit.holder == nil, let next = unit.next {
                    unit.holder = next
                    unit.next = nil
                }
                shards[index] = unit
                for worker in [unit.holder, unit.next].compactMap({ $0 }) {
                    used[worker, default: 0] += demand.shardBytes[index]
                }
            }
            units[holding] = shards
        }

        for demand in demands { place(demand, hosts[demand.holding.role] ?? [], &used) }
    }

    private mutating func place(_ demand: Demand, _ hosts: [Host], _ used: inout [UInt64: Int]) {
        let holding = demand.holding
        guard var shards = units[holding] else { return }
        let takers = hosts.filter { !$0.isDraining }.sorted { $0.worker < $1.worker }
        let draining = Set(hosts.filter(\.isDraining).map(\.worker))
        // Shards that a taker holds or will hold once all moves are done.
        var share: [UInt64: Int] = [:]
        for unit in shards { if let final = unit.next ?? unit.holder { share[final, default: 0] += 1 } }

        func taker(for bytes: Int, other than: UInt64?) -> UInt64? {
            let others = takers.filter { $0.worker != than }
            let roomy = others.filter { used[$0.worker, default: 0] + bytes <= $0.capacityBytes }
            return (roomy.isEmpty && demand.mayExceedCapacity ? others : roomy)
                .min { (share[$0.worker, default: 0], $0.worker) < (share[$1.worker, default: 0], $1.worker) }?
                .worker
        }

        /// What a worker shall hold, against what it may.
        func fullness(_ worker: UInt64, with bytes: Int = 0) -> Double {
            let capacity = takers.first { $0.worker == worker }?.capacityBytes ?? 0
            return Double(used[worker, default: 0] + bytes) / Double(max(1, capacity))
        }

        // 2. What must be: shards without a holder, and shards of workers that leave.
        for index in shards.indices {
            let bytes = demand.shardBytes[index]
            let unit = shards[index]
            if unit.holder == nil {
                if let worker = taker(for: bytes, other: nil) {
                    shards[index].holder = worker
                    share[worker, default: 0] += 1
                    used[worker, default: 0] += bytes
                } else if !hosts.isEmpty {
                    // Without any worker nothing is said about room.
                    withoutRoom[holding, default: []].insert(UInt16(index))
                }
            } else if let holder = unit.holder, draining.contains(holder),
                unit.next == nil || draining.contains(unit.next ?? 0)
            {
                shards[index].next = nil
                if let worker = taker(for: bytes, other: holder) {
                    shards[index].next = worker
                    share[holder, default: 1] -= 1
                    share[worker, default: 0] += 1
                    used[worker, default: 0] += bytes
                }
            }
        }

        // 3. What would be fair: move single shards from the fullest to the emptiest worker.
        while takers.count > 1 {
            let ordered = takers.map { (worker: $0.worker, count: share[$0.worker, default: 0]) }
                .sorted { ($0.count, $0.worker) < ($1.count, $1.worker) }
            guard let least = ordered.first, let most = ordered.last, most.count - least.count > 1 else { break }
            guard
                let index = shards.indices.last(where: {
                    guard shards[$0].holder == most.worker, shards[$0].next == nil else { return false }
                    let after = fullness(least.worker, with: demand.shardBytes[$0])
                    return after <= 1 || (demand.mayExceedCapacity && after < fullness(most.worker))
                })
            else { break }
            shards[index].next = least.worker
            used[least.worker, default: 0] += demand.shardBytes[index]
            share[most.worker, default: 1] -= 1
            share[least.worker, default: 0] += 1
        }
        units[holding] = shards
    }

    /// Shards that a worker shall hold of a holding, ascending.
    public func shards(of holding: Holding, at worker: UInt64) -> [UInt16] {
        guard let shards = units[holding] else { return [] }
        return shards.indices.filter { shards[$0].holder == worker || shards[$0].next == worker }.map(UInt16.init)
    }

    /// A shard is on its way from one worker to another.
    public var isMoving: Bool { units.values.contains { $0.contains { $0.next != nil } } }
}
