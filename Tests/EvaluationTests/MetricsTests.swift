import Evaluation
import Matryoshka
import Testing

@Suite("Metrics")
struct MetricsTests {
    @Test("mean reciprocal rank counts nothing beyond k")
    func reciprocalRank() {
        #expect(Metrics.meanReciprocalRank([1, 2, 4, 11, nil], at: 10) == (1 + 0.5 + 0.25) / 5)
        #expect(Metrics.meanReciprocalRank([], at: 10) == 0)
        #expect(Metrics.hitRate([1, 10, 11, nil], at: 10) == 0.5)
    }

    @Test("recall is the share of true neighbours found")
    func recall() {
        #expect(Metrics.recall(found: [[1, 2, 9], [4]], truth: [[2, 3, 1], [5, 4, 6]], at: 2) == (0.5 + 0.5) / 2)
        #expect(Metrics.recall(found: [[7, 8]], truth: [[8, 7]], at: 2) == 1)
    }

    @Test("ties count against the item")
    func ties() {
        let scores: [(item: Int, score: Float)] = [(1, 0.9), (2, 0.8), (3, 0.8), (4, 0.7)]
        #expect(Metrics.pessimisticRank(of: 2, among: scores, tolerance: 0) == 3)
        #expect(Metrics.pessimisticRank(of: 3, among: scores, tolerance: 0) == 3)
        #expect(Metrics.pessimisticRank(of: 4, among: scores, tolerance: 0.2) == 4)
        #expect(Metrics.pessimisticRank(of: 5, among: scores, tolerance: 0) == nil)
    }
}

@Suite("Dense collection")
struct DenseCollectionTests {
    /// Rows whose first two numbers mislead: only all four tell row 0 from row 1.
    private let collection = DenseCollection(
        vectors: [
            3, 0, 4, 0,
            3, 0, 0, 4,
            0, 1, 0, 0,
            3, 0, 4, 0,
        ],
        dimensions: 4
    )

    @Test("ranks by the renormalised prefix, ties against")
    func ranks() {
        let queries: [Float] = [1, 0, 1, 0]
        #expect(collection.ranks(queries: queries, targets: [1], size: 2) == [3])
        #expect(collection.ranks(queries: queries, targets: [0], size: 4) == [2])
        #expect(collection.ranks(queries: queries, targets: [1], size: 4) == [3])
        #expect(collection.ranks(queries: queries, targets: [2], size: 4) == [4])
    }

    @Test("follows a plan's stages")
    func plan() {
        let queries: [Float] = [1, 0, 0, 1]
        let whole = collection.search(queries: queries, targets: [1], plan: [Stage(dimensions: 4, keep: 2)])[0]
        #expect(whole.rows == [1, 0])
        #expect(whole.rank == 1)
        let stages = [Stage(dimensions: 2, keep: 3), Stage(dimensions: 4, keep: 1)]
        let adaptive = collection.search(queries: queries, targets: [1], plan: stages)[0]
        #expect(adaptive.rows == [1])
        #expect(adaptive.rank == 1)
        let narrow = [Stage(dimensions: 2, keep: 1), Stage(dimensions: 4, keep: 1)]
        #expect(collection.search(queries: queries, targets: [1], plan: narrow)[0].rank == nil)
    }

    @Test("agrees with a plain scan beyond one block")
    func blocks() {
        var state: UInt32 = 1
        func next() -> Float {
            state = state &* 1_664_525 &+ 1_013_904_223
            return Float(state >> 8) * 0x1p-24 - 0.5
        }
        let vectors = (0..<5000 * 8).map { _ in next() }
        let queries = (0..<70 * 8).map { _ in next() }
        let collection = DenseCollection(vectors: vectors, dimensions: 8)
        func cosine(_ query: Int, _ row: Int) -> Double {
            var (dot, norm) = (0.0, 0.0)
            for d in 0..<5 {
                dot += Double(queries[query * 8 + d]) * Double(vectors[row * 8 + d])
                norm += Double(vectors[row * 8 + d]) * Double(vectors[row * 8 + d])
            }
            return dot / norm.squareRoot()
        }
        let targets = (0..<70).map { $0 * 70 }
        let ranks = collection.ranks(queries: queries, targets: targets, size: 5)
        let found = collection.search(queries: queries, targets: targets, plan: [Stage(dimensions: 5, keep: 10)])
        for query in [0, 1, 63, 64, 69] {
            let scores = (0..<5000).map { cosine(query, $0) }
            let plain = scores.indices.sorted { scores[$0] > scores[$1] }
            #expect(abs(ranks[query] - 1 - plain.firstIndex(of: targets[query])!) <= 1)
            #expect(Set(found[query].rows) == Set(plain.prefix(10)))
        }
    }
}
