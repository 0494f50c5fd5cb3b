import Glibc
import VectorMath

/// Symmetric InfoNCE over renormalised prefixes, with its gradient written out by hand.
///
/// For each size m of the nesting M: logits are `scale` times the cosines of the m-prefixes of all queries and all
/// documents of a batch, the positives stand on the diagonal, and the loss is the mean cross-entropy of rows and
/// columns. The losses of all sizes are summed, each times its weight c_m (Kusupati et al. 2022, §3).
///
/// Dot products of a prefix are those of the prefix before it plus one block, so the products cost n²·D, not n²·Σm; and
/// one exponential serves rows and columns, as both share the bound `scale`.
struct NestedInfoNCE {
    /// Pairs of a batch come in multiples of this.
    static let pairsMultiple = 8

    private let nesting: Nesting
    private let scale: Float
    private let pairs: Int
    private let stride: Int
    private var dots: [Float]
    /// By size: first the exponentials, then dLoss/dDot, then the sum of that over this and all larger sizes.
    private var slopes: [Float]
    /// By vector: the square of its prefix's length, and one over the length.
    private var squares: [Float]
    private var inverses: [Float]
    private var sums: [Float]
    /// By size and vector: its share of its own direction in the gradient.
    private var pulls: [Float]
    /// dLoss/dVectors, laid out as the vectors are.
    private(set) var gradients: [Float]

    /// Makes room for batches of `pairs` pairs, whose vectors take `stride` floats each, D or more.
    init(nesting: Nesting, scale: Float, pairs: Int, stride: Int) {
        precondition(pairs > 0 && pairs % Self.pairsMultiple == 0, "pairs come in multiples of \(Self.pairsMultiple)")
        precondition(stride >= nesting.dimensions, "vectors of the full size")
        self.nesting = nesting
        self.scale = scale
        self.pairs = pairs
        self.stride = stride
        func zeros(_ count: Int) -> [Float] { [Float](repeating: 0, count: count) }
        dots = zeros(pairs * pairs)
        slopes = zeros(nesting.sizes.count * pairs * pairs)
        squares = zeros(2 * pairs)
        inverses = zeros(2 * pairs)
        sums = zeros(2 * pairs)
        pulls = zeros(nesting.sizes.count * 2 * pairs)
        gradients = zeros(2 * pairs * stride)
    }

    /// The loss of a batch, summed over the sizes and averaged over the pairs.
    ///
    /// - Parameters:
    ///   - vectors: Row-major: all queries, then all documents; document i belongs to query i.
    ///   - active: Which sizes count, by their place in the nesting.
    ///   - differentiates: Whether ``gradients`` is wanted too.
    /// - Returns: The loss.
    mutating func loss(_ vectors: Span<Float>, active: Range<Int>? = nil, differentiates: Bool) -> Double {
        precondition(vectors.count == 2 * pairs * stride, "the batch's shape")
        let active = active ?? nesting.sizes.indices
        let (n, stride) = (pairs, stride)
        var total = 0.0
        squares.withUnsafeMutableBufferPointer { $0.update(repeating: 0) }
        for (index, block) in nesting.blocks.enumerated() where index < active.upperBound {
            var out = dots.mutableSpan
            BLAS.sgemm(
                transposeB: true,
                rows: n,
                columns: n,
                inner: block.count,
                vectors.extracting(block.lowerBound..<n * stride),
                strideA: stride,
                vectors.extracting((n * stride + block.lowerBound)...),
                strideB: stride,
                beta: index == 0 ? 0 : 1,
                &out
            )
            measure(vectors, block)
            guard active.contains(index) else { continue }
            total += Double(nesting.weights[index]) * exponentials(index)
            if differentiates { differentiate(index) }
        }
        if differentiates { collect(vectors, active) }
        return total
    }

    /// Adds a block to each vector's square; a zero vector has cosine 0 with everything, and no gradient.
    private mutating func measure(_ vectors: Span<Float>, _ block: Range<Int>) {
        for i in 0..<2 * pairs {
            var sum: Float = 0
            for d in i * stride + block.lowerBound..<i * stride + block.upperBound { sum += vectors[d] * vectors[d] }
            squares[i] += sum
            inverses[i] = squares[i] > 1e-30 ? 1 / squares[i].squareRoot() : 0
        }
    }

