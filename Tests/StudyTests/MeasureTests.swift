import Evaluation
import Learning
import Matryoshka
import Testing

@testable import Study

@Suite("BM25")
struct BM25Tests {
    // Three documents of 2, 3 and 1 terms, 2 on average. Term 1 is in two: its rarity is ln(1 + 1.5 / 2.5) = 0.470004.
    private let index = BM25([[1, 2], [1, 1, 3], [4]])

    @Test("scores as the formula says, worked by hand")
    func scores() {
        // Once among 2 terms: 0.470004 · 2.2 / (1 + 1.2); twice among 3: 0.470004 · 2 · 2.2 / (2 + 1.2 · 1.375).
        let scores = index.scores(of: [1])
        #expect(abs(scores[0] - 0.470004) < 1e-5)
        #expect(abs(scores[1] - 0.566580) < 1e-5)
        #expect(scores[2] == 0)
        // Term 3 is in one: ln(1 + 2.5 / 1.5) = 0.980829; once among 3: · 2.2 / (1 + 1.65).
        #expect(abs(index.scores(of: [3])[1] - 0.814273) < 1e-5)
    }

    @Test("ranks ties against the wanted document, and what shares no term not at all")
    func ranks() {
        #expect(index.ranking(of: [1], keep: 10) == [1, 0])
        #expect(index.ranking(of: [1], keep: 1) == [1])
        #expect(index.rank(of: 0, for: [1]) == 2)
        #expect(index.rank(of: 2, for: [1]) == nil)
        #expect(BM25([[1], [1], [2]]).rank(of: 0, for: [1]) == 2)
    }

    @Test("counts a repeated term of the query once")
    func repeated() { #expect(index.scores(of: [1, 1]) == index.scores(of: [1])) }
}

@Suite("Short lists")
struct ShortlistsTests {
    private let dimensions = 64
    private func vectors(_ count: Int, seed: UInt64) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        return (0..<count * dimensions).map { _ in Float.random(in: -1...1, using: &generator) }
    }

    @Test("give each plan the ranks and rows that a search of its own has")
    func plans() {
        let (documents, queries) = (vectors(500, seed: 1), vectors(40, seed: 2))
        let targets = (0..<40).map { $0 * 7 }
        // Queries near their documents, so that many are found.
        let near = queries.enumerated().map { place, value in
            documents[targets[place / dimensions] * dimensions + place % dimensions] + 0.8 * value
        }
        let lists = Shortlists(
            documents: documents,
            queries: near,
            targets: targets,
            dimensions: dimensions,
            first: 8,
            keep: 50,
            sizes: [16, 32, 64]
        )
        let collection = DenseCollection(vectors: documents, dimensions: dimensions)
        for stages in [[(8, 50), (64, 10)], [(8, 20), (32, 10)], [(8, 40), (16, 20), (32, 10), (64, 5)]] {
            let plan = stages.map { Stage(dimensions: $0.0, keep: $0.1) }
            let (found, expected) = (lists.found(plan), collection.search(queries: near, targets: targets, plan: plan))
            #expect(found.map(\.rows) == expected.map(\.rows))
            #expect(found.map(\.rank) == expected.map(\.rank))
            #expect(found.contains { $0.rank == 1 } && found.contains { $0.rank == nil })
        }
    }

    @Test("of the claimed plan cost a thirteenth of full search over 33,492 rows")
    func cost() {
        let multiplied = Plan(stages: AdaptiveRetrieval.claimed).multiplied(rows: 33_492)
        #expect(Double(33_492 * AdaptiveRetrieval.dimensions) / Double(multiplied) > 13)
    }

    @Test("are compared with a line that runs over the logarithm of the cost")
    func line() throws {
        var figures = Figures()
        for (size, value) in zip(AdaptiveRetrieval.sizes, [10.0, 20, 30, 40, 50, 60, 70]) {
            figures["mrr", size] = value
        }
        #expect(AdaptiveRetrievalClaim.line(figures, cost: 100, rows: 100) == 10)
        #expect(AdaptiveRetrievalClaim.line(figures, cost: 1_600, rows: 100) == 20)
        // Half-way between 800 and 1,600 by the logarithm is 800 · √2.
        #expect(abs(try #require(AdaptiveRetrievalClaim.line(figures, cost: 1_131, rows: 100)) - 15) < 0.01)
        #expect(AdaptiveRetrievalClaim.line(figures, cost: 99_999, rows: 100) == 70)
    }
}

@Suite("Sizes between")
struct SizesBetweenTests {
    @Test("are outside by what they miss of the span of their neighbours")
    func distance() {
        var figures = Figures()
        figures["mrr", 8] = 10
        figures["mrr", 16] = 20
        figures["mrr", 12] = 15
        #expect(SizesBetween.distance(figures, "mrr", 12) == 0)
        figures["mrr", 12] = 20.4
        #expect(abs(SizesBetween.distance(figures, "mrr", 12)! - 0.4) < 1e-9)
        figures["mrr", 12] = 9
        #expect(SizesBetween.distance(figures, "mrr", 12) == 1)
        figures["mrr", 8] = nil
        #expect(SizesBetween.distance(figures, "mrr", 12) == nil)
    }
}
