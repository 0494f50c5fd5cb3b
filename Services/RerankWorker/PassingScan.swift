import DocumentStore
import Matryoshka
import PostgreSQL
import Reranking
import ServiceRuntime
import WireProtocol
import WorkerRuntime

/// Exhaustive scans of shards that are not in memory: their rows pass by from the store once for all that wait.
///
/// A thread and a connection of its own; what is in memory serves on meanwhile.
final class PassingScan: @unchecked Sendable {
    // Unchecked: `waiting` is guarded by the lock, the session is only used on the thread.

    /// What scans must share to be served by one pass.
    struct Key: Sendable, Hashable {
        var shape: CollectionShape
        /// Ascending.
        var shards: [UInt16]
        var step: ResolvedPlan.Step
    }

    /// What a pass has found.
    struct Found: Sendable {
        /// By query.
        var results: [CandidateColumns]
        /// By logical shard.
        var rows: [Int]
    }

    struct Scan: Sendable {
        var key: Key
        var queries: [Float]
        var queryCount: Int
        /// Monotonic microseconds; nobody waits after it.
        var deadlineAt: UInt64
        /// Called once, with nil where the store could not be read or nobody waits any more.
        var finish: @Sendable (Found?) -> Void
    }

    private struct NobodyWaits: Error {}

    /// Rows that are scanned at once: they fit a cache near the core.
    private static let blockRows = 1024
    private static let queriesMax = 256

    private let thread = SerialThread(name: "pass")
    private let session: StoreSession
    private let lock = Lock()
    private var waiting: [Scan] = []

    init(_ settings: ConnectionSettings) {
        var settings = settings
        settings.connectTimeoutSeconds = 2
        settings.silenceTimeoutMilliseconds = 2_000
        session = StoreSession(settings)
    }

    func add(_ scan: Scan) {
        lock.withLock { waiting.append(scan) }
        thread.async { self.serveNext() }
    }

    /// Serves the first scan that waits, and all that are like it.
    private func serveNext() {
        let scans = lock.withLock { () -> [Scan] in
            guard let key = waiting.first?.key else { return [] }
            var taken: [Scan] = []
            var left: [Scan] = []
            var queries = 0
            let queriesMax = min(Self.queriesMax, SearchLimits.batchRowsMax / max(1, key.step.keep))
            for scan in waiting {
                if scan.key == key, taken.isEmpty || queries + scan.queryCount <= queriesMax {
                    queries += scan.queryCount
                    taken.append(scan)
                } else {
                    left.append(scan)
                }
            }
            waiting = left
            return taken
        }
        guard let key = scans.first?.key else { return }
        let deadline = scans.map(\.deadlineAt).max() ?? 0
        let found = try? session.use { store in
            try pass(store, key, scans.flatMap(\.queries), scans.reduce(0) { $0 + $1.queryCount }, deadline)
        }
        var next = 0
        for scan in scans {
            let range = next..<next + scan.queryCount
            next = range.upperBound
            scan.finish(found.map { Found(results: Array($0.results[range]), rows: $0.rows) })
        }
    }

    private func pass(
        _ store: Store,
        _ key: Key,
        _ queries: [Float],
        _ queryCount: Int,
        _ deadline: UInt64
    ) throws -> Found {
        let shape = key.shape
        var found = Found(
            results: Array(repeating: CandidateColumns(scores: [[]]), count: queryCount),
            rows: Array(repeating: 0, count: Slots.shardCount)
        )
        let block = VectorShard(shape: shape, cache: nil)
        block.reserve(rows: Self.blockRows)
        var shardByID: [Int64: UInt16] = [:]
        func scanBlock() throws {
            if ServiceProcess.monotonicMicroseconds() >= deadline { throw NobodyWaits() }
            let best = scanFull(
                shards: [(0, block)],
                queries: queries.span,
                queryCount: queryCount,
                step: key.step
            )
            for (query, ranking) in best.enumerated() {
                var columns = CandidateColumns(ranking)
                columns.shards = columns.ids.map { shardByID[$0] ?? 0 }
                found.results[query] = .merging([found.results[query], columns], keep: key.step.keep)
            }
            block.removeAll()
            block.reserve(rows: Self.blockRows)
            shardByID.removeAll(keepingCapacity: true)
        }
        if ServiceProcess.monotonicMicroseconds() >= deadline { throw NobodyWaits() }
        _ = try store.loadVectors(shape, shards: key.shards) { shard, id, version, vector, _ in
            found.rows[Int(shard)] += 1
            block.upsert(id: id, version: version, vector: vector, externalID: "")
            shardByID[id] = shard
            if block.rowCount == Self.blockRows { try scanBlock() }
        }
        try scanBlock()
        return found
    }
}
