import Glibc
import VectorMath

/// Symmetric InfoNCE over renormalised prefixes, with its gradient written out by hand.
///
/// For each size m of the nesting M: logits are `scale` times the cosines of the m-prefixes of all queries and all
/// documents of a batch, the positives stand on the diagonal, and the loss is the mean cross-entropy of rows and
/// columns. The losses of all sizes are summed with equal weight (c_m = 1, Kusupati et al. 2022, §3).
///
/// Dot products of a prefix are those of the prefix before it plus one block, so the products cost n²·D, not n²·Σm; and
/// one exponential serves rows and columns, as both share the bound `scale`.
public struct NestedInfoNCE: Sendable {
    /// Rows of a batch come in multiples of this.
    public static let rowsMultiple = 8

    private let nesting: [Int]
    private let scale: Float
    private let rows: Int
    private var dots: [Float]
    /// Per size: first the exponentials, then dLoss/dDot, then the sum of that over this and all larger sizes.
    private var slopes: [[Float]]

    /// Makes room for batches of `rows` pairs.
    public init(nesting: [Int], scale: Float, rows: Int) {
        precondition(rows > 0 && rows % Self.rowsMultiple == 0, "rows come in multiples of \(Self.rowsMultiple)")
        self.nesting = nesting
        self.scale = scale
        self.rows = rows
        dots = [Float](repeating: 0, count: rows * rows)
        slopes = nesting.map { _ in [Float](repeating: 0, count: rows * rows) }
    }

    /// The loss of a batch, summed over the sizes.
    ///
    /// - Parameters:
    ///   - queries: Row-major, rows × D.
    ///   - documents: The same; row i belongs to query i.
    ///   - gradients: Gets dLoss/dQueries and dLoss/dDocuments; nil where only the loss is wanted.
    /// - Returns: The loss, averaged over the pairs.
    public mutating func loss(
        queries: [Float],
        documents: [Float],
        gradients: ((_ queries: [Float], _ documents: [Float]) -> Void)? = nil
    ) -> Double {
        let dimensions = nesting[nesting.count - 1]
        precondition(queries.count == rows * dimensions && documents.count == rows * dimensions, "the batch's shape")
        let n = rows
        var squares = ([Float](repeating: 0, count: n), [Float](repeating: 0, count: n))
        var pulls: [(queries: [Float], documents: [Float])] = []
        var total = 0.0
        var low = 0
        for (index, high) in nesting.enumerated() {
            var out = dots.mutableSpan
            BLAS.sgemm(
                transposeB: true,
                rows: n,
                columns: n,
                inner: high - low,
                queries.span.extracting(low...),
                strideA: dimensions,
                documents.span.extracting(low...),
                strideB: dimensions,
                beta: low == 0 ? 0 : 1,
                &out
            )
            Self.addSquares(&squares.0, queries, dimensions, low..<high)
            Self.addSquares(&squares.1, documents, dimensions, low..<high)
            let inverses = (Self.inverseRoots(squares.0), Self.inverseRoots(squares.1))
            let sums = exponentials(index, inverses)
            total += sums.loss
            if gradients != nil {
                pulls.append(differentiate(index, inverses, rowSums: sums.rows, columnSums: sums.columns))
            }
            low = high
        }
        guard let gradients else { return total }

        var (dQueries, dDocuments) = (
            [Float](repeating: 0, count: n * dimensions), [Float](repeating: 0, count: n * dimensions)
        )
        var pull = ([Float](repeating: 0, count: n), [Float](repeating: 0, count: n))
        for index in nesting.indices.reversed() {
            let (low, high) = (index == 0 ? 0 : nesting[index - 1], nesting[index])
            if index + 1 < nesting.count { Self.add(&slopes[index], slopes[index + 1]) }
            Self.add(&pull.0, pulls[index].queries)
            Self.add(&pull.1, pulls[index].documents)
            let width = low..<high
            let ofQueries = product(index, transposed: false, documents, width)
            let ofDocuments = product(index, transposed: true, queries, width)
            Self.place(ofQueries, into: &dQueries, dimensions, width, less: pull.0, times: queries)
            Self.place(ofDocuments, into: &dDocuments, dimensions, width, less: pull.1, times: documents)
        }
        gradients(dQueries, dDocuments)
        return total
    }

    /// The slopes, or their transpose, times some columns of the other side's vectors.
    private func product(_ index: Int, transposed: Bool, _ vectors: [Float], _ columns: Range<Int>) -> [Float] {
        let slope = slopes[index]
        var block = [Float](repeating: 0, count: rows * columns.count)
        var out = block.mutableSpan
        BLAS.sgemm(
            transposeA: transposed,
            rows: rows,
            columns: columns.count,
            inner: rows,
            slope.span,
            vectors.span.extracting(columns.lowerBound...),
            strideB: nesting[nesting.count - 1],
            &out
        )
        return block
    }

