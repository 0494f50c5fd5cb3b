public import Matryoshka
import VectorMath

/// The full vectors of one logical shard: all of them in memory, or some in a ``VectorCache``.
///
/// Not thread-safe: whoever holds it locks around every call, scans included.
public final class VectorShard {
    /// Full size D.
    public let dimensions: Int
    /// W, over which int8 scales are taken.
    public let storedHeadWidth: Int
    /// How the collection compares.
    public let similarity: Similarity
    /// Of a shard that is held whole.
    let directory = RowDirectory()
    private let cached: CachedRows?
    /// Of a shard that exact searches have been prepared for.
    var bounds: ShardBounds?
    /// Floats from one row to the next: whole cache lines.
    let stride: Int
    private var vectors = Column<Float>()
    /// Where a row's external id is in `texts`: offset · 2^24 + length.
    private var textPlaces = Column<UInt64>()
    private var texts: [UInt8] = []
    private var deadTextBytes = 0

    /// Makes an empty shard.
    ///
    /// - Parameters:
    ///   - dimensions: Full size D.
    ///   - storedHeadWidth: W, at most D.
    ///   - similarity: How the collection compares.
    ///   - cache: Where some of the rows are to be; nil for all of them in memory.
    public init(dimensions: Int, storedHeadWidth: Int, similarity: Similarity, cache: VectorCache? = nil) {
        precondition(dimensions >= 1 && storedHeadWidth <= dimensions, "a head no longer than its vector")
        self.dimensions = dimensions
        self.storedHeadWidth = storedHeadWidth
        self.similarity = similarity
        stride = Self.stride(dimensions)
        cached = cache.map { [stride] in CachedRows(dimensions: dimensions, stride: stride, cache: $0) }
    }

    /// Every row that was written is held, which is not so in a cache.
    public var isWhole: Bool { cached == nil }

    /// Takes a row into the cache, perhaps in the place of another.
    ///
    /// An older version than the held one is ignored. The caller vouches that the row is not older than what was last
    /// written here of its id, or removed. A shard that is held whole has it already.
    public func admit(id: Int64, version: UInt32, vector: Span<Float>, externalID: String) {
        precondition(vector.count == dimensions, "a vector of another size")
        cached?.admit(id: id, version: version, vector: vector, name: externalID)
    }

    /// Gives back what exceeds the shard's share of the cache.
    public func fitShare() { cached?.fitShare() }

    /// Writes a row over what is held of its id.
    ///
    /// An older version than the held one is ignored. A cache takes no new row this way.
    ///
    /// - Parameters:
    ///   - id: The row's internal id.
    ///   - version: Grows with every change of the row.
    ///   - vector: D floats, finite.
    ///   - externalID: What clients call the row; under 2^24 bytes.
    public func upsert(id: Int64, version: UInt32, vector: Span<Float>, externalID: String) {
        precondition(vector.count == dimensions, "a vector of another size")
        if let cached { return cached.update(id: id, version: version, vector: vector, name: externalID) }
        if directory.count == directory.capacity {
            setCapacity(directory.capacity + max(RowColumns.blockRows, directory.capacity / 8))
        }
        let known = directory.count
        guard case .at(let position) = directory.place(id: id, version: version) else { return }
        if position == known { textPlaces.base[position] = 0 }
        bounds?.loosen(position)
        vector.withUnsafeBufferPointer {
            (vectors.base + position * stride).update(from: $0.baseAddress!, count: dimensions)
        }
        setText(externalID, at: position)
    }

    /// Takes a row out; nothing happens where it is not held.
    public func remove(id: Int64) {
        if let cached { return cached.remove(id: id) }
        if directory.remove(id: id) && directory.needsCompaction { compact() }
    }

    /// Takes all rows out and gives the memory back.
    public func removeAll() {
        cached?.removeAll()
        directory.removeAll()
        bounds = nil
        texts = []
        deadTextBytes = 0
        setCapacity(0)
    }

    /// Makes room for so many rows in all.
    public func reserve(rows: Int) {
        if rows > directory.capacity { setCapacity(rows) }
    }

    /// Ends a bulk load: rows go into the order of their ids, holes and spare room go away.
    public func seal() {
        compact()
        setCapacity(directory.count)
    }

    /// Whether a row is held.
    public func contains(id: Int64) -> Bool { position(of: id) != nil }

    /// The version of a row that is held.
    public func version(of id: Int64) -> UInt32? { position(of: id).map { version(at: $0) } }

    /// What clients call a row that is held.
    public func externalID(of id: Int64) -> String? {
        position(of: id).map { position in cached.map { $0.name(position) } ?? text(at: position) }
    }

