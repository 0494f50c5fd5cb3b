public import Matryoshka
public import VectorMath

/// The resident heads of one logical shard at one generation.
///
/// Not thread-safe: whoever holds it locks around every call, scans included. Rows may come in any order; ascending
/// ids, as a bulk load gives them, are cheapest.
public final class ResidentShard {
    let rows: BlockedRows
    /// Inverted lists over the rows, where the collection has them.
    let listed: ListedRows?
    private var isSealed = false

    /// Makes an empty shard.
    ///
    /// - Parameters:
    ///   - storedHeadWidth: W, the length of the heads that are upserted; scales are taken over it.
    ///   - residentWidth: H, how many dimensions are held; at most W.
    ///   - precision: int8 or float32.
    ///   - similarity: How the collection compares.
    ///   - rotation: Of the stored head; nil where no bit stage is served.
    ///   - lists: Inverted lists that the rows are put in order by; nil: every scan reads all rows.
    public init(
        storedHeadWidth: Int,
        residentWidth: Int,
        precision: Precision,
        similarity: Similarity,
        rotation: BitRotation? = nil,
        lists: CoarseLists? = nil
    ) {
        rows = BlockedRows(
            storedWidth: storedHeadWidth,
            width: residentWidth,
            precision: precision,
            similarity: similarity,
            rotation: rotation
        )
        listed = lists.map { [rows] in ListedRows(rows: rows, lists: $0) }
    }

    /// Makes an empty shard of a collection.
    public convenience init(shape: CollectionShape, lists: CoarseLists? = nil) {
        self.init(
            storedHeadWidth: shape.storedHeadWidth,
            residentWidth: shape.residentWidth,
            precision: shape.residentPrecision,
            similarity: shape.similarity,
            rotation: shape.planSpace.bitWidth > 0 ? BitRotation(of: shape) : nil,
            lists: lists
        )
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
        if let listed {
            listed.upsert(id: id, version: version, head: head)
            return
        }
        if rows.directory.count == rows.directory.capacity { grow() }
        rows.place(id: id, version: version, head: head)
    }

    /// Takes a row out; nothing happens where it is not held.
    public func remove(id: Int64) {
        settle()
        if rows.directory.remove(id: id) && rows.directory.needsCompaction { compact() }
    }

    /// Puts rows that wait for their lists in place, and restores order where much of it is lost.
    func settle() {
        guard let listed else { return }
        listed.placeWaiting { grow() }
        if isSealed && listed.needsCompaction { listed.compact() }
    }

    private func compact() {
        if let listed { listed.compact() } else { rows.compact() }
    }

    /// Takes all rows out and gives the memory back.
    public func removeAll() {
        listed?.removeAll()
        rows.directory.removeAll()
        rows.setCapacity(0)
        isSealed = false
    }

    /// Makes room for so many rows in all.
    public func reserve(rows count: Int) {
        if count > rows.directory.capacity { rows.setCapacity(count) }
    }

    /// Ends a bulk load: rows go into the order of their ids, holes and spare room go away.
    public func seal() {
        settle()
        compact()
        rows.setCapacity(rows.directory.count)
        isSealed = true
    }

    /// Whether a row is held.
    public func contains(id: Int64) -> Bool {
        settle()
        return rows.directory.position(of: id) != nil
    }

    /// The version of a row that is held.
    public func version(of id: Int64) -> UInt32? {
        settle()
        return rows.directory.position(of: id).map { rows.directory.versions[$0] }
    }

    /// Rows held.
    public var rowCount: Int {
        settle()
        return rows.directory.liveCount
    }

    /// Bytes in use for rows, spare room included.
    public var residentBytes: Int { listed?.byteCount ?? rows.byteCount }

    /// What one row costs in a sealed shard, with the spare room that later writes make.
    ///
    /// - Parameters:
    ///   - residentWidth: H.
    ///   - precision: int8 or float32.
    ///   - bitWidth: W where the shard holds bits, else 0.
    ///   - similarity: How the collection compares.
    ///   - hasLists: Rows are not in the order of their ids, and an index finds them.
    /// - Returns: Bytes, rounded up.
    public static func bytesPerRow(
        residentWidth: Int,
        precision: Precision,
        bitWidth: Int = 0,
        similarity: Similarity = .cosine,
        hasLists: Bool = false
    ) -> Int {
        let row =
            BlockedRows.bytesPerRow(width: residentWidth, precision: precision) + 4 + RowDirectory.bytesPerRow
            + (bitWidth > 0 ? BitRows.bytesPerRow(width: bitWidth, similarity: similarity) : 0)
            + (hasLists ? 4 : 0)
        return row + (row + 31) / 32
    }

    /// About what one row of a collection costs, its sign bits included.
    public static func bytesPerRow(_ shape: CollectionShape) -> Int {
        bytesPerRow(
            residentWidth: shape.residentWidth,
            precision: shape.residentPrecision,
            bitWidth: shape.planSpace.bitWidth,
            similarity: shape.similarity,
            hasLists: shape.index.kind == .ivf
        )
    }

    /// Doubling would break the bound on memory of a shard that lives long; a shard that loads gives back at its seal.
    private func grow() {
        let capacity = rows.directory.capacity
        rows.setCapacity(capacity + max(RowDirectory.blockRows * 4, isSealed ? capacity / 32 : capacity / 2))
    }
}
