import Evaluation
import Matryoshka
import Testing

/// A sequence that is the same every time.
private struct Steps: RandomNumberGenerator {
    var state: UInt64 = 7
    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ state >> 29
    }
}

@Suite("Judged rankings")
struct RankedRelevanceTests {
    /// Five are relevant; the ranking has three of them, at the ranks 1, 3 and 6.
    private let ranking = RankedRelevance(
        found: ["a", "x", "b", "y", "z", "c"],
        judgements: ["a": 3, "b": 2, "c": 3, "d": 1, "e": 2, "y": 0, "z": -1]
    )

    @Test("a worked example: precision, recall, reciprocal rank")
    func example() {
        #expect(ranking.relevant == [3, 3, 2, 2, 1])
        #expect(ranking.precision(at: 5) == 2.0 / 5)
        #expect(ranking.precision(at: 10) == 3.0 / 10)
        #expect(ranking.recall(at: 5) == 2.0 / 5)
        #expect(ranking.recall(at: 6) == 3.0 / 5)
        #expect(ranking.reciprocalRank(at: 5) == 1)
        #expect(RankedRelevance(grades: [0, 0, 1], relevant: [1]).reciprocalRank(at: 3) == 1.0 / 3)
        #expect(RankedRelevance(grades: [0, 0, 1], relevant: [1]).reciprocalRank(at: 2) == 0)
    }

    @Test("average precision is divided as it is told to")
    func averagePrecision() {
        let sum = 1.0 + 2.0 / 3 + 3.0 / 6
        #expect(abs(ranking.averagePrecision(at: 10, dividedBy: .depth) - sum / 10) < 1e-12)
        #expect(abs(ranking.averagePrecision(at: 10, dividedBy: .relevant) - sum / 5) < 1e-12)
        #expect(abs(ranking.averagePrecision(at: 10, dividedBy: .found) - sum / 3) < 1e-12)
        // Five are relevant, but no more than three can be among three.
        #expect(abs(ranking.averagePrecision(at: 3, dividedBy: .relevant) - (1 + 2.0 / 3) / 3) < 1e-12)
        // A perfect ranking of two relevant items: 1, but for the division by k.
        let perfect = RankedRelevance(grades: [1, 1, 0, 0], relevant: [1, 1])
        #expect(perfect.averagePrecision(at: 4, dividedBy: .relevant) == 1)
        #expect(perfect.averagePrecision(at: 4, dividedBy: .found) == 1)
        #expect(perfect.averagePrecision(at: 4, dividedBy: .depth) == 0.5)
        #expect(RankedRelevance(grades: [0, 0], relevant: [1]).averagePrecision(at: 2, dividedBy: .found) == 0)
    }

    @Test("nDCG takes the grade as gain and the logarithm of the rank as discount")
    func gain() {
        // log2 of 2, 3, 4, 5, 6, 7.
        let discounts = [1, 0.6309297535714575, 0.5, 0.43067655807339306, 0.38685280723454163, 0.35620718710802218]
        let gained = 3 * discounts[0] + 2 * discounts[2] + 3 * discounts[5]
        let best = 3 * discounts[0] + 3 * discounts[1] + 2 * discounts[2] + 2 * discounts[3] + 1 * discounts[4]
        #expect(abs(ranking.normalisedGain(at: 6) - gained / best) < 1e-12)
        let bestOfTwo = 3 * discounts[0] + 3 * discounts[1]
        #expect(abs(ranking.normalisedGain(at: 2) - 3 / bestOfTwo) < 1e-12)
        #expect(RankedRelevance(grades: [3, 2, 1], relevant: [1, 2, 3]).normalisedGain(at: 10) == 1)
        // Gains 7, 3, 1 for the grades 3, 2, 1.
        let exponential = 7 * discounts[0] + 3 * discounts[2] + 7 * discounts[5]
        let most = 7 * discounts[0] + 7 * discounts[1] + 3 * discounts[2] + 3 * discounts[3] + 1 * discounts[4]
        #expect(abs(ranking.normalisedGain(at: 6, gain: .exponential) - exponential / most) < 1e-12)
    }

    @Test("an item that was found twice counts once")
    func repeated() {
        #expect(RankedRelevance(found: [4, 4, 5], judgements: [4: 1, 5: 1]).grades == [1, 1])
    }

    @Test("queries without a relevant item count in no mean")
    func means() {
        let lost = RankedRelevance(grades: [0, 0], relevant: [1])
        let nothing = RankedRelevance(grades: [0, 0], relevant: [])
        let found = RankedRelevance(grades: [0, 1], relevant: [1])
        let measures = RankingMeasures([lost, nothing, found], at: 2)
        #expect(measures.queries == 2)
        #expect(measures.precision == 0.25)
        #expect(measures.recall == 0.5)
        #expect(measures.reciprocalRank == 0.25)
        #expect(measures.averagePrecision == [.depth: 0.125, .relevant: 0.25, .found: 0.25])
        #expect(RankingMeasures([nothing], at: 5).normalisedGain == 0)
    }

    @Test("agrees with a count straight from the definitions", arguments: [1, 3, 10, 50])
    func bruteForce(k: Int) {
        var generator = Steps()
        for _ in 0..<50 {
            let judgements = Dictionary(
                uniqueKeysWithValues: (0..<20).map { ($0, Int.random(in: 0...3, using: &generator)) }
            )
            let found = Array((0..<30).shuffled(using: &generator).prefix(15))
            let ranking = RankedRelevance(found: found, judgements: judgements)
            let relevant = judgements.filter { $0.value > 0 }.map(\.key)
            func precision(_ depth: Int) -> Double {
                Double(Set(found.prefix(depth)).intersection(relevant).count) / Double(depth)
            }
            #expect(ranking.precision(at: k) == precision(k))
            #expect(abs(ranking.recall(at: k) - precision(k) * Double(k) / Double(relevant.count)) < 1e-12)
            let ranks = (1...k).filter { $0 <= found.count && relevant.contains(found[$0 - 1]) }
            #expect(ranking.reciprocalRank(at: k) == (ranks.first.map { 1 / Double($0) } ?? 0))
            let sum = ranks.reduce(0) { $0 + precision($1) }
            #expect(abs(ranking.averagePrecision(at: k, dividedBy: .depth) - sum / Double(k)) < 1e-12)
            let most = Double(min(k, relevant.count))
            #expect(abs(ranking.averagePrecision(at: k, dividedBy: .relevant) - sum / most) < 1e-12)
        }
    }
}

@Suite("Votes of neighbours")
struct NeighbourVoteTests {
    @Test("most votes win; of as many, the nearest")
    func votes() {
        #expect(NeighbourVote.winner([3, 1, 1, 2], k: 1) == 3)
        #expect(NeighbourVote.winner([3, 1, 1, 2], k: 4) == 1)
        #expect(NeighbourVote.winner([3, 1, 1, 3], k: 4) == 3)
        #expect(NeighbourVote.winner([], k: 4) == nil)
        #expect(NeighbourVote.accuracy([[1, 2, 2], [2, 1, 1]], truth: [2, 2], k: 1) == 0.5)
        #expect(NeighbourVote.accuracy([[1, 2, 2], [2, 1, 1]], truth: [2, 2], k: 3) == 0.5)
        #expect(NeighbourVote.accuracy([[1, 2, 2], [2, 2, 1]], truth: [2, 2], k: 3) == 1)
    }
}
