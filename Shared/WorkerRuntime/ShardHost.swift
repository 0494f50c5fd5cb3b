public import Logging
import Matryoshka
public import PostgreSQL
public import WireProtocol

/// Holds what the coordinators' maps list for this worker: loads it, follows its changes, lets it go.
// Unchecked: the table and both parts lock what changes; the two closures are set before any thread runs.
public final class ShardHost<Rows: HeldRows>: ShardHolding, @unchecked Sendable {
    /// How long what a map no longer lists is kept for requests under way.
    public static var releaseMicroseconds: Int { 2_000_000 }

    /// What is held.
    public let table = ShardTable<Rows>()
    private let loader: ShardLoader<Rows>
    private let follower: ShardFollower<Rows>

    /// Makes a host that holds nothing.
    ///
    /// - Parameters:
    ///   - capacityBytes: Rows are never held beyond it.
    ///   - changed: Called on any thread when heartbeats have something new to tell.
    public init(
        database: ConnectionSettings,
        capacityBytes: Int,
        pollMilliseconds: Int,
        log: Logger,
        changed: @escaping @Sendable () -> Void
    ) throws {
        // Loader and follower call each other.
        let wiring = Wiring<Rows>()
        loader = ShardLoader(
            table: table,
            settings: database,
            capacityBytes: capacityBytes,
            log: log,
            loaded: { key, shards, position in wiring.follower!.adopt(key, shards, position) },
            changed: changed
        )
        follower = try ShardFollower(
            table: table,
            settings: database,
            pollMilliseconds: pollMilliseconds,
            log: log,
            reload: { key, shards in wiring.loader!.load(key, shards) },
            changed: changed
        )
        wiring.loader = loader
        wiring.follower = follower
    }

    /// Starts to follow.
    public func start() { follower.start() }

    public func apply(_ map: ShardAssignments) {
        guard let effect = table.apply(map) else { return }
        load(effect.load)
        load(table.retryRefused())
        if effect.releasesAny {
            follower.after(microseconds: Self.releaseMicroseconds) { [self] in
                guard table.letGo(epoch: map.epoch) else { return }
                load(table.retryRefused())
                follower.changed()
            }
        }
        follower.changed()
    }

    private func load(_ shards: [HoldingKey: [UInt16]]) {
        for (key, shards) in shards { loader.load(key, shards) }
    }

    public func forgetEpoch() { table.forgetEpoch() }

    public var epoch: UInt64 { table.lastEpoch }

    public var holdings: Holdings {
        Holdings(
            shards: table.reports,
            residentBytes: table.residentBytes,
            isDatabaseReachable: follower.isReachable,
            isNothingListed: table.isNothingListed
        )
    }
}

// Unchecked: written once in the initialiser of ShardHost, before any thread reads it.
private final class Wiring<Rows: HeldRows>: @unchecked Sendable {
    unowned var loader: ShardLoader<Rows>?
    unowned var follower: ShardFollower<Rows>?
}
