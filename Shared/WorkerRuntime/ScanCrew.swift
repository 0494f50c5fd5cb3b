import Matryoshka
import ServiceRuntime
public import WireProtocol

/// Scans shards with several threads: each takes a part of the shards for all queries, and the parts are merged.
public struct ScanCrew: Sendable {
    private let helpers: [SerialThread]

    /// A crew of `threads`, of which the caller is one.
    public init(threads: Int) { helpers = (1..<max(1, threads)).map { SerialThread(name: "scan\($0)") } }

    /// Scans all of `shards`, under their locks.
    ///
    /// - Parameters:
    ///   - shards: Ascending.
    ///   - keep: Most rows of a query.
    ///   - scanPart: Ranks the rows of some of the shards for each query; any thread.
    /// - Returns: By query, the best rows of all shards, as one thread alone would find them.
    public func scan<Rows: HeldRows>(
        _ shards: [HeldShard<Rows>],
        keep: Int,
        _ scanPart: @escaping @Sendable ([(shard: UInt16, rows: Rows)]) -> [CandidateColumns]
    ) -> [CandidateColumns] {
        let count = min(helpers.count + 1, shards.count)
        if count < 2 { return HeldShard.withRows(of: shards, scanPart) }
        let parts = (0..<count).map { part in
            Array(shards[shards.count * part / count..<shards.count * (part + 1) / count])
        }
        let gathered = Gathered(parts: count - 1)
        for part in 1..<count {
            helpers[part - 1].async { gathered.put(part - 1, HeldShard.withRows(of: parts[part], scanPart)) }
        }
        let own = HeldShard.withRows(of: parts[0], scanPart)
        let all = [own] + gathered.wait()
        return own.indices.map { query in CandidateColumns.merging(all.map { $0[query] }, keep: keep) }
    }
}

extension CandidateColumns {
    /// Merges the rankings of disjoint sets of rows by their first scores.
    public static func merging(_ rankings: [CandidateColumns], keep: Int) -> CandidateColumns {
        let stages = rankings.map(\.scores.count).max() ?? 0
        var merged = CandidateColumns(scores: Array(repeating: [], count: stages))
        var next = Array(repeating: 0, count: rankings.count)
        while merged.count < keep {
            var best = -1
            for (number, ranking) in rankings.enumerated() where next[number] < ranking.count {
                if best < 0
                    || ranksBefore(
                        score: ranking.scores[0][next[number]],
                        id: ranking.ids[next[number]],
                        than: rankings[best].scores[0][next[best]],
                        id: rankings[best].ids[next[best]]
                    )
                {
                    best = number
                }
            }
            if best < 0 { break }
            let row = next[best]
            merged.ids.append(rankings[best].ids[row])
            merged.versions.append(rankings[best].versions[row])
            merged.shards.append(rankings[best].shards[row])
            for stage in 0..<stages { merged.scores[stage].append(rankings[best].scores[stage][row]) }
            next[best] += 1
        }
        return merged
    }
}

/// What helpers hand back.
private final class Gathered: @unchecked Sendable {
    // Unchecked: guarded by the lock.
    private let lock = Lock()
    private let condition: Condition
    private var parts: [[CandidateColumns]?]

    init(parts: Int) {
        condition = Condition(lock)
        self.parts = Array(repeating: nil, count: parts)
    }

    func put(_ part: Int, _ columns: [CandidateColumns]) {
        lock.withLock { parts[part] = columns }
        condition.signal()
    }

    func wait() -> [[CandidateColumns]] {
        lock.withLock {
            while parts.contains(where: { $0 == nil }) { condition.wait() }
            return parts.map { $0! }
        }
    }
}
