import COpenBLAS

/// The uncentred principal axes of some rows, by default each scaled to length 1: an orthogonal matrix, row i is the axis
/// with the i-th most of their energy.
///
/// The result depends on the library's sums: it is made once and kept, never made again elsewhere.
///
/// - Parameters:
///   - rows: Row-major, `width` floats each; rows that are zero or not finite are passed over.
///   - width: Floats of a row.
///   - scalesRows: Whether each row counts as much as any other; else a long one counts more.
/// - Returns: width × width floats, row-major, and by axis its share of the energy; nil where no row is left, or the
///   library gives up.
public func principalAxes(
    of rows: Span<Float>,
    width: Int,
    scalesRows: Bool = true
) -> (axes: [Float], shares: [Double])? {
    precondition(width >= 1 && rows.count % width == 0, "rows of one width")
    let blockRows = 1024
    var units: [Float] = []
    units.reserveCapacity(min(rows.count, blockRows * width))
    var products = [Float](repeating: 0, count: width * width)
    var energy = [Double](repeating: 0, count: width * width)
    var total = 0.0
    func addBlock() {
        let size = units.count / width
        guard size > 0 else { return }
        var span = products.mutableSpan
        BLAS.sgemm(transposeA: true, rows: width, columns: width, inner: size, units.span, units.span, &span)
        for i in energy.indices { energy[i] += Double(products[i]) }
        units.removeAll(keepingCapacity: true)
    }
    for start in stride(from: 0, to: rows.count, by: width) {
        var norm = 0.0
        for i in start..<start + width { norm += Double(rows[i]) * Double(rows[i]) }
        guard norm > 0, norm.isFinite else { continue }
        let factor = scalesRows ? 1 / norm.squareRoot() : 1
        total += scalesRows ? 1 : norm
        for i in start..<start + width { units.append(Float(Double(rows[i]) * factor)) }
        if units.count == blockRows * width { addBlock() }
    }
    addBlock()
    guard total > 0, let values = eigenvectors(of: &energy, width: width) else { return nil }
    // Eigenvalues ascend, and each vector lies in a row of what is a column for LAPACK.
    var axes: [Float] = []
    axes.reserveCapacity(width * width)
    for axis in (0..<width).reversed() { axes += energy[axis * width..<(axis + 1) * width].lazy.map { Float($0) } }
    return (axes, values.reversed().map { max(0, $0) / total })
}

/// Puts the eigenvectors of a symmetric matrix in its place; returns their eigenvalues, ascending.
private func eigenvectors(of matrix: inout [Double], width: Int) -> [Double]? {
    BLAS.useOneThread()
    var size = blasint(width)
    var values = [Double](repeating: 0, count: width)
    var info: blasint = 0
    // The first call asks for the sizes of the work space.
    var work = [0.0]
    var integerWork: [blasint] = [0]
    var (workCount, integerCount): (blasint, blasint) = (-1, -1)
    for _ in 0..<2 {
        dsyevd_("V", "U", &size, &matrix, &size, &values, &work, &workCount, &integerWork, &integerCount, &info)
        guard info == 0 else { return nil }
        if workCount == -1 {
            workCount = blasint(work[0])
            integerCount = integerWork[0]
            work = [Double](repeating: 0, count: Int(workCount))
            integerWork = [blasint](repeating: 0, count: Int(integerCount))
        }
    }
    return values
}

/// A bound of how far a square matrix of floats is from orthogonal: no dot product of two unit vectors changes by more
/// when both are multiplied by it exactly.
func orthogonalityError(of matrix: [Float], width: Int) -> Double {
    BLAS.useOneThread()
    let values = matrix.map { Double($0) }
    var products = [Double](repeating: 0, count: width * width)
    let size = blasint(width)
    cblas_dsyrk(CblasRowMajor, CblasUpper, CblasNoTrans, size, size, 1, values, size, 0, &products, size)
    var sum = 0.0
    for i in 0..<width {
        for j in i..<width {
            let difference = products[i * width + j] - (i == j ? 1 : 0)
            sum += (i == j ? 1 : 2) * difference * difference
        }
    }
    // The products themselves are off by less than their length in units of rounding.
    return sum.squareRoot() + Double(width) * Double(width) * 0x1p-51
}
