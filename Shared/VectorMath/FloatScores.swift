import CVectorKernels
public import Matryoshka

/// The dot product in the one order of float operations that all processes share (proto-docs, "Scores").
///
/// Both spans have the same length.
public func floatDot(_ left: Span<Float>, _ right: Span<Float>) -> Float {
    floatDot(left, right, path: .current)
}

package func floatDot(_ left: Span<Float>, _ right: Span<Float>, path: KernelPath) -> Float {
    precondition(left.count == right.count, "vectors of different lengths")
    return left.withUnsafeBufferPointer { left in
        right.withUnsafeBufferPointer { right in
            guard let a = left.baseAddress, let b = right.baseAddress else { return 0 }
            return mrl_float_dot(path.checkedNumber, a, b, left.count)
        }
    }
}

/// The float32 score of a row: cosine (0 where either is zero) or dot product.
///
/// Both spans are the prefixes to be compared and have the same length.
public func floatScore(query: Span<Float>, row: Span<Float>, similarity: Similarity) -> Float {
    let dot = floatDot(query, row)
    guard similarity == .cosine else { return dot }
    return mrl_float_score(
        dot,
        floatDot(query, query).squareRoot(),
        floatDot(row, row).squareRoot(),
        true
    )
}

/// A query at one float step, for rows given by their addresses.
package struct FloatQuery {
    package let dimensions: Int
    private let prefix: [Float]
    private let root: Float
    private let isHalf: Bool
    private let isCosine: Bool
    private let path: KernelPath

    // isHalf: rows are rounded to binary16 before they are compared; the query is not.
    package init(
        _ vector: Span<Float>,
        dimensions: Int,
        isHalf: Bool,
        similarity: Similarity,
        path: KernelPath = .current
    ) {
        precondition(dimensions >= 1 && dimensions <= vector.count, "a prefix longer than its vector")
        self.dimensions = dimensions
        self.isHalf = isHalf
        self.path = path
        isCosine = similarity == .cosine
        let prefix = vector.extracting(first: dimensions)
        self.prefix = prefix.withUnsafeBufferPointer { [Float]($0) }
        root = similarity == .cosine ? floatDot(prefix, prefix, path: path).squareRoot() : 0
    }

    /// Scores of rows of at least ``dimensions`` floats.
    package func scores(of rows: [UnsafePointer<Float>]) -> [Float] {
        [Float](unsafeUninitializedCapacity: rows.count) { out, count in
            count = rows.count
            guard let scores = out.baseAddress, !rows.isEmpty else { return }
            rows.withUnsafeBufferPointer { rows in
                rows.withMemoryRebound(to: UnsafePointer<Float>?.self) { rows in
                    mrl_score_rows(
                        path.checkedNumber,
                        prefix,
                        root,
                        rows.baseAddress,
                        rows.count,
                        dimensions,
                        isHalf,
                        isCosine,
                        scores
                    )
                }
            }
        }
    }
}
