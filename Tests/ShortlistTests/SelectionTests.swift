import Matryoshka
import RetrievalTesting
import Shortlist
import Testing
import VectorMath

@Suite("Selection")
struct SelectionTests {
    /// Orders of the rows' scores that mislead guesses of the threshold.
    enum Order: CaseIterable {
        case constant, rising, falling, organPipe, valley, bestInSample, worstInSample, bestLast, twoValues

        /// Rises with the score of row `number` of `count`; 0 to 1.
        func share(_ number: Int, of count: Int) -> Float {
            let place = Float(number) / Float(count)
            // Scans look at every sixteenth run of four blocks first.
            let isSampled = number / (4 * RowColumns.blockRows) % 16 == 0
            return switch self {
            case .constant: 1
            case .rising: place
            case .falling: 1 - place
            case .organPipe: 1 - (2 * place - 1).magnitude
            case .valley: (2 * place - 1).magnitude
            case .bestInSample: isSampled ? 1 : 0.3
            case .worstInSample: isSampled ? 0 : 0.3 + 0.7 * place
            case .bestLast: number >= count - 40 ? 1 : 0.2
            case .twoValues: number % 3 == 0 ? 0.9 : 0.4
            }
        }
    }

    static let count = 4_003
    static let width = 16
    static let seed: UInt64 = 77

    @Test("keeps exactly the best, ties by id, whatever the order of the data", arguments: Order.allCases)
    func exactBest(order: Order) {
        var random = SeededGenerator(seed: 3)
        let (query, noise) = (random.vector(Self.width), random.vector(Self.width))
        let rows = (0..<Self.count).map { number -> Oracle.Row in
            let share = order.share(number, of: Self.count)
            return .init(id: Int64(number ^ 5), vector: zip(query, noise).map { $0 * share + $1 * (1 - share) })
        }
        // What is best for one query is worst for another, in the same scan.
        let queries = [query, query.map { -$0 }, noise, [Float](repeating: 0, count: Self.width)]
        for similarity in Similarity.allCases {
            let oracle = Oracle(
                rows: rows,
                storedHeadWidth: Self.width,
                similarity: similarity,
                rotationSeed: Self.seed
            )
            for precision in [Precision.int8, .float32, .bit] {
                let held = precision == .float32 ? Precision.float32 : .int8
                let layouts = [1, 3].map { shards(rows, $0, precision: held, similarity: similarity) }
                // From one row to more than an eighth of all, where nothing is guessed.
                for keep in [1, 10, 480, 600] {
                    let step = ResolvedPlan.Step(dimensions: Self.width, keep: keep, precision: precision)
                    let expected = queries.map { oracle.stages(query: $0, steps: [step])[0] }
                    for path in KernelPath.available {
                        for (layout, batch) in zip(layouts, [1, queries.count]) {
                            for first in stride(from: 0, to: queries.count, by: batch) {
                                let asked = queries[first..<first + batch].flatMap { $0 }
                                let got = scanShortlist(
                                    shards: layout,
                                    queries: asked.span,
                                    queryCount: batch,
                                    steps: [step],
                                    path: path
                                )
                                for (columns, right) in zip(got, expected[first...]) {
                                    #expect(columns.ids == right.map(\.id), "\(path) \(precision) keep \(keep)")
                                    #expect(columns.scores[0] == right.map { $0.scores[0] })
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    private func shards(
        _ rows: [Oracle.Row],
        _ count: Int,
        precision: Precision,
        similarity: Similarity
    ) -> [(UInt16, ResidentShard)] {
        let shards = (0..<count).map { number in
            let shard = ResidentShard(
                storedHeadWidth: Self.width,
                residentWidth: Self.width,
                precision: precision,
                similarity: similarity,
                rotation: BitRotation(seed: Self.seed, width: Self.width)
            )
            return (UInt16(number), shard)
        }
        // Row by row into the first, in runs into several: the order stays what it is.
        for (number, row) in rows.enumerated() {
            shards[number * count / rows.count].1.upsert(id: row.id, version: row.version, head: row.vector.span)
        }
        return shards
    }
}
