import Matryoshka
import RetrievalTesting
import Shortlist
import Testing
import VectorMath

struct ShardShape: Sendable, CustomTestStringConvertible {
    var precision: Precision
    var similarity: Similarity
    var path: KernelPath
    var testDescription: String { "\(precision) \(similarity) \(path)" }

    static let all = [Precision.int8, .float32].flatMap { precision in
        Similarity.allCases.flatMap { similarity in
            KernelPath.available.map { ShardShape(precision: precision, similarity: similarity, path: $0) }
        }
    }
}

@Suite("Shortlist scan")
struct ShortlistScanTests {
    static let storedWidth = 40
    static let residentWidth = 24

    /// Random rows, among them copies (ties) and zero rows.
    private func rows(_ count: Int, seed: UInt64) -> [Oracle.Row] {
        var random = SeededGenerator(seed: seed)
        var rows: [Oracle.Row] = []
        for number in 0..<count {
            var vector = random.vector(Self.storedWidth)
            if number % 5 == 4 { vector = rows[number / 2].vector }
            if number % 97 == 50 { vector = [Float](repeating: 0, count: Self.storedWidth) }
            if number % 31 == 30 { for i in 0..<9 { vector[i] = 0 } }
            rows.append(.init(id: Int64(number * 7 % 1009) - 300, version: UInt32(number % 4), vector: vector))
        }
        return rows
    }

    private func shards(_ rows: [Oracle.Row], _ count: Int, _ shape: ShardShape) -> [(UInt16, ResidentShard)] {
        let shards = (0..<count).map { number in
            let shard = ResidentShard(
                storedHeadWidth: Self.storedWidth,
                residentWidth: Self.residentWidth,
                precision: shape.precision,
                similarity: shape.similarity
            )
            return (UInt16(60 - number), shard)
        }
        for (number, row) in rows.enumerated() {
            shards[number * number % count].1.upsert(id: row.id, version: row.version, head: row.vector.span)
        }
        if count % 2 == 1 { for (_, shard) in shards { shard.seal() } }
        return shards
    }

    @Test(
        "equals the oracle to the bit, over any number of shards, ties included",
        arguments: ShardShape.all,
        [1, 2, 5]
    )
    func equalsOracle(shape: ShardShape, shardCount: Int) {
        let rows = rows(1001, seed: 1)
        let oracle = Oracle(rows: rows, storedHeadWidth: Self.storedWidth, similarity: shape.similarity)
        let shards = shards(rows, shardCount, shape)
        var random = SeededGenerator(seed: 2)
        let queries = (0..<11).map { number in
            number == 0 ? [Float](repeating: 0, count: 8) + random.vector(32) : random.vector(Self.storedWidth)
        }
        let flat = queries.flatMap { $0 }
        for (dimensions, keep) in [(1, 10), (7, 200), (8, 1), (16, 50), (23, 1001), (24, 300), (24, 4000)] {
            let step = ResolvedPlan.Step(dimensions: dimensions, keep: keep, precision: shape.precision)
            let got = scanShortlist(
                shards: shards,
                queries: flat.span,
                queryCount: queries.count,
                steps: [step],
                path: shape.path
            )
            for (columns, query) in zip(got, queries) {
                let expected = oracle.stages(query: query, steps: [step])[0]
                #expect(columns.ids == expected.map(\.id))
                #expect(columns.versions == expected.map(\.version))
                #expect(columns.scores[0] == expected.map { $0.scores[0] })
                for (id, shard) in zip(columns.ids, columns.shards) {
                    let holds = shards.contains { number, rows in number == shard && rows.contains(id: id) }
                    #expect(holds)
                }
            }
        }
    }

    @Test("gives the scores of all resident steps for what the first one keeps", arguments: ShardShape.all)
    func allSteps(shape: ShardShape) {
        let rows = rows(500, seed: 3)
        let oracle = Oracle(rows: rows, storedHeadWidth: Self.storedWidth, similarity: shape.similarity)
        let shards = shards(rows, 3, shape)
        var random = SeededGenerator(seed: 4)
        let query = random.vector(Self.storedWidth)
        let steps = [(8, 40), (17, 20), (24, 10)].map {
            ResolvedPlan.Step(dimensions: $0.0, keep: $0.1, precision: shape.precision)
        }
        let got = scanShortlist(shards: shards, queries: query.span, queryCount: 1, steps: steps, path: shape.path)[0]
        #expect(got.ids.count == 40)
        for (stage, step) in steps.enumerated() {
            #expect(got.scores[stage] == got.ids.map { oracle.score(id: $0, query: query, step: step)! })
        }
    }

