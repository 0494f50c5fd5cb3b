public import Matryoshka
public import WireProtocol

/// One collection at one resident generation, for one kind of worker.
///
/// Rerank workers hold full vectors, which no generation changes: their generation is always 0.
public struct Holding: Sendable, Hashable, Comparable {
    /// Collection.
    public var collection: UInt32
    /// Resident generation; 0 for rerank workers.
    public var generation: UInt32
    /// Kind of worker.
    public var role: WorkerRole

    /// Makes a key.
    public init(collection: UInt32, generation: UInt32, role: WorkerRole) {
        self.collection = collection
        self.generation = role == .rerank ? 0 : generation
        self.role = role
    }

    /// Orders by rising rank.
    public static func < (left: Holding, right: Holding) -> Bool {
        (left.collection, left.generation, left.role.rawValue) < (
            right.collection, right.generation, right.role.rawValue
        )
    }
}

/// Which worker can answer for which logical shard, by what the workers report.
public struct ShardDirectory: Sendable {
    /// One replica.
    public struct Replica: Sendable, Hashable {
        /// Worker.
        public var worker: UInt64
        /// Where it stands.
        public var state: ShardState
        /// Rows.
        public var rows: Int
        /// Bytes.
        public var bytes: Int
        /// What it has applied.
        public var applied: TransactionSnapshot?
    }

    /// By holding and logical shard.
    public private(set) var replicas: [Holding: [[Replica]]] = [:]

    /// Routes of holdings whose every shard has at most one replica that answers: nothing to choose by load.
    private var onlyRoutes: [Holding: Route] = [:]
    private var rowCounts: [Holding: Int] = [:]

    /// Shards by the worker that is asked for them, and shards that nobody can answer for.
    public struct Route: Sendable {
        /// Ascending by worker; shards ascending.
        public var byWorker: [(worker: UInt64, shards: [UInt16])]
        /// Ascending.
        public var missing: [UInt16]
    }

    /// Makes an empty directory.
    public init() {}

    /// Rebuilds the directory from the workers' last reports.
    public init(_ registry: WorkerRegistry) {
        var snapshots: [String: TransactionSnapshot] = [:]
        for role in [WorkerRole.shortlist, .rerank] {
            for worker in registry.workers(of: role) {
                for report in worker.shards where Int(report.shard) < Slots.shardCount {
                    let key = Holding(collection: report.collection, generation: report.generation, role: role)
                    var applied = snapshots[report.applied]
                    if applied == nil, let parsed = TransactionSnapshot(report.applied) {
                        applied = parsed
                        snapshots[report.applied] = parsed
                    }
                    replicas[key, default: Array(repeating: [], count: Slots.shardCount)][Int(report.shard)].append(
                        Replica(
                            worker: worker.incarnation,
                            state: report.state,
                            rows: report.rows,
                            bytes: report.bytes,
                            applied: applied
                        )
                    )
                }
            }
        }
        for (holding, shards) in replicas {
            let answering = shards.map { $0.filter { $0.state == .ready || $0.state == .draining } }
            rowCounts[holding] = answering.reduce(0) { $0 + ($1.map(\.rows).max() ?? 0) }
            guard answering.allSatisfy({ $0.count <= 1 }) else { continue }
            onlyRoutes[holding] = route(holding, shards: 0..<UInt16(Slots.shardCount)) { _ in 0 }
        }
    }

    /// All shards of a holding, each asked once; see ``route(_:shards:avoiding:load:)``.
    public func routeAll(_ holding: Holding, load: (UInt64) -> Int?) -> Route {
        if let only = onlyRoutes[holding], only.byWorker.allSatisfy({ load($0.worker) != nil }) { return only }
        return route(holding, shards: 0..<UInt16(Slots.shardCount), load: load)
    }

    /// Replicas of one shard.
    public func replicas(of holding: Holding, shard: UInt16) -> [Replica] {
        replicas[holding]?[Int(shard)] ?? []
    }

    /// Replicas of one shard that can answer.
    public func ready(_ holding: Holding, shard: UInt16) -> [Replica] {
        replicas(of: holding, shard: shard).filter { $0.state == .ready || $0.state == .draining }
    }

    /// Shards with at least one replica that can answer.
    public func readyShardCount(_ holding: Holding) -> Int {
        (0..<UInt16(Slots.shardCount)).reduce(0) { $0 + (ready(holding, shard: $1).isEmpty ? 0 : 1) }
    }

    /// Rows of the collection: by shard the most that any replica holds that can answer.
    public func rows(_ holding: Holding) -> Int { rowCounts[holding] ?? 0 }

    /// Rows of the collection that are loaded, also those of shards that cannot answer yet.
    public func loadedRows(_ holding: Holding) -> Int {
        guard let shards = replicas[holding] else { return 0 }
        return shards.reduce(0) { $0 + ($1.map(\.rows).max() ?? 0) }
    }

    /// Whether every ready replica of the shards, and at least one of each, has applied a transaction.
    public func hasApplied(_ transaction: UInt64, shards: Set<UInt16>, holdings: [Holding]) -> Bool {
        for holding in holdings {
            for shard in shards {
                let ready = ready(holding, shard: shard)
                if ready.isEmpty || !ready.allSatisfy({ $0.applied?.includes(transaction) ?? false }) { return false }
            }
        }
        return true
    }

    /// Asks each shard once, at the ready replica whose worker has the least to do.
    ///
    /// - Parameters:
    ///   - holding: What is asked for.
    ///   - shards: Logical shards, ascending.
    ///   - avoiding: Workers that have failed for this request.
    ///   - load: Requests in flight by worker; a worker without an entry is not asked.
    /// - Returns: Shards by worker, and those that nobody can answer for.
    public func route(
        _ holding: Holding,
        shards: some Sequence<UInt16>,
        avoiding: Set<UInt64> = [],
        load: (UInt64) -> Int?
    ) -> Route {
        var chosen: [UInt64: [UInt16]] = [:]
        var missing: [UInt16] = []
        guard let table = replicas[holding] else { return Route(byWorker: [], missing: Array(shards)) }
        for shard in shards {
            var best: (worker: UInt64, load: Int)?
            for replica in table[Int(shard)] {
                guard replica.state == .ready || replica.state == .draining else { continue }
                guard !avoiding.contains(replica.worker), let load = load(replica.worker) else { continue }
                // A draining replica answers only where no other can.
                let weight = load + (replica.state == .draining ? 1 << 20 : 0)
                if best.map({ (weight, replica.worker) < ($0.load, $0.worker) }) ?? true {
                    best = (replica.worker, weight)
                }
            }
            if let best { chosen[best.worker, default: []].append(shard) } else { missing.append(shard) }
        }
        return Route(
            byWorker: chosen.sorted { $0.key < $1.key }.map { (worker: $0.key, shards: $0.value) },
            missing: missing
        )
    }
}
