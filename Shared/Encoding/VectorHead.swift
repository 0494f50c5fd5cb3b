import VectorMath

#if canImport(Glibc)
import Glibc
#endif

/// What is done to the one vector of a text before it leaves the encoder.
struct VectorHead: Sendable {
    enum Step: Sendable {
        /// A linear layer, with the hyperbolic tangent after it or nothing.
        case dense(PackedLinear, isTanh: Bool)
        /// To unit length.
        case normalise
    }

    /// In order.
    var steps: [Step] = []
    /// Layer normalisation over the full vector, without weights, before it is cut.
    var isCentred = false
    /// Leading values that are kept.
    var dimensions: Int
    /// Values before the cut.
    var dimensionsFull: Int
    /// Unit length at the end.
    var isUnit: Bool

    /// Brings pooled rows into the model's final form.
    ///
    /// - Parameters:
    ///   - pooled: count × width, row-major.
    ///   - count: Rows.
    /// - Returns: count × `dimensions`.
    func finish(_ pooled: [Float], count: Int) -> [Float] {
        guard count > 0 else { return [] }
        var rows = pooled
        for step in steps {
            switch step {
            case .normalise: Self.normalise(&rows, width: rows.count / count)
            case .dense(let linear, let isTanh):
                var next = [Float](repeating: 0, count: count * linear.outputs)
                var target = next.mutableSpan
                linear.apply(rows.span, into: &target, scratch: LinearScratch())
                rows = isTanh ? next.map(tanh) : next
            }
        }
        let width = rows.count / count
        if isCentred {
            var values = rows.mutableSpan
            TransformerKernels.normalise(&values, width: width, epsilon: 1e-5)
        }
        if dimensions < width {
            rows = (0..<count).flatMap { rows[$0 * width..<$0 * width + dimensions] }
        }
        if isUnit { Self.normalise(&rows, width: dimensions) }
        return rows
    }

    /// Unit length for every row but those of zeros.
    static func normalise(_ rows: inout [Float], width: Int) {
        rows.withUnsafeMutableBufferPointer { rows in
            for start in stride(from: 0, to: rows.count, by: width) {
                normalise(UnsafeMutableBufferPointer(rebasing: rows[start..<start + width]))
            }
        }
    }

    /// Unit length, unless all are zero.
    static func normalise(_ row: UnsafeMutableBufferPointer<Float>) {
        var squares = SIMD8<Float>.zero
        let whole = row.count & ~7
        for start in stride(from: 0, to: whole, by: 8) {
            let part = UnsafeRawPointer(row.baseAddress! + start).loadUnaligned(as: SIMD8<Float>.self)
            squares += part * part
        }
        var sum = squares.sum()
        for d in whole..<row.count { sum += row[d] * row[d] }
        guard sum > 0 else { return }
        let factor = 1 / sum.squareRoot()
        for d in row.indices { row[d] *= factor }
    }
}
