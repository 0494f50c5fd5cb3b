import Matryoshka
import RetrievalTesting
import Testing
import VectorMath

@Suite("Top rows")
struct TopRowsTests {
    enum Shape: CaseIterable { case random, constant, ascending, descending, fewValues, withNaN, zeros }

    private func scores(_ shape: Shape, _ count: Int) -> [Float] {
        var random = SeededGenerator(seed: 5)
        return (0..<count).map { row in
            switch shape {
            case .random: random.vector(1)[0]
            case .constant: 0.25
            case .ascending: Float(row)
            case .descending: -Float(row)
            case .fewValues: Float(Int.random(in: 0..<3, using: &random))
            case .withNaN: row % 3 == 0 ? .nan : Float(row % 5) - 2
            case .zeros: row % 2 == 0 ? 0.0 : -0.0
            }
        }
    }

    @Test("keeps exactly the best, whatever the data", arguments: Shape.allCases, [1, 2, 10, 200, 999, 1000, 5000])
    func exact(shape: Shape, keep: Int) {
        let count = 1003
        let values = scores(shape, count)
        let directory = RowDirectory()
        directory.setCapacity(count)
        var random = SeededGenerator(seed: 6)
        let ids = (0..<Int64(count)).map { $0 - 500 }.shuffled(using: &random)
        for id in ids { _ = directory.place(id: id, version: 1) }
        // One dimension under `dot` with the query 1: a row's score is its value.
        let queries = FullQueries(
            vectors: [1].span,
            count: 1,
            width: 1,
            dimensions: 1,
            isHalf: false,
            similarity: .dot
        )
        let best = TopRows(queryCount: 1, keep: keep, rowLimit: count)
        values.withUnsafeBufferPointer {
            queries.scan($0.baseAddress!, stride: 1, directory: directory, firstRow: 7, into: best)
        }
        let order = ids.indices.sorted { ranksBefore(score: values[$0], id: ids[$0], than: values[$1], id: ids[$1]) }
        let ranking = best.rankings()[0]
        #expect(ranking.ids == order.prefix(keep).map { ids[$0] })
        #expect(ranking.rows == order.prefix(keep).map { UInt32($0 + 7) })
        for (got, row) in zip(ranking.scores, order) {
            #expect(got == values[row] || (got.isNaN && values[row].isNaN))
        }
    }
}
