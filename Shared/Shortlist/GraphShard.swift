import VectorMath

/// The rows of one logical shard in a graph that it shares with others.
///
/// Not thread-safe, but for ``owner``: whoever holds it locks around every call. Searches go to the graph and need no
/// lock. What is written is found once ``settle()`` has returned.
public final class GraphShard {
    /// What the graph knows the shard's rows by.
    public let owner: UInt16
    private let graph: HeadGraph
    private var directory = NodeDirectory()
    /// Written, and not linked yet: many are linked at once.
    private var waiting: [HeadGraph.Write] = []

    /// Makes an empty shard.
    public init(in graph: HeadGraph) {
        self.graph = graph
        owner = graph.makeOwner()
    }

    deinit {
        let replaced = waiting.compactMap(\.old)
        graph.letGo(owner: owner, nodes: directory.nodes + replaced, live: linkedCount + replaced.count)
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
            let held = rows.node(old)
            guard version >= held.version else { return }
            // Most changes are of texts and payloads.
            if rows.holds(head, at: old) { return rows.set(version: version, of: old) }
            if held.isPending { settle() }
        }
        let node = graph.claim(id: id, version: version, owner: owner, head: head)
        directory.insert(node, id: id) { rows.node($0).id }
        waiting.append(HeadGraph.Write(node: node, old: old))
    }

    /// Takes a row out; nothing happens where it is not held.
    public func remove(id: Int64) {
        guard let node = directory.node(of: id, idOf: { graph.rows.node($0).id }) else { return }
        if graph.rows.node(node).isPending { settle() }
        _ = directory.remove(id: id) { graph.rows.node($0).id }
        graph.kill([node], owner: owner, live: 1)
    }

    /// Links what was written since the last call, with all threads there are where that is much.
    public func settle() {
        guard !waiting.isEmpty else { return }
        graph.link(waiting, owner: owner)
        waiting = []
    }

    /// Whether a row is held.
    public func contains(id: Int64) -> Bool { directory.node(of: id) { graph.rows.node($0).id } != nil }

    /// The version of a row that is held.
    public func version(of id: Int64) -> UInt32? {
        directory.node(of: id) { graph.rows.node($0).id }.map { graph.rows.node($0).version }
    }

    /// Rows held.
    public var rowCount: Int { directory.count }

    /// Rows held that searches can find, in this or an older version.
    public var linkedCount: Int { directory.count - waiting.count }

    /// The share of the rows in what the graph takes, and what the shard takes beside.
    public var residentBytes: Int { graph.bytes(rows: directory.count) + directory.byteCount }
}
