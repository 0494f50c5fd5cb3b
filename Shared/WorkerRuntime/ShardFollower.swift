import DocumentStore
import Logging
import Matryoshka
import PostgreSQL
import ServiceRuntime
import ZeroMQ

/// Follows the change log for all shards of a worker: at each poll interval, and at once when a writer hints.
///
/// One connection reads and listens: its descriptor is watched by the loop of the follower's own thread.
final class ShardFollower<Rows: HeldRows>: @unchecked Sendable {
    // Unchecked, because what changes is only touched on the loop's thread, or under `lock`.
    private let table: ShardTable<Rows>
    private let log: Logger
    private let session: StoreSession
    private let pollMicroseconds: Int
    private let capacityBytes: Int
    private let makePartial: (@Sendable (CollectionShape) -> Rows)?
    private let loop: EventLoop
    private var thread: ServiceThread?
    private var watched: Int32?
    private var wasReachable = true
    private let lock = Lock()
    private var isReachableNow = true
    private let reload: @Sendable (HoldingKey, [UInt16]) -> Void
    let changed: @Sendable () -> Void

    init(
        table: ShardTable<Rows>,
        settings: ConnectionSettings,
        pollMilliseconds: Int,
        capacityBytes: Int,
        makePartial: (@Sendable (CollectionShape) -> Rows)?,
        log: Logger,
        reload: @escaping @Sendable (HoldingKey, [UInt16]) -> Void,
        changed: @escaping @Sendable () -> Void
    ) throws {
        self.table = table
        self.log = log
        var settings = settings
        settings.statementTimeoutMilliseconds = 10_000
        session = StoreSession(settings)
        pollMicroseconds = pollMilliseconds * 1000
        self.capacityBytes = capacityBytes
        self.makePartial = makePartial
        loop = try EventLoop(name: "follow")
        self.reload = reload
        self.changed = changed
    }

    /// The database answered when it was last asked; any thread.
    var isReachable: Bool { lock.withLock { isReachableNow } }

    /// Starts the thread.
    func start() {
        thread = ServiceThread(name: "follow") {
            self.loop.enqueue { self.tick() }
            self.loop.run()
        }
    }

    /// Applies what was written since `position` to freshly loaded shards and puts them in service; any thread.
    func adopt(_ key: HoldingKey, _ loaded: LoadedShards<Rows>) {
        loop.enqueue { self.catchUp(key, loaded) }
    }

    /// Runs `job` after a while on the follower's thread; any thread.
    func after(microseconds: Int, _ job: @escaping @Sendable () -> Void) {
        loop.enqueue { _ = self.loop.schedule(afterMicroseconds: microseconds, job) }
    }

    // MARK: - On the loop

    private func tick() {
        poll(table.followed(), isHinted: false)
        let pause = session.isOpen ? pollMicroseconds : max(pollMicroseconds, Int(session.pauseMicroseconds))
        _ = loop.schedule(afterMicroseconds: pause) { self.tick() }
    }

    private func hintsArrived() {
        guard let connection = session.connection else { return }
        do {
            var hinted: Set<UInt32> = []
            for note in try connection.notifications() { if let id = UInt32(note.payload) { hinted.insert(id) } }
            // Rows that arrive while we read bring another hint.
            for collection in hinted { poll(table.followed(collection: collection), isHinted: true) }
        } catch {
            session.close()
            note(isReachable: false, error)
        }
    }

    private func connected() throws -> Store {
        let wasOpen = session.isOpen
        if let connection = session.connection, !connection.isUsable { unwatch() }
        let store = try session.store()
        if !wasOpen || watched == nil {
            unwatch()
            let connection = session.connection!
            try connection.listen(Store.writtenChannel)
            let descriptor = connection.fileDescriptor
            watched = descriptor
            loop.watch(fileDescriptor: descriptor) { self.hintsArrived() }
        }
        return store
    }

    private func unwatch() {
        if let watched { loop.unwatch(fileDescriptor: watched) }
        watched = nil
    }

    private func note(isReachable: Bool, _ error: (any Error)? = nil) {
        if !isReachable { unwatch() }
        guard isReachable != wasReachable else { return }
        wasReachable = isReachable
        lock.withLock { isReachableNow = isReachable }
        if isReachable {
            log.notice("the database is reachable again")
        } else {
            log.warning("the database is not reachable, serving what is held: \(error.map { "\($0)" } ?? "")")
        }
        changed()
    }

