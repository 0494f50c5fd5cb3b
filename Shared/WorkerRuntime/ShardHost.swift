public import Logging
public import Matryoshka
public import PostgreSQL
public import WireProtocol

/// Holds what the coordinators' maps list for this worker: loads it, follows its changes, lets it go.
public final class ShardHost<Rows: HeldRows>: ShardHolding, @unchecked Sendable {
    // Unchecked: the table and both parts lock what changes; the two closures are set before any thread runs.
    /// How long what a map no longer lists is kept for requests under way.
    public static var releaseMicroseconds: Int { 2_000_000 }

    /// What is held.
    public let table = ShardTable<Rows>()
    private let loader: ShardLoader<Rows>
    private let follower: ShardFollower<Rows>
    private let capacityBytes: Int

    /// Makes a host that holds nothing.
    ///
    /// - Parameters:
    ///   - database: Where the rows are.
    ///   - capacityBytes: Rows are never held beyond it.
    ///   - pollMilliseconds: How often the change log is read when no hint comes.
    ///   - log: Tells of loads and of the database.
    ///   - makeContext: Makes what the shards of a collection share, once, before the first of them is loaded.
    ///   - makePartial: Makes what holds some rows of a shard that there is no room for; without it such a shard stays
    ///     missing.
    ///   - changed: Called on any thread when heartbeats have something new to tell.
    /// - Throws: `ZeroMQError` where no event loop can be made.
    public init(
        database: ConnectionSettings,
        capacityBytes: Int,
        pollMilliseconds: Int,
        log: Logger,
        makeContext: @escaping @Sendable (CollectionShape, LearntParts) throws -> Rows.Context,
        makePartial: (@Sendable (CollectionShape) -> Rows)? = nil,
        changed: @escaping @Sendable () -> Void
    ) throws {
        // Loader and follower call each other.
        let wiring = Wiring<Rows>()
        self.capacityBytes = capacityBytes
        loader = ShardLoader(
            table: table,
            settings: database,
            capacityBytes: capacityBytes,
            log: log,
            makePartial: makePartial,
            makeContext: makeContext,
            loaded: { key, shards in wiring.follower!.adopt(key, shards) },
            changed: changed
        )
        follower = try ShardFollower(
            table: table,
            settings: database,
            pollMilliseconds: pollMilliseconds,
            capacityBytes: capacityBytes,
            makePartial: makePartial,
            log: log,
            reload: { key, shards in wiring.loader!.load(key, shards) },
            changed: changed
        )
        wiring.loader = loader
        wiring.follower = follower
    }

    /// As the other one, for shards that share nothing.
    public convenience init(
        database: ConnectionSettings,
        capacityBytes: Int,
        pollMilliseconds: Int,
        log: Logger,
        makePartial: (@Sendable (CollectionShape) -> Rows)? = nil,
        changed: @escaping @Sendable () -> Void
    ) throws where Rows.Context == NoContext {
        try self.init(
            database: database,
            capacityBytes: capacityBytes,
            pollMilliseconds: pollMilliseconds,
            log: log,
            makeContext: { _, _ in NoContext() },
            makePartial: makePartial,
            changed: changed
        )
    }

    /// Starts to follow.
    public func start() { follower.start() }

    /// Takes a map over: loads what is new at once, lets go of what is not listed after a while.
    public func apply(_ map: ShardAssignments) {
        guard let effect = table.apply(map) else { return }
        load(effect.load)
        retry()
        if effect.releasesAny {
            follower.after(microseconds: Self.releaseMicroseconds) { [self] in
                guard table.letGo(epoch: map.epoch) else { return }
                retry()
                follower.changed()
            }
        }
        follower.changed()
    }

    private func retry() { load(table.retryRefused(room: capacityBytes - table.residentBytes)) }

    private func load(_ shards: [HoldingKey: [UInt16]]) {
        for (key, shards) in shards { loader.load(key, shards) }
    }

    /// Another incarnation has begun, whose maps count anew.
    public func forgetEpoch() { table.forgetEpoch() }

    /// Epoch of the last map.
    public var epoch: UInt64 { table.lastEpoch }

    /// What is held now.
    public var holdings: Holdings {
        Holdings(
            shards: table.reports,
            residentBytes: table.residentBytes,
            isDatabaseReachable: follower.isReachable,
            isNothingListed: table.isNothingListed
        )
    }
}

private final class Wiring<Rows: HeldRows>: @unchecked Sendable {
    // Unchecked: written once in the initialiser of ShardHost, before any thread reads it.
    unowned var loader: ShardLoader<Rows>?
    unowned var follower: ShardFollower<Rows>?
}
