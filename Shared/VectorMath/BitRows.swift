import CVectorKernels
public import Matryoshka

/// The rotation whose signs are the bits of a collection's heads (proto-docs, "Scores").
///
/// Each 64 of a stored head's floats are rotated on their own into 64 bits, so that a stage of m dimensions reads the
/// first ceil(m / 64) words of a row, whatever the head's width.
public struct BitRotation: Sendable, Hashable {
    /// Dimensions that one word of bits stands for.
    public static let wordDimensions = 64
    /// The widest head that has bits.
    public static let widthMax = Int(MRL_BIT_WORDS_MAX) * wordDimensions

    /// Kept with the collection.
    public let seed: UInt64
    /// W, the width of the stored head.
    public let width: Int

    /// Makes the rotation of heads of `width` floats, 1...``widthMax``.
    public init(seed: UInt64, width: Int) {
        precondition(width >= 1 && width <= Self.widthMax, "a head of 1 to \(Self.widthMax) floats")
        self.seed = seed
        self.width = width
    }

    /// The rotation of a collection, whether or not its sign bits are held; nil where its head is too wide for any.
    public init?(of shape: CollectionShape) {
        guard shape.storedHeadWidth <= Self.widthMax else { return nil }
        self.init(seed: shape.signSeed, width: shape.storedHeadWidth)
    }

    /// Words of a row's bits.
    public var wordCount: Int { Self.words(width) }

    /// Words that a stage of `dimensions` reads.
    public static func words(_ dimensions: Int) -> Int { (dimensions + wordDimensions - 1) / wordDimensions }

    /// The bits of a stored head.
    public func bits(of head: Span<Float>) -> [UInt64] {
        withRotated(head) { rotated in
            [UInt64](unsafeUninitializedCapacity: wordCount) { out, count in
                count = wordCount
                mrl_sign_bits(rotated, wordCount, out.baseAddress)
            }
        }
    }

    /// A query's rotated head as numbers in -15...15, as a stage of `dimensions` compares it.
    public func codes(of head: Span<Float>, dimensions: Int) -> [Int8] {
        let words = Self.words(dimensions)
        return withRotated(head) { rotated in
            [Int8](unsafeUninitializedCapacity: words * Self.wordDimensions) { out, count in
                count = words * Self.wordDimensions
                mrl_bit_codes(rotated, words, out.baseAddress)
            }
        }
    }

    private func withRotated<R>(_ head: Span<Float>, _ body: (UnsafePointer<Float>) -> R) -> R {
        precondition(head.count == width, "a head of another width")
        return withUnsafeTemporaryAllocation(of: Float.self, capacity: wordCount * Self.wordDimensions) { rotated in
            head.withUnsafeBufferPointer { mrl_rotate($0.baseAddress, width, seed, rotated.baseAddress) }
            return body(UnsafePointer(rotated.baseAddress!))
        }
    }
}

/// The bit score of one row.
///
/// - Parameters:
///   - codes: Of the query, see ``BitRotation/codes(of:dimensions:)``.
///   - bits: Of the row, at least as many as codes.
///   - rowRoot: Root of the squared norm of the row's stored head; unused under cosine.
///   - similarity: How the collection compares.
/// - Returns: A whole number under cosine, times the root under dot.
public func bitScore(codes: [Int8], bits: [UInt64], rowRoot: Float, similarity: Similarity) -> Float {
    let words = codes.count / BitRotation.wordDimensions
    precondition(bits.count >= words, "a row of fewer bits than the query")
    return mrl_bit_score(mrl_bit_dot(codes, bits, words), rowRoot, similarity == .cosine)
}

