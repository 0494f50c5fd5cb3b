import Glibc
import VectorMath

/// What a labelled batch costs, and how that changes a model.
protocol LabelObjective {
    /// Examples that it reads.
    associatedtype Input: ExampleRows

    /// Everything that a step changes.
    var parameters: [Parameters] { get set }
    /// Which sizes count, by their place in the nesting; all where nil.
    var active: Range<Int>? { get set }

    /// The mean loss of some rows.
    ///
    /// - Parameters:
    ///   - input: Holds the rows.
    ///   - rows: Their places.
    ///   - labels: The class of each.
    ///   - draws: Random numbers of a training step, whose gradients are then pending; nil where only the loss is wanted.
    /// - Returns: The loss, summed over the sizes.
    mutating func loss(_ input: Input, rows: [Int], labels: [Int32], draws: inout SeededGenerator?) -> Double
    /// One step; pending gradients are spent.
    mutating func step(rate: Float)
    /// See ``Trunk/beginStage()``.
    mutating func beginStage()
}

/// Learns from labelled examples.
struct LabelLearner<Objective: LabelObjective>: StagedLearner {
    var objective: Objective
    private let examples: Labelled<Objective.Input>
    private let validation: Labelled<Objective.Input>?
    private let batch: Int

    init(
        _ objective: Objective,
        _ examples: Labelled<Objective.Input>,
        validation: Labelled<Objective.Input>?,
        batch: Int
    ) {
        self.objective = objective
        self.examples = examples
        self.validation = validation
        self.batch = batch
    }

    var exampleCount: Int { examples.labels.count }

    var active: Range<Int>? {
        get { objective.active }
        set { objective.active = newValue }
    }

    var parameters: [Parameters] {
        get { objective.parameters }
        set { objective.parameters = newValue }
    }

    func stepsPerEpoch(batch: Int) -> Int { (exampleCount + batch - 1) / batch }

    func batches(of size: Int, using generator: inout SeededGenerator) -> [[Int]] {
        let order = Array(0..<exampleCount).shuffled(using: &generator)
        return stride(from: 0, to: exampleCount, by: size).map { Array(order[$0..<min($0 + size, exampleCount)]) }
    }

    mutating func step(_ batch: [Int], rate: Float, draws: inout SeededGenerator) -> Double {
        var source: SeededGenerator? = draws
        let labels = batch.map { examples.labels[$0] }
        let value = objective.loss(examples.input, rows: batch, labels: labels, draws: &source)
        objective.step(rate: rate)
        return value
    }

    mutating func validationLoss() -> Double? {
        guard let validation, !validation.labels.isEmpty else { return nil }
        var sum = 0.0
        let count = validation.labels.count
        for start in stride(from: 0, to: count, by: batch) {
            let rows = Array(start..<min(start + batch, count))
            var none: SeededGenerator?
            let labels = Array(validation.labels[start..<start + rows.count])
            sum += Double(rows.count) * objective.loss(validation.input, rows: rows, labels: labels, draws: &none)
        }
        return sum / Double(count)
    }

    mutating func beginStage() { objective.beginStage() }
}

/// MRL and MRL-E on what a trunk makes, and nested dropout where it is asked for.
struct NestedObjective<T: Trunk>: LabelObjective where T.Input: ExampleRows {
    var trunk: T
    var head: NestedSoftmax
    var active: Range<Int>?
    let optimiser: Optimiser
    /// Rate of the heads over that of the trunk.
    var headRate: Float = 1
    /// Mean of the numbers that nested dropout keeps.
    var meanKept: Int?
    /// Whether each vector is brought to the length √D before the heads see it.
    var fixesLength = false

    var parameters: [Parameters] {
        get { [trunk.parameters, head.parameters] }
        set { (trunk.parameters, head.parameters) = (newValue[0], newValue[1]) }
    }

    mutating func loss(_ input: T.Input, rows: [Int], labels: [Int32], draws: inout SeededGenerator?) -> Double {
        trunk.forward([(input, rows)])
        var outputs = trunk.outputs
        var lengths: FixedLength?
        if fixesLength {
            lengths = FixedLength(&outputs, rows: rows.count, dimensions: trunk.dimensions, stride: trunk.stride)
        }
        var kept: [Int]?
        if var source = draws, let meanKept {
            kept = rows.map { _ in Truncation.draw(mean: meanKept, of: trunk.dimensions, using: &source) }
            draws = source
        }
        if let kept { Truncation.cut(&outputs, stride: trunk.stride, kept: kept) }
        let value = head.loss(outputs.span, labels: labels, active: active, differentiates: draws != nil)
        if draws != nil, trunk.isTrainable {
            var gradients = head.gradients
            if let kept { Truncation.cut(&gradients, stride: trunk.stride, kept: kept) }
            lengths?.pullBack(&gradients, outputs)
            trunk.backward(gradients)
        }
        return value
    }

    mutating func step(rate: Float) {
        trunk.step(optimiser, rate: rate)
        head.step(optimiser, rate: rate * headRate)
    }

    mutating func beginStage() {
        trunk.beginStage()
        head.parameters.forget()
    }
}

/// Vectors at the length √D, so that their numbers are about 1 whatever D is.
private struct FixedLength {
    private let dimensions: Int
    private let stride: Int
    /// √D over the length; 0 for a vector of zeros.
    private var factors: [Float] = []

