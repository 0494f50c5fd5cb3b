import Matryoshka
public import WireProtocol

/// The shard map: which worker shall hold which logical shard, and how it changes.
///
/// Only the leader changes it. A shard moves by loading at its next holder first: until that one reports `ready`, the
/// present holder keeps it and answers, so no move ever takes a shard away.
///
/// Shortlist shards are placed up to 95 % of a worker's capacity. What grows there may stay up to all of it; beyond it the
/// largest shards move, or are released where nobody has room. The gap between both bounds keeps shards from going to
/// and fro.
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

        /// What is placed here keeps below this, so that it can grow; in bytes.
        var roomBytes: Int { capacityBytes / 100 * 95 + capacityBytes % 100 * 95 / 100 }
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
    /// Workers that had to give a shard up and may not have heard of it yet: what they still report is not taken back.
    private var released: [Holding: [UInt16: Set<UInt64>]] = [:]

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
        released = released.filter { wanted.contains($0.key) }
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
                let gaveUp = stillReleased(holding, UInt16(index), unit, directory)
                if unit.holder == nil, let held = ready.map(\.worker).filter({ !gaveUp.contains($0) }).min() {
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

        let bounded = demands.filter { !$0.mayExceedCapacity }
        for role in Set(bounded.map(\.holding.role)) {
            relieve(bounded.filter { $0.holding.role == role }, hosts[role] ?? [], directory, &used)
        }
        for demand in demands { place(demand, hosts[demand.holding.role] ?? [], &used) }
    }

    /// Who gave a shard up and still reports it; forgets the others.
    private mutating func stillReleased(
        _ holding: Holding,
        _ shard: UInt16,
        _ unit: Unit,
        _ directory: ShardDirectory
    ) -> Set<UInt64> {
        guard let before = released[holding]?[shard] else { return [] }
        let reporting = directory.replicas(of: holding, shard: shard).map(\.worker)
        let still = unit.holder == nil ? before.intersection(reporting) : []
        released[holding]?[shard] = still.isEmpty ? nil : still
        return still
    }

    /// A shard that a worker could do without.
    private struct Piece {
        var holding: Holding
        var index: Int
        var bytes: Int
        /// Answers would miss it: it is ready, and of the generation that is searched.
        var isSearched: Bool
    }

    /// 2. What has grown beyond a worker's capacity, over all its holdings: goes where there is room, or is released.
    private mutating func relieve(
        _ demands: [Demand],
        _ hosts: [Host],
        _ directory: ShardDirectory,
        _ used: inout [UInt64: Int]
    ) {
        let takers = hosts.filter { !$0.isDraining }.sorted { $0.worker < $1.worker }
        // What a worker holds once the moves under way have ended.
        var stays: [UInt64: Int] = [:]
        for demand in demands {
            for (unit, bytes) in zip(units[demand.holding] ?? [], demand.shardBytes) {
                if let final = unit.next ?? unit.holder { stays[final, default: 0] += bytes }
            }
        }
        func pieces(_ worker: UInt64, where isMeant: (Unit) -> Bool) -> [Piece] {
            var found: [Piece] = []
            for demand in demands {
                let holding = demand.holding
                let isServed = !demands.contains {
                    $0.holding.collection == holding.collection && $0.holding.generation < holding.generation
                }
                for (index, unit) in (units[holding] ?? []).enumerated() where isMeant(unit) {
                    let ready = directory.ready(holding, shard: UInt16(index))
                    found.append(
                        Piece(
                            holding: holding,
                            index: index,
                            bytes: demand.shardBytes[index],
                            isSearched: isServed && ready.contains { $0.worker == worker }
                        )
                    )
                }
            }
            // The largest first, and before all what no answer would miss.
            return found.filter { $0.bytes > 0 }.sorted {
                ($0.isSearched ? 1 : 0, -$0.bytes, $0.holding, $0.index)
                    < ($1.isSearched ? 1 : 0, -$1.bytes, $1.holding, $1.index)
            }
        }
        func isOver(_ host: Host) -> Bool { stays[host.worker, default: 0] > host.capacityBytes }

        // Moves to it have not ended: giving them up takes nothing away.
        for host in takers where isOver(host) {
            for piece in pieces(host.worker, where: { $0.next == host.worker && $0.holder != nil }) where isOver(host) {
                guard let holder = units[piece.holding]?[piece.index].holder else { continue }
                units[piece.holding]?[piece.index].next = nil
                stays[host.worker, default: 0] -= piece.bytes
                stays[holder, default: 0] += piece.bytes
                used[host.worker, default: 0] -= piece.bytes
            }
        }
        for host in takers where isOver(host) {
            let others = takers.filter { $0.worker != host.worker }
            for piece in pieces(host.worker, where: { $0.holder == host.worker && $0.next == nil })
            where stays[host.worker, default: 0] > host.roomBytes {
                let roomy = others.filter { used[$0.worker, default: 0] + piece.bytes <= $0.roomBytes }
                guard
                    let taker = roomy.max(by: {
                        ($0.roomBytes - used[$0.worker, default: 0], $1.worker)
                            < ($1.roomBytes - used[$1.worker, default: 0], $0.worker)
                    })
                else { continue }
                units[piece.holding]?[piece.index].next = taker.worker
                stays[host.worker, default: 0] -= piece.bytes
                stays[taker.worker, default: 0] += piece.bytes
                used[taker.worker, default: 0] += piece.bytes
            }
            for piece in pieces(host.worker, where: { $0.holder == host.worker && $0.next == nil }) where isOver(host) {
                stays[host.worker, default: 0] -= piece.bytes
                if let later = others.first(where: { stays[$0.worker, default: 0] + piece.bytes <= $0.roomBytes }) {
                    // There will be room once that one's own shards have left.
                    stays[later.worker, default: 0] += piece.bytes
                    continue
                }
                units[piece.holding]?[piece.index].holder = nil
                used[host.worker, default: 0] -= piece.bytes
                released[piece.holding, default: [:]][UInt16(piece.index), default: []].insert(host.worker)
            }
        }
    }

    private mutating func place(_ demand: Demand, _ hosts: [Host], _ used: inout [UInt64: Int]) {
        let holding = demand.holding
        guard var shards = units[holding] else { return }
        let takers = hosts.filter { !$0.isDraining }.sorted { $0.worker < $1.worker }
        let draining = Set(hosts.filter(\.isDraining).map(\.worker))
        // Shards that a taker holds or will hold once all moves are done.
        var share: [UInt64: Int] = [:]
        for unit in shards { if let final = unit.next ?? unit.holder { share[final, default: 0] += 1 } }

        func room(_ host: Host) -> Int { demand.mayExceedCapacity ? host.capacityBytes : host.roomBytes }

        func taker(for bytes: Int, other than: UInt64?) -> UInt64? {
            let others = takers.filter { $0.worker != than }
            let roomy = others.filter { used[$0.worker, default: 0] + bytes <= room($0) }
            return (roomy.isEmpty && demand.mayExceedCapacity ? others : roomy)
                .min { (share[$0.worker, default: 0], $0.worker) < (share[$1.worker, default: 0], $1.worker) }?
                .worker
        }

        /// What a worker shall hold, against what it may.
        func fullness(_ worker: UInt64, with bytes: Int = 0) -> Double {
            let capacity = takers.first { $0.worker == worker }?.capacityBytes ?? 0
            return Double(used[worker, default: 0] + bytes) / Double(max(1, capacity))
        }

        // 3. What must be: shards without a holder, and shards of workers that leave.
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

        // 4. What would be fair: move single shards from the fullest to the emptiest worker.
        while takers.count > 1 {
            let ordered = takers.map { (worker: $0.worker, count: share[$0.worker, default: 0]) }
                .sorted { ($0.count, $0.worker) < ($1.count, $1.worker) }
            guard let least = ordered.first, let most = ordered.last, most.count - least.count > 1 else { break }
            let leastRoom = takers.first { $0.worker == least.worker }.map(room) ?? 0
            guard
                let index = shards.indices.last(where: {
                    guard shards[$0].holder == most.worker, shards[$0].next == nil else { return false }
                    let bytes = demand.shardBytes[$0]
                    if used[least.worker, default: 0] + bytes <= leastRoom { return true }
                    return demand.mayExceedCapacity && fullness(least.worker, with: bytes) < fullness(most.worker)
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
