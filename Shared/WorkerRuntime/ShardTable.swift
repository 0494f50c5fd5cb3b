public import DocumentStore
public import Matryoshka
import ServiceRuntime
public import WireProtocol

/// What a worker holds, shared by the threads that load, follow, compute and report.
public final class ShardTable<Rows: HeldRows>: @unchecked Sendable {
    // Unchecked, because every field is guarded by `lock`.
    struct Entry {
        var state: ShardState = .loading
        var held: HeldShard<Rows>?
        var applied: FollowPosition?
        var rows = 0
        var bytes = 0
        /// Bytes of rows that are loaded and not yet in service, beside an older copy if there is one.
        var incomingBytes = 0
        /// What its rows would take if all were held, where not all are; for the shard map.
        var wholeBytes = 0
        /// A load is under way or queued.
        var isLoading = true
        /// There was no room when it was to be loaded.
        var isRefused = false
    }

    struct Holding {
        var shape: CollectionShape
        /// What its shards share, once the first of them has been loaded.
        var context: Rows.Context?
        var entries: [UInt16: Entry] = [:]
    }

    private let lock = Lock()
    /// Followers pass through here to get at a shard's lock, and computing threads before they take any: without it a
    /// computing thread that takes the same locks again and again would starve the followers.
    private let turnstile = Lock()
    private var holdings: [HoldingKey: Holding] = [:] { didSet { ready = [:] } }
    private var ready: [HoldingKey: [HeldShard<Rows>?]] = [:]
    /// To be let go, with the epoch of the first map that did not list them.
    private var released: [ShardKey: UInt64] = [:]
    private var epoch: UInt64 = 0
    private var isListedEmpty = true

    /// Makes an empty table.
    public init() {}

    // MARK: - Computing

    /// Shards of one holding that can be searched now.
    public struct Selection {
        /// The collection at the generation.
        public var shape: CollectionShape
        /// What its shards share; nil while none is ready.
        public var context: Rows.Context?
        /// Ready ones among those asked for that are held whole, in ascending order.
        public var ready: [HeldShard<Rows>]
        /// Ready ones of which only some rows are held, in ascending order.
        public var partial: [UInt16] = []
        /// One answer for each shard asked for; rows are those known before the scan.
        public var answers: [ShardAnswer]
    }

    /// Looks up shards to search; nil where nothing of the collection is held at this generation.
    public func select(_ key: HoldingKey, shards: [UInt16]) -> Selection? {
        lock.withLock {
            guard let holding = holdings[key] else { return nil }
            var selection = Selection(shape: holding.shape, context: holding.context, ready: [], answers: [])
            selection.ready.reserveCapacity(shards.count)
            selection.answers.reserveCapacity(shards.count)
            for shard in shards {
                if let entry = holding.entries[shard], entry.state == .ready, let held = entry.held {
                    if held.isWhole { selection.ready.append(held) } else { selection.partial.append(shard) }
                    selection.answers.append(
                        ShardAnswer(
                            shard: shard,
                            status: .searched,
                            rows: UInt32(clamping: entry.rows),
                            appliedXmax: entry.applied?.snapshot.xmax ?? 0
                        )
                    )
                } else {
                    selection.answers.append(ShardAnswer(shard: shard, status: .notHere, rows: 0, appliedXmax: 0))
                }
            }
            selection.ready.sort { $0.shard < $1.shard }
            selection.partial.sort()
            return selection
        }
    }

    /// The shape of a collection, at the generation if it is held, or else at another.
    ///
    /// Generations differ in what shortlists hold; a full vector is the same in all.
    public func shape(of key: HoldingKey) -> CollectionShape? {
        lock.withLock {
            holdings[key]?.shape ?? holdings.first { $0.key.collection == key.collection }?.value.shape
        }
    }