    enum Data: CaseIterable { case constant, rising, falling, allZero, bestInSample }

    @Test("keeps exactly the best of adversarial data", arguments: Data.allCases, KernelPath.available)
    func adversarial(data: Data, path: KernelPath) {
        let count = 3001
        let rows = (0..<count).map { number -> Oracle.Row in
            let position = data == .falling ? count - number : number
            let angle = Float(position) / Float(count)
            var vector = [Float](repeating: 0, count: Self.storedWidth)
            if data == .constant { vector[0] = 1 }
            // The blocks that a scan samples first hold all the best rows, which misleads its guesses.
            if data == .bestInSample { vector = [number / 16 % 16 == 0 ? 2 : 1, 1] + vector.dropFirst(2) }
            if data == .rising || data == .falling {
                vector[0] = angle
                vector[1] = 1 - angle
            }
            return .init(id: Int64(number ^ 5), vector: vector)
        }
        let shape = ShardShape(precision: .int8, similarity: .cosine, path: path)
        let oracle = Oracle(rows: rows, storedHeadWidth: Self.storedWidth, similarity: .cosine)
        var query = [Float](repeating: 0, count: Self.storedWidth)
        query[0] = 1
        let negative = query.map { -$0 }
        let both = query + negative
        let step = ResolvedPlan.Step(dimensions: 16, keep: 100, precision: .int8)
        let got = scanShortlist(
            shards: shards(rows, 1, shape),
            queries: both.span,
            queryCount: 2,
            steps: [step],
            path: path
        )
        for (columns, query) in zip(got, [query, negative]) {
            let expected = oracle.stages(query: query, steps: [step])[0]
            #expect(columns.ids == expected.map(\.id))
            #expect(columns.scores[0] == expected.map { $0.scores[0] })
        }
    }

    @Test("the resident int8 score stays near the true cosine")
    func nearTrueCosine() {
        var random = SeededGenerator(seed: 6)
        var worst = 0.0
        let shard = ResidentShard(storedHeadWidth: 128, residentWidth: 128, precision: .int8, similarity: .cosine)
        let rows = (0..<400).map { _ in random.vector(128) }
        for (id, row) in rows.enumerated() { shard.upsert(id: Int64(id), version: 1, head: row.span) }
        for _ in 0..<10 {
            let query = random.vector(128)
            for dimensions in [16, 32, 64, 128] {
                let step = ResolvedPlan.Step(dimensions: dimensions, keep: 400, precision: .int8)
                let got = scanShortlist(shards: [(0, shard)], queries: query.span, queryCount: 1, steps: [step])[0]
                for (id, score) in zip(got.ids, got.scores[0]) {
                    let row = rows[Int(id)]
                    var (dot, left, right) = (0.0, 0.0, 0.0)
                    for i in 0..<dimensions {
                        dot += Double(row[i]) * Double(query[i])
                        left += Double(query[i]) * Double(query[i])
                        right += Double(row[i]) * Double(row[i])
                    }
                    worst = max(worst, abs(Double(score) - dot / (left * right).squareRoot()))
                }
            }
        }
        // Each code errs by half a step, 1/254 of the greatest magnitude.
        #expect(worst < 0.01, "\(worst)")
    }

    @Test("no shards, and empty ones, give empty columns for every step")
    func nothing() {
        let steps = [8, 16].map { ResolvedPlan.Step(dimensions: $0, keep: 5, precision: .int8) }
        let empty = ResidentShard(storedHeadWidth: 16, residentWidth: 16, precision: .int8, similarity: .cosine)
        let queries = [Float](repeating: 1, count: 32)
        for shards in [[], [(UInt16(3), empty)]] {
            let got = scanShortlist(shards: shards, queries: queries.span, queryCount: 2, steps: steps)
            #expect(got.map(\.ids) == [[], []])
            #expect(got.map(\.scores) == [[[], []], [[], []]])
        }
    }
}