    private func poll(_ keys: [HoldingKey], isHinted: Bool) {
        var isChanged = false
        do {
            _ = try connected()
            for key in keys { isChanged = try follow(key) || isChanged }
            note(isReachable: true)
        } catch {
            if !session.isOpen { note(isReachable: false, error) }
        }
        if isChanged || (isHinted && !keys.isEmpty) { changed() }
    }

    /// Reads and applies one batch of changes.
    ///
    /// - Returns: Whether there were any.
    private func follow(_ key: HoldingKey) throws -> Bool {
        guard let following = table.following(key) else { return false }
        guard let batch = try read(key, following.shape, following.shards, following.since) else { return true }
        if batch.quarantined > 0 {
            log.warning("\(batch.quarantined) bad rows of \(following.shape.name) are left out")
        }
        let changes = ShardChanges(batch)
        for (shard, change) in changes.byShard where !batch.reload.contains(shard) {
            table.change(key, shard) { change.apply(to: $0) }
        }
        table.applied(key, following.shards.filter { !batch.reload.contains($0) }, batch.next)
        fitCapacity()
        if !batch.reload.isEmpty {
            let shards = table.reload(key, batch.reload)
            log.info("loading \(shards.count) shards of \(following.shape.name) anew")
            reload(key, shards)
        }
        return !changes.byShard.isEmpty || !batch.reload.isEmpty
    }

    /// Rows come beyond the capacity: some shards are held in part from now on.
    private func fitCapacity() {
        guard let makePartial, table.residentBytes > capacityBytes else { return }
        let count = table.demote(beyond: capacityBytes, makePartial)
        guard count > 0 else { return }
        table.fitShares()
        log.notice("no room for \(count) shards any more: their rows are read when asked for")
    }

    /// Nil where the tables are gone.
    private func read(
        _ key: HoldingKey,
        _ shape: CollectionShape,
        _ shards: [UInt16],
        _ since: FollowPosition
    ) throws -> ChangeBatch? {
        do {
            return try session.use {
                try $0.changes(shape, shards: shards, since: since, full: Rows.readsFullVectors(shape))
            }
        } catch  where isTableGone(error) {
            log.info("\(shape.name) is gone")
            table.drop(key)
            return nil
        } catch {
            if session.isOpen { log.warning("cannot read the changes of \(shape.name): \(error)") }
            throw error
        }
    }

    private func catchUp(_ key: HoldingKey, _ loaded: LoadedShards<Rows>) {
        let numbers = loaded.shards.map(\.shard)
        guard let (shape, wanted) = table.wanted(key, numbers) else { return }
        table.isCatchingUp(key, wanted)
        changed()
        do {
            _ = try connected()
            guard let batch = try read(key, shape, wanted, loaded.position) else { return changed() }
            let changes = ShardChanges(batch)
            var ready: [HeldShard<Rows>] = []
            for held in loaded.shards where wanted.contains(held.shard) && !batch.reload.contains(held.shard) {
                if let change = changes.byShard[held.shard] { change.apply(to: held.rows) }
                ready.append(held)
            }
            table.publish(key, ready, wholeBytes: loaded.wholeBytes, applied: batch.next)
            if ready.contains(where: { !$0.isWhole }) { table.fitShares() }
            fitCapacity()
            if !batch.reload.isEmpty { reload(key, batch.reload.sorted()) }
            note(isReachable: true)
            changed()
        } catch {
            if !session.isOpen { note(isReachable: false, error) }
            // The rows are good; only what was written since is missing.
            let pause = max(Int(session.pauseMicroseconds), 100_000)
            _ = loop.schedule(afterMicroseconds: pause) { self.catchUp(key, loaded) }
        }
    }
}

/// A batch of changes, by shard.
struct ShardChanges {
    /// What changes in one shard.
    struct Change {
        var upserts: [VectorRow] = []
        var removed: [Int64] = []

        func apply<Rows: HeldRows>(to rows: Rows) {
            for id in removed { rows.remove(id: id) }
            for row in upserts {
                rows.upsert(id: row.id, version: row.version, vector: row.vector.span, externalID: row.externalID ?? "")
            }
            rows.settle()
        }
    }

    private(set) var byShard: [UInt16: Change] = [:]

    init(_ batch: ChangeBatch) {
        for row in batch.removed { byShard[row.shard, default: Change()].removed.append(row.id) }
        for row in batch.upserts { byShard[row.shard, default: Change()].upserts.append(row) }
    }
}