    /// Fills `slopes[index]` with exp(logit − scale), at most 1, and sums it both ways.
    private mutating func exponentials(
        _ index: Int,
        _ inverses: ([Float], [Float])
    ) -> (loss: Double, rows: [Float], columns: [Float]) {
        let n = rows
        var rowSums = [Float](repeating: 0, count: n)
        var columnSums = [Float](repeating: 0, count: n)
        var loss = 0.0
        dots.withUnsafeBufferPointer { dots in
            inverses.1.withUnsafeBufferPointer { inverse in
                columnSums.withUnsafeMutableBufferPointer { columnSums in
                    slopes[index].withUnsafeMutableBufferPointer { out in
                        for i in 0..<n {
                            let factor = scale * inverses.0[i]
                            var sum = SIMD8<Float>.zero
                            for j in stride(from: 0, to: n, by: 8) {
                                let cosine = load(dots, i * n + j) * load(inverse, j)
                                let power = exponential(cosine * factor - scale)
                                store(power, out, i * n + j)
                                store(load(columnSums, j) + power, columnSums, j)
                                sum += power
                            }
                            rowSums[i] = sum.sum()
                            loss -= 2 * Double(dots[i * n + i] * inverse[i] * factor - scale)
                        }
                    }
                }
            }
        }
        for i in 0..<n { loss += Double(logf(rowSums[i]) + logf(columnSums[i])) }
        return (loss / Double(2 * n), rowSums, columnSums)
    }

    /// Turns the exponentials into dLoss/dDot; returns each vector's share of its own direction in the gradient.
    private mutating func differentiate(
        _ index: Int,
        _ inverses: ([Float], [Float]),
        rowSums: [Float],
        columnSums: [Float]
    ) -> (queries: [Float], documents: [Float]) {
        let n = rows
        let half = 1 / Float(2 * n)
        let columnShares = columnSums.map { half / $0 }
        var pulls = ([Float](repeating: 0, count: n), [Float](repeating: 0, count: n))
        dots.withUnsafeBufferPointer { dots in
            inverses.1.withUnsafeBufferPointer { inverse in
                columnShares.withUnsafeBufferPointer { columnShares in
                    pulls.1.withUnsafeMutableBufferPointer { columnPulls in
                        slopes[index].withUnsafeMutableBufferPointer { out in
                            for i in 0..<n {
                                let rowShare = half / rowSums[i]
                                let factor = scale * inverses.0[i]
                                var sum = SIMD8<Float>.zero
                                // The positive's own term, before the row is scaled.
                                let diagonal = 2 * half / (rowShare + columnShares[i])
                                out[i * n + i] -= diagonal
                                for j in stride(from: 0, to: n, by: 8) {
                                    let share = (load(columnShares, j) + rowShare) * load(out, i * n + j)
                                    let slope = share * load(inverse, j) * factor
                                    store(slope, out, i * n + j)
                                    let weighted = slope * load(dots, i * n + j)
                                    sum += weighted
                                    store(load(columnPulls, j) + weighted, columnPulls, j)
                                }
                                pulls.0[i] = sum.sum() * inverses.0[i] * inverses.0[i]
                            }
                        }
                    }
                }
            }
        }
        for j in 0..<n { pulls.1[j] *= inverses.1[j] * inverses.1[j] }
        return pulls
    }

    private static func addSquares(_ sums: inout [Float], _ matrix: [Float], _ dimensions: Int, _ range: Range<Int>) {
        for i in sums.indices {
            var sum: Float = 0
            for d in range { sum += matrix[i * dimensions + d] * matrix[i * dimensions + d] }
            sums[i] += sum
        }
    }

    /// A zero vector has cosine 0 with everything, and no gradient.
    private static func inverseRoots(_ squares: [Float]) -> [Float] {
        squares.map { $0 > 1e-30 ? 1 / $0.squareRoot() : 0 }
    }

    private static func add(_ sums: inout [Float], _ values: [Float]) {
        for i in sums.indices { sums[i] += values[i] }
    }

    /// Renormalising takes back the part of the gradient along the vector itself.
    private static func place(
        _ block: [Float],
        into result: inout [Float],
        _ dimensions: Int,
        _ range: Range<Int>,
        less factors: [Float],
        times vectors: [Float]
    ) {
        let width = range.count
        for i in factors.indices {
            for d in 0..<width {
                let at = i * dimensions + range.lowerBound + d
                result[at] = block[i * width + d] - factors[i] * vectors[at]
            }
        }
    }
}
