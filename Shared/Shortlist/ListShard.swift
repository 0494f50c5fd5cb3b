import VectorMath

/// The rows of one logical shard in inverted lists that it shares with others.
///
/// Not thread-safe, but for ``owner``: whoever holds it locks around every call. Searches go to the lists and need no
/// lock. What is written is found once ``settle()`` has returned.
public final class ListShard {
    /// What the lists know the shard's rows by.
    public let owner: UInt16
    private let lists: InvertedLists
    /// Rows that wait for their lists, so that the centroids are scanned for many at a time.
    private var waiting: [(id: Int64, version: UInt32)] = []
    private var waitingHeads: [Float] = []

    /// Makes an empty shard, whose bulk load ends with ``seal()``.
    public init(in lists: InvertedLists) {
        self.lists = lists
        owner = lists.makeOwner()
    }

    deinit { lists.letGo(owner: owner) }

    /// Writes a row over what is held of its id.
    ///
    /// An older version than the held one is ignored.
    ///
    /// - Parameters:
    ///   - id: The row's internal id.
    ///   - version: Grows with every change of the row.
    ///   - head: The first W floats, finite.
    public func upsert(id: Int64, version: UInt32, head: Span<Float>) {
        precondition(head.count == lists.rows.storedWidth, "a head of another width")
        waiting.append((id, version))
        head.withUnsafeBufferPointer { waitingHeads += $0 }
        if waiting.count == CoarseLists.batch { settle() }
    }

    /// Takes a row out; nothing happens where it is not held.
    public func remove(id: Int64) {
        settle()
        lists.remove(id: id, owner: owner)
    }

    /// Puts what was written since the last call into its lists.
    public func settle() {
        guard !waiting.isEmpty else { return }
        lists.place(waiting, heads: waitingHeads.span, owner: owner)
        waiting.removeAll(keepingCapacity: true)
        waitingHeads.removeAll(keepingCapacity: true)
    }

    /// Ends a bulk load: once all shards are loaded, the lists are put in order.
    public func seal() {
        settle()
        waiting = []
        waitingHeads = []
        lists.seal(owner: owner)
    }

    /// The version of a row that is held.
    public func version(of id: Int64) -> UInt32? {
        settle()
        return lists.version(of: id, owner: owner)
    }

    /// Rows held.
    public var rowCount: Int {
        settle()
        return lists.count(owner: owner)
    }

    /// The share of the rows in what the lists take, and what the shard takes beside.
    public var residentBytes: Int { lists.bytes(owner: owner) + waitingHeads.capacity * MemoryLayout<Float>.size }
}