    /// Fills the size's slopes with exp(logit − scale), at most 1, sums it both ways, and gives the loss.
    private mutating func exponentials(_ index: Int) -> Double {
        let n = pairs
        var loss = 0.0
        let scale = scale
        dots.withUnsafeBufferPointer { dots in
            inverses.withUnsafeBufferPointer { inverses in
                sums.withUnsafeMutableBufferPointer { sums in
                    slopes.withUnsafeMutableBufferPointer { slopes in
                        let out = UnsafeMutableBufferPointer(rebasing: slopes[(index * n * n)...].prefix(n * n))
                        sums.update(repeating: 0)
                        for i in 0..<n {
                            let factor = scale * inverses[i]
                            var sum = SIMD8<Float>.zero
                            for j in Swift.stride(from: 0, to: n, by: 8) {
                                let cosine = load(dots, i * n + j) * load(inverses, n + j)
                                let power = exponential(cosine * factor - scale)
                                store(power, out, i * n + j)
                                store(load(sums, n + j) + power, sums, n + j)
                                sum += power
                            }
                            sums[i] = sum.sum()
                            loss -= 2 * Double(dots[i * n + i] * inverses[n + i] * factor - scale)
                        }
                        for sum in sums { loss += Double(logf(sum)) }
                    }
                }
            }
        }
        return loss / Double(2 * n)
    }

    /// Turns the size's exponentials into dLoss/dDot, and finds its pulls.
    private mutating func differentiate(_ index: Int) {
        let n = pairs
        let half = nesting.weights[index] / Float(2 * n)
        let scale = scale
        for j in n..<2 * n { sums[j] = half / sums[j] }
        dots.withUnsafeBufferPointer { dots in
            inverses.withUnsafeBufferPointer { inverses in
                sums.withUnsafeBufferPointer { sums in
                    pulls.withUnsafeMutableBufferPointer { pulls in
                        slopes.withUnsafeMutableBufferPointer { slopes in
                            let out = UnsafeMutableBufferPointer(rebasing: slopes[(index * n * n)...].prefix(n * n))
                            let pulls = UnsafeMutableBufferPointer(rebasing: pulls[(index * 2 * n)...].prefix(2 * n))
                            pulls.update(repeating: 0)
                            for i in 0..<n {
                                let rowShare = half / sums[i]
                                let factor = scale * inverses[i]
                                var sum = SIMD8<Float>.zero
                                // The positive's own term, before the row is scaled.
                                out[i * n + i] -= 2 * half / (rowShare + sums[n + i])
                                for j in Swift.stride(from: 0, to: n, by: 8) {
                                    let share = (load(sums, n + j) + rowShare) * load(out, i * n + j)
                                    let slope = share * load(inverses, n + j) * factor
                                    store(slope, out, i * n + j)
                                    let weighted = slope * load(dots, i * n + j)
                                    sum += weighted
                                    store(load(pulls, n + j) + weighted, pulls, n + j)
                                }
                                pulls[i] = sum.sum()
                            }
                            for i in 0..<2 * n { pulls[i] *= inverses[i] * inverses[i] }
                        }
                    }
                }
            }
        }
    }

    /// Sums slopes and pulls from the largest size down, and turns them into gradients, block by block.
    private mutating func collect(_ vectors: Span<Float>, _ active: Range<Int>) {
        let (n, stride) = (pairs, stride)
        gradients.withUnsafeMutableBufferPointer { $0.update(repeating: 0) }
        // Below the first active size all blocks have the same slopes.
        var source = active.upperBound - 1
        for (index, block) in nesting.blocks.enumerated().reversed() where index < active.upperBound {
            if active.contains(index), index < source {
                Self.add(&self.slopes, at: index * n * n, from: source * n * n, count: n * n)
                Self.add(&pulls, at: index * 2 * n, from: source * 2 * n, count: 2 * n)
                source = index
            }
            let slopes = slopes
            let slope = slopes.span.extracting(source * n * n..<(source + 1) * n * n)
            var out = gradients.mutableSpan
            for ofDocuments in [false, true] {
                let (own, other) = ofDocuments ? (n * stride, 0) : (0, n * stride)
                BLAS.sgemm(
                    transposeA: ofDocuments,
                    rows: n,
                    columns: block.count,
                    inner: n,
                    slope,
                    vectors.extracting((other + block.lowerBound)...),
                    strideB: stride,
                    &out,
                    startC: own + block.lowerBound,
                    strideC: stride
                )
            }
            // Renormalising takes back the part of the gradient along the vector itself.
            for i in 0..<2 * n {
                let pull = pulls[source * 2 * n + i]
                for d in i * stride + block.lowerBound..<i * stride + block.upperBound {
                    gradients[d] -= pull * vectors[d]
                }
            }
        }
    }

    private static func add(_ buffer: inout [Float], at target: Int, from source: Int, count: Int) {
        buffer.withUnsafeMutableBufferPointer { buffer in
            for i in 0..<count { buffer[target + i] += buffer[source + i] }
        }
    }
}
