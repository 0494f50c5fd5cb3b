public import Matryoshka
import ServiceRuntime

/// The rows of one logical shard in the form that an engine scores.
///
/// Not thread-safe: ``HeldShard`` locks it.
public protocol HeldRows: AnyObject, SendableMetatype {
    /// An empty container for rows of `shape`.
    init(shape: CollectionShape)

    /// Full vectors with their external ids are read, rather than heads.
    static var readsFullVectors: Bool { get }
    /// About what one row takes.
    static func bytesPerRow(_ shape: CollectionShape) -> Int

    /// Adds or replaces a row; an older version than the one held changes nothing.
    func upsert(id: Int64, version: UInt32, vector: Span<Float>, externalID: String)
    /// Removes a row; an unknown id changes nothing.
    func remove(id: Int64)
    /// Called once after a bulk load.
    func seal()
    /// Rows held.
    var rowCount: Int { get }
    /// Bytes that they take.
    var residentBytes: Int { get }
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
    let rows: Rows
    private let lock = Lock()

    init(shard: UInt16, shape: CollectionShape) {
        self.shard = shard
        rows = Rows(shape: shape)
    }

    /// Lends the rows.
    public func withRows<R>(_ body: (Rows) throws -> R) rethrows -> R { try lock.withLock { try body(rows) } }

    /// Lends the rows of several shards at once, in the order given; all callers must use the same order.
    public static func withRows<R>(of shards: [HeldShard], _ body: ([(shard: UInt16, rows: Rows)]) -> R) -> R {
        var lent: [(shard: UInt16, rows: Rows)] = []
        lent.reserveCapacity(shards.count)
        func lend(_ index: Int) -> R {
            if index == shards.count { return body(lent) }
            return shards[index].lock.withLock {
                lent.append((shards[index].shard, shards[index].rows))
                return lend(index + 1)
            }
        }
        return lend(0)
    }
}
