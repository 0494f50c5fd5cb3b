import Logging
import Matryoshka
import Reranking
import ServiceRuntime
import VectorMath
import WorkerRuntime

/// Prepares exact searches: learns a collection's ``BoundSpace`` from the rows held, and codes these.
///
/// It begins with the first exact search of a collection, which is a full scan still, on a thread of its own; what is
/// written later is coded when exact searches find that there is much of it.
final class BoundsKeeper: @unchecked Sendable {
    // Unchecked: `spaces` and `notBefore` are guarded by the lock.

    /// Fewer rows than this are scanned as quickly.
    static let rowsMin = 4_096
    /// Rows that are coded at once; whoever searches or writes their shard waits for that long at most.
    private static let batchRows = 256
    private static let sampleBytesMax = 64 << 20
    /// Until what the cache had no room for is tried again.
    private static let refusedMicroseconds: UInt64 = 60_000_000

    private let table: ShardTable<VectorShard>
    private let cache: VectorCache
    private let log: Logger
    private let thread = SerialThread(name: "bounds")
    private let lock = Lock()
    private var spaces: [UInt32: BoundSpace] = [:]
    /// By collection, when it may be prepared again; .max while it is under way.
    private var notBefore: [UInt32: UInt64] = [:]

    init(table: ShardTable<VectorShard>, cache: VectorCache, log: Logger) {
        self.table = table
        self.cache = cache
        self.log = log
    }

    /// What a collection's rows are coded in; nil until there is something.
    func space(_ key: HoldingKey) -> BoundSpace? { lock.withLock { spaces[key.collection] } }

    /// An exact search came by that scored many rows for want of codes.
    func prepare(_ key: HoldingKey) {
        let start = ServiceProcess.monotonicMicroseconds()
        let begins = lock.withLock { () -> Bool in
            guard cache.byteLimit > 0, notBefore[key.collection, default: 0] <= start else { return false }
            notBefore[key.collection] = .max
            return true
        }
        guard begins else { return }
        thread.async { [self] in
            let gone = lock.withLock { spaces.keys.filter { $0 != key.collection } }
                .filter { table.shape(of: HoldingKey(collection: $0, generation: 0)) == nil }
            let isOfUse = run(key)
            let end = ServiceProcess.monotonicMicroseconds()
            lock.withLock {
                for collection in gone { spaces[collection] = nil }
                // What cannot be coded is not tried again and again.
                notBefore[key.collection] = end + max(isOfUse ? 1_000_000 : Self.refusedMicroseconds, 4 * (end - start))
            }
        }
    }

    /// Whether rows were coded, and all that were tried had room.
    private func run(_ key: HoldingKey) -> Bool {
        let start = ServiceProcess.monotonicMicroseconds()
        let shards = table.readyShards(of: key).compactMap { $0 }.filter(\.isWhole)
        let counts = shards.map { shard in shard.withRows { $0.rowCount } }
        let rowCount = counts.reduce(0, +)
        guard rowCount >= Self.rowsMin, let shape = table.shape(of: key),
            shape.dimensions <= CollectionShape.rotatedDimensionsMax
        else { return false }
        var space = space(key)
        let wanted = Self.sampleRows(dimensions: shape.dimensions)
        if space.map({ Self.isOutgrown(learntFrom: $0.learntFrom, wanted: wanted, rowCount: rowCount) }) ?? true {
            space = BoundSpace(
                sample: sample(shards, step: max(1, rowCount / wanted), dimensions: shape.dimensions).span,
                dimensions: shape.dimensions
            )
            lock.withLock { spaces[key.collection] = space }
        }
        guard let space else { return false }
        var coded = 0
        var refused = 0
        for shard in shards {
            var next = 0
            while true {
                table.yieldToFollowers()
                let lent = shard.withRows { rows -> (rows: LooseRows, next: Int)? in
                    guard rows.makeBounds(space, in: cache) else {
                        refused += 1
                        return nil
                    }
                    return rows.lendLoose(from: next, limit: Self.batchRows)
                }
                guard let lent else { break }
                next = lent.next
                let codes = space.code(lent.rows.vectors)
                table.yieldToFollowers()
                shard.withRows { $0.bind(lent.rows, codes, in: space) }
                coded += codes.count
            }
        }
        if refused > 0 {
            log.notice(
                "no room for bounds of \(refused) shards of \(shape.name): exact searches score all their rows",
                metadata: ["cache_bytes": "\(cache.byteLimit)"]
            )
        }
        let milliseconds = (ServiceProcess.monotonicMicroseconds() - start) / 1000
        log.info(
            "exact searches of \(shape.name) are prepared",
            metadata: ["rows": "\(coded)", "of": "\(rowCount)", "milliseconds": "\(milliseconds)"]
        )
        return coded > 0 && refused == 0
    }

    /// Rows to learn a space from, where there are so many.
    static func sampleRows(dimensions: Int) -> Int {
        max(rowsMin, min(16 * dimensions, sampleBytesMax / (4 * dimensions)))
    }

    /// A space of few rows is learnt anew when there are many.
    static func isOutgrown(learntFrom: Int, wanted: Int, rowCount: Int) -> Bool {
        learntFrom < wanted / 2 && rowCount > 4 * learntFrom
    }

    /// Every `step`-th row.
    private func sample(_ shards: [HeldShard<VectorShard>], step: Int, dimensions: Int) -> [Float] {
        var sample: [Float] = []
        var first = 0
        for shard in shards {
            table.yieldToFollowers()
            shard.withRows { first = $0.sample(from: first, step: step, into: &sample) }
        }
        return sample
    }
}
