public import Matryoshka
public import VectorMath

/// The resident heads of one logical shard at one generation.
///
/// Not thread-safe: whoever holds it locks around every call, scans included. Rows may come in any order; ascending
/// ids, as a bulk load gives them, are cheapest.
public final class ResidentShard {
    let rows: BlockedRows
    private let directory = RowDirectory()
    private var isSealed = false

    /// Makes an empty shard.
    ///
    /// - Parameters:
    ///   - storedHeadWidth: W, the length of the heads that are upserted; scales are taken over it.
    ///   - residentWidth: H, how many dimensions are held; at most W.
    ///   - precision: int8 or float32.
    ///   - similarity: How the collection compares.
    ///   - rotation: Of the stored head; nil where no bit stage is served.
    public init(
        storedHeadWidth: Int,
        residentWidth: Int,
        precision: Precision,
        similarity: Similarity,
        rotation: BitRotation? = nil
    ) {
        rows = BlockedRows(
            storedWidth: storedHeadWidth,
            width: residentWidth,
            precision: precision,
            similarity: similarity,
            columns: directory,
            rotation: rotation
        )
    }

    /// Makes an empty shard of a collection.
    public convenience init(shape: CollectionShape) {
        self.init(
            storedHeadWidth: shape.storedHeadWidth,
            residentWidth: shape.residentWidth,
            precision: shape.residentPrecision,
            similarity: shape.similarity,
            rotation: shape.planSpace.bitWidth > 0 ? BitRotation(of: shape) : nil
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
        if directory.count == directory.capacity { grow() }
        let end = directory.count
        guard case .at(let position) = directory.place(id: id, version: version) else { return }
        if position == end, position % RowColumns.blockRows == 0 { rows.clearBlock(position / RowColumns.blockRows) }
        rows.write(head, at: position)
    }

    /// Takes a row out; nothing happens where it is not held.
    public func remove(id: Int64) {
        if directory.remove(id: id) && directory.needsCompaction { compact() }
    }

    private func compact() {
        guard let order = directory.compactionOrder() else { return }
        rows.gather(order)
        directory.compact(order)
        directory.setCapacity(order.count)
    }

    /// Takes all rows out and gives the memory back.
    public func removeAll() {
        directory.removeAll()
        rows.setCapacity(0)
        isSealed = false
    }

    /// Makes room for so many rows in all.
    public func reserve(rows count: Int) {
        if count > directory.capacity { rows.setCapacity(count) }
    }

    /// Ends a bulk load: rows go into the order of their ids, holes and spare room go away.
    public func seal() {
        compact()
        rows.setCapacity(directory.count)
        isSealed = true
    }

    /// Whether a row is held.
    public func contains(id: Int64) -> Bool { directory.position(of: id) != nil }

    /// The version of a row that is held.
    public func version(of id: Int64) -> UInt32? { directory.position(of: id).map { directory.versions[$0] } }

    /// Rows held.
    public var rowCount: Int { directory.liveCount }

    /// Bytes in use for rows, spare room included.
    public var residentBytes: Int { rows.byteCount }

    /// What one row costs in a sealed shard, with the spare room that later writes make.
    ///
    /// - Parameters:
    ///   - residentWidth: H.
    ///   - precision: int8 or float32.
    ///   - bitWidth: W where the shard holds bits, else 0.
    ///   - similarity: How the collection compares.
    /// - Returns: Bytes, rounded up.
    public static func bytesPerRow(
        residentWidth: Int,
        precision: Precision,
        bitWidth: Int = 0,
        similarity: Similarity = .cosine
    ) -> Int {
        let row = rowBytes(
            residentWidth: residentWidth,
            precision: precision,
            bitWidth: bitWidth,
            similarity: similarity
        )
        return row + (row + 31) / 32
    }

    /// The same without spare room.
    static func rowBytes(residentWidth: Int, precision: Precision, bitWidth: Int, similarity: Similarity) -> Int {
        BlockedRows.bytesPerRow(width: residentWidth, precision: precision) + 4 + RowColumns.bytesPerRow
            + (bitWidth > 0 ? BitRows.bytesPerRow(width: bitWidth, similarity: similarity) : 0)
    }

    /// About what one row of a collection costs, its sign bits included.
    public static func bytesPerRow(_ shape: CollectionShape) -> Int {
        bytesPerRow(
            residentWidth: shape.residentWidth,
            precision: shape.residentPrecision,
            bitWidth: shape.planSpace.bitWidth,
            similarity: shape.similarity
        )
    }

    /// Doubling would break the bound on memory of a shard that lives long; a shard that loads gives back at its seal.
    private func grow() {
        let capacity = directory.capacity
        rows.setCapacity(capacity + max(RowColumns.blockRows * 4, isSealed ? capacity / 32 : capacity / 2))
    }
}
