#if canImport(Glibc)
import Glibc
#endif

/// What a method can reach: the settings that no other setting beats in both recall and rate.
public struct ParetoFront: Sendable, Hashable {
    /// One setting.
    public struct Point: Sendable, Hashable {
        /// 0 to 1.
        public var recall: Double
        /// Searches a second.
        public var rate: Double

        /// Makes a point.
        public init(recall: Double, rate: Double) {
            self.recall = recall
            self.rate = rate
        }
    }

    /// Ascending recall, descending rate.
    public let points: [Point]

    /// Keeps of many settings those that are worth choosing.
    public init(_ points: [Point]) {
        var kept: [Point] = []
        for point in points.sorted(by: { ($0.recall, $0.rate) > ($1.recall, $1.rate) })
        where point.rate > (kept.last?.rate ?? 0) { kept.append(point) }
        self.points = kept.reversed()
    }

    /// The rate at a recall: between two settings the logarithm of the rate is interpolated, below the lowest recall
    /// the fastest setting serves; nil where no setting reaches it.
    public func rate(atRecall recall: Double) -> Double? {
        guard let next = points.firstIndex(where: { $0.recall >= recall }) else { return nil }
        let upper = points[next]
        guard next > 0, upper.recall > recall else { return upper.rate }
        let lower = points[next - 1]
        let share = (recall - lower.recall) / (upper.recall - lower.recall)
        return exp(log(lower.rate) + share * (log(upper.rate) - log(lower.rate)))
    }
}
