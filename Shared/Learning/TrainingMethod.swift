public import Encoding
public import VectorMath

/// Ways to have vectors of several sizes: nested training, and what it is measured against.
public enum TrainingMethod: String, CaseIterable, Sendable {
    /// The loss at every size, a head for each (MRL).
    case matryoshka = "mrl"
    /// The loss at every size, one matrix and bias for all heads (MRL-E).
    case shared = "mrl-e"
    /// A rigid model for each size.
    case fixed = "ff"
    /// A rigid model of the full size: its classifier's matrix by singular values, its vectors by their own.
    case singularValues = "svd"
    /// A rigid model of the full size, its vectors along their principal components.
    case principalComponents = "pca"
    /// A rigid model of the full size, numbers of its vectors in random order.
    case randomFeatures = "random-features"
    /// A rigid model of the full size, its vectors under a random projection.
    case randomProjection = "random-projection"
    /// A rigid model of the full size, its vectors cut.
    case truncation
    /// One loss at the full size, on vectors cut at random places.
    case nestedDropout = "nested-dropout"
    /// An adapter whose widths of 25, 50, 75 and 100 % are networks of their own.
    case slimmable
    /// From the largest size to the smallest, one after the other (SMRL).
    case sequential = "smrl"
    /// The nested loss on the last layer and an earlier one (two-dimensional Matryoshka).
    case layered = "mrl-2d"

    /// Those that make classifiers.
    public static let ofClassifiers = allCases
    /// Those that learn from pairs.
    public static let ofPairs = allCases.filter { ![.shared, .slimmable, .layered].contains($0) }

    /// What is done to the vectors of a rigid model of the full size; nil for methods that train otherwise.
    ///
    /// - Parameters:
    ///   - vectors: What the rigid model makes of the training examples.
    ///   - seed: Start of the random numbers.
    /// - Returns: Maps vectors of the full size to such.
    private func projection(of vectors: Matrix, seed: UInt64) -> FeatureAdapter? {
        switch self {
        case .singularValues: Projection.singularVectors(of: vectors)
        case .principalComponents: Projection.principalComponents(of: vectors)
        case .randomFeatures: Projection.shuffle(width: vectors.columns, seed: seed)
        case .randomProjection: Projection.random(width: vectors.columns, seed: seed)
        default: nil
        }
    }

    /// Names of the training runs that the method takes.
    ///
    /// - Parameters:
    ///   - sizes: Of the nesting.
    ///   - probes: Whether heads are fitted to what a rigid model makes, as for classifiers.
    /// - Returns: One or more.
    public func runs(sizes: [Int], probes: Bool) -> [String] {
        switch self {
        case .fixed: sizes.map { "\($0) dimensions" }
        case .principalComponents, .randomFeatures, .randomProjection, .truncation:
            probes ? ["rigid model", "heads"] : ["rigid model"]
        case .singularValues: ["rigid model"]
        default: ["all sizes"]
        }
    }

    /// Trains classifiers for the sizes of a nesting.
    ///
    /// - Parameters:
    ///   - settings: Form and technique are the method's; a slimmable or layered one gets a shape of that kind if it has
    ///     another.
    ///   - examples: For training.
    ///   - validation: Decide which epoch is kept; nil for none.
    ///   - labels: Names of the classes.
    ///   - rigid: A model of the full size, trained by ``fixed``, to take for the methods that start from one; it is
    ///     trained where nil.
    /// - Returns: What classifies at each size.
    public func classifiers(
        _ settings: ClassifierSettings,
        _ examples: Labelled<Matrix>,
        validation: Labelled<Matrix>? = nil,
        labels: [String],
        rigid: FeatureClassifier? = nil
    ) -> SizedClassifiers {
        Self.unwatched { () throws(CheckpointError) in
            try classifiers(settings, examples, validation: validation, labels: labels, rigid: rigid) { _ in
                TrainingMonitor()
            }
        }
    }