/// The bits of resident rows in blocks of 64 rows, by their positions in a directory.
///
/// CVectorKernels.h has the layout. Not thread-safe.
package final class BitRows {
    /// Rows of one block.
    package static let blockRows = Int(MRL_BIT_BLOCK)
    package let rotation: BitRotation
    package let similarity: Similarity
    private var blocks = Column<UInt8>()
    /// Root of the stored head's squared norm; under dot only.
    private var roots = Column<Float>()

    package init(rotation: BitRotation, similarity: Similarity) {
        self.rotation = rotation
        self.similarity = similarity
    }

    package var byteCount: Int { blocks.byteCount + roots.byteCount }

    /// Bytes of one row.
    package static func bytesPerRow(width: Int, similarity: Similarity) -> Int {
        BitRotation.words(width) * 8 + (similarity == .dot ? 4 : 0)
    }

    /// Makes room for `rows` positions; the first `count` stay.
    package func setCapacity(_ rows: Int, keeping count: Int) {
        let rowBytes = rotation.wordCount * 8
        blocks.resize(to: Self.padded(rows) * rowBytes, keeping: Self.padded(count) * rowBytes)
        if similarity == .dot { roots.resize(to: Self.padded(rows), keeping: count) }
    }

    /// Writes the bits of a stored head at a position that there is room for.
    package func set(_ head: Span<Float>, at position: Int) {
        precondition(position * rotation.wordCount * 8 < blocks.capacity, "a position without room")
        mrl_pack_bits(blocks.base, rotation.wordCount, position, rotation.bits(of: head))
        if similarity == .dot { roots.base[position] = floatDot(head, head).squareRoot() }
    }

    /// Writes the row at a position over the one at another.
    package func copyRow(_ from: Int, to position: Int) {
        withUnsafeTemporaryAllocation(of: UInt64.self, capacity: rotation.wordCount) { bits in
            mrl_unpack_bits(blocks.base, rotation.wordCount, from, bits.baseAddress)
            mrl_pack_bits(blocks.base, rotation.wordCount, position, bits.baseAddress)
        }
        if similarity == .dot { roots.base[position] = roots.base[from] }
    }

    /// Two rows change places.
    package func swapRows(_ left: Int, _ right: Int) {
        let held = bits(at: left)
        let root = root(at: left)
        copyRow(right, to: left)
        mrl_pack_bits(blocks.base, rotation.wordCount, right, held)
        if similarity == .dot { roots.base[right] = root }
    }

    /// Moves the row at `order[i]` to position i and leaves room for no more than these.
    package func gather(_ order: [UInt32]) {
        let moved = BitRows(rotation: rotation, similarity: similarity)
        moved.setCapacity(order.count, keeping: 0)
        withUnsafeTemporaryAllocation(of: UInt64.self, capacity: rotation.wordCount) { bits in
            for (position, from) in order.enumerated() {
                mrl_unpack_bits(blocks.base, rotation.wordCount, Int(from), bits.baseAddress)
                mrl_pack_bits(moved.blocks.base, rotation.wordCount, position, bits.baseAddress)
                if similarity == .dot { moved.roots.base[position] = roots.base[Int(from)] }
            }
        }
        swap(&blocks, &moved.blocks)
        swap(&roots, &moved.roots)
    }

    /// The bits of the row at a position.
    package func bits(at position: Int) -> [UInt64] {
        [UInt64](unsafeUninitializedCapacity: rotation.wordCount) { out, count in
            count = rotation.wordCount
            mrl_unpack_bits(blocks.base, rotation.wordCount, position, out.baseAddress)
        }
    }

    /// What ``bitScore(codes:bits:rowRoot:similarity:)`` takes of the row at a position.
    package func root(at position: Int) -> Float { similarity == .dot ? roots.base[position] : 0 }

    /// Lends the blocks of 64 that hold a stretch of blocks of 16; what lies outside it is not live there.
    fileprivate func withRows(
        _ columns: RowColumns,
        _ stretch: mrl_stretch,
        live: UnsafePointer<UInt16>,
        _ body: (UnsafePointer<mrl_bit_rows>) -> Void
    ) {
        let share = Self.blockRows / RowColumns.blockRows
        let wanted = Int(stretch.block)..<Int(stretch.block + stretch.count)
        let blocks = wanted.lowerBound / share * share..<wanted.upperBound
        let start = blocks.lowerBound * RowColumns.blockRows
        withUnsafeTemporaryAllocation(of: UInt16.self, capacity: blocks.count) { masks in
            for (place, block) in blocks.enumerated() { masks[place] = wanted.contains(block) ? live[block] : 0 }
            var rows = mrl_bit_rows(
                blocks: self.blocks.base + start * rotation.wordCount * 8,
                roots: similarity == .dot ? roots.base + start : roots.base,
                ids: columns.ids + start,
                live: masks.baseAddress,
                row_count: blocks.count * RowColumns.blockRows,
                words: rotation.wordCount,
                first_row: UInt32(start),
                pass: TopRows.Pass.all.rawValue
            )
            body(&rows)
        }
    }

    fileprivate func withRows(
        _ directory: RowColumns,
        firstRow: Int,
        pass: TopRows.Pass,
        _ body: (UnsafePointer<mrl_bit_rows>) -> Void
    ) {
        precondition(directory.count * rotation.wordCount * 8 <= blocks.capacity, "a directory of other rows")
        var rows = mrl_bit_rows(
            blocks: blocks.base,
            roots: roots.base,
            ids: directory.ids,
            live: directory.live,
            row_count: directory.count,
            words: rotation.wordCount,
            first_row: UInt32(firstRow),
            pass: pass.rawValue
        )
        body(&rows)
    }

    private static func padded(_ rows: Int) -> Int { (rows + blockRows - 1) / blockRows * blockRows }
}

