/// What every process must know of a collection to score its rows.
public struct CollectionShape: Sendable, Hashable {
    /// Number of the collection in the store; never reused.
    public var collection: UInt32
    /// Name; unique among collections that are not dropped.
    public var name: String
    /// Id of the model that its vectors come from; empty where none is bound.
    public var model: String
    /// Full size D.
    public var dimensions: Int
    /// Smallest legal size.
    public var smallestDimensions: Int
    /// Prefixes are legal.
    public var isMatryoshka: Bool
    /// How vectors are compared.
    public var similarity: Similarity
    /// Width W of the stored head; fixed.
    ///
    /// Int8 scales are taken over it.
    public var storedHeadWidth: Int
    /// H, at most W.
    public var residentWidth: Int
    /// int8 or float32.
    public var residentPrecision: Precision
    /// Counts changes of H and precision.
    public var generation: UInt32

    /// Makes a shape.
    public init(
        collection: UInt32,
        name: String,
        model: String,
        dimensions: Int,
        smallestDimensions: Int,
        isMatryoshka: Bool,
        similarity: Similarity,
        storedHeadWidth: Int,
        residentWidth: Int,
        residentPrecision: Precision,
        generation: UInt32
    ) {
        self.collection = collection
        self.name = name
        self.model = model
        self.dimensions = dimensions
        self.smallestDimensions = smallestDimensions
        self.isMatryoshka = isMatryoshka
        self.similarity = similarity
        self.storedHeadWidth = storedHeadWidth
        self.residentWidth = residentWidth
        self.residentPrecision = residentPrecision
        self.generation = generation
    }

    /// What plans over it may ask for.
    public var planSpace: PlanSpace {
        PlanSpace(
            dimensions: dimensions,
            smallestDimensions: smallestDimensions,
            isMatryoshka: isMatryoshka,
            residentWidth: residentWidth,
            residentPrecision: residentPrecision
        )
    }
}
