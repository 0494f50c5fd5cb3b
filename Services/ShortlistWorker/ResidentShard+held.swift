public import Matryoshka
public import Shortlist
public import WorkerRuntime

/// What the shards of a collection share on a shortlist worker.
public struct HeadContext: Sendable {
    /// Inverted lists; nil where all rows are scanned.
    public var lists: CoarseLists?
}

extension ResidentShard: HeldRows {
    /// Builds the lists of the shape's generation.
    public static func context(of shape: CollectionShape, learnt: LearntParts) -> HeadContext {
        HeadContext(
            lists: shape.index.kind == .ivf && learnt.lists > 0
                ? CoarseLists(centroids: learnt.centroids, count: learnt.lists) : nil
        )
    }

    /// An empty shard at the shape's resident width and precision.
    public convenience init(shape: CollectionShape, context: HeadContext) {
        self.init(
            storedHeadWidth: shape.storedHeadWidth,
            residentWidth: shape.residentWidth,
            precision: shape.residentPrecision,
            similarity: shape.similarity,
            lists: context.lists
        )
    }

    /// Heads are enough.
    public static func readsFullVectors(_ shape: CollectionShape) -> Bool { false }

    /// About what one row takes.
    public static func bytesPerRow(_ shape: CollectionShape) -> Int {
        bytesPerRow(
            residentWidth: shape.residentWidth,
            precision: shape.residentPrecision,
            hasLists: shape.index.kind == .ivf
        )
    }

    /// Adds or replaces a row by its head.
    public func upsert(id: Int64, version: UInt32, vector: Span<Float>, externalID: String) {
        upsert(id: id, version: version, head: vector)
    }
}
