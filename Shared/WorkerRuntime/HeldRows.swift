public import Matryoshka
import ServiceRuntime

/// The rows of one logical shard in the form that an engine scores.
///
/// Not thread-safe: ``HeldShard`` locks it.
public protocol HeldRows: AnyObject, SendableMetatype {
    /// What all shards of a collection at one generation share on a worker.
    associatedtype Context: Sendable = NoContext
    /// What searches use in place of the rows where they go on while rows change.
    associatedtype Handle: Sendable = Never

    /// An empty container for rows of `shape`.
    init(shape: CollectionShape, context: Context)

    /// Full vectors with their external ids are read, rather than heads.
    static func readsFullVectors(_ shape: CollectionShape) -> Bool
    /// About what one row takes.
    static func bytesPerRow(_ shape: CollectionShape) -> Int
    /// Shards that are loaded at once; what other collections wait for comes between two loads.
    static func shardsPerLoad(_ shape: CollectionShape) -> Int

    /// Never changes; nil where whoever searches must hold the lock.
    var handle: Handle? { get }

    /// Adds or replaces a row; an older version than the one held changes nothing.
    func upsert(id: Int64, version: UInt32, vector: Span<Float>, externalID: String)
    /// Removes a row; an unknown id changes nothing.
    func remove(id: Int64)
    /// Called after some changes, which need not be found before.
    func settle()
    /// Called once after a bulk load.
    func seal()
    /// Rows held.
    var rowCount: Int { get }
    /// Rows of a bulk load that are done.
    var builtCount: Int { get }
    /// Bytes of memory that they take.
    var residentBytes: Int { get }

    /// All rows of the shard are held; otherwise some, and those that are asked for are read and admitted.
    var isWhole: Bool { get }
    /// Keeps a row that was read, where not all are held.
    func admit(id: Int64, version: UInt32, vector: Span<Float>, externalID: String)
    /// Gives back what exceeds the share of those that hold some rows only.
    func fitShare()
}

extension HeldRows where Handle == Never {
    /// Rows are searched under the lock.
    public var handle: Never? { nil }
}

extension HeldRows {
    /// All.
    public static func shardsPerLoad(_ shape: CollectionShape) -> Int { .max }
    /// Changes are found at once.
    public func settle() {}
    /// All that are held.
    public var builtCount: Int { rowCount }
    /// All rows are held.
    public var isWhole: Bool { true }
    /// They are held already.
    public func admit(id: Int64, version: UInt32, vector: Span<Float>, externalID: String) {}
    /// Nothing is shared.
    public func fitShare() {}
}

/// Nothing is shared between shards.
public struct NoContext: Sendable {}

/// What a collection has learnt from its rows, as the store keeps it.
public struct LearntParts: Sendable, Hashable {
    /// Centroids of the inverted lists, row-major, one a list; empty where the shape has none.
    public var centroids: [Float]
    /// Number of lists; 0 where the shape has none.
    public var lists: Int
    /// Orthogonal D × D matrix, row-major; empty where the shape has none.
    public var rotation: [Float]

    /// Makes parts; none by default.
    public init(centroids: [Float] = [], lists: Int = 0, rotation: [Float] = []) {
        self.centroids = centroids
        self.lists = lists
        self.rotation = rotation
    }
}

/// How many logical shards a collection has.
public enum HeldShards {
    /// Shards of one collection.
    public static let perCollection = UInt16(Slots.shardCount)
}

/// Rows and the lock that guards them.
public final class HeldShard<Rows: HeldRows>: @unchecked Sendable {
    // Unchecked, because `rows` is only touched under the lock, or before the shard is shared.
    /// Logical shard.
    public let shard: UInt16
    /// All its rows are held.
    public let isWhole: Bool
    /// See ``HeldRows/handle``; to be had without the lock.
    public let handle: Rows.Handle?
    let rows: Rows
    /// Counts what the change log has told of the shard, under the lock.
    private(set) var changeCount = 0
    private let lock = Lock()

    convenience init(shard: UInt16, shape: CollectionShape, context: Rows.Context) {
        self.init(shard: shard, rows: Rows(shape: shape, context: context))
    }

    init(shard: UInt16, rows: Rows) {
        self.shard = shard
        self.rows = rows
        isWhole = rows.isWhole
        handle = rows.handle
    }

    /// Lends the rows to be changed as the change log says.
    func changeRows<R>(_ body: (Rows) -> R) -> R {
        lock.withLock {
            changeCount += 1
            return body(rows)
        }
    }

    /// How many changes there were.
    var changes: Int { lock.withLock { changeCount } }

    /// Lends the rows.
    public func withRows<R>(_ body: (Rows) throws -> R) rethrows -> R { try lock.withLock { try body(rows) } }

    /// Lends the rows of several shards at once, in the order given; all callers must use the same order.
    public static func withRows<R>(of shards: [HeldShard], _ body: ([(shard: UInt16, rows: Rows)]) -> R) -> R {
        var locks: [Lock] = []
        var lent: [(shard: UInt16, rows: Rows)] = []
        locks.reserveCapacity(shards.count)
        lent.reserveCapacity(shards.count)
        for shard in shards {
            locks.append(shard.lock)
            lent.append((shard.shard, shard.rows))
        }
        return Lock.withAll(locks) { body(lent) }
    }
}
