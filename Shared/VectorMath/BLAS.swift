import COpenBLAS

/// Dense products on OpenBLAS, one thread.
///
/// Sums depend on the library: nothing that users see compares their bits.
public enum BLAS {
    private static let isSingleThreaded: Bool = {
        openblas_set_num_threads(1)
        return true
    }()

    /// Keeps OpenBLAS to the calling thread; the first product does so too.
    ///
    /// It does not stop the threads that the library makes when it is loaded: set `OPENBLAS_NUM_THREADS=1` before the
    /// process starts.
    public static func useOneThread() { _ = isSingleThreaded }

    /// The kind of processor whose kernels OpenBLAS took: equal numbers come of equal kinds (`OPENBLAS_CORETYPE`).
    public static var coreType: String { String(cString: openblas_get_corename()) }

    /// What to set so that OpenBLAS takes the kernels that this processor runs; nil where it has.
    ///
    /// A release that is older than the processor takes it for the least of its family, at a quarter of the speed.
    public static var advice: String? { advice(coreType: coreType, paths: KernelPath.available) }

    package static func advice(coreType: String, paths: [KernelPath]) -> String? {
        guard coreType == "Prescott",
            let kernels = paths.contains(.avx512) ? "SkylakeX" : paths.contains(.avx2) ? "Haswell" : nil
        else { return nil }
        return
            "OpenBLAS takes this processor for a \(coreType): OPENBLAS_CORETYPE=\(kernels) makes training several times as fast"
    }

    /// C = alpha · op(A) · op(B) + beta · C, all row-major.
    ///
    /// - Parameters:
    ///   - transposeA: A is stored as inner × rows.
    ///   - transposeB: B is stored as columns × inner.
    ///   - rows: Rows of op(A) and C.
    ///   - columns: Columns of op(B) and C.
    ///   - inner: Columns of op(A), rows of op(B).
    ///   - alpha: Factor of the product.
    ///   - a: The matrix A.
    ///   - strideA: Floats from one stored row of A to the next; its width where nil.
    ///   - b: The matrix B.
    ///   - strideB: Floats from one stored row of B to the next; its width where nil.
    ///   - beta: Factor of what C held.
    ///   - c: Holds the matrix C.
    ///   - startC: Floats before its first.
    ///   - strideC: Floats from one row of C to the next; `columns` where nil.
    public static func sgemm(
        transposeA: Bool = false,
        transposeB: Bool = false,
        rows: Int,
        columns: Int,
        inner: Int,
        alpha: Float = 1,
        _ a: Span<Float>,
        strideA: Int? = nil,
        _ b: Span<Float>,
        strideB: Int? = nil,
        beta: Float = 0,
        _ c: inout MutableSpan<Float>,
        startC: Int = 0,
        strideC: Int? = nil
    ) {
        useOneThread()
        guard rows > 0, columns > 0 else { return }
        let (rowsA, widthA) = transposeA ? (inner, rows) : (rows, inner)
        let (rowsB, widthB) = transposeB ? (columns, inner) : (inner, columns)
        let (strideA, strideB, strideC) = (strideA ?? widthA, strideB ?? widthB, strideC ?? columns)
        check(a.count, rows: rowsA, width: widthA, stride: strideA, "A")
        check(b.count, rows: rowsB, width: widthB, stride: strideB, "B")
        precondition(startC >= 0, "C begins within its buffer")
        check(c.count - startC, rows: rows, width: columns, stride: strideC, "C")
        a.withUnsafeBufferPointer { a in
            b.withUnsafeBufferPointer { b in
                c.withUnsafeMutableBufferPointer { c in
                    cblas_sgemm(
                        CblasRowMajor,
                        transposeA ? CblasTrans : CblasNoTrans,
                        transposeB ? CblasTrans : CblasNoTrans,
                        blasint(rows),
                        blasint(columns),
                        blasint(inner),
                        alpha,
                        a.baseAddress,
                        blasint(max(1, strideA)),
                        b.baseAddress,
                        blasint(max(1, strideB)),
                        beta,
                        c.baseAddress.map { $0 + startC },
                        blasint(strideC)
                    )
                }
            }
        }
    }

    private static func check(_ count: Int, rows: Int, width: Int, stride: Int, _ name: StaticString) {
        precondition(stride >= width, "the stride of \(name) is shorter than its rows")
        precondition(rows == 0 || width == 0 || count >= (rows - 1) * stride + width, "\(name) is too short")
    }
}