    /// Trains classifiers while somebody looks on; else as
    /// ``classifiers(_:_:validation:labels:rigid:)``.
    ///
    /// - Parameters:
    ///   - settings: Form and technique are the method's.
    ///   - examples: For training.
    ///   - validation: Decide which epoch is kept; nil for none.
    ///   - labels: Names of the classes.
    ///   - rigid: Taken instead of the run "rigid model".
    ///   - monitor: Who looks on at one of ``runs(sizes:probes:)``, by its place.
    /// - Returns: What classifies at each size.
    /// - Throws: ``CheckpointError``.
    public func classifiers(
        _ settings: ClassifierSettings,
        _ examples: Labelled<Matrix>,
        validation: Labelled<Matrix>?,
        labels: [String],
        rigid: FeatureClassifier?,
        monitor: (_ run: Int) -> TrainingMonitor
    ) throws(CheckpointError) -> SizedClassifiers {
        let dimensions = settings.nesting.dimensions
        var histories: [TrainingHistory] = []
        func train(
            _ settings: ClassifierSettings,
            _ examples: Labelled<Matrix>,
            _ validation: Labelled<Matrix>?
        ) throws(CheckpointError) -> TrainedClassifier {
            let trained = try ClassifierTrainer(settings).train(
                examples,
                validation: validation,
                labels: labels,
                monitor: monitor(histories.count)
            )
            histories.append(trained.history)
            return trained
        }
        func one(_ classifier: FeatureClassifier, vectors: FeatureAdapter? = nil) -> SizedClassifiers {
            let sizes = settings.nesting.sizes
            return SizedClassifiers(
                method: self,
                classifiers: sizes.map { ($0, classifier) },
                vectors: sizes.map { _ in vectors ?? classifier.adapter },
                histories: histories
            )
        }
        var settings = settings
        settings.form = .separate
        settings.technique = .matryoshka
        switch self {
        case .matryoshka:
            return one(try train(settings, examples, validation).classifier)
        case .shared:
            settings.form = .shared
            return one(try train(settings, examples, validation).classifier)
        case .fixed:
            var sized: [(Int, FeatureClassifier)] = []
            for size in settings.nesting.sizes {
                sized.append((size, try train(settings.fixed(at: size), examples, validation).classifier))
            }
            return SizedClassifiers(
                method: self,
                classifiers: sized,
                vectors: sized.map(\.1.adapter),
                histories: histories
            )
        case .nestedDropout:
            settings.technique = .nestedDropout(meanKept: max(1, dimensions / 4))
            return one(try train(settings, examples, validation).classifier)
        case .sequential:
            settings.technique = .sequential
            return one(try train(settings, examples, validation).classifier)
        case .layered:
            settings.technique = .layered
            if case .residual = settings.shape {} else { settings.shape = .residual(blocks: 2) }
            return one(try train(settings, examples, validation).classifier)
        case .slimmable:
            settings.technique = .slimmable
            if case .hidden = settings.shape {} else { settings.shape = .hidden(units: 2 * dimensions) }
            let trained = try train(settings, examples, validation)
            var result = one(trained.classifier)
            // Where a width of its own has been trained, that is what runs.
            for narrower in trained.narrower { result.replace(at: narrower.heads.dimensions, with: narrower) }
            return result
        case .singularValues, .principalComponents, .randomFeatures, .randomProjection, .truncation:
            let full = settings.fixed(at: dimensions)
            let rigid = if let rigid { rigid } else { try train(full, examples, validation).classifier }
            func made(_ examples: Labelled<Matrix>) -> Labelled<Matrix> {
                let vectors = rigid.features(
                    of: examples.input.prefixes(min(rigid.inputs, examples.input.columns)).values
                )
                return Labelled(Matrix(values: vectors, columns: dimensions), labels: examples.labels)
            }
            let training = made(examples)
            let projection = projection(of: training.input, seed: settings.run.seed)
            let layers = (rigid.adapter?.layers ?? []) + (projection?.layers ?? [])
            let adapter = FeatureAdapter(layers: layers)
            if self == .singularValues, let found = rigid.bySingularValues(sizes: settings.nesting.sizes) {
                return one(found, vectors: adapter)
            }
            func projected(_ examples: Labelled<Matrix>) -> Labelled<Matrix> {
                guard let projection else { return examples }
                let values = projection.outputs(of: examples.input.values)
                return Labelled(Matrix(values: values, columns: dimensions), labels: examples.labels)
            }
            let probe = try train(
                settings.probe(of: settings.nesting.sizes),
                projected(training),
                validation.map { projected(made($0)) }
            ).classifier
            guard
                let classifier = FeatureClassifier(adapter: adapter, heads: probe.heads, encoder: nil, training: nil)
            else { preconditionFailure("the probe's heads take what the adapter makes") }
            return one(classifier)
        }
    }

    /// Trains adapters on frozen vectors for the sizes of a nesting; the technique is the method's, one of ``ofPairs``.
    ///
    /// - Parameters:
    ///   - settings: How.
    ///   - shape: What is trained.
    ///   - pairs: For training.
    ///   - validation: Decide which epoch is kept; nil for none.
    /// - Returns: What makes the vectors of each size.
    public func embeddings(
        _ settings: ContrastiveSettings,
        shape: AdapterShape = .linear,
        _ pairs: FeaturePairs,
        validation: FeaturePairs? = nil
    ) -> SizedEmbeddings {
        Self.unwatched { () throws(CheckpointError) in
            try embeddings(settings, shape: shape, pairs, validation: validation) { _ in TrainingMonitor() }
        }
    }

