import Evaluation
import FoundationEssentials
import Matryoshka
import VectorFiles
import VectorMath

/// A folder with vectors, queries and their true neighbours, in files that other programs read too.
struct DataSet {
    static let neighbours = 10

    let folder: String
    let base: MatrixFile
    let queries: MatrixFile
    /// Rows that count; the first ones of the file.
    let rows: Int

    init(_ folder: String, rows: Int? = nil) throws {
        self.folder = folder
        base = try MatrixFile.open(folder + "/base.npy")
        queries = try MatrixFile.open(folder + "/queries.npy")
        self.rows = min(base.rows, rows ?? base.rows)
    }

    var dimensions: Int { base.columns }

    /// Every query's row, in one array.
    var queryValues: [Float] { queries.floats(0..<queries.rows) }

    /// By query the score of its tenth nearest row, by exact search over all dimensions, kept in a file.
    func bars() throws -> [Float] {
        let path = "\(folder)/bars-\(rows).npy"
        if !FileManager.default.fileExists(atPath: path) {
            let bars = exactBars()
            try MatrixFile.create(path, rows: bars.count, columns: 1, element: .float32) { place in
                place.withMemoryRebound(to: Float.self, capacity: bars.count) {
                    $0.update(from: bars, count: bars.count)
                }
            }
        }
        return try MatrixFile.open(path).floats(0..<queries.rows)
    }

    private func exactBars() -> [Float] {
        let count = queries.rows
        let values = queryValues
        var best = [[Float]](repeating: [], count: count)
        let block = 4_096
        for first in stride(from: 0, to: rows, by: block) {
            let width = min(block, rows - first)
            var scores = [Float](repeating: 0, count: count * width)
            var out = scores.mutableSpan
            base.withFloats(first..<first + width) { block in
                BLAS.sgemm(
                    transposeB: true,
                    rows: count,
                    columns: width,
                    inner: dimensions,
                    values.span,
                    block.span,
                    &out
                )
            }
            scores.withUnsafeBufferPointer { scores in
                for query in 0..<count {
                    var bar = best[query].count < Self.neighbours ? -Float.infinity : best[query][0]
                    for place in query * width..<(query + 1) * width where scores[place] > bar {
                        best[query].append(scores[place])
                        best[query].sort()
                        if best[query].count > Self.neighbours { best[query].removeFirst() }
                        if best[query].count == Self.neighbours { bar = best[query][0] }
                    }
                }
            }
        }
        return best.map { $0.first ?? -.infinity }
    }

    /// Judges what was found for the first queries.
    func recall(of found: MatrixFile) throws -> Recall {
        let bars = try bars()
        return Recall(
            ofQueries: (0..<min(found.rows, queries.rows)).map { number in
                queries.withFloats(number..<number + 1) { query in
                    Recall.share(
                        found: found.integers(number).filter { $0 >= 0 && $0 < rows },
                        k: Self.neighbours,
                        bar: bars[number],
                        tolerance: DenseCollection.tolerance
                    ) { row in base.withFloats(row..<row + 1) { floatDot(query.span, $0.span) } }
                }
            }
        )
    }
}
