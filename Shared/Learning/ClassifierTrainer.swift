public import Encoding
public import VectorMath

/// How classifiers are learnt from labelled examples.
public struct ClassifierSettings: Sendable, Hashable {
    /// Sizes and their weights.
    public var nesting: Nesting
    /// Whether each size has its own matrix and bias (MRL), or all share one (MRL-E).
    public var form = ClassifierHeads.Form.separate
    /// What is trained under the heads, on frozen vectors.
    public var shape = AdapterShape.linear
    /// How the sizes are taught.
    public var technique = Technique.matryoshka
    /// Share of the target that all classes divide among them, 0 to below 1.
    public var smoothing: Float = 0
    /// How long and how fast.
    public var run = RunSettings(epochs: 12, batch: 128, rate: LearningRate(peak: 2e-3))
    /// How parameters follow their gradients; weights do not decay in the sequential technique.
    public var optimiser = Optimiser(weightDecay: 0.01)

    /// Makes settings: MRL on a linear adapter.
    public init(nesting: Nesting) { self.nesting = nesting }

    /// The same training for one size alone: a rigid model, as each size's baseline.
    public func fixed(at size: Int) -> ClassifierSettings {
        var fixed = self
        fixed.nesting = .single(size)
        fixed.technique = .matryoshka
        return fixed
    }

    /// Heads alone, on vectors as they are: a linear probe for each size.
    public func probe(of sizes: [Int]) -> ClassifierSettings {
        var probe = self
        probe.nesting = Nesting(sizes: sizes) ?? nesting
        probe.form = .separate
        probe.shape = .none
        probe.technique = .matryoshka
        return probe
    }

    /// What speaks against these settings on vectors of so many numbers, in a sentence; nil where nothing does.
    public func contradiction(width: Int) -> String? {
        let dimensions = nesting.dimensions
        if shape == .none, dimensions > width {
            return "sizes go to \(dimensions), but vectors without an adapter have \(width) dimensions"
        }
        switch (technique, shape) {
        case (.nestedDropout, .none), (.sequential, .none):
            return "this technique teaches an adapter, and there is none"
        case (.slimmable, .hidden), (.layered, .residual):
            return nil
        case (.slimmable, _):
            return "a slimmable network needs an adapter with a hidden layer"
        case (.layered, _):
            return "two-dimensional training needs a stack of residual layers"
        case (.sequential, _) where form == .shared:
            return "sequential training needs a head of its own for each size"
        default:
            return nil
        }
    }
}

/// A trained classifier.
public struct TrainedClassifier: Sendable {
    /// The adapter, where there is one, and heads on the prefixes of what it makes.
    public var classifier: FeatureClassifier
    /// A slimmable network's narrower selves, each with one head on all that it makes, narrowest first.
    public var narrower: [FeatureClassifier] = []
    /// What the run went through.
    public var history: TrainingHistory
}

/// Trains softmax heads, and what is under them, from labelled vectors of a frozen encoder.
public struct ClassifierTrainer: Sendable {
    private let settings: ClassifierSettings

    /// Makes a trainer.
    public init(_ settings: ClassifierSettings) {
        precondition((0..<1).contains(settings.smoothing), "smoothing is 0 to below 1")
        self.settings = settings
    }

