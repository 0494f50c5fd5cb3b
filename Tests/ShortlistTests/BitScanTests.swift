import Matryoshka
import Reranking
import RetrievalTesting
import Shortlist
import Testing
import VectorMath

@Suite("Bit scan")
struct BitScanTests {
    static let seed: UInt64 = 77

    /// Random rows, among them copies (ties), zero rows and rows of one sign.
    private func rows(_ count: Int, width: Int) -> [Oracle.Row] {
        var random = SeededGenerator(seed: UInt64(width))
        var rows: [Oracle.Row] = []
        for number in 0..<count {
            var vector = random.vector(width)
            if number % 5 == 4 { vector = rows[number / 2].vector }
            if number % 97 == 50 { vector = [Float](repeating: 0, count: width) }
            if number % 97 == 51 { vector = [Float](repeating: -1, count: width) }
            rows.append(.init(id: Int64(number * 7 % 1009) - 300, version: UInt32(number % 4), vector: vector))
        }
        return rows
    }

    private func shards(
        _ rows: [Oracle.Row],
        _ count: Int,
        width: Int,
        similarity: Similarity
    ) -> [(UInt16, ResidentShard)] {
        let shards = (0..<count).map { number in
            let shard = ResidentShard(
                storedHeadWidth: width,
                residentWidth: width,
                precision: .int8,
                similarity: similarity,
                rotation: BitRotation(seed: Self.seed, width: width)
            )
            return (UInt16(number), shard)
        }
        for (number, row) in rows.enumerated() {
            shards[number * number % count].1.upsert(id: row.id, version: row.version, head: row.vector.span)
        }
        if count % 2 == 1 { for (_, shard) in shards { shard.seal() } }
        return shards
    }

    @Test(
        "a bit stage and the int8 one after it equal the oracle, on every path, over any number of shards",
        arguments: KernelPath.available,
        [3, 64, 100, 200]
    )
    func equalsOracle(path: KernelPath, width: Int) {
        for similarity in Similarity.allCases {
            let rows = rows(1001, width: width)
            let oracle = Oracle(
                rows: rows,
                storedHeadWidth: width,
                similarity: similarity,
                rotationSeed: Self.seed
            )
            var random = SeededGenerator(seed: 2)
            let queries = [[Float](repeating: 0, count: width)] + (0..<4).map { _ in random.vector(width) }
            let flat = queries.flatMap { $0 }
            for shardCount in [2, 5] {
                let shards = shards(rows, shardCount, width: width, similarity: similarity)
                for (dimensions, keep) in [(min(64, width), 100), (width, 1), (width, 2000)] {
                    let steps = [
                        ResolvedPlan.Step(dimensions: dimensions, keep: keep, precision: .bit),
                        ResolvedPlan.Step(dimensions: dimensions, keep: max(1, keep / 2), precision: .int8),
                    ]
                    let got = scanShortlist(
                        shards: shards,
                        queries: flat.span,
                        queryCount: queries.count,
                        steps: steps,
                        path: path
                    )
                    for (columns, query) in zip(got, queries) {
                        let expected = oracle.stages(query: query, steps: [steps[0]])[0]
                        #expect(columns.ids == expected.map(\.id))
                        #expect(columns.versions == expected.map(\.version))
                        #expect(columns.scores[0] == expected.map { $0.scores[0] })
                        #expect(
                            columns.scores[1]
                                == columns.ids.map { oracle.score(id: $0, query: query, step: steps[1])! }
                        )
                    }
                }
            }
        }
    }

    @Test("removed and rewritten rows keep scan and oracle equal", arguments: KernelPath.available)
    func changes(path: KernelPath) {
        let width = 128
        var rows = rows(700, width: width)
        let shards = shards(rows, 3, width: width, similarity: .cosine)
        var random = SeededGenerator(seed: 9)
        for number in stride(from: 0, to: rows.count, by: 3) {
            shards[number * number % 3].1.remove(id: rows[number].id)
        }
        for number in stride(from: 1, to: rows.count, by: 6) {
            let head = random.vector(width)
            rows[number] = .init(id: rows[number].id, version: 9, vector: head)
            shards[number * number % 3].1.upsert(id: rows[number].id, version: 9, head: head.span)
        }
        let left = rows.indices.filter { $0 % 3 != 0 }.map { rows[$0] }
        let oracle = Oracle(rows: left, storedHeadWidth: width, similarity: .cosine, rotationSeed: Self.seed)
        let query = random.vector(width)
        let step = ResolvedPlan.Step(dimensions: width, keep: 60, precision: .bit)
        let got = scanShortlist(shards: shards, queries: query.span, queryCount: 1, steps: [step], path: path)[0]
        #expect(got.ids == oracle.stages(query: query, steps: [step])[0].map(\.id))
    }

    enum Data: CaseIterable { case constant, rising, falling, bestInSample }

    @Test("keeps exactly the best of adversarial data", arguments: Data.allCases, KernelPath.available)
    func adversarial(data: Data, path: KernelPath) {
        let (count, width) = (5003, 64)
        var random = SeededGenerator(seed: 3)
        let (query, noise) = (random.vector(width), random.vector(width))
        let rows = (0..<count).map { number -> Oracle.Row in
            let share: Float
            switch data {
            case .constant: share = 1
            case .rising: share = Float(number) / Float(count)
            case .falling: share = 1 - Float(number) / Float(count)
            // The blocks that a scan samples first hold all the best rows, which misleads its guesses.
            case .bestInSample: share = number / 64 % 16 == 0 ? 1 : 0.3
            }
            return .init(id: Int64(number ^ 5), vector: zip(query, noise).map { $0 * share + $1 * (1 - share) })
        }
        let oracle = Oracle(rows: rows, storedHeadWidth: width, similarity: .cosine, rotationSeed: Self.seed)
        let step = ResolvedPlan.Step(dimensions: width, keep: 100, precision: .bit)
        let negative = query.map { -$0 }
        let both = query + negative
        let got = scanShortlist(
            shards: shards(rows, 1, width: width, similarity: .cosine),
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

    @Test("the widest head that collections may have bits of is the widest that the engine has")
    func widest() { #expect(CollectionShape.signWidthMax == BitRotation.widthMax) }

    @Test("a full vector has the bit score of its resident row", arguments: Similarity.allCases)
    func fullVectors(similarity: Similarity) {
        var random = SeededGenerator(seed: 5)
        let rows = (0..<50).map { Oracle.Row(id: Int64($0), vector: random.vector(200)) }
        let query = random.vector(200)
        let oracle = Oracle(rows: rows, storedHeadWidth: 100, similarity: similarity, rotationSeed: Self.seed)
        let plan = ResolvedPlan(
            steps: [
                .init(dimensions: 70, keep: 20, precision: .bit), .init(dimensions: 200, keep: 5, precision: .float32),
            ],
            residentCount: 1
        )
        let prepared = PreparedQuery(
            vector: query.span,
            storedHeadWidth: 100,
            similarity: similarity,
            rotation: BitRotation(seed: Self.seed, width: 100)
        )
        for row in rows {
            let got = scoreVector(row.vector.span, query: prepared, plan: plan, steps: 0..<1)[0]
            #expect(got == oracle.score(id: row.id, query: query, step: plan.steps[0]))
        }
    }
}
