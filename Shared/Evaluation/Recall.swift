/// How completely searches found the true nearest rows: over all queries, not the mean alone.
public struct Recall: Sendable, Hashable, Codable {
    /// Mean over the queries.
    public var mean: Double
    /// The value that one query in twenty stays at or below.
    public var fifthPercentile: Double
    /// The worst query.
    public var minimum: Double

    enum CodingKeys: String, CodingKey {
        case mean
        case fifthPercentile = "p5"
        case minimum
    }

    /// Sums the queries up; no queries count as 0.
    public init(ofQueries values: [Double]) {
        let sorted = values.sorted()
        mean = values.isEmpty ? 0 : values.reduce(0, +) / Double(values.count)
        fifthPercentile = sorted.isEmpty ? 0 : sorted[max(0, (sorted.count + 19) / 20 - 1)]
        minimum = sorted.first ?? 0
    }

    /// Share of one query's `k` nearest that were found, judged by score, so that rows which tie with the last of them
    /// are as good as it.
    ///
    /// - Parameters:
    ///   - rows: What a search found, best first; repeated rows count once.
    ///   - k: How many were wanted.
    ///   - bar: The true score of the k-th nearest row.
    ///   - tolerance: Scores so much below the bar still tie with it.
    ///   - score: The true score of a row.
    /// - Returns: 0 to 1.
    public static func share(
        found rows: some Sequence<Int>,
        k: Int,
        bar: Float,
        tolerance: Float,
        score: (Int) -> Float
    ) -> Double {
        var seen: Set<Int> = []
        var hits = 0
        for row in rows.prefix(k) where seen.insert(row).inserted && score(row) >= bar - tolerance { hits += 1 }
        return Double(hits) / Double(k)
    }
}
