import DocumentStore
import Logging
import Matryoshka
import PostgreSQL
import ServiceRuntime

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// Loads whole shards on a thread and a connection of its own, so that a load does not hold up followers.
final class ShardLoader<Rows: HeldRows>: @unchecked Sendable {
    // Unchecked, because what changes is only touched by jobs of `thread`.
    private let table: ShardTable<Rows>
    private let capacityBytes: Int
    private let log: Logger
    private let session: StoreSession
    private let thread = SerialThread(name: "load")
    /// Called with what was loaded and the snapshot it was read at.
    private let loaded: @Sendable (HoldingKey, [HeldShard<Rows>], FollowPosition) -> Void
    private let changed: @Sendable () -> Void

    init(
        table: ShardTable<Rows>,
        settings: ConnectionSettings,
        capacityBytes: Int,
        log: Logger,
        loaded: @escaping @Sendable (HoldingKey, [HeldShard<Rows>], FollowPosition) -> Void,
        changed: @escaping @Sendable () -> Void
    ) {
        self.table = table
        self.capacityBytes = capacityBytes
        self.log = log
        var settings = settings
        // A load of many rows takes longer than any statement of the query path.
        settings.statementTimeoutMilliseconds = 600_000
        session = StoreSession(settings)
        self.loaded = loaded
        self.changed = changed
    }

    /// Loads shards that the table lists as loading; any thread.
    func load(_ key: HoldingKey, _ shards: [UInt16]) { thread.async { self.run(key, shards) } }

    private func run(_ key: HoldingKey, _ shards: [UInt16]) {
        guard let (shape, wanted) = table.wanted(key, shards) else { return }
        do {
            try session.use { store in try load(key, shape, wanted, store) }
        } catch  where isTableGone(error) {
            table.drop(key)
            changed()
        } catch {
            log.warning("cannot load \(shape.name), trying again: \(error)")
            // Other collections' loads come first at the next attempt.
            usleep(UInt32(max(session.pauseMicroseconds, 200_000)))
            load(key, wanted)
        }
    }

    private func load(_ key: HoldingKey, _ shape: CollectionShape, _ shards: [UInt16], _ store: Store) throws {
        let start = ServiceProcess.monotonicMicroseconds()
        let others = table.residentBytes
        let context = try table.context(of: key) {
            try Rows.context(of: shape, learnt: try store.learntParts(of: shape))
        }
        let builder = ShardBuilder<Rows>(
            shape: shape,
            context: context,
            shards: shards,
            roomBytes: capacityBytes - others
        )
        let outcome: LoadOutcome
        if Rows.readsFullVectors(shape) {
            outcome = try store.loadVectors(shape, shards: shards) { shard, id, version, vector, externalID in
                builder.add(shard, id, version, vector, externalID)
            }
        } else {
            outcome = try store.loadHeads(shape, shards: shards) { shard, id, version, head in
                builder.add(shard, id, version, head, "")
            }
        }
        let (finished, refused) = builder.finish()
        let seconds = Double(ServiceProcess.monotonicMicroseconds() - start) / 1e6
        log.info(
            "loaded \(shape.name)",
            metadata: [
                "generation": "\(shape.generation)", "shards": "\(finished.count)", "rows": "\(builder.rowCount)",
                "quarantined": "\(outcome.quarantined)",
                "seconds": "\(Double(Int(seconds * 1000)) / 1000)",
            ]
        )
        if !finished.isEmpty { loaded(key, finished, outcome.position) }
        if !refused.isEmpty {
            if table.hasOldCopies(key, refused) {
                // No room for two copies: the old ones go first, and their shards are not served for a moment.
                table.dropOldCopies(key, refused)
                load(key, refused)
            } else {
                log.error(
                    "no room for \(refused.count) shards of \(shape.name)",
                    metadata: ["capacity_bytes": "\(capacityBytes)", "held_bytes": "\(table.residentBytes)"]
                )
                for shard in refused { table.refuse(key, shard) }
            }
            changed()
        }
    }
}

/// Gathers the rows of a bulk load by shard, and gives shards up that there is no room for.
final class ShardBuilder<Rows: HeldRows> {
    private var byShard: [HeldShard<Rows>?]
    private var bytesByShard: [Int]
    private let shards: [UInt16]
    private let bytesPerRow: Int
    private var bytesLeft: Int
    private var refused: [UInt16] = []

    init(shape: CollectionShape, context: Rows.Context, shards: [UInt16], roomBytes: Int) {
        self.shards = shards
        byShard = Array(repeating: nil, count: Slots.shardCount)
        bytesByShard = Array(repeating: 0, count: Slots.shardCount)
        bytesPerRow = Rows.bytesPerRow(shape)
        bytesLeft = max(0, roomBytes)
        for shard in shards { byShard[Int(shard)] = HeldShard(shard: shard, shape: shape, context: context) }
    }

    /// Rows of the shards that were not given up.
    var rowCount: Int { byShard.reduce(0) { $0 + ($1?.rows.rowCount ?? 0) } }

    func add(_ shard: UInt16, _ id: Int64, _ version: UInt32, _ vector: Span<Float>, _ externalID: String) {
        let index = Int(shard)
        guard index < byShard.count, let held = byShard[index] else { return }
        let bytes = bytesPerRow + externalID.utf8.count
        if bytesLeft < bytes {
            // What this shard has taken so far is free for others.
            bytesLeft += bytesByShard[index]
            byShard[index] = nil
            refused.append(shard)
            return
        }
        bytesLeft -= bytes
        bytesByShard[index] += bytes
        held.rows.upsert(id: id, version: version, vector: vector, externalID: externalID)
    }

    /// Shards that were read whole, and those that were given up.
    func finish() -> (finished: [HeldShard<Rows>], refused: [UInt16]) {
        let finished = shards.compactMap { byShard[Int($0)] }
        for held in finished { held.rows.seal() }
        return (finished, refused)
    }
}
