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
        let dimensions = settings.nesting.dimensions
        func train(_ settings: ClassifierSettings, _ examples: Labelled<Matrix>, _ validation: Labelled<Matrix>?)
            -> TrainedClassifier
        {
            do {
                return try ClassifierTrainer(settings).train(examples, validation: validation, labels: labels)
            } catch {
                preconditionFailure("only a resumed run can fail")
            }
        }
        func one(_ classifier: FeatureClassifier, vectors: FeatureAdapter? = nil) -> SizedClassifiers {
            let sizes = settings.nesting.sizes
            return SizedClassifiers(
                method: self,
                classifiers: sizes.map { ($0, classifier) },
                vectors: sizes.map { _ in vectors ?? classifier.adapter }
            )
        }
        var settings = settings
        settings.form = .separate
        settings.technique = .matryoshka
        switch self {
        case .matryoshka:
            return one(train(settings, examples, validation).classifier)
        case .shared:
            settings.form = .shared
            return one(train(settings, examples, validation).classifier)
        case .fixed:
            let sized = settings.nesting.sizes.map { size in
                (size, train(settings.fixed(at: size), examples, validation).classifier)
            }
            return SizedClassifiers(method: self, classifiers: sized, vectors: sized.map(\.1.adapter))
        case .nestedDropout:
            settings.technique = .nestedDropout(meanKept: max(1, dimensions / 4))
            return one(train(settings, examples, validation).classifier)
        case .sequential:
            settings.technique = .sequential
            return one(train(settings, examples, validation).classifier)
        case .layered:
            settings.technique = .layered
            if case .residual = settings.shape {} else { settings.shape = .residual(blocks: 2) }
            return one(train(settings, examples, validation).classifier)
        case .slimmable:
            settings.technique = .slimmable
            if case .hidden = settings.shape {} else { settings.shape = .hidden(units: 2 * dimensions) }
            let trained = train(settings, examples, validation)
            var result = one(trained.classifier)
            // Where a width of its own has been trained, that is what runs.
            for narrower in trained.narrower { result.replace(at: narrower.heads.dimensions, with: narrower) }
            return result
        case .singularValues, .principalComponents, .randomFeatures, .randomProjection, .truncation:
            let rigid = rigid ?? train(settings.fixed(at: dimensions), examples, validation).classifier
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
            let probe = train(
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
        embeddings(settings) { settings in
            do {
                let trained = try AdapterTrainer(settings, shape: shape).train(pairs, validation: validation)
                return SizedEmbeddings.Part(adapter: trained.adapter)
            } catch {
                preconditionFailure("only a resumed run can fail")
            }
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
        embeddings(settings) { settings in
            do {
                let trainer = StaticTrainer(settings)
                let trained = try trainer.train(pairs, validation: validation, tokenCount: tokenCount)
                return SizedEmbeddings.Part(table: trained)
            } catch {
                preconditionFailure("only a resumed run can fail")
            }
        } documents: { part in
            part.vectors(of: pairs.documents)
        }
    }

    private func embeddings(
        _ settings: ContrastiveSettings,
        train: (ContrastiveSettings) -> SizedEmbeddings.Part,
        documents: (SizedEmbeddings.Part) -> Matrix
    ) -> SizedEmbeddings {
        precondition(Self.ofPairs.contains(self), "a method that learns from pairs")
        let (sizes, dimensions) = (settings.nesting.sizes, settings.nesting.dimensions)
        func one(_ part: SizedEmbeddings.Part) -> SizedEmbeddings {
            SizedEmbeddings(method: self, parts: sizes.map { ($0, part) })
        }
        var settings = settings
        settings.technique = .matryoshka
        switch self {
        case .fixed:
            return SizedEmbeddings(method: self, parts: sizes.map { ($0, train(settings.fixed(at: $0))) })
        case .nestedDropout:
            settings.technique = .nestedDropout(meanKept: max(1, dimensions / 4))
            return one(train(settings))
        case .sequential:
            settings.technique = .sequential
            return one(train(settings))
        case .singularValues, .principalComponents, .randomFeatures, .randomProjection, .truncation:
            var part = train(settings.fixed(at: dimensions))
            part.projection = projection(of: documents(part), seed: settings.run.seed)
            return one(part)
        default:
            return one(train(settings))
        }
    }
}

/// Classifiers of several sizes, by one method.
public struct SizedClassifiers: Sendable {
    /// How they came about.
    public let method: TrainingMethod
    private var parts: [Int: (classifier: FeatureClassifier, vectors: FeatureAdapter?)] = [:]

    init(method: TrainingMethod, classifiers: [(Int, FeatureClassifier)], vectors: [FeatureAdapter?]) {
        self.method = method
        for (sized, vectors) in zip(classifiers, vectors) { parts[sized.0] = (sized.1, vectors) }
    }

    mutating func replace(at size: Int, with classifier: FeatureClassifier) {
        guard parts[size] != nil else { return }
        parts[size] = (classifier, classifier.adapter)
    }

    /// Sizes, ascending.
    public var sizes: [Int] { parts.keys.sorted() }

    private func part(_ size: Int) -> (classifier: FeatureClassifier, vectors: FeatureAdapter?) {
        guard let next = sizes.first(where: { $0 >= size }), let part = parts[next] else {
            preconditionFailure("a size of 1 to the full one")
        }
        return part
    }

    /// The classifier of one of the sizes.
    public func classifier(at size: Int) -> FeatureClassifier { part(size).classifier }

    /// Classes of some frozen vectors at one of the sizes.
    public func predictions(of vectors: Matrix, size: Int) -> [Int] {
        let classifier = part(size).classifier
        let features = classifier.features(of: vectors.prefixes(min(classifier.inputs, vectors.columns)).values)
        return classifier.heads.predictions(of: features, size: size).map(\.label)
    }

    /// Share of examples whose class is found at one of the sizes.
    public func accuracy(on examples: Labelled<Matrix>, size: Int) -> Double {
        let right = zip(predictions(of: examples.input, size: size), examples.labels).count { $0 == Int($1) }
        return Double(right) / Double(max(1, examples.labels.count))
    }

    /// Unit vectors for neighbours, of any size up to the full one.
    public func vectors(of vectors: Matrix, size: Int) -> Matrix {
        guard let adapter = part(size).vectors else { return vectors.prefixes(size).unitRows }
        return Matrix(values: adapter.outputs(of: vectors.values), columns: adapter.outputs).prefixes(size).unitRows
    }
}

/// What makes vectors of several sizes, by one method.
public struct SizedEmbeddings: Sendable {
    /// What makes the vectors of a size: a table or an adapter, and a map of its unit vectors.
    struct Part {
        var table: TrainedTable?
        var adapter: FeatureAdapter?
        var projection: FeatureAdapter?

        func vectors(of texts: TokenRows) -> Matrix {
            guard let table else { preconditionFailure("an adapter takes vectors") }
            return projected(table.vectors(of: texts))
        }

        func vectors(of vectors: Matrix) -> Matrix {
            guard let adapter else { preconditionFailure("a table takes texts") }
            return projected(
                Matrix(values: adapter.outputs(of: vectors.values), columns: adapter.outputs).unitRows
            )
        }

        private func projected(_ vectors: Matrix) -> Matrix {
            guard let projection else { return vectors }
            return Matrix(values: projection.outputs(of: vectors.values), columns: projection.outputs)
        }
    }

    /// How they came about.
    public let method: TrainingMethod
    private let parts: [Int: Part]

    init(method: TrainingMethod, parts: [(Int, Part)]) {
        self.method = method
        self.parts = Dictionary(uniqueKeysWithValues: parts)
    }

    /// Sizes, ascending.
    public var sizes: [Int] { parts.keys.sorted() }

    private func part(_ size: Int) -> Part {
        guard let next = sizes.first(where: { $0 >= size }), let part = parts[next] else {
            preconditionFailure("a size of 1 to the full one")
        }
        return part
    }

    /// Unit vectors of texts, of any size up to the full one.
    public func vectors(of texts: TokenRows, size: Int) -> Matrix {
        part(size).vectors(of: texts).prefixes(size).unitRows
    }

    /// Unit vectors made of an encoder's, of any size up to the full one.
    public func vectors(of vectors: Matrix, size: Int) -> Matrix {
        part(size).vectors(of: vectors).prefixes(size).unitRows
    }
}
