import CVectorKernels
package import Matryoshka

/// A batch of queries prepared for a scan of row-major vectors.
package struct FullQueries {
    private let width: Int
    private let count: Int
    private let dimensions: Int
    private let isHalf: Bool
    private let isCosine: Bool
    private let path: KernelPath
    private let values: [Float]
    private let roots: [Float]

    // vectors: row-major, `count` vectors of `width` floats.
    package init(
        vectors: Span<Float>,
        count: Int,
        width: Int,
        dimensions: Int,
        isHalf: Bool,
        similarity: Similarity,
        path: KernelPath = .current
    ) {
        precondition(vectors.count == count * width, "queries of another size")
        precondition(dimensions >= 1 && dimensions <= width, "a step wider than the vectors")
        self.width = width
        self.count = count
        self.dimensions = dimensions
        self.isHalf = isHalf
        self.path = path
        isCosine = similarity == .cosine
        values = vectors.withUnsafeBufferPointer { [Float]($0) }
        var roots: [Float] = []
        for query in 0..<count {
            let prefix = vectors.extracting(query * width..<query * width + dimensions)
            roots.append(floatDot(prefix, prefix, path: path).squareRoot())
        }
        self.roots = roots
    }

    /// Offers the rows of one pass over a table to the queries' rankings; `firstRow` is added to their positions.
    package func scan(
        _ vectors: UnsafePointer<Float>,
        stride: Int,
        directory: RowColumns,
        firstRow: Int,
        pass: TopRows.Pass = .all,
        into best: TopRows
    ) {
        precondition(best.queryCount == count)
        var rows = mrl_vector_rows(
            values: vectors,
            stride: stride,
            ids: directory.ids,
            live: directory.live,
            row_count: directory.count,
            first_row: UInt32(firstRow),
            pass: pass.rawValue
        )
        values.withUnsafeBufferPointer { values in
            roots.withUnsafeBufferPointer { roots in
                var queries = mrl_float_queries(
                    values: values.baseAddress,
                    roots: roots.baseAddress,
                    stride: width,
                    count: count,
                    dimensions: dimensions,
                    cosine: isCosine
                )
                mrl_scan_vectors(path.checkedNumber, &rows, isHalf, &queries, best.selections)
            }
        }
    }
}
