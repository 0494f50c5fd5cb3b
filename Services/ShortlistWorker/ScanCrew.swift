import Matryoshka
import ServiceRuntime
import Shortlist
import WorkerRuntime

/// Scans shards with several threads: each takes a part of the shards for all queries, and the parts are merged.
struct ScanCrew: Sendable {
    private let helpers: [SerialThread]

    /// A crew of `threads`, of which the caller is one.
    init(threads: Int) { helpers = (1..<max(1, threads)).map { SerialThread(name: "scan\($0)") } }

    func scan(
        _ shards: [HeldShard<ResidentShard>],
        queries: [Float],
        queryCount: Int,
        steps: [ResolvedPlan.Step]
    ) -> [ShortlistColumns] {
        @Sendable func scanPart(_ part: [HeldShard<ResidentShard>]) -> [ShortlistColumns] {
            HeldShard.withRows(of: part) {
                scanShortlist(shards: $0, queries: queries.span, queryCount: queryCount, steps: steps)
            }
        }
        let count = min(helpers.count + 1, shards.count)
        if count < 2 { return scanPart(shards) }
        let parts = (0..<count).map { part in
            Array(shards[shards.count * part / count..<shards.count * (part + 1) / count])
        }
        let gathered = Gathered(parts: count - 1)
        for part in 1..<count {
            helpers[part - 1].async { gathered.put(part - 1, scanPart(parts[part])) }
        }
        let own = scanPart(parts[0])
        let all = [own] + gathered.wait()
        return (0..<queryCount).map { query in merge(all.map { $0[query] }, keep: steps[0].keep) }
    }
}

/// Merges the rankings of disjoint sets of rows by their first scores.
func merge(_ rankings: [ShortlistColumns], keep: Int) -> ShortlistColumns {
    var merged = ShortlistColumns()
    let stages = rankings.map(\.scores.count).max() ?? 0
    merged.scores = Array(repeating: [], count: stages)
    var next = Array(repeating: 0, count: rankings.count)
    while merged.ids.count < keep {
        var best = -1
        for (number, ranking) in rankings.enumerated() where next[number] < ranking.ids.count {
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

/// What helpers hand back.
private final class Gathered: @unchecked Sendable {
    // Unchecked: guarded by the lock.
    private let lock = Lock()
    private let condition: Condition
    private var parts: [[ShortlistColumns]?]

    init(parts: Int) {
        condition = Condition(lock)
        self.parts = Array(repeating: nil, count: parts)
    }

    func put(_ part: Int, _ columns: [ShortlistColumns]) {
        lock.withLock { parts[part] = columns }
        condition.signal()
    }

    func wait() -> [[ShortlistColumns]] {
        lock.withLock {
            while parts.contains(where: { $0 == nil }) { condition.wait() }
            return parts.map { $0! }
        }
    }
}
