import CVectorKernels
package import Matryoshka

/// Rows of one table in the codes of a ``BoundSpace``, at the positions of a ``RowDirectory``, in memory of the caller.
///
/// The first level lies in blocks of 16 rows and is read for all of them; each of the others lies row by row.
package final class BoundRows {
    package let space: BoundSpace
    /// Positions that there is room for; a multiple of ``RowColumns/blockRows``.
    package let capacity: Int
    private let isCosine: Bool
    private let blocks: UnsafeMutablePointer<UInt8>
    /// By level after the first.
    private let codes: [UnsafeMutablePointer<Int8>]
    /// By level.
    private let scales: [UnsafeMutablePointer<Float>]
    private let rests: [UnsafeMutablePointer<Float>]
    private let errors: UnsafeMutablePointer<Float>
    private let sizes: UnsafeMutablePointer<Float>
    /// By block: which positions hold the codes of the row that is there.
    private var lanes = Column<UInt16>()

    private static func headBytes(_ space: BoundSpace) -> Int { (space.levels[0].count + 3) / 4 * 4 }

    /// Bytes of a row at a level after the first.
    private static func levelBytes(_ level: Range<Int>) -> Int { (level.count + 31) / 32 * 32 }

    /// Bytes of so many positions, a multiple of ``RowColumns/blockRows``.
    package static func byteCount(_ space: BoundSpace, rows: Int) -> Int {
        rows * (headBytes(space) + space.codeStride + 8 * space.levels.count + 8)
    }

    /// Takes over `byteCount` bytes of memory, which outlive this.
    package init(space: BoundSpace, similarity: Similarity, memory: UnsafeMutableRawPointer, rows: Int) {
        precondition(rows % RowColumns.blockRows == 0, "whole blocks")
        self.space = space
        capacity = rows
        isCosine = similarity == .cosine
        var next = memory
        func take<T>(_ count: Int, as type: T.Type) -> UnsafeMutablePointer<T> {
            defer { next += count * MemoryLayout<T>.stride }
            return next.bindMemory(to: type, capacity: count)
        }
        scales = space.levels.map { _ in take(rows, as: Float.self) }
        rests = space.levels.map { _ in take(rows, as: Float.self) }
        errors = take(rows, as: Float.self)
        sizes = take(rows, as: Float.self)
        blocks = take(rows * Self.headBytes(space), as: UInt8.self)
        codes = space.levels.dropFirst().map { take(rows * Self.levelBytes($0), as: Int8.self) }
        lanes.resize(to: rows / RowColumns.blockRows, keeping: 0)
    }

    /// Bytes of memory beside the caller's.
    package var residentBytes: Int { lanes.byteCount }

    /// Whether a position holds codes.
    package func isBound(_ position: Int) -> Bool {
        position < capacity
            && lanes.base[position / RowColumns.blockRows] >> UInt16(position % RowColumns.blockRows) & 1 == 1
    }

    /// The row at a position is another from now on.
    package func loosen(_ position: Int) {
        guard position < capacity else { return }
        lanes.base[position / RowColumns.blockRows] &= ~(1 << UInt16(position % RowColumns.blockRows))
    }

    private func bind(_ position: Int) {
        lanes.base[position / RowColumns.blockRows] |= 1 << UInt16(position % RowColumns.blockRows)
    }

    /// Writes the codes of the row at a position; nothing happens where it cannot be bounded.
    package func write(_ coded: CodedVectors, _ number: Int, at position: Int) {
        guard position < capacity, coded.isBounded[number] else { return }
        let levels = space.levels.count
        coded.codes.withUnsafeBufferPointer { from in
            let row = from.baseAddress! + number * space.codeStride
            mrl_pack_int8(blocks, space.levels[0].count, position, row)
            for (number, level) in space.levels.enumerated().dropFirst() {
                let bytes = Self.levelBytes(level)
                (codes[number - 1] + position * bytes).update(from: row + level.lowerBound, count: bytes)
            }
        }
        for level in 0..<levels {
            scales[level][position] = coded.scales[number * levels + level]
            rests[level][position] = roundedUp(coded.rests[number * levels + level])
        }
        errors[position] = roundedUp(coded.errors[number * levels + levels - 1])
        sizes[position] = Float(coded.sizes[number])
        bind(position)
    }

    /// Takes over the codes of other rows of the same space: position i gets those at `order[i]`.
    package func take(_ other: BoundRows, order: [UInt32]) {
        precondition(other.space === space, "rows of another space")
        let width = space.levels[0].count
        withUnsafeTemporaryAllocation(of: Int8.self, capacity: width) { head in
            for (position, from) in order.prefix(capacity).enumerated() where other.isBound(Int(from)) {
                let from = Int(from)
                mrl_unpack_int8(other.blocks, width, from, head.baseAddress)
                mrl_pack_int8(blocks, width, position, head.baseAddress)
                for level in space.levels.indices {
                    if level > 0 {
                        let bytes = Self.levelBytes(space.levels[level])
                        (codes[level - 1] + position * bytes).update(
                            from: other.codes[level - 1] + from * bytes,
                            count: bytes
                        )
                    }
                    scales[level][position] = other.scales[level][from]
                    rests[level][position] = other.rests[level][from]
                }
                errors[position] = other.errors[from]
                sizes[position] = other.sizes[from]
                bind(position)
            }
        }
    }

    /// Which of a directory's rows have codes, by block, and which have none.
    package func split(_ directory: RowDirectory) -> (bound: [UInt16], loose: [UInt32]) {
        var bound: [UInt16] = []
        var loose: [UInt32] = []
        bound.reserveCapacity(directory.blockCount)
        for block in 0..<directory.blockCount {
            let live = directory.live[block]
            let known = block < lanes.capacity ? lanes.base[block] & live : 0
            bound.append(known)
            var rest = live & ~known
            while rest != 0 {
                loose.append(UInt32(block * RowColumns.blockRows + rest.trailingZeroBitCount))
                rest &= rest - 1
            }
        }
        return (bound, loose)
    }

    // MARK: - Searching

    /// The first level's partial sums of the lanes' rows.
    package func firstSums(
        _ queries: BoundQueries,
        _ query: Int,
        lanes: [UInt16],
        into sums: UnsafeMutablePointer<Float>
    ) {
        queries.withCodes(query, level: 0) { codes in
            mrl_bound_dots(
                queries.path.checkedNumber,
                blocks,
                space.levels[0].count,
                min(lanes.count, capacity / RowColumns.blockRows),
                lanes,
                scales[0],
                codes,
                queries.scale(query, level: 0),
                sums
            )
        }
    }

    /// The rows of the lanes that may come to the threshold, level by level.
    ///
    /// - Parameters:
    ///   - queries: The batch.
    ///   - query: Which of it.
    ///   - lanes: By block, which rows are asked for.
    ///   - sums: What ``firstSums(_:_:lanes:into:)`` wrote.
    ///   - threshold: A score; rows that come to it are kept.
    ///   - rows: Room for one position more than there are; gets those left.
    ///   - partials: The same room.
    ///   - work: Counts multiply-adds.
    /// - Returns: How many are left.
    package func survivors(
        _ queries: BoundQueries,
        _ query: Int,
        lanes: [UInt16],
        sums: UnsafePointer<Float>,
        threshold: Float,
        rows: UnsafeMutablePointer<UInt32>,
        partials: UnsafeMutablePointer<Float>,
        work: inout Int
    ) -> Int {
        func bounds(_ level: Int) -> mrl_bounds {
            mrl_bounds(
                rests: rests[level],
                errors: errors,
                sizes: isCosine ? nil : UnsafePointer(sizes),
                query_rest: queries.rest(query, level: level),
                slack: queries.slack(query, level: level),
                threshold: isCosine ? threshold : Float(Double(threshold) / queries.size(query))
            )
        }
        var limits = bounds(0)
        let blockCount = min(lanes.count, capacity / RowColumns.blockRows)
        var count = mrl_bound_select(&limits, lanes, blockCount, sums, rows, partials)
        for level in 1..<max(1, space.levels.count) where count > 0 {
            let range = space.levels[level]
            limits = bounds(level)
            work += count * range.count
            count = queries.withCodes(query, level: level) { codes in
                mrl_bound_refine(
                    queries.path.checkedNumber,
                    &limits,
                    self.codes[level - 1],
                    Self.levelBytes(range),
                    scales[level],
                    codes,
                    queries.scale(query, level: level),
                    rows,
                    partials,
                    count
                )
            }
        }
        return count
    }
}

