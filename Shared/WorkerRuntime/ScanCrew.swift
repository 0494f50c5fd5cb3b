import Matryoshka
public import ServiceRuntime
public import WireProtocol

/// Threads that share work with whoever calls them.
public struct ScanCrew: Sendable {
    private let helpers: [SerialThread]

    /// A crew of `threads`, of which the caller is the first; `name` is seen in `top`.
    public init(_ threads: ThreadPlacement, name: String = "scan") {
        helpers = (1..<max(1, threads.count)).map { SerialThread(name: "\(name)\($0)", core: threads.core(of: $0)) }
    }

    /// Of which the caller is one.
    public var threadCount: Int { helpers.count + 1 }

    /// Runs `work` on the caller's thread, and on each helper that comes to it before that run ends; returns when all
    /// runs have ended.
    ///
    /// `work` takes piece after piece until there is none: a helper that is busy elsewhere is not waited for.
    public func together(_ work: @escaping @Sendable () -> Void) {
        guard !helpers.isEmpty else { return work() }
        let shift = Shift()
        for helper in helpers {
            helper.async {
                guard shift.begin() else { return }
                work()
                shift.end()
            }
        }
        work()
        shift.close()
    }

    /// What `piece` gives for 0, 1, … below `count`, which any of the threads may run.
    public func map<R: Sendable>(_ count: Int, _ piece: @escaping @Sendable (Int) -> R) -> [R] {
        if count < 2 || helpers.isEmpty { return (0..<count).map(piece) }
        let dealt = Dealt<R>(count: count)
        together {
            while let number = dealt.next() { dealt.put(number, piece(number)) }
        }
        return dealt.all
    }

    /// Scans all of `shards`, under their locks: each thread takes a part of them for all queries.
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
        let found = map(count) { HeldShard.withRows(of: parts[$0], scanPart) }
        return found[0].indices.map { query in CandidateColumns.merging(found.map { $0[query] }, keep: keep) }
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

/// Counts those that take part in something that ends once.
private final class Shift: @unchecked Sendable {
    // Unchecked: guarded by the lock.
    private let lock = Lock()
    private let condition: Condition
    private var present = 0
    private var isClosed = false

    init() { condition = Condition(lock) }

    /// False: it has ended.
    func begin() -> Bool {
        lock.withLock {
            if !isClosed { present += 1 }
            return !isClosed
        }
    }

    func end() {
        lock.withLock { present -= 1 }
        condition.signal()
    }

    /// Nobody begins any more; returns when all have ended.
    func close() {
        lock.withLock {
            isClosed = true
            while present > 0 { condition.wait() }
        }
    }
}

/// Pieces that are dealt out, and what came of them.
private final class Dealt<R: Sendable>: @unchecked Sendable {
    // Unchecked: guarded by the lock.
    private let lock = Lock()
    private var given = 0
    private var results: [R?]

    init(count: Int) { results = Array(repeating: nil, count: count) }

    func next() -> Int? {
        lock.withLock {
            guard given < results.count else { return nil }
            defer { given += 1 }
            return given
        }
    }

    func put(_ number: Int, _ result: R) { lock.withLock { results[number] = result } }

    var all: [R] { lock.withLock { results.map { $0! } } }
}