/// A batch of queries prepared for one bit stage.
package struct BitQueries {
    private let rotation: BitRotation
    private let similarity: Similarity
    private let path: KernelPath
    private let count: Int
    private let words: Int
    private var codes: [[Int8]] = []
    private let tables: [UInt8]

    // heads: row-major, `count` stored heads of the rotation's width.
    package init(
        heads: Span<Float>,
        count: Int,
        rotation: BitRotation,
        dimensions: Int,
        similarity: Similarity,
        path: KernelPath = .current
    ) {
        precondition(heads.count == count * rotation.width, "queries of another width")
        precondition(dimensions >= 1 && dimensions <= rotation.width, "a step wider than the stored head")
        self.rotation = rotation
        self.similarity = similarity
        self.path = path
        self.count = count
        words = BitRotation.words(dimensions)
        for query in 0..<count {
            let head = heads.extracting(query * rotation.width..<(query + 1) * rotation.width)
            codes.append(rotation.codes(of: head, dimensions: dimensions))
        }
        let (words, codes) = (words, codes)
        tables = [UInt8](unsafeUninitializedCapacity: max(1, count * words * 256)) { out, size in
            size = count * words * 256
            for query in 0..<count { mrl_bit_tables(codes[query], words, out.baseAddress! + query * words * 256) }
        }
    }

    /// Offers the rows of one pass to the queries' rankings; `firstRow` is added to their positions.
    package func scan(
        _ rows: BitRows,
        columns: RowColumns,
        firstRow: Int,
        pass: TopRows.Pass = .all,
        into best: TopRows
    ) {
        precondition(rows.rotation == rotation && rows.similarity == similarity, "rows of another rotation")
        precondition(best.queryCount == count)
        rows.withRows(columns, firstRow: firstRow, pass: pass) { rows in
            withUnsafeTemporaryAllocation(of: UInt16.self, capacity: max(1, count)) { cuts in
                tables.withUnsafeBufferPointer { tables in
                    var queries = mrl_bit_queries(
                        tables: tables.baseAddress,
                        cuts: cuts.baseAddress,
                        count: count,
                        words: words,
                        cosine: similarity == .cosine
                    )
                    mrl_scan_bits(path.checkedNumber, rows, &queries, best.selections)
                }
            }
        }
    }

    /// Offers the rows of each list to the rankings of those queries that look into it; their positions are their rows.
    ///
    /// `live` says which rows of each block of 16 count.
    package func scan(
        _ rows: BitRows,
        columns: RowColumns,
        _ visits: ListVisits,
        live: UnsafePointer<UInt16>,
        into best: TopRows
    ) {
        precondition(rows.rotation == rotation && rows.similarity == similarity, "rows of another rotation")
        precondition(best.queryCount == count && visits.blockLimit <= columns.blockCount, "lists of other rows")
        let tableBytes = words * 256
        withUnsafeTemporaryAllocation(of: UInt16.self, capacity: max(1, count)) { cuts in
            withUnsafeTemporaryAllocation(of: UInt8.self, capacity: max(1, count * tableBytes)) { gathered in
                withUnsafeTemporaryAllocation(of: mrl_selection.self, capacity: max(1, count)) { selections in
                    visits.forEach { stretches, askers in
                        for (place, query) in askers.enumerated() {
                            tables.withUnsafeBufferPointer {
                                (gathered.baseAddress! + place * tableBytes)
                                    .update(from: $0.baseAddress! + Int(query) * tableBytes, count: tableBytes)
                            }
                            selections[place] = best.selections[Int(query)]
                        }
                        var queries = mrl_bit_queries(
                            tables: gathered.baseAddress,
                            cuts: cuts.baseAddress,
                            count: askers.count,
                            words: words,
                            cosine: similarity == .cosine
                        )
                        for stretch in stretches {
                            rows.withRows(columns, stretch, live: live) {
                                mrl_scan_bits(path.checkedNumber, $0, &queries, selections.baseAddress)
                            }
                        }
                        for (place, query) in askers.enumerated() { best.selections[Int(query)] = selections[place] }
                    }
                }
            }
        }
    }

    /// The score of one row for query number `query`.
    package func score(query: Int, rows: BitRows, position: Int) -> Float {
        bitScore(
            codes: codes[query],
            bits: rows.bits(at: position),
            rowRoot: rows.root(at: position),
            similarity: similarity
        )
    }
}
