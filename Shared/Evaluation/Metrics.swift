/// Measures of a ranking.
///
/// Ranks count from 1.
public enum Metrics {
    /// Mean reciprocal rank: a query whose item ranks below `k`, or not at all (nil), counts 0.
    public static func meanReciprocalRank(_ ranks: [Int?], at k: Int) -> Double {
        guard !ranks.isEmpty else { return 0 }
        let sum = ranks.reduce(0.0) { sum, rank in rank.map { $0 <= k ? sum + 1 / Double($0) : sum } ?? sum }
        return sum / Double(ranks.count)
    }

    /// Share of the queries whose item ranks `k` or better.
    public static func hitRate(_ ranks: [Int?], at k: Int) -> Double {
        guard !ranks.isEmpty else { return 0 }
        return Double(ranks.count { $0.map { $0 <= k } ?? false }) / Double(ranks.count)
    }

    /// Mean share of the first `k` true neighbours that are among the first `k` found.
    public static func recall(found: [[Int]], truth: [[Int]], at k: Int) -> Double {
        precondition(found.count == truth.count, "one list of neighbours for each query")
        var sum = 0.0
        for (found, truth) in zip(found, truth) where !truth.isEmpty {
            let wanted = Set(truth.prefix(k))
            sum += Double(found.prefix(k).count { wanted.contains($0) }) / Double(wanted.count)
        }
        return found.isEmpty ? 0 : sum / Double(found.count)
    }

    /// Rank of an item where every tie counts against it; nil where it is not among the scores.
    ///
    /// Scores that are closer than `tolerance` are tied: a sum's last bits depend on where its row stands.
    public static func pessimisticRank(
        of item: Int,
        among scores: [(item: Int, score: Float)],
        tolerance: Float
    ) -> Int? {
        guard let own = scores.first(where: { $0.item == item })?.score else { return nil }
        return 1 + scores.count { $0.item != item && $0.score >= own - tolerance }
    }
}
