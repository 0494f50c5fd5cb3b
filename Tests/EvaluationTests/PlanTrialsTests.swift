import Evaluation
import Matryoshka
import Testing

@Suite("Grids of plans")
struct PlanGridTests {
    @Test("single shots, every larger size for each shortlist, funnels, and the full search")
    func entries() {
        let grid = PlanGrid(sizes: [8, 16, 32], first: [16, 8, 32], keeps: [20, 5, 100], hits: 10, rows: 50)
        #expect(
            grid.entries.map { "\($0.kind.rawValue) \($0.plan)" } == [
                "single shot (8,10)", "single shot (16,10)", "adaptive (8,20) (16,10)", "adaptive (8,20) (32,10)",
                "adaptive (16,20) (32,10)", "funnel (8,20) (16,10) (32,10)", "full search (32,10)",
            ]
        )
        let chosen = PlanGrid(sizes: [8, 16, 32], first: [8], keeps: [20], hits: 10, rows: 50, rerank: [32])
        #expect(chosen.entries.count { $0.kind == .adaptive } == 1)
    }

    @Test("a funnel doubles dimensions and halves rows, down to the hits")
    func funnel() {
        let grid = PlanGrid(sizes: [16, 384], first: [16], keeps: [100], hits: 10, rows: 1000)
        let funnel = grid.entries.first { $0.kind == .funnel }
        #expect(funnel.map { "\($0.plan)" } == "(16,100) (32,50) (64,25) (128,12) (256,10) (384,10)")
    }

    @Test("costs are those of the paper: N·Ds + K·Dr")
    func cost() {
        let plan = Plan(stages: [Stage(dimensions: 16, keep: 200), Stage(dimensions: 2048, keep: 10)])
        // ImageNet-1K: 20.91 million.
        #expect(plan.multiplied(rows: 1_281_167) == 20_908_272)
        #expect(Plan(stages: [Stage(dimensions: 8, keep: 10)]).multiplied(rows: 100) == 800)
        #expect(
            Plan(stages: [Stage(dimensions: 8, keep: 90), Stage(dimensions: 16, keep: 1)]).multiplied(rows: 50) == 1200
        )
    }
}

@Suite("Trials of plans")
struct PlanTrialsTests {
    private let dimensions = 20
    private let vectors: [Float]
    private let queries: [Float]

    init() {
        var state: UInt32 = 5
        func next() -> Float {
            state = state &* 1_664_525 &+ 1_013_904_223
            return Float(state >> 8) * 0x1p-24 - 0.5
        }
        vectors = (0..<300 * 20).map { _ in next() }
        queries = (0..<12 * 20).map { _ in next() }
    }

    private func cosine(_ query: Int, _ row: Int, _ size: Int) -> Double {
        var (dot, left, right) = (0.0, 0.0, 0.0)
        for d in 0..<size {
            let (q, r) = (Double(queries[query * dimensions + d]), Double(vectors[row * dimensions + d]))
            dot += q * r
            left += q * q
            right += r * r
        }
        return dot / (left * right).squareRoot()
    }

    /// Follows a plan by the letter.
    private func expected(_ query: Int, _ plan: Plan, excluding: Int) -> [Int] {
        plan.stages.reduce((0..<300).filter { $0 != excluding }) { rows, stage in
            Array(
                rows.sorted { cosine(query, $0, stage.dimensions) > cosine(query, $1, stage.dimensions) }.prefix(
                    stage.keep
                )
            )
        }
    }

    @Test("every plan of a grid finds what following it by the letter finds")
    func grid() {
        let grid = PlanGrid(sizes: [3, 6, 12, 20], first: [3, 6], keeps: [10, 40], hits: 5, rows: 300)
        let excluding = Array(100..<112)
        let collection = DenseCollection(vectors: vectors, dimensions: dimensions)
        var trials = PlanTrials(collection: collection, queries: queries, excluding: excluding)
        trials.timedQueries = 2
        var reports: [Int] = []
        let outcomes = trials.run(grid.entries) { reports.append($0) }
        #expect(outcomes.map(\.entry) == grid.entries)
        #expect(reports == Array(1...grid.entries.count))
        for outcome in outcomes {
            let plan = outcome.entry.plan
            for query in 0..<12 {
                let truth = expected(query, plan, excluding: excluding[query])
                #expect(outcome.found[query] == truth, "\(plan)")
                let alone = collection.search(
                    Array(queries[query * dimensions..<(query + 1) * dimensions]),
                    plan: plan,
                    in: collection.prefixes(plan.stages[0].dimensions),
                    excluding: excluding[query]
                )
                #expect(alone == truth, "\(plan)")
            }
            #expect(outcome.multiplied == plan.multiplied(rows: 300))
            #expect((outcome.milliseconds ?? 0) > 0)
        }
    }

    @Test("cosines over prefixes renormalise each, and are 0 where one is zero")
    func cosines() {
        let collection = DenseCollection(vectors: [3, 4, 0, 0, 0, 1], dimensions: 3)
        let scores = collection.cosines([4, 3, 12], rows: [0, 1], sizes: [1, 2, 3])
        #expect(scores[0] == [1, 0])
        #expect(abs(scores[1][0] - 0.96) < 1e-6 && scores[1][1] == 0)
        #expect(abs(scores[2][0] - 24.0 / 65) < 1e-6 && abs(scores[2][1] - 12.0 / 13) < 1e-6)
    }
}
