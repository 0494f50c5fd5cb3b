public import Matryoshka
public import Shortlist
public import VectorMath
public import WorkerRuntime

/// What the shards of a collection share on a shortlist worker.
public struct HeadContext: Sendable {
    /// The lists that all rows are in; nil where there are none.
    public var lists: InvertedLists?
    /// The graph that all rows are in; nil where there is none.
    public var graph: HeadGraph?
    /// What rows and queries are turned by before their heads are taken; nil where they are taken as they come.
    public var rotation: VectorRotation?

    /// Makes the lists of the shape's generation, or a graph, which `crew` looks after.
    init(_ shape: CollectionShape, _ learnt: LearntParts, _ crew: IndexCrew) throws {
        if shape.learntRotation != 0 {
            guard let learnt = VectorRotation(axes: learnt.rotation, dimensions: shape.dimensions) else {
                throw LearningFailure(message: "rotation \(shape.learntRotation) is of another size")
            }
            rotation = learnt
        }
        switch shape.index.kind {
        case .flat: break
        case .ivf:
            if learnt.lists > 0 {
                lists = crew.makeLists(shape, CoarseLists(centroids: learnt.centroids, count: learnt.lists))
            }
        case .hnsw: graph = crew.makeGraph(shape)
        }
    }
}

/// The heads of one logical shard in the form that the collection's index asks for.
public final class HeadShard: HeldRows {
    /// Searches go to the lists or the graph; they name the shard by the number that these know it by.
    public typealias Handle = UInt16

    private enum Form {
        case scanned(ResidentShard)
        case listed(ListShard)
        case linked(GraphShard)
    }

    private let form: Form
    private let rotation: VectorRotation?
    private let storedHeadWidth: Int

    /// An empty shard at the shape's resident width and precision.
    public init(shape: CollectionShape, context: HeadContext) {
        rotation = context.rotation
        storedHeadWidth = shape.storedHeadWidth
        if let graph = context.graph {
            form = .linked(GraphShard(in: graph))
        } else if let lists = context.lists {
            form = .listed(ListShard(in: lists))
        } else {
            form = .scanned(ResidentShard(shape: shape))
        }
    }

    /// Heads are enough where they are not made of whole vectors.
    public static func readsFullVectors(_ shape: CollectionShape) -> Bool { shape.learntRotation != 0 }

    /// About what one row takes.
    public static func bytesPerRow(_ shape: CollectionShape) -> Int {
        switch shape.index.kind {
        case .flat: ResidentShard.bytesPerRow(shape)
        case .ivf: InvertedLists.bytesPerRow(shape)
        case .hnsw: HeadGraph.bytesPerRow(shape)
        }
    }

    /// A graph takes long to build.
    public static func shardsPerLoad(_ shape: CollectionShape) -> Int { shape.index.kind == .hnsw ? 4 : .max }

    /// Nil where rows are scanned, under the lock.
    public var handle: UInt16? {
        switch form {
        case .scanned: nil
        case .listed(let rows): rows.owner
        case .linked(let rows): rows.owner
        }
    }

    /// The rows where they are scanned.
    var scanned: ResidentShard {
        guard case .scanned(let rows) = form else { preconditionFailure("an index is searched as a whole") }
        return rows
    }

    /// Adds or replaces a row by its head, or by the vector that its head is made of.
    public func upsert(id: Int64, version: UInt32, vector: Span<Float>, externalID: String) {
        if let rotation {
            upsert(id: id, version: version, head: rotation.rotated(vector, first: storedHeadWidth).span)
        } else {
            upsert(id: id, version: version, head: vector)
        }
    }

    private func upsert(id: Int64, version: UInt32, head: Span<Float>) {
        switch form {
        case .scanned(let rows): rows.upsert(id: id, version: version, head: head)
        case .listed(let rows): rows.upsert(id: id, version: version, head: head)
        case .linked(let rows): rows.upsert(id: id, version: version, head: head)
        }
    }

    /// Removes a row.
    public func remove(id: Int64) {
        switch form {
        case .scanned(let rows): rows.remove(id: id)
        case .listed(let rows): rows.remove(id: id)
        case .linked(let rows): rows.remove(id: id)
        }
    }

    /// Lists or links what was written.
    public func settle() {
        switch form {
        case .scanned: break
        case .listed(let rows): rows.settle()
        case .linked(let rows): rows.settle()
        }
    }

    /// Ends a bulk load.
    public func seal() {
        switch form {
        case .scanned(let rows): rows.seal()
        case .listed(let rows): rows.seal()
        case .linked(let rows): rows.settle()
        }
    }

    /// Rows held.
    public var rowCount: Int {
        switch form {
        case .scanned(let rows): rows.rowCount
        case .listed(let rows): rows.rowCount
        case .linked(let rows): rows.rowCount
        }
    }

    /// Rows that are in the graph, or in their places.
    public var builtCount: Int {
        switch form {
        case .scanned(let rows): rows.rowCount
        case .listed(let rows): rows.rowCount
        case .linked(let rows): rows.linkedCount
        }
    }

    /// Bytes of memory that they take.
    public var residentBytes: Int {
        switch form {
        case .scanned(let rows): rows.residentBytes
        case .listed(let rows): rows.residentBytes
        case .linked(let rows): rows.residentBytes
        }
    }
}
