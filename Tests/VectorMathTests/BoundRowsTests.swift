import Matryoshka
import RetrievalTesting
import Testing

@testable import VectorMath

@Suite("Bounds of scores")
struct BoundRowsTests {
    private static func rows(_ dimensions: Int) -> [[Float]] {
        var random = SeededGenerator(seed: UInt64(dimensions))
        let base = random.vector(dimensions)
        return (0..<420).map { number in
            switch number % 6 {
            case 0: base.map { $0 * (1 + 0.001 * random.centred()) }
            case 1: base.enumerated().map { $0.offset % 3 == number % 3 ? $0.element : 0 }
            case 2: random.vector(dimensions).map { $0 * 1e9 }
            case 3: (0..<dimensions).map { $0 == number % dimensions ? -1e-9 : 0 }
            case 4: base.map { -$0 * Float(number) }
            default: (0..<dimensions).map { _ in random.centred() }
            }
        }
    }

    @Test(
        "at no level is a row let go whose score reaches the threshold, be it to the last bit",
        arguments: Similarity.allCases,
        [5, 32, 70, 200, 512]
    )
    func holds(similarity: Similarity, dimensions: Int) throws {
        let rows = Self.rows(dimensions)
        let flat = rows.flatMap { $0 }
        // Learnt from a part alone: the others do not fit the axes.
        let sample = Array(flat.prefix(60 * dimensions))
        let learnt = BoundSpace(sample: sample.span, dimensions: dimensions)
        let space = try #require(learnt)
        let capacity = (rows.count + 15) / 16 * 16
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: BoundRows.byteCount(space, rows: capacity),
            alignment: 64
        )
        defer { memory.deallocate() }
        let bound = BoundRows(space: space, similarity: similarity, memory: memory, rows: capacity)
        let coded = space.code(flat)
        for row in rows.indices { bound.write(coded, row, at: row) }
        let lanes = (0..<capacity / 16).map { block in
            (0..<16).reduce(UInt16(0)) { $0 | (block * 16 + $1 < rows.count ? 1 << UInt16($1) : 0) }
        }
        var random = SeededGenerator(seed: 9)
        let queries = [rows[0], rows[3], random.vector(dimensions), rows[1].map { $0 * 1e-7 }]
        var (sums, partials) = ([Float](repeating: 0, count: capacity), [Float](repeating: 0, count: capacity + 1))
        var left = [UInt32](repeating: 0, count: capacity + 1)
        var kept = 0
        for path in KernelPath.available {
            let batch = BoundQueries(queries.flatMap { $0 }, space: space, path: path)
            for (number, query) in queries.enumerated() {
                #expect(batch.isBounded(number))
                bound.firstSums(batch, number, lanes: lanes, into: &sums)
                for (position, row) in rows.enumerated() {
                    var work = 0
                    let count = bound.survivors(
                        batch,
                        number,
                        lanes: lanes,
                        sums: sums,
                        threshold: floatScore(query: query.span, row: row.span, similarity: similarity),
                        rows: &left,
                        partials: &partials,
                        work: &work
                    )
                    #expect(left[..<count].contains(UInt32(position)), "row \(position), query \(number)")
                    kept += count
                }
            }
        }
        // Far from all rows are kept, or this shows nothing.
        let all = rows.count * rows.count * queries.count * KernelPath.available.count
        #expect(kept < all * 7 / 10, "\(kept) of \(all)")
    }
}
