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
    /// Makes what holds some rows of a shard that there is no room for; nil where such a shard stays missing.
    private let makePartial: (@Sendable (CollectionShape) -> Rows)?
    private let makeContext: @Sendable (CollectionShape, LearntParts) throws -> Rows.Context
    /// Called with what was loaded.
    private let loaded: @Sendable (HoldingKey, LoadedShards<Rows>) -> Void
    private let changed: @Sendable () -> Void

    init(
        table: ShardTable<Rows>,
        settings: ConnectionSettings,
        capacityBytes: Int,
        log: Logger,
        makePartial: (@Sendable (CollectionShape) -> Rows)?,
        makeContext: @escaping @Sendable (CollectionShape, LearntParts) throws -> Rows.Context,
        loaded: @escaping @Sendable (HoldingKey, LoadedShards<Rows>) -> Void,
        changed: @escaping @Sendable () -> Void
    ) {
        self.table = table
        self.capacityBytes = capacityBytes
        self.log = log
        self.makePartial = makePartial
        self.makeContext = makeContext
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
        guard let (shape, all) = table.wanted(key, shards) else { return }
        let wanted = Array(all.prefix(Rows.shardsPerLoad(shape)))
        if wanted.count < all.count { load(key, Array(all[wanted.count...])) }
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
        let context = try table.context(of: key) {
            try makeContext(shape, try store.learntParts(of: shape))
        }
        let room = capacityBytes - table.residentBytes
        // What will not fit is not read at all, as far as that can be told.
        let expected = makePartial == nil ? [:] : try store.estimatedRows(shape, shards: shards)
        var left = room
        let fitting = shards.filter { shard in
            let bytes = expected[shard, default: 0] * Rows.bytesPerRow(shape)
            guard bytes <= left else { return false }
            left -= bytes
            return true
        }
        let builder = ShardBuilder<Rows>(shape: shape, context: context, shards: fitting, roomBytes: room) { [table] in
            table.isLoading(key, $0, rows: $1)
        }
        let position: FollowPosition
        var quarantined = 0
        if fitting.isEmpty {
            position = try store.currentPosition()
        } else {
            let outcome: LoadOutcome
            if Rows.readsFullVectors(shape) {
                outcome = try store.loadVectors(shape, shards: fitting) { shard, id, version, vector, externalID in
                    builder.add(shard, id, version, vector, externalID)
                }
            } else {
                outcome = try store.loadHeads(shape, shards: fitting) { shard, id, version, head in
                    builder.add(shard, id, version, head, "")
                }
            }
            position = outcome.position
            quarantined = outcome.quarantined
        }
        let finished = builder.finish()
        let refused = shards.filter { shard in !finished.contains { $0.shard == shard } }
        let seconds = Double(ServiceProcess.monotonicMicroseconds() - start) / 1e6
        log.info(
            "loaded \(shape.name)",
            metadata: [
                "generation": "\(shape.generation)", "shards": "\(finished.count)", "rows": "\(builder.rowCount)",
                "quarantined": "\(quarantined)",
                "seconds": "\(Double(Int(seconds * 1000)) / 1000)",
            ]
        )
        var result = LoadedShards<Rows>(shards: finished, position: position)
        if !refused.isEmpty {
            if table.hasWholeCopies(key, refused) {
                // No room for two copies: the old ones go first, and their shards are not served for a moment.
                table.dropOldCopies(key, refused)
                load(key, refused)
            } else if let makePartial {
                log.notice(
                    "no room for \(refused.count) shards of \(shape.name): their rows are read when asked for",
                    metadata: ["capacity_bytes": "\(capacityBytes)"]
                )
                for shard in refused {
                    result.shards.append(HeldShard(shard: shard, rows: makePartial(shape)))
                    let rows = max(expected[shard, default: 0], builder.seenRows(shard))
                    result.wholeBytes[shard] = rows * Rows.bytesPerRow(shape)
                }
            } else {
                log.error(
                    "no room for \(refused.count) shards of \(shape.name)",
                    metadata: ["capacity_bytes": "\(capacityBytes)", "held_bytes": "\(table.residentBytes)"]
                )
                for shard in refused { table.refuse(key, shard) }
            }
        }
        if !result.shards.isEmpty {
            table.expect(key, result.shards)
            loaded(key, result)
        }
        if !refused.isEmpty { changed() }
    }
}

/// Shards as a load has left them.
struct LoadedShards<Rows: HeldRows>: Sendable {
    var shards: [HeldShard<Rows>]
    /// What those would take that are not held whole.
    var wholeBytes: [UInt16: Int] = [:]
    /// What the load has seen.
    var position: FollowPosition
}

/// Gathers the rows of a bulk load by shard, and gives shards up that there is no room for.
final class ShardBuilder<Rows: HeldRows> {
    private var byShard: [HeldShard<Rows>?]
    private var bytesByShard: [Int]
    private var rowsByShard: [Int]
    private let shards: [UInt16]
    private let bytesPerRow: Int
    private var bytesLeft: Int
    /// Told now and then how many rows of a shard are done.
    private let progress: (_ shard: UInt16, _ rows: Int) -> Void
    private static var rowsPerProgress: Int { 4_096 }

    init(
        shape: CollectionShape,
        context: Rows.Context,
        shards: [UInt16],
        roomBytes: Int,
        progress: @escaping (_ shard: UInt16, _ rows: Int) -> Void = { _, _ in }
    ) {
        self.shards = shards
        self.progress = progress
        byShard = Array(repeating: nil, count: Slots.shardCount)
        bytesByShard = Array(repeating: 0, count: Slots.shardCount)
        rowsByShard = Array(repeating: 0, count: Slots.shardCount)
        bytesPerRow = Rows.bytesPerRow(shape)
        bytesLeft = max(0, roomBytes)
        for shard in shards { byShard[Int(shard)] = HeldShard(shard: shard, shape: shape, context: context) }
    }

    /// Rows of the shards that were not given up.
    var rowCount: Int { byShard.reduce(0) { $0 + ($1?.rows.rowCount ?? 0) } }

    /// Rows of a shard that came, also where it was given up.
    func seenRows(_ shard: UInt16) -> Int { rowsByShard[Int(shard)] }

    func add(_ shard: UInt16, _ id: Int64, _ version: UInt32, _ vector: Span<Float>, _ externalID: String) {
        let index = Int(shard)
        guard index < byShard.count else { return }
        rowsByShard[index] += 1
        guard let held = byShard[index] else { return }
        let bytes = bytesPerRow + externalID.utf8.count
        if bytesLeft < bytes {
            // What this shard has taken so far is free for others.
            bytesLeft += bytesByShard[index]
            byShard[index] = nil
            return
        }
        bytesLeft -= bytes
        bytesByShard[index] += bytes
        held.rows.upsert(id: id, version: version, vector: vector, externalID: externalID)
        if rowsByShard[index] % Self.rowsPerProgress == 0 { progress(shard, held.rows.builtCount) }
    }

    /// Shards that were read whole; the others were given up.
    func finish() -> [HeldShard<Rows>] {
        let finished = shards.compactMap { byShard[Int($0)] }
        for held in finished {
            held.rows.seal()
            progress(held.shard, held.rows.builtCount)
        }
        return finished
    }
}
