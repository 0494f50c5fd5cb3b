public import Matryoshka
public import Reranking
public import WorkerRuntime

extension VectorShard: HeldRows {
    /// An empty shard for vectors of full size.
    public convenience init(shape: CollectionShape, context: NoContext) {
        self.init(
            dimensions: shape.dimensions,
            storedHeadWidth: shape.storedHeadWidth,
            similarity: shape.similarity
        )
    }

    /// Heads and tails.
    public static func readsFullVectors(_ shape: CollectionShape) -> Bool { true }

    /// About what one row takes, its external id left aside.
    public static func bytesPerRow(_ shape: CollectionShape) -> Int { bytesPerRow(dimensions: shape.dimensions) }
}
