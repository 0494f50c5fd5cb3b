import COpenBLAS

/// Centroids of rows by direction: spherical k-means (Dhillon and Modha 2001) with Lloyd's steps on OpenBLAS.
///
/// The result depends on the library's sums: it is made once and kept, never made again elsewhere.
///
/// - Parameters:
///   - rows: Row-major, `width` floats each, finite; rows of zeros are passed over.
///   - width: Floats of a row.
///   - clusters: Centroids wanted, 1 or more.
///   - iterations: Steps; fewer where nothing moves any more.
///   - seed: Chooses the first centroids.
/// - Returns: Row-major unit vectors, at most `clusters` (as many as there are rows that are not zero), and the mean
///   cosine of a row with its centroid; no centroid where all rows are zero.
public func sphericalKMeans(
    _ rows: Span<Float>,
    width: Int,
    clusters: Int,
    iterations: Int = 12,
    seed: UInt64 = 1
) -> (centroids: [Float], meanCosine: Double) {
    precondition(width >= 1 && clusters >= 1 && rows.count % width == 0, "rows of one width and a cluster at least")
    var units: [Float] = []
    units.reserveCapacity(rows.count)
    for start in stride(from: 0, to: rows.count, by: width) {
        var norm: Float = 0
        for i in start..<start + width { norm += rows[i] * rows[i] }
        guard norm > 0, norm.isFinite else { continue }
        let factor = 1 / norm.squareRoot()
        for i in start..<start + width { units.append(rows[i] * factor) }
    }
    let count = units.count / width
    let clusters = min(clusters, count)
    guard clusters > 0 else { return ([], 0) }
    var state = seed
    func next(_ bound: Int) -> Int {
        // splitmix64
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((z ^ (z >> 31)) % UInt64(bound))
    }
    // Distinct rows to begin with: a partial shuffle.
    var order = [Int](0..<count)
    for i in 0..<clusters { order.swapAt(i, i + next(count - i)) }
    var centroids: [Float] = []
    centroids.reserveCapacity(clusters * width)
    for i in 0..<clusters { centroids += units[order[i] * width..<(order[i] + 1) * width] }

    var assigned = [Int](repeating: -1, count: count)
    var meanCosine = 0.0
    for _ in 0..<max(1, iterations) {
        var moved = 0
        var cosines = 0.0
        var sums = [Float](repeating: 0, count: clusters * width)
        var sizes = [Int](repeating: 0, count: clusters)
        assign(units, count, centroids, clusters, width) { row, best, cosine in
            if assigned[row] != best { moved += 1 }
            assigned[row] = best
            cosines += Double(cosine)
            sizes[best] += 1
            for i in 0..<width { sums[best * width + i] += units[row * width + i] }
        }
        meanCosine = cosines / Double(count)
        if moved * 1000 < count { break }
        for cluster in 0..<clusters {
            // A cluster that nobody chose begins anew somewhere.
            let source =
                sizes[cluster] == 0
                ? {
                    let row = next(count); return Array(units[row * width..<(row + 1) * width])
                }()
                : Array(sums[cluster * width..<(cluster + 1) * width])
            var norm: Float = 0
            for value in source { norm += value * value }
            guard norm > 0 else { continue }
            let factor = 1 / norm.squareRoot()
            for i in 0..<width { centroids[cluster * width + i] = source[i] * factor }
        }
    }
    return (centroids, meanCosine)
}

/// Tells each row's nearest centroid by dot product, blocks of rows at a time.
private func assign(
    _ units: [Float],
    _ count: Int,
    _ centroids: [Float],
    _ clusters: Int,
    _ width: Int,
    _ found: (_ row: Int, _ best: Int, _ cosine: Float) -> Void
) {
    let block = max(1, min(count, 1 << 20 / clusters + 1))
    var products = [Float](repeating: 0, count: block * clusters)
    for first in stride(from: 0, to: count, by: block) {
        let rows = min(block, count - first)
        var span = products.mutableSpan
        BLAS.sgemm(
            transposeB: true,
            rows: rows,
            columns: clusters,
            inner: width,
            units.span.extracting(first * width..<(first + rows) * width),
            centroids.span,
            &span
        )
        products.withUnsafeBufferPointer { products in
            for row in 0..<rows {
                let line = UnsafeBufferPointer(rebasing: products[row * clusters..<(row + 1) * clusters])
                var best = 0
                for cluster in 1..<max(1, clusters) where line[cluster] > line[best] { best = cluster }
                found(first + row, best, line[best])
            }
        }
    }
}
