import Encoding
import Glibc
import VectorMath

/// Softmax heads over the prefixes of a vector, under training: MRL's and MRL-E's.
///
/// From Kusupati et al. 2022, §3. The loss is the sum over sizes m of c_m times the mean cross-entropy of the head on the first m numbers. With a
/// shared matrix (MRL-E) the logits of a size are those of the size before it plus one block, so the products cost the
/// full size once and the softmax once per size. Separate heads cost the sum of the sizes.
struct NestedSoftmax {
    let nesting: Nesting
    let form: ClassifierHeads.Form
    /// Number of classes.
    let classes: Int
    private let smoothing: Float
    private let capacity: Int
    private let stride: Int
    /// Logits of a vector take so many floats, a multiple of 8.
    private let logitStride: Int
    /// One matrix (classes × size) and bias after the other: one for each size, or one for all.
    var parameters: Parameters
    private var parameterGradients: [Float]
    private var logits: [Float]
    /// dLoss/dLogits: with a shared matrix by size, then summed over this and all larger sizes; else of one size.
    private var slopes: [Float]
    /// A head's bias, so low behind the last class that nothing comes of it.
    private var bias: [Float]
    private var biasGradient: [Float]
    /// dLoss/dVectors, laid out as the vectors are.
    private(set) var gradients: [Float]

    /// Starts with heads of zeros, which give each class the same probability.
    ///
    /// - Parameters:
    ///   - nesting: Sizes and weights.
    ///   - form: Whether each size has its own matrix and bias.
    ///   - classes: Two or more.
    ///   - smoothing: Share of the target that all classes divide among them, 0 to below 1.
    ///   - capacity: Vectors at a time, at most.
    ///   - stride: Floats of a vector, D or more.
    init(
        nesting: Nesting,
        form: ClassifierHeads.Form,
        classes: Int,
        smoothing: Float = 0,
        capacity: Int,
        stride: Int
    ) {
        precondition(classes >= 2, "two classes or more")
        precondition((0..<1).contains(smoothing), "smoothing is 0 to below 1")
        precondition(stride >= nesting.dimensions && capacity > 0, "room for vectors of the full size")
        self.nesting = nesting
        self.form = form
        self.classes = classes
        self.smoothing = smoothing
        self.capacity = capacity
        self.stride = stride
        logitStride = (classes + 7) & ~7
        func zeros(_ count: Int) -> [Float] { [Float](repeating: 0, count: count) }
        let widths = form == .separate ? nesting.sizes : [nesting.dimensions]
        parameters = Parameters(zeros(widths.reduce(0) { $0 + ($1 + 1) * classes }))
        parameterGradients = zeros(parameters.values.count)
        logits = zeros(capacity * logitStride)
        slopes = zeros((form == .separate ? 1 : nesting.sizes.count) * capacity * logitStride)
        bias = [Float](repeating: -1e30, count: logitStride)
        biasGradient = zeros(logitStride)
        gradients = zeros(capacity * stride)
    }

    /// Where a size's matrix begins among the parameters, how wide it is, and where the bias begins.
    private func place(_ index: Int) -> (matrix: Int, width: Int, bias: Int) {
        guard form == .separate else { return (0, nesting.dimensions, nesting.dimensions * classes) }
        let start = nesting.sizes[..<index].reduce(0) { $0 + ($1 + 1) * classes }
        return (start, nesting.sizes[index], start + nesting.sizes[index] * classes)
    }

    /// The heads as they are, for inputs that are to be multiplied by `factor` first.
    func heads(labels: [String], factor: Float) -> ClassifierHeads {
        let places = (form == .separate ? nesting.sizes.indices : 0..<1).map(place)
        let heads = ClassifierHeads(
            nesting: nesting.sizes,
            labels: labels,
            form: form,
            weights: places.map { place in parameters.values[place.matrix..<place.bias].map { $0 * factor } },
            biases: places.map { Array(parameters.values[$0.bias..<$0.bias + classes]) }
        )
        guard let heads else { preconditionFailure("a name for each class, each once") }
        return heads
    }

