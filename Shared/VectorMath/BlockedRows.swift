import CVectorKernels
package import Matryoshka

/// Resident heads in blocks of 16 rows, as int8 codes or float32, at the positions of their columns.
///
/// CVectorKernels.h has the layout. Not thread-safe.
package final class BlockedRows {
    package let storedWidth: Int
    package let width: Int
    package let precision: Precision
    package let similarity: Similarity
    package let columns: RowColumns
    /// Of the same rows, where bit stages are served.
    package let bits: BitRows?
    private var blocks = Column<UInt8>()
    /// Root of the squared norm over the resident width (cosine), or the scale (dot).
    private var factors = Column<Float>()

    package init(
        storedWidth: Int,
        width: Int,
        precision: Precision,
        similarity: Similarity,
        columns: RowColumns,
        rotation: BitRotation? = nil
    ) {
        precondition(width >= 1 && width <= storedWidth, "a resident width from 1 to the stored head's")
        precondition(precision == .int8 || precision == .float32, "resident rows are int8 or float32")
        self.columns = columns
        self.storedWidth = storedWidth
        self.width = width
        self.precision = precision
        self.similarity = similarity
        precondition(rotation.map { $0.width == storedWidth } ?? true, "a rotation of another width")
        bits = rotation.map { BitRows(rotation: $0, similarity: similarity) }
    }

    /// Bytes of one row's numbers.
    package static func bytesPerRow(width: Int, precision: Precision) -> Int {
        precision == .int8 ? (width + 3) / 4 * 4 : width * 4
    }

    package var byteCount: Int { blocks.byteCount + factors.byteCount + columns.byteCount + (bits?.byteCount ?? 0) }

    private var rowBytes: Int { Self.bytesPerRow(width: width, precision: precision) }
    private var blockBytes: Int { rowBytes * RowColumns.blockRows }

    /// Makes room for so many positions, those of the columns too; never for fewer than are in use.
    package func setCapacity(_ rows: Int) {
        columns.setCapacity(rows)
        let used = columns.blockCount * RowColumns.blockRows
        blocks.resize(to: columns.capacity * rowBytes, keeping: used * rowBytes)
        factors.resize(to: columns.capacity, keeping: used)
        bits?.setCapacity(columns.capacity, keeping: used)
    }

    /// Readies a block that holds no row: 128 is a code of zero, so that padding adds nothing to a norm.
    package func clearBlock(_ block: Int) {
        guard precision == .int8 else { return }
        (blocks.base + block * blockBytes).update(repeating: 128, count: blockBytes)
    }

    /// Writes a row of the stored head's width at a position that there is room for, in a block that was cleared.
    package func write(_ head: Span<Float>, at position: Int) {
        precondition(head.count == storedWidth && position < columns.capacity, "a head of another width, or no room")
        bits?.set(head, at: position)
        head.withUnsafeBufferPointer { head in
            guard let values = head.baseAddress else { return }
            if precision == .int8 {
                withUnsafeTemporaryAllocation(of: Int8.self, capacity: storedWidth) { codes in
                    let scale = mrl_quantise(values, storedWidth, codes.baseAddress)
                    mrl_pack_int8(blocks.base, width, position, codes.baseAddress)
                    factors.base[position] =
                        similarity == .cosine
                        ? Float(mrl_int8_dot(codes.baseAddress, codes.baseAddress, width)).squareRoot() : scale
                }
            } else {
                mrl_pack_float(floats, width, position, values)
                factors.base[position] =
                    similarity == .cosine
                    ? mrl_float_dot(KernelPath.current.checkedNumber, values, values, width).squareRoot() : 0
            }
        }
    }

    /// Writes the row at a position over the one at another.
    package func copyRow(_ from: Int, to position: Int) {
        mrl_copy_row(blocks.base, words, from, position)
        factors.base[position] = factors.base[from]
        bits?.copyRow(from, to: position)
    }

    /// Two blocks change places; their columns do not.
    package func swapBlocks(_ left: Int, _ right: Int) {
        mrl_swap(blocks.base + left * blockBytes, blocks.base + right * blockBytes, blockBytes)
        for lane in 0..<RowColumns.blockRows {
            let (a, b) = (left * RowColumns.blockRows + lane, right * RowColumns.blockRows + lane)
            (factors.base[a], factors.base[b]) = (factors.base[b], factors.base[a])
            bits?.swapRows(a, b)
        }
    }

    /// Moves the row at `order[i]` to position i, and leaves room for no more than these; the columns stay.
    package func gather(_ order: [UInt32]) {
        let capacity = (order.count + RowColumns.blockRows - 1) / RowColumns.blockRows * RowColumns.blockRows
        var newBlocks = Column<UInt8>()
        var newFactors = Column<Float>()
        newBlocks.resize(to: capacity * rowBytes, keeping: 0)
        newFactors.resize(to: capacity, keeping: 0)
        if precision == .int8, capacity > order.count {
            let last = (capacity - RowColumns.blockRows) * rowBytes
            (newBlocks.base + last).update(repeating: 128, count: blockBytes)
        }
        mrl_gather_blocks(blocks.base, newBlocks.base, words, order, order.count)
        for (position, from) in order.enumerated() { newFactors.base[position] = factors.base[Int(from)] }
        blocks = newBlocks
        factors = newFactors
        bits?.gather(order)
    }

    /// A row's length in units of four bytes.
    private var words: Int { precision == .int8 ? (width + 3) / 4 : width }

    private var floats: UnsafeMutablePointer<Float> {
        UnsafeMutableRawPointer(blocks.base).assumingMemoryBound(to: Float.self)
    }

    // live: in place of the columns'.
    fileprivate func withRows(
        firstRow: Int = 0,
        pass: TopRows.Pass = .all,
        live: UnsafePointer<UInt16>? = nil,
        _ body: (UnsafePointer<mrl_block_rows>) -> Void
    ) {
        var rows = mrl_block_rows(
            blocks: UnsafeRawPointer(blocks.base),
            factors: factors.base,
            ids: columns.ids,
            live: live ?? columns.live,
            block_count: columns.blockCount,
            width: width,
            first_row: UInt32(firstRow),
            pass: pass.rawValue
        )
        body(&rows)
    }

    fileprivate func blockRow(at position: Int) -> mrl_block_row {
        mrl_block_row(
            codes: blocks.base + position / RowColumns.blockRows * blockBytes,
            factor: factors.base[position],
            lane: UInt32(position % RowColumns.blockRows)
        )
    }

    fileprivate func codes(at position: Int, _ out: UnsafeMutablePointer<Int8>) {
        mrl_unpack_int8(blocks.base, width, position, out)
    }

    fileprivate func values(at position: Int, _ out: UnsafeMutablePointer<Float>) {
        mrl_unpack_float(floats, width, position, out)
    }

    fileprivate func factor(at position: Int) -> Float { factors.base[position] }
}