    /// Trains; equal settings and examples give equal classifiers on one machine.
    ///
    /// Nested dropout, sequential and slimmable training teach the adapter; then a head for each size is fitted to what
    /// it makes.
    ///
    /// - Parameters:
    ///   - examples: For training, at least one.
    ///   - validation: Decide which epoch is kept, and when the run ends; nil for none.
    ///   - labels: Names of the classes, two or more, each once; an example's label is a place in it.
    ///   - monitor: Looks on.
    /// - Returns: The classifier of the best epoch.
    /// - Throws: ``CheckpointError``.
    public func train(
        _ examples: Labelled<Matrix>,
        validation: Labelled<Matrix>? = nil,
        labels: [String],
        monitor: TrainingMonitor = TrainingMonitor()
    ) throws(CheckpointError) -> TrainedClassifier {
        let width = examples.input.columns
        if let contradiction = settings.contradiction(width: width) { preconditionFailure(contradiction) }
        let dimensions = settings.nesting.dimensions
        let scaling = ScaledVectors(fitting: examples.input)
        func scaled(_ examples: Labelled<Matrix>) -> Labelled<Matrix> {
            let input = settings.shape == .none ? examples.input.prefixes(dimensions) : examples.input
            return Labelled(scaling.scaled(input), labels: examples.labels)
        }
        let training = scaled(examples)
        var generator = SeededGenerator(seed: settings.run.seed)
        let trunk = settings.shape.trunk(
            over: training.input,
            dimensions: dimensions,
            capacity: settings.run.batch,
            using: &generator
        )
        let run = LabelRun(settings, training, validation: validation.map(scaled), labels: labels, monitor: monitor)
        switch settings.technique {
        case .slimmable(let shares):
            return try run.slimmable(trunk, shares: shares, scaling, &generator)
        case .layered(let temperature, let weight):
            var learner = run.learner(
                LayeredObjective(
                    trunk: trunk,
                    head: run.head(settings.nesting, form: settings.form, stride: dimensions),
                    temperature: temperature,
                    weight: weight,
                    optimiser: settings.optimiser
                )
            )
            let history = try run.epochs(&learner, &generator)
            return run.trained(learner.objective.trunk, learner.objective.head, scaling, history)
        default:
            var (objective, history) = try run.nested(trunk, headRate: 1, fixesLength: false, &generator)
            if settings.technique != .matryoshka {
                objective.trunk.freeze()
                objective.head = try run.probe(objective.trunk, &generator)
            }
            return run.trained(objective.trunk, objective.head, scaling, history)
        }
    }
}

/// The parts of a training run that all techniques share.
struct LabelRun<Input: ExampleRows> {
    private let settings: ClassifierSettings
    private let examples: Labelled<Input>
    private let validation: Labelled<Input>?
    private let labels: [String]
    private let monitor: TrainingMonitor

    init(
        _ settings: ClassifierSettings,
        _ examples: Labelled<Input>,
        validation: Labelled<Input>?,
        labels: [String],
        monitor: TrainingMonitor
    ) {
        precondition(!examples.labels.isEmpty, "training needs examples")
        let all = [examples.labels, validation?.labels ?? []].joined()
        precondition(all.allSatisfy { Int($0) < labels.count }, "each label has a name")
        self.settings = settings
        self.examples = examples
        self.validation = validation
        self.labels = labels
        self.monitor = monitor
    }

    func head(_ nesting: Nesting, form: ClassifierHeads.Form, stride: Int) -> NestedSoftmax {
        NestedSoftmax(
            nesting: nesting,
            form: form,
            classes: labels.count,
            smoothing: settings.smoothing,
            capacity: settings.run.batch,
            stride: stride
        )
    }

    func learner<Objective: LabelObjective>(_ objective: Objective) -> LabelLearner<Objective>
    where Objective.Input == Input {
        LabelLearner(objective, examples, validation: validation, batch: settings.run.batch)
    }

    func epochs(
        _ learner: inout some StagedLearner,
        _ generator: inout SeededGenerator
    ) throws(CheckpointError) -> TrainingHistory {
        let batch = min(settings.run.batch, examples.labels.count)
        let data = [examples.input.fingerprint, examples.labels.fingerprint, validation?.input.fingerprint ?? 0]
        let task = "\(settings) \(data)"
        if settings.technique == .sequential {
            return try runStages(
                &learner,
                sizes: settings.nesting.sizes.count,
                settings.run,
                batch: batch,
                generator: &generator,
                task: task,
                monitor: monitor
            )
        }
        return try runEpochs(
            &learner,
            settings.run,
            batch: batch,
            generator: &generator,
            task: task,
            monitor: monitor
        )
    }

    /// MRL, MRL-E, nested dropout or sequential training of a trunk under heads.
    func nested<T: Trunk>(
        _ trunk: T,
        headRate: Float,
        fixesLength: Bool,
        _ generator: inout SeededGenerator
    ) throws(CheckpointError) -> (NestedObjective<T>, TrainingHistory) where T.Input == Input {
        let meanKept: Int? = if case .nestedDropout(let meanKept) = settings.technique { meanKept } else { nil }
        let nesting = meanKept == nil ? settings.nesting : .single(settings.nesting.dimensions)
        var optimiser = settings.optimiser
        if settings.technique == .sequential { optimiser.weightDecay = 0 }
        var learner = learner(
            NestedObjective(
                trunk: trunk,
                head: head(nesting, form: settings.form, stride: trunk.stride),
                optimiser: optimiser,
                headRate: headRate,
                meanKept: meanKept,
                fixesLength: fixesLength
            )
        )
        let history = try epochs(&learner, &generator)
        return (learner.objective, history)
    }

