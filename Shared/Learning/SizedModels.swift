public import Encoding
public import VectorMath

/// Classifiers of several sizes, by one method.
public struct SizedClassifiers: Sendable {
    /// How they came about.
    public let method: TrainingMethod
    /// What each run of the method went through.
    public let histories: [TrainingHistory]
    private var parts: [Int: (classifier: FeatureClassifier, vectors: FeatureAdapter?)] = [:]

    init(
        method: TrainingMethod,
        classifiers: [(Int, FeatureClassifier)],
        vectors: [FeatureAdapter?],
        histories: [TrainingHistory]
    ) {
        self.method = method
        self.histories = histories
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
    /// What each run of the method went through.
    public let histories: [TrainingHistory]
    private let parts: [Int: Part]

    init(method: TrainingMethod, parts: [(Int, Part)], histories: [TrainingHistory]) {
        self.method = method
        self.histories = histories
        self.parts = Dictionary(uniqueKeysWithValues: parts)
    }

    /// Sizes, ascending.
    public var sizes: [Int] { parts.keys.sorted() }

    /// The table of a size's static model, tokens × dimensions; nil where an adapter was trained.
    public func table(at size: Int) -> TrainedTable? { part(size).table }

    /// What makes the vectors of a size out of those of the frozen encoder, or of the table; nil where nothing does.
    public func adapter(at size: Int) -> VectorAdapter? {
        let part = part(size)
        let projection = part.projection.map { [VectorAdapter.Step.normalise, .dense($0)] } ?? []
        return VectorAdapter(steps: (part.adapter.map { [.dense($0)] } ?? []) + projection)
    }

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
