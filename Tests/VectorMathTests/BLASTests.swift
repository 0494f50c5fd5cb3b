import RetrievalTesting
import Testing
import VectorMath

@Suite("BLAS")
struct BLASTests {
    @Test("is told faster kernels where it knows the processor for an old one alone")
    func advice() throws {
        #expect(BLAS.advice(coreType: "Prescott", paths: [.portable]) == nil)
        #expect(BLAS.advice(coreType: "SkylakeX", paths: [.portable, .avx2, .avx512]) == nil)
        let haswell = try #require(BLAS.advice(coreType: "Prescott", paths: [.portable, .avx2]))
        #expect(haswell.contains("OPENBLAS_CORETYPE=Haswell"))
        let skylake = try #require(BLAS.advice(coreType: "Prescott", paths: [.portable, .avx2, .avx512, .amx]))
        #expect(skylake.contains("OPENBLAS_CORETYPE=SkylakeX"))
    }

    @Test("sgemm multiplies row-major matrices, transposed or not", arguments: [false, true], [false, true])
    func products(transposeA: Bool, transposeB: Bool) {
        let (rows, columns, inner, stride) = (5, 7, 3, 11)
        var random = SeededGenerator(seed: 7)
        let (a, b) = (random.vector(stride * 7), random.vector(stride * 7))
        var c = [Float](repeating: 1, count: rows * columns)
        var span = c.mutableSpan
        BLAS.sgemm(
            transposeA: transposeA,
            transposeB: transposeB,
            rows: rows,
            columns: columns,
            inner: inner,
            alpha: 2,
            a.span,
            strideA: stride,
            b.span,
            strideB: stride,
            beta: 0.5,
            &span
        )
        for row in 0..<rows {
            for column in 0..<columns {
                var sum: Float = 0
                for i in 0..<inner {
                    let left = transposeA ? a[i * stride + row] : a[row * stride + i]
                    let right = transposeB ? b[column * stride + i] : b[i * stride + column]
                    sum += left * right
                }
                #expect(abs(c[row * columns + column] - (2 * sum + 0.5)) < 1e-5)
            }
        }
    }
}