    /// A head for each size on what a trunk makes, which learns no more.
    func probe<T: Trunk>(
        _ trunk: T,
        fixesLength: Bool = false,
        _ generator: inout SeededGenerator
    ) throws(CheckpointError) -> NestedSoftmax where T.Input == Input {
        var quiet = self.settings
        quiet.technique = .matryoshka
        let objective = NestedObjective(
            trunk: Frozen(trunk: trunk),
            head: head(settings.nesting, form: .separate, stride: trunk.stride),
            optimiser: settings.optimiser,
            fixesLength: fixesLength
        )
        // It is not kept in checkpoints: a run that goes on after its last one fits the same heads again.
        var monitor = TrainingMonitor()
        monitor.progress = { [outer = self.monitor] progress in
            var progress = progress
            progress.isProbe = true
            outer.progress(progress)
        }
        let run = LabelRun(quiet, examples, validation: validation, labels: labels, monitor: monitor)
        var learner = run.learner(objective)
        _ = try run.epochs(&learner, &generator)
        return learner.objective.head
    }

    func trained(
        _ trunk: DenseTrunk,
        _ head: NestedSoftmax,
        _ scaling: ScaledVectors,
        _ history: TrainingHistory
    ) -> TrainedClassifier {
        let adapter = trunk.adapter(factor: scaling.factor)
        return TrainedClassifier(
            classifier: classifier(adapter, head.heads(labels: labels, factor: adapter == nil ? scaling.factor : 1)),
            history: history
        )
    }

    private func classifier(_ adapter: FeatureAdapter?, _ heads: ClassifierHeads) -> FeatureClassifier {
        guard let classifier = FeatureClassifier(adapter: adapter, heads: heads, encoder: nil, training: nil) else {
            preconditionFailure("heads take what the adapter makes")
        }
        return classifier
    }
}

extension LabelRun<Matrix> {
    /// A slimmable network, its narrower selves, and a head for each size on the first numbers of its full self.
    func slimmable(
        _ trunk: DenseTrunk,
        shares: [Float],
        _ scaling: ScaledVectors,
        _ generator: inout SeededGenerator
    ) throws(CheckpointError) -> TrainedClassifier {
        let widths = shares.map { trunk.width(of: $0) }
        guard let nesting = Nesting(sizes: widths), widths.last == trunk.dimensions else {
            preconditionFailure("shares ascend to 1 and give different widths")
        }
        var learner = learner(
            SlimmableObjective(
                trunk: trunk,
                head: head(nesting, form: .shared, stride: trunk.stride),
                shares: shares,
                optimiser: settings.optimiser
            )
        )
        let history = try epochs(&learner, &generator)
        let objective = learner.objective
        let heads = objective.head.heads(labels: labels, factor: 1)
        var result = trained(objective.trunk, try probe(objective.trunk, &generator), scaling, history)
        for (share, width) in zip(shares, widths) {
            let matrix = Matrix(values: heads.weights[0], columns: heads.dimensions).prefixes(width)
            guard
                let head = ClassifierHeads(
                    nesting: [width],
                    labels: labels,
                    form: .separate,
                    weights: [matrix.values],
                    biases: heads.biases
                )
            else { preconditionFailure("a part of heads is a head") }
            result.narrower.append(classifier(objective.trunk.adapter(factor: scaling.factor, share: share), head))
        }
        return result
    }
}

/// A trunk that learns no more.
private struct Frozen<T: Trunk>: Trunk {
    var trunk: T

    var dimensions: Int { trunk.dimensions }
    var stride: Int { trunk.stride }
    var isTrainable: Bool { false }
    var outputs: [Float] { trunk.outputs }
    /// None: checkpoints and the best epoch hold what learns.
    var parameters = Parameters([])

    mutating func forward(_ parts: [(input: T.Input, rows: [Int])]) { trunk.forward(parts) }
    mutating func backward(_ gradients: [Float]) {}
    mutating func step(_ optimiser: Optimiser, rate: Float) {}
    mutating func beginStage() {}

    init(trunk: T) { self.trunk = trunk }
}