    /// The loss of a batch, summed over the sizes and averaged over the vectors.
    ///
    /// - Parameters:
    ///   - vectors: Row-major, as many as `labels`.
    ///   - labels: The class of each vector.
    ///   - active: Which sizes count, by their place in the nesting.
    ///   - differentiates: Whether ``gradients`` is wanted, and the parameters' gradients are to be added to.
    /// - Returns: The loss.
    mutating func loss(
        _ vectors: Span<Float>,
        labels: [Int32],
        active: Range<Int>? = nil,
        differentiates: Bool
    ) -> Double {
        let rows = labels.count
        precondition(rows > 0 && rows <= capacity && vectors.count >= rows * stride, "the batch's shape")
        if differentiates { gradients.withUnsafeMutableBufferPointer { $0.update(repeating: 0) } }
        let active = active ?? nesting.sizes.indices
        return form == .separate
            ? separateLoss(vectors, labels, active, differentiates)
            : sharedLoss(vectors, labels, active, differentiates)
    }

    private mutating func separateLoss(
        _ vectors: Span<Float>,
        _ labels: [Int32],
        _ active: Range<Int>,
        _ differentiates: Bool
    ) -> Double {
        var total = 0.0
        for index in active {
            multiply(vectors, labels.count, place(index), columns: 0..<nesting.sizes[index], adds: false)
            total += soften(index, labels, slopesStart: 0)
            if differentiates {
                pullBack(vectors, labels.count, place(index), columns: 0..<nesting.sizes[index], slopesStart: 0)
                addBiasGradient(labels.count, place(index), slopesStart: 0)
            }
        }
        return total
    }

    private mutating func sharedLoss(
        _ vectors: Span<Float>,
        _ labels: [Int32],
        _ active: Range<Int>,
        _ differentiates: Bool
    ) -> Double {
        let size = capacity * logitStride
        var total = 0.0
        // Sizes below the first active one are a part of its block.
        var blocks = Array(nesting.blocks[active])
        blocks[0] = 0..<blocks[0].upperBound
        for (index, block) in zip(active, blocks) {
            multiply(vectors, labels.count, place(index), columns: block, adds: index > active.lowerBound)
            total += soften(index, labels, slopesStart: index * size)
        }
        guard differentiates else { return total }
        for (index, block) in zip(active, blocks).reversed() {
            if index + 1 < active.upperBound {
                slopes.withUnsafeMutableBufferPointer { slopes in
                    for i in 0..<labels.count * logitStride {
                        slopes[index * size + i] += slopes[(index + 1) * size + i]
                    }
                }
            }
            pullBack(vectors, labels.count, place(index), columns: block, slopesStart: index * size)
        }
        addBiasGradient(labels.count, place(active.lowerBound), slopesStart: active.lowerBound * size)
        return total
    }

    /// Logits from some columns of vectors and matrix.
    private mutating func multiply(
        _ vectors: Span<Float>,
        _ rows: Int,
        _ place: (matrix: Int, width: Int, bias: Int),
        columns: Range<Int>,
        adds: Bool
    ) {
        let (values, classes, stride, logitStride) = (parameters.values, classes, stride, logitStride)
        var out = logits.mutableSpan
        BLAS.sgemm(
            transposeB: true,
            rows: rows,
            columns: classes,
            inner: columns.count,
            vectors.extracting(columns.lowerBound...),
            strideA: stride,
            values.span.extracting((place.matrix + columns.lowerBound)...),
            strideB: place.width,
            beta: adds ? 1 : 0,
            &out,
            strideC: logitStride
        )
    }

