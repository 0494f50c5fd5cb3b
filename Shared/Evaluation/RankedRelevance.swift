#if canImport(Glibc)
import Glibc
#endif

/// What one query found, as far as it was judged, and the measures of that ranking.
///
/// Ranks count from 1, k is 1 or more. Where nothing is relevant for a query there is nothing to measure; see
/// ``RankingMeasures``.
public struct RankedRelevance: Sendable, Hashable {
    /// What average precision is divided by.
    public enum Division: String, Sendable, Hashable, CaseIterable, Codable {
        /// By k, as the code of the MRL paper does: below 1 for every query with fewer than k relevant items.
        case depth = "k"
        /// By min(k, R), R the number of relevant items: 1 for a perfect ranking.
        case relevant = "min(k,R)"
        /// By the number of relevant items among the first k: says how high they stand, not how many were missed.
        case found = "found"
    }

    /// In rank order: 0 for an item that is not relevant or was not judged, else its grade.
    public let grades: [Int]
    /// Grades of all relevant items, found or not, descending.
    public let relevant: [Int]

    /// Makes a judged ranking.
    ///
    /// - Parameters:
    ///   - grades: In rank order; 0 or less is not relevant.
    ///   - relevant: Grades above 0 of all that is relevant, found or not.
    public init(grades: [Int], relevant: [Int]) {
        precondition(relevant.allSatisfy { $0 > 0 }, "a relevant item has a grade above 0")
        self.grades = grades.map { max(0, $0) }
        self.relevant = zip(relevant, relevant.dropFirst()).allSatisfy { $0 >= $1 } ? relevant : relevant.sorted(by: >)
    }

    /// Judges what a query found.
    ///
    /// - Parameters:
    ///   - found: Best first; an item that is there twice counts once.
    ///   - judgements: Grades; items without one, or with 0 or less, are not relevant.
    public init<Item: Hashable>(found: [Item], judgements: [Item: Int]) {
        var seen: Set<Item> = []
        let distinct = found.filter { seen.insert($0).inserted }
        self.init(grades: distinct.map { judgements[$0] ?? 0 }, relevant: judgements.values.filter { $0 > 0 })
    }

    /// Relevant items among the first k.
    public func hits(at k: Int) -> Int { grades.prefix(k).count { $0 > 0 } }

    /// P@k: relevant items among the first k, divided by k even where fewer were found.
    public func precision(at k: Int) -> Double { Double(hits(at: k)) / Double(k) }

    /// Recall@k: share of all relevant items that are among the first k; 0 where nothing is relevant.
    public func recall(at k: Int) -> Double {
        relevant.isEmpty ? 0 : Double(hits(at: k)) / Double(relevant.count)
    }

    /// RR@k: one divided by the rank of the first relevant item; 0 where it is beyond k.
    public func reciprocalRank(at k: Int) -> Double {
        grades.prefix(k).firstIndex { $0 > 0 }.map { 1 / Double($0 + 1) } ?? 0
    }

    /// AP@k: the sum of P@i over the ranks i ≤ k of relevant items, divided as told; 0 where nothing is relevant.
    public func averagePrecision(at k: Int, dividedBy division: Division) -> Double {
        var (hits, sum) = (0, 0.0)
        for (place, grade) in grades.prefix(k).enumerated() where grade > 0 {
            hits += 1
            sum += Double(hits) / Double(place + 1)
        }
        let divisor =
            switch division {
            case .depth: k
            case .relevant: min(k, relevant.count)
            case .found: hits
            }
        return divisor == 0 ? 0 : sum / Double(divisor)
    }

    /// What finding an item of a grade is worth.
    public enum Gain: String, Sendable, Hashable, CaseIterable, Codable {
        /// The grade g, as trec_eval and BEIR have it.
        case linear
        /// 2^g − 1, which parts grades further: lower values where the best items are missed.
        case exponential
    }

    /// nDCG@k with the discount 1/log2(rank + 1), divided by that of the best order; 0 where nothing is relevant.
    public func normalisedGain(at k: Int, gain: Gain = .linear) -> Double {
        let best = Self.sum(relevant, k, gain)
        return best == 0 ? 0 : Self.sum(grades, k, gain) / best
    }

    private static func sum(_ grades: [Int], _ k: Int, _ gain: Gain) -> Double {
        grades.prefix(k).enumerated().reduce(0) { sum, item in
            let value = gain == .linear ? Double(item.element) : exp2(Double(item.element)) - 1
            return sum + value / log2(Double(item.offset + 2))
        }
    }
}

/// Means of the measures of rankings, over the queries for which something is relevant.
public struct RankingMeasures: Sendable, Hashable {
    /// How many of the first were looked at.
    public let k: Int
    /// Queries that count.
    public let queries: Int
    /// P@k.
    public let precision: Double
    /// Recall@k.
    public let recall: Double
    /// nDCG@k with grades as gains.
    public let normalisedGain: Double
    /// nDCG@k with exponential gains.
    public let normalisedExponentialGain: Double
    /// MRR@k.
    public let reciprocalRank: Double
    /// mAP@k by what it is divided by.
    public let averagePrecision: [RankedRelevance.Division: Double]

    /// Takes the means; all are 0 where no query counts.
    public init(_ rankings: [RankedRelevance], at k: Int) {
        precondition(k >= 1, "k is 1 or more")
        let counted = rankings.filter { !$0.relevant.isEmpty }
        func mean(_ measure: (RankedRelevance) -> Double) -> Double {
            counted.isEmpty ? 0 : counted.reduce(0) { $0 + measure($1) } / Double(counted.count)
        }
        self.k = k
        queries = counted.count
        precision = mean { $0.precision(at: k) }
        recall = mean { $0.recall(at: k) }
        normalisedGain = mean { $0.normalisedGain(at: k) }
        normalisedExponentialGain = mean { $0.normalisedGain(at: k, gain: .exponential) }
        reciprocalRank = mean { $0.reciprocalRank(at: k) }
        averagePrecision = Dictionary(
            uniqueKeysWithValues: RankedRelevance.Division.allCases.map { division in
                (division, mean { $0.averagePrecision(at: k, dividedBy: division) })
            }
        )
    }
}
