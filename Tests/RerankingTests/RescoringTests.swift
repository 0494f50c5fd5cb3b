import Matryoshka
import Reranking
import RetrievalTesting
import Testing
import VectorMath

@Suite("Rescoring")
struct RescoringTests {
    static let dimensions = 72
    static let storedWidth = 40

    private func rows(_ count: Int) -> [Oracle.Row] {
        var random = SeededGenerator(seed: 1)
        return (0..<count).map { number in
            let vector =
                number % 50 == 3 ? [Float](repeating: 0, count: Self.dimensions) : random.vector(Self.dimensions)
            return .init(id: Int64(number * 13 % 701), version: UInt32(number), vector: vector)
        }
    }

    private func shard(_ similarity: Similarity) -> VectorShard {
        VectorShard(dimensions: Self.dimensions, storedHeadWidth: Self.storedWidth, similarity: similarity)
    }

    private let plan = ResolvedPlan(
        steps: [
            .init(dimensions: 8, keep: 500, precision: .int8),
            .init(dimensions: 33, keep: 400, precision: .int8),
            .init(dimensions: 33, keep: 300, precision: .float16),
            .init(dimensions: 33, keep: 200, precision: .float32),
            .init(dimensions: 72, keep: 10, precision: .float32),
        ],
        residentCount: 2
    )

    @Test("all steps of a plan equal the oracle to the bit", arguments: Similarity.allCases, KernelPath.available)
    func equalsOracle(similarity: Similarity, path: KernelPath) {
        let rows = rows(600)
        let oracle = Oracle(rows: rows, storedHeadWidth: Self.storedWidth, similarity: similarity)
        let shards = (0..<3).map { _ in shard(similarity) }
        for row in rows {
            shards[Int(row.id) % 3].upsert(id: row.id, version: row.version, vector: row.vector.span, externalID: "")
        }
        var random = SeededGenerator(seed: 2)
        let vector = random.vector(Self.dimensions)
        let query = PreparedQuery(vector: vector.span, storedHeadWidth: Self.storedWidth, similarity: similarity)
        let ids = rows.map(\.id) + [5000]
        let got = rescore(ids: ids, query: query, plan: plan, steps: 0..<5, path: path) { shards[Int(ids[$0]) % 3] }
        #expect(got.versions == rows.map(\.version) + [nil])
        for (number, step) in plan.steps.enumerated() {
            let expected = ids.map { oracle.score(id: $0, query: vector, step: step) ?? 0 }
            #expect(got.scores[number].map(\.bitPattern) == expected.map(\.bitPattern), "step \(number)")
        }
        let row = rows[17]
        let alone = shards[Int(row.id) % 3].score(id: row.id, query: query, plan: plan, steps: 1..<4)
        #expect(alone == (1..<4).map { got.scores[$0][17] })
        #expect(scoreVector(row.vector.span, query: query, plan: plan, steps: 0..<5) == got.scores.map { $0[17] })
        #expect(shards[0].score(id: 5000, query: query, plan: plan, steps: 0..<1) == nil)
    }

    @Test("a full scan equals the oracle to the bit", arguments: Similarity.allCases, KernelPath.available)
    func fullScan(similarity: Similarity, path: KernelPath) {
        var rows = rows(600)
        for number in stride(from: 0, to: 600, by: 4) { rows[number].vector = rows[number / 3].vector }
        let oracle = Oracle(rows: rows, storedHeadWidth: Self.storedWidth, similarity: similarity)
        let shards = (0..<4).map { (UInt16(10 + $0), shard(similarity)) }
        for (number, row) in rows.enumerated() {
            shards[number % 3].1.upsert(id: row.id, version: row.version, vector: row.vector.span, externalID: "")
        }
        var random = SeededGenerator(seed: 3)
        let queries = (0..<5).map { _ in random.vector(Self.dimensions) }
        let flat = queries.flatMap { $0 }
        for (dimensions, keep, precision) in [(72, 10, Precision.float32), (9, 150, .float16), (64, 1000, .float32)] {
            let step = ResolvedPlan.Step(dimensions: dimensions, keep: keep, precision: precision)
            let got = scanFull(
                shards: shards,
                queries: flat.span,
                queryCount: queries.count,
                step: step,
                path: path
            )
            for (columns, query) in zip(got, queries) {
                let expected = oracle.stages(query: query, steps: [step])[0]
                #expect(columns.ids == expected.map(\.id))
                #expect(columns.versions == expected.map(\.version))
                #expect(columns.scores == expected.map { $0.scores[0] })
            }
        }
    }
}