    /// By shard, what is ready of a collection, whatever the generation; of two copies the one at `key`'s.
    ///
    /// It is put together once for all that ask before anything changes.
    public func readyShards(of key: HoldingKey) -> [HeldShard<Rows>?] {
        lock.withLock {
            if let known = ready[key] { return known }
            var found = [HeldShard<Rows>?](repeating: nil, count: Slots.shardCount)
            for (other, holding) in holdings where other.collection == key.collection {
                for (shard, entry) in holding.entries where entry.state == .ready && Int(shard) < found.count {
                    if found[Int(shard)] == nil || other == key { found[Int(shard)] = entry.held }
                }
            }
            ready[key] = found
            return found
        }
    }

    /// Lets waiting followers go first; call it before taking the locks of shards.
    public func yieldToFollowers() { turnstile.withLock {} }

    // MARK: - Rows read by the way

    /// Which shards hold some rows only, and what they have seen of the change log: taken before rows are read that
    /// shall be kept.
    public struct ReadMark: Sendable {
        fileprivate var key: HoldingKey
        fileprivate var shards: [UInt16: (held: HeldShard<Rows>, changes: Int, primary: String)] = [:]
    }

    /// Notes what is held of some shards before their rows are read.
    public func markBeforeReading(_ key: HoldingKey, _ shards: some Sequence<UInt16>) -> ReadMark {
        let found = lock.withLock { () -> [UInt16: (held: HeldShard<Rows>, primary: String)] in
            var found: [UInt16: (held: HeldShard<Rows>, primary: String)] = [:]
            for (other, holding) in holdings where other.collection == key.collection {
                for shard in shards {
                    // A shard that is loaded anew does not follow the change log.
                    guard let entry = holding.entries[shard], entry.state == .ready, !entry.isLoading,
                        let held = entry.held, !held.isWhole, let applied = entry.applied
                    else { continue }
                    found[shard] = (held, applied.primary)
                }
            }
            return found
        }
        return ReadMark(key: key, shards: found.mapValues { ($0.held, $0.held.changes, $0.primary) })
    }

    /// Keeps rows that were read since `mark`, but none that may have changed meanwhile: of a shard that has been told
    /// of changes since, or of another server.
    ///
    /// A change that is told of later comes upon the row as upon any other.
    public func admit(_ rows: some Sequence<VectorRow>, readFrom primary: String, since mark: ReadMark) {
        let byShard = Dictionary(grouping: rows, by: \.shard)
        for (shard, rows) in byShard {
            guard let known = mark.shards[shard], known.primary == primary else { continue }
            turnstile.withLock {
                known.held.withRows { held in
                    guard known.held.changeCount == known.changes else { return }
                    for row in rows {
                        held.admit(
                            id: row.id,
                            version: row.version,
                            vector: row.vector.span,
                            externalID: row.externalID ?? ""
                        )
                    }
                }
            }
            note(known.held, of: mark.key.collection)
        }
    }

    /// Takes over how much a shard holds.
    private func note(_ held: HeldShard<Rows>, of collection: UInt32) {
        let (rows, bytes) = held.withRows { ($0.rowCount, $0.residentBytes) }
        lock.withLock {
            for key in holdings.keys where key.collection == collection {
                guard holdings[key]?.entries[held.shard]?.held === held else { continue }
                holdings[key]!.entries[held.shard]!.rows = rows
                holdings[key]!.entries[held.shard]!.bytes = bytes
            }
        }
    }

    /// Lets shards that hold some rows only give back what exceeds their share, which more of them make smaller.
    func fitShares() {
        let partial = lock.withLock {
            holdings.flatMap { key, holding in
                holding.entries.values.compactMap { entry in
                    entry.held.flatMap { $0.isWhole ? nil : (key.collection, $0) }
                }
            }
        }
        for (collection, held) in partial {
            turnstile.withLock { held.withRows { $0.fitShare() } }
            note(held, of: collection)
        }
    }