    /// The mean cross-entropy of a size, times its weight; leaves dLoss/dLogits among the slopes.
    private mutating func soften(_ index: Int, _ labels: [Int32], slopesStart: Int) -> Double {
        let biasPlace = place(index).bias
        bias.replaceSubrange(..<classes, with: parameters.values[biasPlace..<biasPlace + classes])
        let (classes, width, smoothing) = (classes, logitStride, smoothing)
        let factor = nesting.weights[index] / Float(labels.count)
        var loss = 0.0
        logits.withUnsafeBufferPointer { logits in
            bias.withUnsafeBufferPointer { bias in
                slopes.withUnsafeMutableBufferPointer { slopes in
                    for (row, label) in labels.enumerated() {
                        let out = UnsafeMutableBufferPointer(rebasing: slopes[(slopesStart + row * width)...])
                        var tops = SIMD8<Float>(repeating: -.infinity)
                        for j in Swift.stride(from: 0, to: width, by: 8) {
                            let logit = load(logits, row * width + j) + load(bias, j)
                            store(logit, out, j)
                            tops = pointwiseMax(tops, logit)
                        }
                        let top = tops.max()
                        var expected = (1 - smoothing) * out[Int(label)]
                        if smoothing > 0 {
                            var sum: Float = 0
                            for j in 0..<classes { sum += out[j] }
                            expected += sum * smoothing / Float(classes)
                        }
                        var sums = SIMD8<Float>.zero
                        for j in Swift.stride(from: 0, to: width, by: 8) {
                            let power = exponential(load(out, j) - top)
                            store(power, out, j)
                            sums += power
                        }
                        let sum = sums.sum()
                        loss += Double(logf(sum) + top - expected)
                        let (share, spread) = (factor / sum, factor * smoothing / Float(classes))
                        for j in Swift.stride(from: 0, to: width, by: 8) {
                            store(load(out, j) * share - spread, out, j)
                        }
                        out[Int(label)] -= factor * (1 - smoothing)
                    }
                }
            }
        }
        return loss * Double(factor)
    }

    /// Adds to the gradients of some columns of the matrix and of the vectors.
    private mutating func pullBack(
        _ vectors: Span<Float>,
        _ rows: Int,
        _ place: (matrix: Int, width: Int, bias: Int),
        columns: Range<Int>,
        slopesStart: Int
    ) {
        let (values, slopes) = (parameters.values, slopes)
        let (classes, stride, logitStride) = (classes, stride, logitStride)
        let slope = slopes.span.extracting(slopesStart...)
        var ofMatrix = parameterGradients.mutableSpan
        BLAS.sgemm(
            transposeA: true,
            rows: classes,
            columns: columns.count,
            inner: rows,
            slope,
            strideA: logitStride,
            vectors.extracting(columns.lowerBound...),
            strideB: stride,
            beta: 1,
            &ofMatrix,
            startC: place.matrix + columns.lowerBound,
            strideC: place.width
        )
        var ofVectors = gradients.mutableSpan
        BLAS.sgemm(
            rows: rows,
            columns: columns.count,
            inner: classes,
            slope,
            strideA: logitStride,
            values.span.extracting((place.matrix + columns.lowerBound)...),
            strideB: place.width,
            beta: 1,
            &ofVectors,
            startC: columns.lowerBound,
            strideC: stride
        )
    }

    private mutating func addBiasGradient(
        _ rows: Int,
        _ place: (matrix: Int, width: Int, bias: Int),
        slopesStart: Int
    ) {
        let width = logitStride
        biasGradient.withUnsafeMutableBufferPointer { sums in
            sums.update(repeating: 0)
            slopes.withUnsafeBufferPointer { slopes in
                for row in 0..<rows {
                    for j in Swift.stride(from: 0, to: width, by: 8) {
                        store(load(sums, j) + load(slopes, slopesStart + row * width + j), sums, j)
                    }
                }
            }
        }
        for j in 0..<classes { parameterGradients[place.bias + j] += biasGradient[j] }
    }

    /// The parameters' gradients since the last step, in the parameters' order.
    var pendingGradients: [Float] { parameterGradients }

    /// One step of all heads; gradients are spent.
    mutating func step(_ optimiser: Optimiser, rate: Float) {
        optimiser.step(&parameters, gradients: &parameterGradients, rate: rate)
    }
}