/// A batch of queries prepared for one resident step.
package struct BlockQueries {
    private let dimensions: Int
    private let similarity: Similarity
    private let precision: Precision
    private let path: KernelPath
    private let count: Int
    private let groupBytes: Int
    private var codes: [Int8] = []
    private var biases: [Int32] = []
    private var values: [Float] = []
    private var factors: [Float] = []

    // heads: row-major, `count` stored heads of `storedWidth` floats.
    package init(
        heads: Span<Float>,
        count: Int,
        storedWidth: Int,
        dimensions: Int,
        precision: Precision,
        similarity: Similarity,
        path: KernelPath = .current
    ) {
        precondition(heads.count == count * storedWidth, "queries of another width")
        precondition(dimensions >= 1 && dimensions <= storedWidth, "a step wider than the stored head")
        self.dimensions = dimensions
        self.similarity = similarity
        self.precision = precision
        self.path = path
        self.count = count
        groupBytes = (dimensions + 3) / 4 * 4
        for query in 0..<count {
            let head = heads.extracting(query * storedWidth..<(query + 1) * storedWidth)
            if precision == .int8 {
                let quantised = QuantisedVector(head: head)
                codes += quantised.codes[..<dimensions]
                codes += repeatElement(0, count: groupBytes - dimensions)
                biases.append(-128 * quantised.codes[..<dimensions].reduce(0) { $0 + Int32($1) })
                factors.append(quantised.factor(dimensions: dimensions, similarity: similarity))
            } else {
                let prefix = head.extracting(first: dimensions)
                prefix.withUnsafeBufferPointer { values += $0 }
                factors.append(similarity == .cosine ? floatDot(prefix, prefix, path: path).squareRoot() : 0)
            }
        }
    }

    /// Offers the rows of one pass to the queries' rankings; `firstRow` is added to their positions.
    package func scan(_ rows: BlockedRows, firstRow: Int, pass: TopRows.Pass = .all, into best: TopRows) {
        precondition(fits(rows) && best.queryCount == count, "rows and rankings of these queries")
        rows.withRows(firstRow: firstRow, pass: pass) { rows in
            if precision == .int8 {
                withCodes { mrl_scan_int8(path.checkedNumber, rows, $0, best.selections) }
            } else {
                withFloats { mrl_scan_float(path.checkedNumber, rows, $0, best.selections) }
            }
        }
    }

    /// Offers the rows of each list to the rankings of those queries that look into it; their positions are their rows.
    ///
    /// `live` says which rows of each block count, in place of the columns.
    package func scan(_ rows: BlockedRows, _ visits: ListVisits, live: UnsafePointer<UInt16>?, into best: TopRows) {
        precondition(fits(rows) && best.queryCount == count, "rows and rankings of these queries")
        precondition(visits.blockLimit <= rows.columns.blockCount, "lists of other rows")
        rows.withRows(live: live) { rows in
            func scan(_ codes: UnsafePointer<mrl_int8_queries>?, _ floats: UnsafePointer<mrl_float_queries>?) {
                mrl_scan_lists(
                    path.checkedNumber,
                    rows,
                    visits.stretches,
                    visits.visits,
                    visits.visits.count,
                    visits.askers,
                    codes,
                    floats,
                    best.selections
                )
            }
            if precision == .int8 { withCodes { scan($0, nil) } } else { withFloats { scan(nil, $0) } }
        }
    }

    private func withCodes<R>(_ body: (UnsafePointer<mrl_int8_queries>) -> R) -> R {
        withUnsafeTemporaryAllocation(of: Float.self, capacity: max(1, count)) { cuts in
            codes.withUnsafeBufferPointer { codes in
                factors.withUnsafeBufferPointer { factors in
                    biases.withUnsafeBufferPointer { biases in
                        var queries = mrl_int8_queries(
                            codes: codes.baseAddress,
                            factors: factors.baseAddress,
                            biases: biases.baseAddress,
                            cuts: cuts.baseAddress,
                            count: count,
                            dimensions: dimensions,
                            cosine: similarity == .cosine
                        )
                        return body(&queries)
                    }
                }
            }
        }
    }

    private func withFloats<R>(_ body: (UnsafePointer<mrl_float_queries>) -> R) -> R {
        values.withUnsafeBufferPointer { values in
            factors.withUnsafeBufferPointer { factors in
                var queries = mrl_float_queries(
                    values: values.baseAddress,
                    roots: factors.baseAddress,
                    stride: dimensions,
                    count: count,
                    dimensions: dimensions,
                    cosine: similarity == .cosine
                )
                return body(&queries)
            }
        }
    }

    /// The scores of some rows for query number `query`; `places` name them by their table in `tables`.
    package func scores(
        query: Int,
        tables: [BlockedRows],
        places: [(table: Int, position: Int)]
    ) -> [Float] {
        guard precision == .int8, let first = tables.first else {
            return places.map { score(query: query, rows: tables[$0.table], position: $0.position) }
        }
        let rows = places.map { tables[$0.table].blockRow(at: $0.position) }
        return [Float](unsafeUninitializedCapacity: rows.count) { out, count in
            count = rows.count
            guard let scores = out.baseAddress else { return }
            withCodes {
                mrl_score_block_rows(path.checkedNumber, rows, rows.count, first.width, $0, query, scores)
            }
        }
    }

    /// The score of one row for query number `query`.
    package func score(query: Int, rows: BlockedRows, position: Int) -> Float {
        let isCosine = similarity == .cosine
        let usesCached = !isCosine || dimensions == rows.width
        if precision == .int8 {
            return withUnsafeTemporaryAllocation(of: Int8.self, capacity: rows.width) { row in
                rows.codes(at: position, row.baseAddress!)
                let dot = codes.withUnsafeBufferPointer {
                    mrl_int8_dot($0.baseAddress! + query * groupBytes, row.baseAddress, dimensions)
                }
                let factor =
                    usesCached
                    ? rows.factor(at: position)
                    : Float(mrl_int8_dot(row.baseAddress, row.baseAddress, dimensions)).squareRoot()
                return mrl_int8_score(dot, factors[query], factor, isCosine)
            }
        }
        return withUnsafeTemporaryAllocation(of: Float.self, capacity: rows.width) { row in
            rows.values(at: position, row.baseAddress!)
            let number = path.checkedNumber
            let dot = values.withUnsafeBufferPointer {
                mrl_float_dot(number, $0.baseAddress! + query * dimensions, row.baseAddress, dimensions)
            }
            let factor =
                usesCached
                ? rows.factor(at: position)
                : mrl_float_dot(number, row.baseAddress, row.baseAddress, dimensions).squareRoot()
            return mrl_float_score(dot, factors[query], factor, isCosine)
        }
    }

    private func fits(_ rows: BlockedRows) -> Bool {
        dimensions <= rows.width && precision == rows.precision && similarity == rows.similarity
    }
}
