public import Matryoshka
public import Shortlist
public import WorkerRuntime

extension ResidentShard: HeldRows {
    /// An empty shard at the shape's resident width and precision.
    public convenience init(shape: CollectionShape, context: NoContext) {
        self.init(
            storedHeadWidth: shape.storedHeadWidth,
            residentWidth: shape.residentWidth,
            precision: shape.residentPrecision,
            similarity: shape.similarity
        )
    }

    /// Heads are enough.
    public static func readsFullVectors(_ shape: CollectionShape) -> Bool { false }

    /// About what one row takes.
    public static func bytesPerRow(_ shape: CollectionShape) -> Int {
        bytesPerRow(residentWidth: shape.residentWidth, precision: shape.residentPrecision)
    }

    /// Adds or replaces a row by its head.
    public func upsert(id: Int64, version: UInt32, vector: Span<Float>, externalID: String) {
        upsert(id: id, version: version, head: vector)
    }
}
