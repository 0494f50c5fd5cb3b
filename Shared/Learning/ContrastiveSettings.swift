/// What the numbers of a vector are asked to do beside making one good vector together.
public enum Technique: Sendable, Hashable {
    /// The loss at every size of the nesting, summed; with one size, plain training.
    case matryoshka
    /// The loss at the full size alone, on vectors cut at a random place with `meanKept` numbers left in the mean.
    case nestedDropout(meanKept: Int)
    /// From the largest size to the smallest, with what is behind a size frozen (SMRL).
    case sequential
    /// Each share of the units as a network of its own, on shared weights; for adapters of classifiers.
    case slimmable(shares: [Float])
    /// The nested loss on the last layer and an earlier one, which is drawn to the last by a divergence; for stacks of
    /// residual layers under a classifier (two-dimensional Matryoshka).
    case layered(temperature: Float, weight: Float)

    /// The published two-dimensional loss.
    public static let layered = Technique.layered(temperature: 0.3, weight: 1)
    /// The published widths.
    public static let slimmable = Technique.slimmable(shares: [0.25, 0.5, 0.75, 1])
}

/// How vectors are learnt from pairs.
public struct ContrastiveSettings: Sendable, Hashable {
    /// Sizes and their weights.
    public var nesting: Nesting
    /// Factor of the cosines in the loss, above 0 and at most 80 (one over the temperature).
    public var scale: Float = 20
    /// How the sizes are taught.
    public var technique = Technique.matryoshka
    /// How long and how fast.
    public var run: RunSettings
    /// How parameters follow their gradients; weights do not decay in the sequential technique.
    public var optimiser = Optimiser()

    /// Makes settings.
    public init(nesting: Nesting, run: RunSettings) {
        self.nesting = nesting
        self.run = run
    }

    /// The same training for one size alone: a rigid model, as each size's baseline.
    public func fixed(at size: Int) -> ContrastiveSettings {
        var fixed = self
        fixed.nesting = .single(size)
        fixed.technique = .matryoshka
        return fixed
    }

    /// Runs a learner by these settings.
    func run<T: Trunk>(
        _ learner: inout PairLearner<T>,
        generator: inout SeededGenerator,
        task: String,
        monitor: TrainingMonitor
    ) throws(CheckpointError) -> TrainingHistory {
        let batch = PairLearner<T>.batchSize(learner.exampleCount, wanted: run.batch)
        if technique == .sequential {
            return try runStages(
                &learner,
                sizes: nesting.sizes.count,
                run,
                batch: batch,
                generator: &generator,
                task: task,
                monitor: monitor
            )
        }
        return try runEpochs(&learner, run, batch: batch, generator: &generator, task: task, monitor: monitor)
    }
}
