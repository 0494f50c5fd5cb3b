/// How much of a collection an answer has seen.
public struct Coverage: Sendable, Hashable {
    /// Why a logical shard is missing from an answer.
    public enum Reason: String, Sendable, Hashable {
        /// No ready replica is known.
        case unavailable
        /// Its worker did not answer in time.
        case timedOut = "timed_out"
        /// Its worker answered with an error or was lost.
        case failed
        /// No worker has room for it.
        case noCapacity = "no_capacity"
    }

    /// Logical shards of the collection.
    public var shardsTotal: Int
    /// Shards whose rows were all searched.
    public var shardsOK: Int
    /// Missing shards, ascending, with the reason of each.
    public var missing: [(shard: UInt16, reason: Reason)]
    /// Rows that were searched.
    public var rowsSearched: Int
    /// Rows that the collection has, as far as the coordinator knows.
    public var rowsTotal: Int

    /// Makes a coverage.
    public init(
        shardsTotal: Int,
        shardsOK: Int,
        missing: [(shard: UInt16, reason: Reason)],
        rowsSearched: Int,
        rowsTotal: Int
    ) {
        self.shardsTotal = shardsTotal
        self.shardsOK = shardsOK
        self.missing = missing
        self.rowsSearched = rowsSearched
        self.rowsTotal = rowsTotal
    }

    /// Share of the shards that answered, 0 to 1.
    public var fraction: Double { shardsTotal == 0 ? 1 : Double(shardsOK) / Double(shardsTotal) }
    /// Every shard answered.
    public var isComplete: Bool { shardsOK == shardsTotal }

    /// Equal in all that they hold.
    public static func == (left: Coverage, right: Coverage) -> Bool {
        left.shardsTotal == right.shardsTotal && left.shardsOK == right.shardsOK
            && left.rowsSearched == right.rowsSearched && left.rowsTotal == right.rowsTotal
            && left.missing.map(\.shard) == right.missing.map(\.shard)
            && left.missing.map(\.reason) == right.missing.map(\.reason)
    }

    /// Hashes what tells two apart.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(shardsOK)
        hasher.combine(rowsSearched)
    }
}
