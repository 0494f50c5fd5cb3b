public import Encoding

/// A table of token vectors, and heads on the unit vectors of texts.
public struct TrainedTextClassifier: Sendable {
    /// Makes the vectors.
    public var table: TrainedTable
    /// On prefixes of the unit vector of a text.
    public var heads: ClassifierHeads
}

/// Trains a static model and softmax heads on it together, from labelled texts alone.
public struct StaticClassifierTrainer: Sendable {
    private let settings: ClassifierSettings
    private let initialDeviation: Float
    private let headRate: Float

    /// Makes a trainer.
    ///
    /// - Parameters:
    ///   - settings: The shape is ignored; the optimiser is Adam, whose rate is the table's.
    ///   - initialDeviation: Standard deviation of a token's first vector, for a token of mean rarity.
    ///   - headRate: The heads' rate over the table's.
    public init(_ settings: ClassifierSettings, initialDeviation: Float = 0.2, headRate: Float = 0.2) {
        var settings = settings
        settings.shape = .none
        self.settings = settings
        self.initialDeviation = initialDeviation
        self.headRate = headRate
    }

    /// Trains; equal settings and examples give equal models on one machine.
    ///
    /// - Parameters:
    ///   - examples: For training, at least one.
    ///   - validation: Decide which epoch is kept, and when the run ends; nil for none.
    ///   - tokenCount: Rows of the table.
    ///   - labels: Names of the classes, two or more, each once; an example's label is a place in it.
    ///   - monitor: Looks on.
    /// - Returns: Table and heads of the best epoch.
    /// - Throws: ``CheckpointError``.
    public func train(
        _ examples: Labelled<TokenRows>,
        validation: Labelled<TokenRows>? = nil,
        tokenCount: Int,
        labels: [String],
        monitor: TrainingMonitor = TrainingMonitor()
    ) throws(CheckpointError) -> TrainedTextClassifier {
        var generator = SeededGenerator(seed: settings.run.seed)
        let weights = StaticTrainer.rarities(examples.input, tokenCount: tokenCount).map { $0 * initialDeviation }
        let dimensions = settings.nesting.dimensions
        let table = TokenTable(weights: weights, dimensions: dimensions, using: &generator)
        let run = LabelRun(settings, examples, validation: validation, labels: labels, monitor: monitor)
        var (objective, history) = try run.nested(table, headRate: headRate, fixesLength: true, &generator)
        if settings.technique != .matryoshka {
            objective.head = try run.probe(objective.trunk, fixesLength: true, &generator)
        }
        return TrainedTextClassifier(
            table: TrainedTable(rows: objective.trunk.rows, dimensions: dimensions, history: history),
            // The heads saw vectors of length √D.
            heads: objective.head.heads(labels: labels, factor: Float(dimensions).squareRoot())
        )
    }
}
