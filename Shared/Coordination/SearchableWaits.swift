/// Writes that wait until what they wrote can be found.
///
/// A write is searchable once its transaction is visible in the applied snapshot of every ready replica, and at least
/// one, of each shard that it touched.
public struct SearchableWaits<Ticket: Sendable>: Sendable {
    private struct Wait {
        var transaction: UInt64
        var shards: Set<UInt16>
        var holdings: [Holding]
        var deadline: UInt64
        var ticket: Ticket
    }

    private var waits: [Wait] = []

    /// Makes an empty list.
    public init() {}

    /// Adds a write.
    public mutating func add(
        _ ticket: Ticket,
        transaction: UInt64,
        shards: Set<UInt16>,
        holdings: [Holding],
        deadline: UInt64
    ) {
        waits.append(
            Wait(transaction: transaction, shards: shards, holdings: holdings, deadline: deadline, ticket: ticket)
        )
    }

    /// Takes out what is decided: searchable by now, or past its deadline.
    public mutating func settle(_ directory: ShardDirectory, now: UInt64) -> [(ticket: Ticket, isSearchable: Bool)] {
        var settled: [(ticket: Ticket, isSearchable: Bool)] = []
        waits.removeAll { wait in
            let isSearchable = directory.hasApplied(wait.transaction, shards: wait.shards, holdings: wait.holdings)
            guard isSearchable || now >= wait.deadline else { return false }
            settled.append((wait.ticket, isSearchable))
            return true
        }
        return settled
    }

    /// Nothing waits.
    public var isEmpty: Bool { waits.isEmpty }
}