/// A batch of queries in the codes of a ``BoundSpace``.
package struct BoundQueries {
    package let space: BoundSpace
    let path: KernelPath
    private let coded: CodedVectors
    private let slacks: [Float]

    // vectors: row-major, D floats each.
    package init(_ vectors: [Float], space: BoundSpace, path: KernelPath = .current) {
        self.space = space
        self.path = path
        coded = space.code(vectors)
        slacks = coded.errors.map { space.slack + roundedUp($0) * space.codeLengthMax }
    }

    /// False: the query is zero, or too short or too long for bounds to hold.
    package func isBounded(_ query: Int) -> Bool { coded.isBounded[query] && coded.sizes[query] > 0 }

    func scale(_ query: Int, level: Int) -> Float { coded.scales[query * space.levels.count + level] }
    func rest(_ query: Int, level: Int) -> Float { roundedUp(coded.rests[query * space.levels.count + level]) }
    func slack(_ query: Int, level: Int) -> Float { slacks[query * space.levels.count + level] }
    func size(_ query: Int) -> Double { coded.sizes[query] }

    func withCodes<R>(_ query: Int, level: Int, _ body: (UnsafePointer<Int8>) -> R) -> R {
        coded.codes.withUnsafeBufferPointer {
            body($0.baseAddress! + query * space.codeStride + space.levels[level].lowerBound)
        }
    }
}
