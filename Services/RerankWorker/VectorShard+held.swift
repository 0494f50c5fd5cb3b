public import Matryoshka
public import Reranking
public import WorkerRuntime

extension VectorShard: HeldRows {
    /// An empty shard for vectors of full size.
    public convenience init(shape: CollectionShape, context: NoContext) { self.init(shape: shape, cache: nil) }

    /// An empty shard for some of the vectors, in a cache.
    convenience init(shape: CollectionShape, cache: VectorCache?) {
        self.init(
            dimensions: shape.dimensions,
            storedHeadWidth: shape.storedHeadWidth,
            similarity: shape.similarity,
            cache: cache
        )
    }

    /// Heads and tails.
    public static func readsFullVectors(_ shape: CollectionShape) -> Bool { true }

    /// About what one row takes, its external id left aside.
    public static func bytesPerRow(_ shape: CollectionShape) -> Int { bytesPerRow(dimensions: shape.dimensions) }
}