    init(_ vectors: inout [Float], rows: Int, dimensions: Int, stride: Int) {
        self.dimensions = dimensions
        self.stride = stride
        for row in 0..<rows {
            var square: Float = 0
            for d in row * stride..<row * stride + dimensions { square += vectors[d] * vectors[d] }
            let factor = square > 1e-30 ? (Float(dimensions) / square).squareRoot() : 0
            for d in row * stride..<row * stride + dimensions { vectors[d] *= factor }
            factors.append(factor)
        }
    }

    /// Turns gradients of the scaled vectors into those of the vectors: what points along a vector is lost.
    func pullBack(_ gradients: inout [Float], _ scaled: [Float]) {
        for (row, factor) in factors.enumerated() {
            let range = row * stride..<row * stride + dimensions
            var along: Float = 0
            for d in range { along += gradients[d] * scaled[d] }
            along /= Float(dimensions)
            for d in range { gradients[d] = factor * (gradients[d] - along * scaled[d]) }
        }
    }
}

/// A slimmable network: each share of the units is trained as a network of its own, on shared weights.
///
/// From Yu et al. 2019.
struct SlimmableObjective: LabelObjective {
    var trunk: DenseTrunk
    /// One size for each share, on one matrix.
    var head: NestedSoftmax
    var active: Range<Int>?
    let shares: [Float]
    let optimiser: Optimiser

    var parameters: [Parameters] {
        get { [trunk.parameters, head.parameters] }
        set { (trunk.parameters, head.parameters) = (newValue[0], newValue[1]) }
    }

    mutating func loss(_ input: Matrix, rows: [Int], labels: [Int32], draws: inout SeededGenerator?) -> Double {
        var total = 0.0
        for (index, share) in shares.enumerated() {
            trunk.forward([(input, rows)], share: share)
            let outputs = trunk.outputs
            total += head.loss(
                outputs.span,
                labels: labels,
                active: index..<index + 1,
                differentiates: draws != nil
            )
            if draws != nil { trunk.backward(head.gradients) }
        }
        return total
    }

    mutating func step(rate: Float) {
        trunk.step(optimiser, rate: rate)
        head.step(optimiser, rate: rate)
    }

    mutating func beginStage() { preconditionFailure("a slimmable network learns in one stage") }
}

/// Two-dimensional Matryoshka: size × depth.
///
/// From Li et al. 2024: the last layer and one earlier layer, drawn for each step, have the nested loss on the same heads; and the earlier
/// layer's vector, as a distribution over its numbers, is drawn to the last one's by KL(earlier ∥ last), at a
/// temperature. The last layer learns nothing from the divergence.
struct LayeredObjective: LabelObjective {
    var trunk: DenseTrunk
    var head: NestedSoftmax
    var active: Range<Int>?
    let temperature: Float
    let weight: Float
    let optimiser: Optimiser

    var parameters: [Parameters] {
        get { [trunk.parameters, head.parameters] }
        set { (trunk.parameters, head.parameters) = (newValue[0], newValue[1]) }
    }

    mutating func loss(_ input: Matrix, rows: [Int], labels: [Int32], draws: inout SeededGenerator?) -> Double {
        trunk.forward([(input, rows)])
        let last = trunk.layers.count - 1
        let top = trunk.outputs(ofLayer: last)
        var total = head.loss(top.span, labels: labels, differentiates: draws != nil)
        guard var source = draws else { return total }
        var pulls = [(layer: last, values: head.gradients)]
        let layer = Int.random(in: 0..<last, using: &source)
        draws = source
        let earlier = trunk.outputs(ofLayer: layer)
        total += head.loss(earlier.span, labels: labels, differentiates: true)
        var ofEarlier = head.gradients
        total += divergence(earlier, top, rows: rows.count, adding: &ofEarlier)
        pulls.append((layer, ofEarlier))
        trunk.backward(pulls)
        return total
    }

    /// Weighted KL(earlier ∥ last), averaged over the rows, and its gradient by the earlier vectors.
    func divergence(_ earlier: [Float], _ last: [Float], rows: Int, adding gradients: inout [Float]) -> Double {
        let width = trunk.dimensions
        var total = 0.0
        for row in 0..<rows {
            let range = row * width..<(row + 1) * width
            let (own, target) = (logShares(earlier[range]), logShares(last[range]))
            var divergence: Float = 0
            for d in 0..<width { divergence += expf(own[d]) * (own[d] - target[d]) }
            total += Double(divergence)
            let factor = weight / (temperature * Float(rows))
            for d in 0..<width {
                gradients[range.lowerBound + d] += factor * expf(own[d]) * (own[d] - target[d] - divergence)
            }
        }
        return Double(weight) * total / Double(rows)
    }

    /// Logarithms of the softmax at the temperature.
    private func logShares(_ values: ArraySlice<Float>) -> [Float] {
        let scaled = values.map { $0 / temperature }
        let top = scaled.max() ?? 0
        let logSum = top + logf(scaled.reduce(0) { $0 + expf($1 - top) })
        return scaled.map { $0 - logSum }
    }

    mutating func step(rate: Float) {
        trunk.step(optimiser, rate: rate)
        head.step(optimiser, rate: rate)
    }

    mutating func beginStage() { preconditionFailure("a stack learns in one stage") }
}