    /// Trains adapters while somebody looks on; else as ``embeddings(_:shape:_:validation:)``.
    ///
    /// - Parameters:
    ///   - settings: How.
    ///   - shape: What is trained.
    ///   - pairs: For training.
    ///   - validation: Decide which epoch is kept; nil for none.
    ///   - monitor: Who looks on at one of ``runs(sizes:probes:)``, by its place.
    /// - Returns: What makes the vectors of each size.
    /// - Throws: ``CheckpointError``.
    public func embeddings(
        _ settings: ContrastiveSettings,
        shape: AdapterShape,
        _ pairs: FeaturePairs,
        validation: FeaturePairs?,
        monitor: (_ run: Int) -> TrainingMonitor
    ) throws(CheckpointError) -> SizedEmbeddings {
        try embeddings(settings) { (settings, run) throws(CheckpointError) in
            let trainer = AdapterTrainer(settings, shape: shape)
            let trained = try trainer.train(pairs, validation: validation, monitor: monitor(run))
            return (SizedEmbeddings.Part(adapter: trained.adapter), trained.history)
        } documents: { part in
            part.vectors(of: pairs.documents)
        }
    }

    /// Trains static models for the sizes of a nesting; the technique is the method's, one of ``ofPairs``.
    ///
    /// - Parameters:
    ///   - settings: How.
    ///   - pairs: For training.
    ///   - validation: Decide which epoch is kept.
    ///   - tokenCount: Rows of the table.
    /// - Returns: What makes the vectors of each size.
    public func embeddings(
        _ settings: ContrastiveSettings,
        _ pairs: TrainingPairs,
        validation: TrainingPairs,
        tokenCount: Int
    ) -> SizedEmbeddings {
        Self.unwatched { () throws(CheckpointError) in
            try embeddings(settings, pairs, validation: validation, tokenCount: tokenCount, initialDeviation: 0.2) {
                _ in
                TrainingMonitor()
            }
        }
    }

    /// Trains static models while somebody looks on; else as ``embeddings(_:_:validation:tokenCount:)``.
    ///
    /// - Parameters:
    ///   - settings: How.
    ///   - pairs: For training.
    ///   - validation: Decide which epoch is kept.
    ///   - tokenCount: Rows of the table.
    ///   - initialDeviation: Standard deviation of a token's first vector, for a token of mean rarity.
    ///   - monitor: Who looks on at one of ``runs(sizes:probes:)``, by its place.
    /// - Returns: What makes the vectors of each size.
    /// - Throws: ``CheckpointError``.
    public func embeddings(
        _ settings: ContrastiveSettings,
        _ pairs: TrainingPairs,
        validation: TrainingPairs,
        tokenCount: Int,
        initialDeviation: Float,
        monitor: (_ run: Int) -> TrainingMonitor
    ) throws(CheckpointError) -> SizedEmbeddings {
        try embeddings(settings) { (settings, run) throws(CheckpointError) in
            let trained = try StaticTrainer(settings, initialDeviation: initialDeviation)
                .train(pairs, validation: validation, tokenCount: tokenCount, monitor: monitor(run))
            return (SizedEmbeddings.Part(table: trained), trained.history)
        } documents: { part in
            part.vectors(of: pairs.documents)
        }
    }

    private func embeddings(
        _ settings: ContrastiveSettings,
        train: (ContrastiveSettings, Int) throws(CheckpointError) -> (SizedEmbeddings.Part, TrainingHistory),
        documents: (SizedEmbeddings.Part) -> Matrix
    ) throws(CheckpointError) -> SizedEmbeddings {
        precondition(Self.ofPairs.contains(self), "a method that learns from pairs")
        let (sizes, dimensions) = (settings.nesting.sizes, settings.nesting.dimensions)
        func one(_ trained: (part: SizedEmbeddings.Part, history: TrainingHistory)) -> SizedEmbeddings {
            SizedEmbeddings(method: self, parts: sizes.map { ($0, trained.part) }, histories: [trained.history])
        }
        var settings = settings
        settings.technique = .matryoshka
        switch self {
        case .fixed:
            var (parts, histories): ([(Int, SizedEmbeddings.Part)], [TrainingHistory]) = ([], [])
            for (run, size) in sizes.enumerated() {
                let trained = try train(settings.fixed(at: size), run)
                parts.append((size, trained.0))
                histories.append(trained.1)
            }
            return SizedEmbeddings(method: self, parts: parts, histories: histories)
        case .nestedDropout:
            settings.technique = .nestedDropout(meanKept: max(1, dimensions / 4))
            return one(try train(settings, 0))
        case .sequential:
            settings.technique = .sequential
            return one(try train(settings, 0))
        case .singularValues, .principalComponents, .randomFeatures, .randomProjection, .truncation:
            var (part, history) = try train(settings.fixed(at: dimensions), 0)
            part.projection = projection(of: documents(part), seed: settings.run.seed)
            return one((part, history))
        default:
            return one(try train(settings, 0))
        }
    }

    /// Runs that nothing is resumed in do not fail.
    private static func unwatched<Result>(_ body: () throws(CheckpointError) -> Result) -> Result {
        do {
            return try body()
        } catch {
            preconditionFailure("only a resumed run can fail")
        }
    }
}
