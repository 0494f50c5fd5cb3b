public import Matryoshka

/// How far replicas are behind the database, as time.
///
/// The database's position is noted now and then. A replica lags since the first noted position that it has not
/// applied; replicas move on with every poll, also when nothing was written, so an idle one shows 0.
public struct FollowLag: Sendable {
    private var marks: [(xmax: UInt64, at: UInt64)] = []
    /// Marks that are kept; older ones count as the oldest kept.
    static let marksMax = 1200

    /// Makes a lag without marks: everything shows 0.
    public init() {}

    /// Notes that the database was at `snapshot` at the monotonic time `at`, in microseconds.
    public mutating func note(_ snapshot: TransactionSnapshot, at: UInt64) {
        guard snapshot.xmax > marks.last?.xmax ?? 0 else { return }
        marks.append((snapshot.xmax, at))
        if marks.count > Self.marksMax { marks.removeFirst(marks.count - Self.marksMax) }
    }

    /// Microseconds that the replica most behind is behind; nil where none is ready.
    public func microseconds(of holding: Holding, in directory: ShardDirectory, now: UInt64) -> UInt64? {
        let applied = (0..<UInt16(Slots.shardCount)).flatMap { directory.ready(holding, shard: $0) }
            .compactMap { $0.applied?.xmax }.min()
        guard let applied else { return nil }
        guard let first = marks.first(where: { $0.xmax > applied }) else { return 0 }
        return now - min(now, first.at)
    }
}