    /// Puts shards that hold some rows in the place of whole ones, the largest first, until `bytes` are not exceeded.
    func demote(beyond bytes: Int, _ make: (CollectionShape) -> Rows) -> Int {
        var count = 0
        while true {
            // The memory is given back after the lock.
            let old = lock.withLock { () -> HeldShard<Rows>? in
                var total = 0
                var largest: (key: HoldingKey, shard: UInt16, bytes: Int)?
                for (key, holding) in holdings {
                    for (shard, entry) in holding.entries {
                        total += entry.bytes
                        guard entry.held?.isWhole == true, entry.state == .ready, !entry.isLoading else { continue }
                        if largest.map({ ($0.bytes, $0.shard) < (entry.bytes, shard) }) ?? true {
                            largest = (key, shard, entry.bytes)
                        }
                    }
                }
                guard total > bytes, let largest, var entry = holdings[largest.key]?.entries[largest.shard] else {
                    return nil
                }
                let before = entry.held
                let rows = make(holdings[largest.key]!.shape)
                entry.held = HeldShard(shard: largest.shard, rows: rows)
                entry.wholeBytes = entry.bytes
                entry.bytes = rows.residentBytes
                entry.rows = 0
                holdings[largest.key]!.entries[largest.shard] = entry
                return before
            }
            if old == nil { return count }
            count += 1
        }
    }

    // MARK: - The map

    struct MapEffect {
        var load: [HoldingKey: [UInt16]] = [:]
        var releasesAny = false
    }

    /// Takes over a map; nil where it is older than one seen.
    func apply(_ map: ShardAssignments) -> MapEffect? {
        lock.withLock {
            guard map.epoch >= epoch else { return nil }
            epoch = map.epoch
            let listed = map.listed
            isListedEmpty = listed.isEmpty
            let difference = MapDifference(listed: listed, held: keys)
            let before = released
            released = [:]
            for key in difference.release { released[key] = before[key] ?? map.epoch }
            var effect = MapEffect(releasesAny: !released.isEmpty)
            for entry in map.collections {
                let key = HoldingKey(collection: entry.shape.collection, generation: entry.shape.generation)
                if holdings[key] == nil { holdings[key] = Holding(shape: entry.shape.shape) }
            }
            for key in difference.load {
                holdings[key.holding]!.entries[key.shard] = Entry()
                effect.load[key.holding, default: []].append(key.shard)
            }
            return effect
        }
    }

    private var keys: Set<ShardKey> {
        var all: Set<ShardKey> = []
        for (key, holding) in holdings { for shard in holding.entries.keys { all.insert(ShardKey(key, shard)) } }
        return all
    }

    /// Lets go of what no map since that of `epoch` has listed.
    func letGo(epoch: UInt64) -> Bool {
        // The memory is given back after the lock.
        var gone: [Entry] = []
        return lock.withLock {
            let due = released.filter { $0.value <= epoch }.keys
            guard !due.isEmpty else { return false }
            for key in due {
                released[key] = nil
                if let entry = holdings[key.holding]?.entries.removeValue(forKey: key.shard) { gone.append(entry) }
            }
            for (key, holding) in holdings where holding.entries.isEmpty { holdings[key] = nil }
            return true
        }
    }

    /// The epoch of the last map.
    var lastEpoch: UInt64 { lock.withLock { epoch } }

    /// Forgets which maps it has seen: another registration starts another count.
    func forgetEpoch() { lock.withLock { epoch = 0 } }

    /// Forgets a holding whose tables are gone.
    func drop(_ key: HoldingKey) { _ = lock.withLock { holdings.removeValue(forKey: key) } }

    // MARK: - Loading

    /// Those of `shards` that still wait to be loaded, and the shape to load them with.
    func wanted(_ key: HoldingKey, _ shards: [UInt16]) -> (shape: CollectionShape, shards: [UInt16])? {
        lock.withLock {
            guard let holding = holdings[key] else { return nil }
            let wanted = shards.filter { holding.entries[$0]?.isLoading == true }.sorted()
            return wanted.isEmpty ? nil : (holding.shape, wanted)
        }
    }