    /// Lends the vector of a row that is held.
    public func withVector<R>(of id: Int64, _ body: (Span<Float>) -> R) -> R? {
        position(of: id).map { position in
            body(UnsafeBufferPointer(start: row(position), count: dimensions).span)
        }
    }

    /// Rows held.
    public var rowCount: Int { cached?.count ?? directory.liveCount }

    /// Bytes of memory in use for rows, spare room included, files left aside.
    public var residentBytes: Int {
        if let cached { return cached.residentBytes }
        return vectors.byteCount + textPlaces.byteCount + texts.capacity + directory.byteCount
    }

    /// What one row costs, with an external id of usual length and the spare room that later writes make.
    public static func bytesPerRow(dimensions: Int) -> Int {
        let row = stride(dimensions) * 4 + 8 + 32 + RowDirectory.bytesPerRow
        return row + row / 8
    }

    /// Where a row is that is held.
    @inline(__always)
    func position(of id: Int64) -> Int? {
        if let cached { return cached.slot(of: id) }
        return directory.position(of: id)
    }

    /// About where a row is; see ``RowDirectory/guess(of:)``, also for the next two.
    @inline(__always)
    func guess(of id: Int64) -> Int { cached == nil ? directory.guess(of: id) : 0 }

    @inline(__always)
    func nearer(_ id: Int64, from place: Int) -> Int { cached == nil ? directory.nearer(id, from: place) : 0 }

    /// Where a row is, or was before it was removed; see ``isHeld(_:)``.
    @inline(__always)
    func place(of id: Int64, near place: Int) -> Int? {
        if let cached { return cached.slot(of: id) }
        return directory.place(of: id, near: place)
    }

    /// What is known of the row at a place is about to be read.
    @inline(__always)
    func expectRow(_ place: Int) {
        if cached == nil { directory.expectRow(place) }
    }

    /// The row at a place is there.
    @inline(__always)
    func isHeld(_ place: Int) -> Bool { cached != nil || directory.isLive(place) }

    @inline(__always)
    func version(at position: Int) -> UInt32 { cached?.version(position) ?? directory.versions[position] }

    @inline(__always)
    func row(_ position: Int) -> UnsafePointer<Float> {
        cached?.vector(position) ?? UnsafePointer(vectors.base + position * stride)
    }

    private static func stride(_ dimensions: Int) -> Int { (dimensions + 15) / 16 * 16 }

    private func setCapacity(_ rows: Int) {
        directory.setCapacity(rows)
        vectors.resize(to: directory.capacity * stride, keeping: directory.count * stride)
        textPlaces.resize(to: directory.capacity, keeping: directory.count)
    }

    private func compact() {
        if let order = directory.compactionOrder() {
            let capacity = (order.count + RowColumns.blockRows - 1) / RowColumns.blockRows * RowColumns.blockRows
            var newVectors = Column<Float>()
            var newPlaces = Column<UInt64>()
            newVectors.resize(to: capacity * stride, keeping: 0)
            newPlaces.resize(to: capacity, keeping: 0)
            for (position, from) in order.enumerated() {
                (newVectors.base + position * stride).update(from: row(Int(from)), count: stride)
                newPlaces.base[position] = textPlaces.base[Int(from)]
            }
            vectors = newVectors
            textPlaces = newPlaces
            bounds = bounds?.moved(order)
            directory.compact(order)
            directory.setCapacity(order.count)
        }
        compactTexts()
    }

    private func textBytes(at position: Int) -> ArraySlice<UInt8> {
        let place = textPlaces.base[position]
        let offset = Int(place >> 24)
        return texts[offset..<offset + Int(place & 0xFF_FFFF)]
    }

    private func text(at position: Int) -> String { String(decoding: textBytes(at: position), as: UTF8.self) }

    private func setText(_ text: String, at position: Int) {
        let held = textBytes(at: position)
        if held.elementsEqual(text.utf8) { return }
        precondition(text.utf8.count < 1 << 24, "an external id under 2^24 bytes")
        deadTextBytes += held.count
        textPlaces.base[position] = UInt64(texts.count) << 24 | UInt64(text.utf8.count)
        texts.append(contentsOf: text.utf8)
        if deadTextBytes > 4096 && deadTextBytes > texts.count / 2 { compactTexts() }
    }

    private func compactTexts() {
        var kept: [UInt8] = []
        kept.reserveCapacity(texts.count - deadTextBytes)
        for position in 0..<directory.count {
            let bytes = textBytes(at: position)
            textPlaces.base[position] = UInt64(kept.count) << 24 | UInt64(bytes.count)
            kept.append(contentsOf: bytes)
        }
        texts = kept
        deadTextBytes = 0
    }
}
