/// `config.json` of a model directory.
public struct ModelConfiguration: Sendable, Hashable, Codable {
    /// Marks the layout of the directory.
    public static let formatTag = "matryoshka-model-1"
    /// A table of token vectors and their mean; the other kind is ``AdapterConfiguration/kind``.
    public static let staticKind = "static"

    /// ``formatTag``.
    public var format: String
    /// ``staticKind``.
    public var kind: String
    /// For people.
    public var name: String
    /// Full size D.
    public var dimensions: Int
    /// Smallest legal size.
    public var smallestDimensions: Int
    /// Trained sizes, ascending, the last one D.
    public var nesting: [Int]
    /// `cosine`: the one that vectors of unit length need.
    public var metric: String
    /// What is done to the full vector before a prefix is cut: `unit` length; nil in older directories.
    public var preNormalisation: String?
    /// Text put before what is encoded, by role.
    public var prompts: [String: String]
    /// Tokens of a text that count; the rest is cut off.
    public var maximumTokens: Int
    /// How it came about; nil for models from elsewhere.
    public var training: TrainingRecord?

    enum CodingKeys: String, CodingKey {
        case format, kind, name, dimensions, nesting, metric, prompts, training
        case smallestDimensions = "smallest_dimensions"
        case maximumTokens = "maximum_tokens"
        case preNormalisation = "pre_normalisation"
    }

    /// Makes the configuration of a static model.
    public init(
        name: String,
        dimensions: Int,
        nesting: [Int],
        prompts: [String: String] = ["query": "", "document": ""],
        maximumTokens: Int,
        training: TrainingRecord? = nil
    ) {
        format = Self.formatTag
        kind = Self.staticKind
        self.name = name
        self.dimensions = dimensions
        smallestDimensions = nesting.first ?? dimensions
        self.nesting = nesting
        metric = Self.metrics[0]
        preNormalisation = Self.preNormalisations[0]
        self.prompts = prompts
        self.maximumTokens = maximumTokens
        self.training = training
    }

    /// What this build runs.
    static let metrics = ["cosine"]
    static let preNormalisations = ["unit"]

    /// Checks what the parts say of each other.
    func check(path: String) throws(ModelError) {
        guard format == Self.formatTag else {
            throw .unsupported(path: path, reason: "format is \"\(format)\", this build reads \"\(Self.formatTag)\"")
        }
        guard kind == Self.staticKind else {
            throw .unsupported(
                path: path,
                reason:
                    "kind is \"\(kind)\", this build runs \"\(Self.staticKind)\" and \"\(AdapterConfiguration.kind)\""
            )
        }
        try Self.check(path: path, dimensions, smallestDimensions, nesting, metric, preNormalisation)
        guard maximumTokens > 0 else { throw .malformed(path: path, reason: "maximum_tokens must be 1 or more") }
    }

    /// Checks what all kinds of models say of their vectors.
    static func check(
        path: String,
        _ dimensions: Int,
        _ smallestDimensions: Int,
        _ nesting: [Int],
        _ metric: String,
        _ preNormalisation: String?
    ) throws(ModelError) {
        guard metrics.contains(metric) else {
            throw .unsupported(path: path, reason: "metric is \"\(metric)\", this build runs \"\(metrics[0])\"")
        }
        if let preNormalisation, !preNormalisations.contains(preNormalisation) {
            throw .unsupported(
                path: path,
                reason: "pre_normalisation is \"\(preNormalisation)\", this build runs \"\(preNormalisations[0])\""
            )
        }
        guard (1...65_535).contains(dimensions) else {
            throw .malformed(path: path, reason: "dimensions is \(dimensions), allowed are 1 to 65535")
        }
        guard nesting.last == dimensions, zip(nesting, nesting.dropFirst()).allSatisfy({ $0 < $1 }), nesting[0] > 0
        else {
            throw .malformed(path: path, reason: "nesting must ascend from 1 or more and end with \(dimensions)")
        }
        guard smallestDimensions >= 1, smallestDimensions <= dimensions else {
            throw .malformed(path: path, reason: "smallest_dimensions is not within 1 to \(dimensions)")
        }
    }
}

/// How a model or a classifier was trained: enough to train it again.
///
/// It is part of the model's identity, so it holds nothing that two equal runs would measure differently.
public struct TrainingRecord: Sendable, Hashable, Codable {
    /// The published method, as `mrl train --method` names it, or in a few words.
    public var method: String
    /// What was made small, in a few words.
    public var objective: String?
    /// SHA-256 of the training data.
    public var corpus: String
    /// Id of the frozen model whose vectors were learnt from.
    public var encoder: String?
    /// What was trained on these vectors.
    public var shape: String?
    /// Training pairs.
    public var pairs: Int?
    /// Validation pairs.
    public var validationPairs: Int?
    /// Labelled training examples.
    public var examples: Int?
    /// Labelled validation examples.
    public var validationExamples: Int?
    /// Weights of the sizes in the loss (c_m); 1 each where nil.
    public var weights: [Float]?
    /// Passes over the pairs asked for.
    public var epochs: Int
    /// Pairs or examples in a batch.
    public var batch: Int
    /// How parameters follow their gradients.
    public var optimiser: String?
    /// The highest rate.
    public var learningRate: Double
    /// Share of the steps before the highest rate.
    public var warmUp: Double?
    /// How the rate falls after it.
    public var decay: String?
    /// Share of a parameter that a step takes away, times the rate.
    public var weightDecay: Double?
    /// Epochs without a gain after which the run ended.
    public var patience: Int?
    /// Factor of the cosines in InfoNCE.
    public var scale: Double?
    /// Share of the target that all classes divided among them.
    public var smoothing: Double?
    /// Tokens of a text that training saw.
    public var tokensMax: Int?
    /// Start of the random numbers.
    public var seed: UInt64
    /// Epoch whose numbers were kept, from 1.
    public var bestEpoch: Int
    /// Mean training loss of each epoch.
    public var trainingLoss: [Double]
    /// Validation loss after each epoch.
    public var validationLoss: [Double]

    enum CodingKeys: String, CodingKey {
        case method, objective, corpus, encoder, shape, pairs, examples, weights, epochs, batch, optimiser, decay
        case patience, scale, smoothing, seed
        case validationPairs = "validation_pairs"
        case validationExamples = "validation_examples"
        case learningRate = "learning_rate"
        case warmUp = "warm_up"
        case weightDecay = "weight_decay"
        case tokensMax = "tokens_max"
        case bestEpoch = "best_epoch"
        case trainingLoss = "training_loss"
        case validationLoss = "validation_loss"
    }

    /// Makes a record of what every training has; the rest is set where it applies.
    public init(
        method: String,
        corpus: String,
        epochs: Int,
        batch: Int,
        learningRate: Double,
        seed: UInt64,
        bestEpoch: Int,
        trainingLoss: [Double],
        validationLoss: [Double]
    ) {
        self.method = method
        self.corpus = corpus
        self.epochs = epochs
        self.batch = batch
        self.learningRate = learningRate
        self.seed = seed
        self.bestEpoch = bestEpoch
        self.trainingLoss = trainingLoss
        self.validationLoss = validationLoss
    }
}