    /// What the shards of a holding share, made where it is not there yet; for the loading thread.
    func context(of key: HoldingKey, make: () throws -> Rows.Context) rethrows -> Rows.Context {
        if let context = lock.withLock({ holdings[key]?.context }) { return context }
        let made = try make()
        lock.withLock { holdings[key]?.context = made }
        return made
    }

    /// Whether any of these shards serves an older whole copy while it waits to be loaded.
    func hasWholeCopies(_ key: HoldingKey, _ shards: [UInt16]) -> Bool {
        lock.withLock { shards.contains { holdings[key]?.entries[$0]?.held?.isWhole == true } }
    }

    /// Frees shards that are to be loaded anew where there is no room for two copies.
    func dropOldCopies(_ key: HoldingKey, _ shards: [UInt16]) {
        lock.withLock { for shard in shards { holdings[key]?.entries[shard] = Entry() } }
    }

    /// There is no room for a shard.
    func refuse(_ key: HoldingKey, _ shard: UInt16) {
        lock.withLock {
            holdings[key]?.entries[shard]?.isRefused = true
            holdings[key]?.entries[shard]?.isLoading = false
        }
    }

    /// Takes up again what there was no room for, and what was held in part for want of room of which `room` is left.
    func retryRefused(room: Int) -> [HoldingKey: [UInt16]] {
        lock.withLock {
            var found: [HoldingKey: [UInt16]] = [:]
            var left = room
            for (key, holding) in holdings {
                for (shard, entry) in holding.entries.sorted(by: { $0.key < $1.key }) {
                    if entry.isRefused {
                        holdings[key]!.entries[shard] = Entry()
                    } else if entry.held?.isWhole == false, !entry.isLoading, entry.wholeBytes <= left {
                        left -= entry.wholeBytes
                        holdings[key]!.entries[shard]!.isLoading = true
                    } else {
                        continue
                    }
                    found[key, default: []].append(shard)
                }
            }
            return found
        }
    }

    /// Counts loaded rows from now on, so that the next load leaves them their room.
    func expect(_ key: HoldingKey, _ loaded: [HeldShard<Rows>]) {
        lock.withLock {
            // Nobody else has seen these rows yet.
            for held in loaded { holdings[key]?.entries[held.shard]?.incomingBytes = held.rows.residentBytes }
        }
    }

    /// A load that replaces nothing has come so far.
    func isLoading(_ key: HoldingKey, _ shard: UInt16, rows: Int) {
        lock.withLock {
            if holdings[key]?.entries[shard]?.state == .loading { holdings[key]!.entries[shard]!.rows = rows }
        }
    }

    /// A load is done and what was written meanwhile is about to be applied.
    func isCatchingUp(_ key: HoldingKey, _ shards: [UInt16]) {
        lock.withLock {
            for shard in shards where holdings[key]?.entries[shard]?.state == .loading {
                holdings[key]!.entries[shard]!.state = .catchingUp
            }
        }
    }

    /// Puts loaded shards in service, in place of older copies.
    ///
    /// `wholeBytes` says what those would take that are not held whole.
    func publish(
        _ key: HoldingKey,
        _ loaded: [HeldShard<Rows>],
        wholeBytes: [UInt16: Int] = [:],
        applied: FollowPosition
    ) {
        var old: [HeldShard<Rows>?] = []
        lock.withLock {
            for held in loaded {
                guard var entry = holdings[key]?.entries[held.shard], entry.isLoading else { continue }
                old.append(entry.held)
                entry.held = held
                entry.state = .ready
                entry.isLoading = false
                entry.applied = applied
                // Nobody else has seen these rows yet.
                entry.rows = held.rows.rowCount
                entry.bytes = held.rows.residentBytes
                entry.incomingBytes = 0
                entry.wholeBytes = wholeBytes[held.shard] ?? 0
                holdings[key]!.entries[held.shard] = entry
            }
        }
    }

    // MARK: - Following

    struct Following {
        var shape: CollectionShape
        var shards: [UInt16]
        var since: FollowPosition
    }

    /// Which holdings are to be followed.
    func followed(collection: UInt32? = nil) -> [HoldingKey] {
        lock.withLock { holdings.keys.filter { collection == nil || $0.collection == collection } }
    }

