import Matryoshka
import RetrievalTesting
import Testing
import VectorMath

@Suite("Kernel paths")
struct KernelPathTests {
    static let others = KernelPath.available.filter { $0 != .portable }

    @Test("the portable path is available everywhere")
    func availability() {
        #expect(KernelPath.available.first == .portable)
        #expect(KernelPath.available.contains(.current))
    }

    @Test("a float dot has the written order of operations at all lengths", arguments: KernelPath.available)
    func floatDots(path: KernelPath) {
        var random = SeededGenerator(seed: 1)
        for count in 1...300 {
            let (a, b) = (random.vector(count), random.vector(count))
            let expected = Oracle.dot(a, b, count)
            #expect(floatDot(a.span, b.span, path: path).bitPattern == expected.bitPattern, "\(count) floats")
        }
    }

    @Test("a float dot keeps its bits for odd numbers", arguments: KernelPath.available)
    func oddFloats(path: KernelPath) {
        let odd: [Float] = [
            0, -0.0, .leastNonzeroMagnitude, -.leastNonzeroMagnitude, 1e-38, -1e-20, 1e20, -3e38, 3e38, 1, -1, 0.1,
            1 / 3, 16_777_215,
            .leastNormalMagnitude,
        ]
        var random = SeededGenerator(seed: 2)
        for count in 1...70 {
            let a = (0..<count).map { _ in odd.randomElement(using: &random)! }
            let b = (0..<count).map { _ in odd.randomElement(using: &random)! }
            let (got, expected) = (floatDot(a.span, b.span, path: path), Oracle.dot(a, b, count))
            #expect(got.bitPattern == expected.bitPattern || (got.isNaN && expected.isNaN))
        }
    }

    @Test("many rows score as each one alone, at any size, in both float precisions", arguments: KernelPath.available)
    func rowScores(path: KernelPath) {
        var random = SeededGenerator(seed: 3)
        for dimensions in Array(1...40) + [63, 64, 65, 127, 128, 255, 256] {
            for similarity in Similarity.allCases {
                let query = random.vector(dimensions + 3)
                let rows = (0..<9).map { _ in random.vector(dimensions) }
                let plain = FloatQuery(
                    query.span,
                    dimensions: dimensions,
                    isHalf: false,
                    similarity: similarity,
                    path: path
                )
                let half = FloatQuery(
                    query.span,
                    dimensions: dimensions,
                    isHalf: true,
                    similarity: similarity,
                    path: path
                )
                let flat = rows.flatMap { $0 }
                let rounded = flat.map { Float(Float16($0)) }
                flat.withUnsafeBufferPointer { flat in
                    let addresses = rows.indices.map { flat.baseAddress! + $0 * dimensions }
                    let (plainScores, halfScores) = (plain.scores(of: addresses), half.scores(of: addresses))
                    for row in rows.indices {
                        let range = row * dimensions..<(row + 1) * dimensions
                        let prefix = query.span.extracting(first: dimensions)
                        #expect(
                            plainScores[row]
                                == floatScore(query: prefix, row: flat.span.extracting(range), similarity: similarity)
                        )
                        #expect(
                            halfScores[row]
                                == floatScore(
                                    query: prefix,
                                    row: rounded.span.extracting(range),
                                    similarity: similarity
                                )
                        )
                    }
                }
            }
        }
    }

    @Test("binary16 rounding is that of the language, halfway cases included", arguments: KernelPath.available)
    func halfRounding(path: KernelPath) {
        var values: [Float] = []
        for bits in stride(from: UInt16(0), through: 0x7BFF, by: 7) {
            let (low, high) = (Float(Float16(bitPattern: bits)), Float(Float16(bitPattern: bits + 1)))
            let middle = bits == 0x7BFF ? 65520 : low + (high - low) / 2
            values += [low, middle, middle.nextDown, middle.nextUp, -low, -middle, -middle.nextUp]
        }
        values += [65504, 65519.996, 65520, 1e10, -1e10, .leastNonzeroMagnitude, 5.9e-8, 2.98e-8, -2.98e-8]
        let one = FloatQuery([1].span, dimensions: 1, isHalf: true, similarity: .dot, path: path)
        let scores = values.withUnsafeBufferPointer { values in
            one.scores(of: values.indices.map { values.baseAddress! + $0 })
        }
        for (value, score) in zip(values, scores) { #expect(score == Float(Float16(value)), "\(value)") }
    }

    /// Rows at the extremes of int8 beside random ones; the last block is never full.
    private func heads(rows: Int, width: Int, random: inout SeededGenerator) -> [[Float]] {
        (0..<rows).map { row in
            switch row % 7 {
            case 0: return [Float](repeating: 1, count: width)
            case 1: return [Float](repeating: -1, count: width)
            case 2: return (0..<width).map { $0 % 2 == 0 ? 1 : -1 }
            case 3: return [Float](repeating: 0, count: width)
            case 4: return (0..<width).map { $0 == width - 1 ? 1 : 1e-6 }
            default: return random.vector(width)
            }
        }
    }

    @Test("resident scans give portable's bits at all dimensions", arguments: Precision.residentCases, others)
    func residentScans(precision: Precision, path: KernelPath) {
        var random = SeededGenerator(seed: 4)
        for dimensions in 1...256 {
            let width = min(256, dimensions + dimensions % 9)
            let count = 1 + dimensions % 53
            let similarity: Similarity = dimensions % 2 == 0 ? .cosine : .dot
            let columns = PlacedColumns()
            let rows = BlockedRows(
                storedWidth: width,
                width: width,
                precision: precision,
                similarity: similarity,
                columns: columns
            )
            rows.setCapacity(count)
            columns.setBlocks((count + 15) / 16)
            for block in 0..<columns.blockCount { rows.clearBlock(block) }
            for (row, head) in heads(rows: count, width: width, random: &random).enumerated() {
                rows.write(head.span, at: row)
                columns.put(id: Int64(row * 3), version: 1, at: row)
            }
            // Batches that fill tiles of 16 queries, and that leave a few or many over.
            let queryCount = [1, 8, 16, 21, 35][dimensions % 5]
            let queries = heads(rows: queryCount, width: width, random: &random).flatMap { $0 }
            // Each block is a list that some queries look into, every third one all of them.
            var visits = ListVisits()
            for block in (0..<UInt32(columns.blockCount)).shuffled(using: &random) {
                let askers = (0..<UInt32(queryCount)).filter { block % 3 == 0 || ($0 + block) % 4 != 1 }
                visits.append(blocks: [block], askers: askers)
            }
            func rankings(_ path: KernelPath, _ scan: (BlockQueries, TopRows) -> Void) -> [TopRows.Ranking] {
                let prepared = BlockQueries(
                    heads: queries.span,
                    count: queryCount,
                    storedWidth: width,
                    dimensions: dimensions,
                    precision: precision,
                    similarity: similarity,
                    path: path
                )
                let best = TopRows(queryCount: queryCount, keep: count, rowLimit: count)
                scan(prepared, best)
                return best.rankings()
            }
            for scan in [
                { (queries: BlockQueries, best: TopRows) in queries.scan(rows, firstRow: 0, into: best) },
                { queries, best in queries.scan(rows, visits, live: nil, into: best) },
            ] {
                for (got, expected) in zip(rankings(path, scan), rankings(.portable, scan)) {
                    let (bits, wanted) = (got.scores.map(\.bitPattern), expected.scores.map(\.bitPattern))
                    #expect(got.ids == expected.ids && bits == wanted, "\(dimensions) dimensions")
                }
            }
        }
    }
}

extension Precision {
    static var residentCases: [Precision] { [.int8, .float32] }
}
