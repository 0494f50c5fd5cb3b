public import Matryoshka
public import PostgreSQL

// Unchecked for the same reason as Connection: made on one thread, then used by one other.

/// What Matryoshka keeps in PostgreSQL, over one connection.
///
/// All calls block and throw ``StoreError``. One thread at a time; when an error says that the connection is lost, make
/// a new store.
public final class Store: @unchecked Sendable {
    /// For LISTEN, its file descriptor, and cancelling.
    public let connection: Connection

    /// Uses a connection; nothing is asked of it yet.
    public init(_ connection: Connection) { self.connection = connection }

    /// Channel of ``notifyWritten(collection:)``; the payload is the collection's number.
    public static let writtenChannel = "matryoshka_written"

    /// Runs `body` and gives its errors the store's types.
    func typed<R>(_ body: () throws -> R) throws -> R {
        do {
            return try body()
        } catch let error as PostgreSQLError {
            throw StoreError(error)
        }
    }

    @discardableResult
    func execute(_ sql: String, _ parameters: [Parameter] = [], isPrepared: Bool = false) throws -> QueryResult {
        try typed { try connection.execute(sql, parameters, isPrepared: isPrepared) }
    }

    func transaction<R>(_ mode: String = "", _ body: () throws -> R) throws -> R {
        try typed { try connection.transaction(mode, body) }
    }

    /// The slots of `shards` as constants, so that a statement locks the partitions that it reads and no others.
    static func condition(_ column: String, _ shards: [UInt16]) -> String {
        var ranges: [(first: Int, last: Int)] = []
        for shard in Set(shards).sorted() {
            let slots = Slots.slots(ofShard: shard)
            if let last = ranges.last, last.last + 1 == Int(slots.lowerBound) {
                ranges[ranges.count - 1].last = Int(slots.upperBound)
            } else {
                ranges.append((Int(slots.lowerBound), Int(slots.upperBound)))
            }
        }
        if ranges.isEmpty { return "false" }
        return "(" + ranges.map { "\(column) BETWEEN \($0.first) AND \($0.last)" }.joined(separator: " OR ") + ")"
    }
}

/// How far a reader has come: what it has seen, and of which server.
public struct FollowPosition: Sendable, Hashable {
    /// Every transaction that this includes is in the reader's copy.
    public var snapshot: TransactionSnapshot
    /// The server and its timeline; a snapshot means nothing on another.
    public var primary: String

    /// Makes a position.
    public init(snapshot: TransactionSnapshot, primary: String) {
        self.snapshot = snapshot
        self.primary = primary
    }
}
