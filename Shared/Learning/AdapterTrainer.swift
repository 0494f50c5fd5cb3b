public import Encoding
import VectorMath

/// An adapter trained on pairs.
public struct TrainedAdapter: Sendable {
    /// Makes vectors of D numbers, not normalised.
    public var adapter: FeatureAdapter
    /// What the run went through.
    public var history: TrainingHistory
}

/// Trains an adapter on the frozen vectors of an encoder, from pairs of queries and documents.
///
/// Queries and documents pass through the same adapter, as they do through the encoder.
public struct AdapterTrainer: Sendable {
    private let settings: ContrastiveSettings
    private let shape: AdapterShape

    /// Makes a trainer; the shape is anything but ``AdapterShape/none``.
    public init(_ settings: ContrastiveSettings, shape: AdapterShape = .linear) {
        precondition(settings.run.batch % NestedInfoNCE.pairsMultiple == 0, "a batch is a multiple of 8")
        precondition(shape != .none, "there is nothing to train")
        self.settings = settings
        self.shape = shape
    }

    /// Trains; equal settings and pairs give equal adapters on one machine.
    ///
    /// - Parameters:
    ///   - pairs: For training, at least 8.
    ///   - validation: Decide which epoch's adapter is kept, and when the run ends; nil for none.
    ///   - monitor: Looks on.
    /// - Returns: The adapter of the best epoch.
    /// - Throws: ``CheckpointError``.
    public func train(
        _ pairs: FeaturePairs,
        validation: FeaturePairs? = nil,
        monitor: TrainingMonitor = TrainingMonitor()
    ) throws(CheckpointError) -> TrainedAdapter {
        precondition(pairs.count >= NestedInfoNCE.pairsMultiple, "training needs at least 8 pairs")
        let scaling = ScaledVectors(fitting: pairs.documents)
        func scaled(_ pairs: FeaturePairs) -> PairLearner<DenseTrunk>.Pairs {
            .init(
                queries: scaling.scaled(pairs.queries),
                documents: scaling.scaled(pairs.documents),
                keys: pairs.keys
            )
        }
        let training = scaled(pairs)
        var generator = SeededGenerator(seed: settings.run.seed)
        let trunk = shape.trunk(
            over: training.documents,
            dimensions: settings.nesting.dimensions,
            capacity: 2 * settings.run.batch,
            using: &generator
        )
        let none = FeaturePairs(queries: pairs.queries.selecting([]), documents: pairs.documents.selecting([]))
        var learner = PairLearner(trunk, training, validation: scaled(validation ?? none), settings)
        let data = [pairs.keys.fingerprint, (validation ?? none).keys.fingerprint]
        let history = try settings.run(
            &learner,
            generator: &generator,
            task: "\(settings) \(shape) \(data)",
            monitor: monitor
        )
        guard let adapter = learner.trunk.adapter(factor: scaling.factor) else {
            preconditionFailure("a trunk with layers is an adapter")
        }
        return TrainedAdapter(adapter: adapter, history: history)
    }
}
