/// `config.json` of a model directory.
public struct ModelConfiguration: Sendable, Hashable, Codable {
    /// Marks the layout of the directory.
    public static let formatTag = "matryoshka-model-1"
    /// The only kind so far: a table of token vectors and their mean.
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
    /// `cosine` or `dot`.
    public var metric: String
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
        metric = "cosine"
        self.prompts = prompts
        self.maximumTokens = maximumTokens
        self.training = training
    }

    /// Checks what the parts say of each other.
    func check(path: String) throws(ModelError) {
        guard format == Self.formatTag else {
            throw .unsupported(path: path, reason: "format is \"\(format)\", this build reads \"\(Self.formatTag)\"")
        }
        guard kind == Self.staticKind else {
            throw .unsupported(path: path, reason: "kind is \"\(kind)\", this build runs \"\(Self.staticKind)\"")
        }
        guard metric == "cosine" || metric == "dot" else {
            throw .unsupported(path: path, reason: "metric is \"\(metric)\", allowed are \"cosine\" and \"dot\"")
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
        guard maximumTokens > 0 else { throw .malformed(path: path, reason: "maximum_tokens must be 1 or more") }
    }
}

/// How a model was trained: enough to train it again.
///
/// It is part of the model's identity, so it holds nothing that two equal runs would measure differently.
public struct TrainingRecord: Sendable, Hashable, Codable {
    /// The published method in a few words.
    public var method: String
    /// SHA-256 of the corpus file.
    public var corpus: String
    /// Training pairs.
    public var pairs: Int
    /// Validation pairs.
    public var validationPairs: Int
    /// Passes over the pairs asked for.
    public var epochs: Int
    /// Pairs in a batch.
    public var batch: Int
    /// Peak rate of Adam.
    public var learningRate: Double
    /// Factor of the cosines in InfoNCE.
    public var scale: Double
    /// Tokens of a text that training saw.
    public var tokensMax: Int
    /// Start of the random numbers.
    public var seed: UInt64
    /// Epoch whose table was kept, from 1.
    public var bestEpoch: Int
    /// Mean training loss of each epoch.
    public var trainingLoss: [Double]
    /// Validation loss after each epoch.
    public var validationLoss: [Double]

    enum CodingKeys: String, CodingKey {
        case method, corpus, pairs, epochs, batch, scale, seed
        case validationPairs = "validation_pairs"
        case learningRate = "learning_rate"
        case tokensMax = "tokens_max"
        case bestEpoch = "best_epoch"
        case trainingLoss = "training_loss"
        case validationLoss = "validation_loss"
    }

    /// Makes a record.
    public init(
        method: String,
        corpus: String,
        pairs: Int,
        validationPairs: Int,
        epochs: Int,
        batch: Int,
        learningRate: Double,
        scale: Double,
        tokensMax: Int,
        seed: UInt64,
        bestEpoch: Int,
        trainingLoss: [Double],
        validationLoss: [Double]
    ) {
        self.method = method
        self.corpus = corpus
        self.pairs = pairs
        self.validationPairs = validationPairs
        self.epochs = epochs
        self.batch = batch
        self.learningRate = learningRate
        self.scale = scale
        self.tokensMax = tokensMax
        self.seed = seed
        self.bestEpoch = bestEpoch
        self.trainingLoss = trainingLoss
        self.validationLoss = validationLoss
    }
}
