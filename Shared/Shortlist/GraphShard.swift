import VectorMath

/// The rows of one logical shard in a graph that it shares with others.
///
/// Not thread-safe, but for ``owner``: whoever holds it locks around every call. Searches go to the graph and need no
/// lock. Until ``seal()`` no row can be found.
public final class GraphShard {
    /// What the graph knows the shard's rows by.
    public let owner: UInt16
    private let graph: HeadGraph
    private var directory = NodeDirectory()
    private var isSealed = false

    /// Makes an empty shard.
    public init(in graph: HeadGraph) {
        self.graph = graph
        owner = graph.makeOwner()
    }

    deinit {
        graph.letGo(owner: owner, nodes: directory.nodes, live: isSealed ? directory.count : 0)
    }

    /// Writes a row over what is held of its id.
    ///
    /// An older version than the held one is ignored.
    ///
    /// - Parameters:
    ///   - id: The row's internal id.
    ///   - version: Grows with every change of the row.
    ///   - head: The first W floats, finite.
    public func upsert(id: Int64, version: UInt32, head: Span<Float>) {
        let rows = graph.rows
        let old = directory.node(of: id) { rows.node($0).id }
        if let old {
            guard version >= rows.node(old).version else { return }
            // Most changes are of texts and payloads.
            if rows.holds(head, at: old) { return rows.set(version: version, of: old) }
        }
        let node = graph.claim(id: id, version: version, owner: owner, head: head)
        directory.insert(node, id: id) { rows.node($0).id }
        if isSealed {
            graph.link(node, owner: owner, replacing: old)
        } else if let old {
            graph.kill([old], owner: owner, live: 0)
        }
    }

    /// Takes a row out; nothing happens where it is not held.
    public func remove(id: Int64) {
        guard let node = directory.remove(id: id, idOf: { graph.rows.node($0).id }) else { return }
        graph.kill([node], owner: owner, live: isSealed ? 1 : 0)
    }

    /// Ends a bulk load: links all rows, with all threads there are.
    public func seal() {
        guard !isSealed else { return }
        isSealed = true
        // Rows of ascending ids lie in the order of the load.
        graph.link(directory.nodes.sorted(), owner: owner)
    }

    /// Whether a row is held.
    public func contains(id: Int64) -> Bool { directory.node(of: id) { graph.rows.node($0).id } != nil }

    /// The version of a row that is held.
    public func version(of id: Int64) -> UInt32? {
        directory.node(of: id) { graph.rows.node($0).id }.map { graph.rows.node($0).version }
    }

    /// Rows held.
    public var rowCount: Int { directory.count }

    /// Bytes in use for rows, and a share of what the graph keeps of removed ones.
    public var residentBytes: Int { graph.bytes(rows: directory.count) + directory.byteCount }
}
