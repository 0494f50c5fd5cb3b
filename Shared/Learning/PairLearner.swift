/// Learns vectors from pairs, by symmetric InfoNCE.
struct PairLearner<T: Trunk>: StagedLearner {
    /// Pairs of one kind of input.
    struct Pairs {
        var queries: T.Input
        var documents: T.Input
        var keys: PairKeys
    }

    var trunk: T
    var active: Range<Int>?
    private let pairs: Pairs
    private let validation: Pairs
    private let validationBatches: [[Int]]
    private let optimiser: Optimiser
    private let meanKept: Int?
    private var loss: NestedInfoNCE
    private var lossOfValidation: NestedInfoNCE?

    /// Pairs in a batch where there are `count`: what is wanted, or less, a multiple of 8.
    static func batchSize(_ count: Int, wanted: Int) -> Int {
        min(wanted, count / NestedInfoNCE.pairsMultiple * NestedInfoNCE.pairsMultiple)
    }

    init(_ trunk: T, _ pairs: Pairs, validation: Pairs, _ settings: ContrastiveSettings) {
        self.trunk = trunk
        self.pairs = pairs
        self.validation = validation
        var optimiser = settings.optimiser
        // What an earlier stage learnt is to stay.
        if settings.technique == .sequential { optimiser.weightDecay = 0 }
        self.optimiser = optimiser
        meanKept = if case .nestedDropout(let meanKept) = settings.technique { meanKept } else { nil }
        let nesting = meanKept == nil ? settings.nesting : .single(settings.nesting.dimensions)
        func makeLoss(_ size: Int) -> NestedInfoNCE {
            NestedInfoNCE(nesting: nesting, scale: settings.scale, pairs: size, stride: trunk.stride)
        }
        loss = makeLoss(Self.batchSize(pairs.keys.count, wanted: settings.run.batch))
        let size = Self.batchSize(validation.keys.count, wanted: settings.run.batch)
        // The same batches after every epoch.
        var generator = SeededGenerator(seed: 0)
        validationBatches = size > 0 ? validation.keys.batches(of: size, using: &generator) : []
        lossOfValidation = validationBatches.isEmpty ? nil : makeLoss(size)
    }

    var exampleCount: Int { pairs.keys.count }

    var parameters: [Parameters] {
        get { [trunk.parameters] }
        set { trunk.parameters = newValue[0] }
    }

    func stepsPerEpoch(batch: Int) -> Int { pairs.keys.count / batch }

    func batches(of size: Int, using generator: inout SeededGenerator) -> [[Int]] {
        pairs.keys.batches(of: size, using: &generator)
    }

    mutating func step(_ batch: [Int], rate: Float, draws: inout SeededGenerator) -> Double {
        trunk.forward([(pairs.queries, batch), (pairs.documents, batch)])
        var outputs = trunk.outputs
        // One cut for the whole batch: a query is compared with every document.
        let kept = meanKept.map { mean in
            repeatElement(Truncation.draw(mean: mean, of: trunk.dimensions, using: &draws), count: 2 * batch.count)
        }
        if let kept { Truncation.cut(&outputs, stride: trunk.stride, kept: kept) }
        let value = loss.loss(
            outputs.span.extracting(..<(2 * batch.count * trunk.stride)),
            active: active,
            differentiates: true
        )
        var gradients = loss.gradients
        if let kept { Truncation.cut(&gradients, stride: trunk.stride, kept: kept) }
        trunk.backward(gradients)
        trunk.step(optimiser, rate: rate)
        return value
    }

    mutating func validationLoss() -> Double? {
        guard !validationBatches.isEmpty else { return nil }
        var sum = 0.0
        for batch in validationBatches {
            trunk.forward([(validation.queries, batch), (validation.documents, batch)])
            let outputs = trunk.outputs
            sum +=
                lossOfValidation?.loss(
                    outputs.span.extracting(..<(2 * batch.count * trunk.stride)),
                    active: active,
                    differentiates: false
                ) ?? 0
        }
        return sum / Double(validationBatches.count)
    }

    mutating func beginStage() { trunk.beginStage() }
}

/// Nested dropout: of an example's vector all numbers behind a random place are 0 for a step.
///
/// From Rippel et al. 2014.
enum Truncation {
    /// How many numbers stay: geometrically distributed from 1 with a mean of about `mean`, at most `dimensions`.
    static func draw(mean: Int, of dimensions: Int, using generator: inout SeededGenerator) -> Int {
        var kept = 1
        while kept < dimensions, Int.random(in: 0..<max(1, mean), using: &generator) > 0 { kept += 1 }
        return kept
    }

    /// Sets what lies behind the first `kept` numbers of each row to 0.
    static func cut(_ rows: inout [Float], stride: Int, kept: some Sequence<Int>) {
        rows.withUnsafeMutableBufferPointer { rows in
            for (row, kept) in kept.enumerated() {
                for d in row * stride + kept..<(row + 1) * stride { rows[d] = 0 }
            }
        }
    }
}
