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
    /// Sign bits of the rotated head are held beside, for stages of precision bit.
    public var holdsSigns: Bool
    /// Starts the rotation that they are the signs of; fixed.
    public var signSeed: UInt64
    /// How shortlist workers find rows.
    public var index: CollectionIndex
    /// Change of basis that all stages but the last are scored in; fixed.
    public var rotation: Rotation
    /// Number of the rotation in the store; 0: none, or not learnt yet.
    public var learntRotation: UInt32
    /// Counts changes of what shortlist workers hold: H, precision, signs, index.
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
        holdsSigns: Bool = false,
        signSeed: UInt64 = 0,
        index: CollectionIndex = .flat,
        rotation: Rotation = .none,
        learntRotation: UInt32 = 0,
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
        self.holdsSigns = holdsSigns
        self.signSeed = signSeed
        self.index = index
        self.rotation = rotation
        self.learntRotation = learntRotation
        self.generation = generation
    }

    /// All that the shape needs of its rows has been learnt: workers can load it.
    public var isTrained: Bool { index.isTrained && (rotation == .none || learntRotation != 0) }

    /// The widest vectors that a basis is learnt for: that takes some D² doubles of memory, and D³ steps.
    public static let rotatedDimensionsMax = 4_096
    /// The widest stored head that sign bits can be held of.
    public static let signWidthMax = 2_048

    /// Sign bits can be held of it: its head is not too wide, and its index scans rows.
    public var canHoldSigns: Bool { storedHeadWidth <= Self.signWidthMax && index.kind != .hnsw }

    /// What plans over it may ask for.
    public var planSpace: PlanSpace {
        PlanSpace(
            dimensions: dimensions,
            smallestDimensions: smallestDimensions,
            isMatryoshka: isMatryoshka,
            isRotated: learntRotation != 0,
            residentWidth: residentWidth,
            residentPrecision: residentPrecision,
            bitWidth: holdsSigns && canHoldSigns ? storedHeadWidth : 0
        )
    }
}