    /// What to read next of a holding: all ready shards, from the oldest snapshot applied to any of them.
    ///
    /// Reading a change again does no harm, and one statement serves all.
    func following(_ key: HoldingKey) -> Following? {
        lock.withLock {
            guard let holding = holdings[key] else { return nil }
            var shards: [UInt16] = []
            var oldest: FollowPosition?
            for (shard, entry) in holding.entries where entry.state == .ready && !entry.isLoading {
                guard let applied = entry.applied else { continue }
                shards.append(shard)
                if oldest.map({ applied.snapshot.isOlder(than: $0.snapshot) }) ?? true { oldest = applied }
            }
            // Of two servers' snapshots, one at a time: the other's shards are then loaded anew or follow next.
            shards.removeAll { holding.entries[$0]?.applied?.primary != oldest?.primary }
            guard let oldest else { return nil }
            return Following(shape: holding.shape, shards: shards.sorted(), since: oldest)
        }
    }

    /// Changes the rows of one shard and notes how many there are.
    func change(_ key: HoldingKey, _ shard: UInt16, _ body: (Rows) -> Void) {
        guard let held = lock.withLock({ holdings[key]?.entries[shard]?.held }) else { return }
        func changed() -> (rows: Int, bytes: Int) {
            held.changeRows { rows in
                body(rows)
                return (rows.rowCount, rows.residentBytes)
            }
        }
        // Searches of other collections need not wait where those of this one do not.
        let (rows, bytes) = held.handle == nil ? turnstile.withLock(changed) : changed()
        lock.withLock {
            holdings[key]?.entries[shard]?.rows = rows
            holdings[key]?.entries[shard]?.bytes = bytes
        }
    }

    /// All changes up to `next` are in the rows of these shards.
    func applied(_ key: HoldingKey, _ shards: [UInt16], _ next: FollowPosition) {
        lock.withLock { for shard in shards { holdings[key]?.entries[shard]?.applied = next } }
    }

    /// Marks shards that must be loaded anew; their old copies serve on, as they are.
    func reload(_ key: HoldingKey, _ shards: Set<UInt16>) -> [UInt16] {
        lock.withLock {
            let found = shards.filter { holdings[key]?.entries[$0]?.isLoading == false }
            for shard in found { holdings[key]!.entries[shard]!.isLoading = true }
            return found.sorted()
        }
    }

    // MARK: - Reporting

    /// Bytes of all rows held, also of those that are not in service yet.
    var residentBytes: Int {
        lock.withLock {
            holdings.values.reduce(0) { $0 + $1.entries.values.reduce(0) { $0 + $1.bytes + $1.incomingBytes } }
        }
    }

    /// Nothing is assigned by the last map.
    var isNothingListed: Bool { lock.withLock { isListedEmpty } }

    /// What heartbeats say of each shard, in a fixed order, less those that are about to be let go.
    var reports: [ShardReport] {
        lock.withLock {
            var reports: [ShardReport] = []
            for (key, holding) in holdings {
                for (shard, entry) in holding.entries where released[ShardKey(key, shard)] == nil {
                    reports.append(
                        ShardReport(
                            collection: key.collection,
                            generation: key.generation,
                            shard: shard,
                            state: entry.state,
                            rows: entry.rows,
                            bytes: max(entry.bytes, entry.wholeBytes),
                            applied: entry.applied?.snapshot.description ?? ""
                        )
                    )
                }
            }
            return reports.sorted {
                ($0.collection, $0.generation, $0.shard) < ($1.collection, $1.generation, $1.shard)
            }
        }
    }
}

extension TransactionSnapshot {
    /// Whether it was taken before `other`, both by readers of one primary.
    ///
    /// What is visible on a primary only grows.
    func isOlder(than other: TransactionSnapshot) -> Bool {
        (xmin, xmax, other.inProgress.count) < (other.xmin, other.xmax, inProgress.count)
    }
}
