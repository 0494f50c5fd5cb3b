import CVectorKernels
package import Matryoshka

/// Resident heads in blocks of 16 rows, as int8 codes or float32, with the directory that finds them.
///
/// CVectorKernels.h has the layout. Not thread-safe.
package final class BlockedRows {
    package let storedWidth: Int
    package let width: Int
    package let precision: Precision
    package let similarity: Similarity
    package let directory = RowDirectory()
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
        rotation: BitRotation? = nil
    ) {
        precondition(width >= 1 && width <= storedWidth, "a resident width from 1 to the stored head's")
        precondition(precision == .int8 || precision == .float32, "resident rows are int8 or float32")
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

    package var byteCount: Int { blocks.byteCount + factors.byteCount + directory.byteCount + (bits?.byteCount ?? 0) }

    package func setCapacity(_ rows: Int) {
        directory.setCapacity(rows)
        let rowBytes = Self.bytesPerRow(width: width, precision: precision)
        let used = directory.blockCount * RowDirectory.blockRows
        blocks.resize(to: directory.capacity * rowBytes, keeping: used * rowBytes)
        factors.resize(to: directory.capacity, keeping: used)
        bits?.setCapacity(directory.capacity, keeping: used)
    }

    /// Writes a row of the stored head's width; there is room for one more.
    package func place(id: Int64, version: UInt32, head: Span<Float>) {
        precondition(head.count == storedWidth, "a head of another width")
        let end = directory.count
        guard case .at(let position) = directory.place(id: id, version: version) else { return }
        if position == end { begin(position) }
        write(head, at: position)
    }

    /// Writes a known row at a new position at the end; see ``RowDirectory/relocate(id:version:)``.
    package func relocate(id: Int64, version: UInt32, head: Span<Float>) {
        precondition(head.count == storedWidth, "a head of another width")
        let position = directory.relocate(id: id, version: version)
        begin(position)
        write(head, at: position)
    }

    /// Readies the block that a new last position begins: 128 is a code of zero, so that padding adds nothing to a norm.
    private func begin(_ position: Int) {
        guard precision == .int8, position % RowDirectory.blockRows == 0 else { return }
        let rowBytes = Self.bytesPerRow(width: width, precision: precision)
        (blocks.base + position * rowBytes).update(repeating: 128, count: RowDirectory.blockRows * rowBytes)
    }

    private func write(_ head: Span<Float>, at position: Int) {
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

    /// Puts the rows in the order of their ids, without holes.
    package func compact() {
        guard let order = directory.compactionOrder() else { return }
        gather(order, byID: nil)
    }

    /// Puts the rows in an order of the caller's, without holes.
    ///
    /// - Parameters:
    ///   - order: The present positions, every row once.
    ///   - byID: The new positions by ascending id.
    package func compact(_ order: [UInt32], byID: [UInt32]) { gather(order, byID: byID) }

    private func gather(_ order: [UInt32], byID: [UInt32]?) {
        let rowBytes = Self.bytesPerRow(width: width, precision: precision)
        let capacity = (order.count + RowDirectory.blockRows - 1) / RowDirectory.blockRows * RowDirectory.blockRows
        var newBlocks = Column<UInt8>()
        var newFactors = Column<Float>()
        newBlocks.resize(to: capacity * rowBytes, keeping: 0)
        newFactors.resize(to: capacity, keeping: 0)
        if precision == .int8, capacity > order.count {
            let last = (capacity - RowDirectory.blockRows) * rowBytes
            (newBlocks.base + last).update(repeating: 128, count: RowDirectory.blockRows * rowBytes)
        }
        mrl_gather_blocks(
            blocks.base,
            newBlocks.base,
            precision == .int8 ? (width + 3) / 4 : width,
            order,
            order.count
        )
        for (position, from) in order.enumerated() { newFactors.base[position] = factors.base[Int(from)] }
        blocks = newBlocks
        factors = newFactors
        bits?.gather(order)
        directory.compact(order, byID: byID)
        directory.setCapacity(order.count)
    }

    private var floats: UnsafeMutablePointer<Float> {
        UnsafeMutableRawPointer(blocks.base).assumingMemoryBound(to: Float.self)
    }

    fileprivate func withRows(firstRow: Int, pass: TopRows.Pass, _ body: (UnsafePointer<mrl_block_rows>) -> Void) {
        var rows = mrl_block_rows(
            blocks: UnsafeRawPointer(blocks.base),
            factors: factors.base,
            ids: directory.ids,
            live: directory.live,
            block_count: directory.blockCount,
            width: width,
            first_row: UInt32(firstRow),
            pass: pass.rawValue
        )
        body(&rows)
    }

    /// Lends the blocks that hold the positions of a range; what lies outside it is not live there.
    fileprivate func withRows(
        _ range: Range<Int>,
        live: (Int) -> UInt16,
        firstRow: Int,
        _ body: (UnsafePointer<mrl_block_rows>) -> Void
    ) {
        let first = range.lowerBound / RowDirectory.blockRows
        let last = (range.upperBound - 1) / RowDirectory.blockRows
        withUnsafeTemporaryAllocation(of: UInt16.self, capacity: last - first + 1) { masks in
            for block in first...last { masks[block - first] = live(block) }
            masks[0] &= UInt16.max << UInt16(range.lowerBound % RowDirectory.blockRows)
            let used = (range.upperBound - 1) % RowDirectory.blockRows + 1
            masks[last - first] &= UInt16(truncatingIfNeeded: (1 << used) - 1)
            let rowBytes = Self.bytesPerRow(width: width, precision: precision)
            let start = first * RowDirectory.blockRows
            var rows = mrl_block_rows(
                blocks: UnsafeRawPointer(blocks.base + start * rowBytes),
                factors: factors.base + start,
                ids: directory.ids + start,
                live: masks.baseAddress,
                block_count: last - first + 1,
                width: width,
                first_row: UInt32(firstRow + start),
                pass: TopRows.Pass.all.rawValue
            )
            body(&rows)
        }
    }

    fileprivate func blockRow(at position: Int) -> mrl_block_row {
        let block = position / RowDirectory.blockRows
        let blockBytes = Self.bytesPerRow(width: width, precision: precision) * RowDirectory.blockRows
        return mrl_block_row(
            codes: blocks.base + block * blockBytes,
            factor: factors.base[position],
            lane: UInt32(position % RowDirectory.blockRows)
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
    fileprivate let dimensions: Int
    private let similarity: Similarity
    private let precision: Precision
    private let path: KernelPath
    private let count: Int
    fileprivate let groupBytes: Int
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
            withUnsafeTemporaryAllocation(of: Float.self, capacity: max(1, count)) { cuts in
                codes.withUnsafeBufferPointer { codes in
                    values.withUnsafeBufferPointer { values in
                        factors.withUnsafeBufferPointer { factors in
                            biases.withUnsafeBufferPointer { biases in
                                scan(
                                    rows,
                                    count: count,
                                    codes: codes.baseAddress,
                                    values: values.baseAddress,
                                    factors: factors.baseAddress,
                                    biases: biases.baseAddress,
                                    cuts: cuts.baseAddress!,
                                    best.selections
                                )
                            }
                        }
                    }
                }
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
            codes.withUnsafeBufferPointer { codes in
                factors.withUnsafeBufferPointer { factors in
                    biases.withUnsafeBufferPointer { biases in
                        var queries = mrl_int8_queries(
                            codes: codes.baseAddress,
                            factors: factors.baseAddress,
                            biases: biases.baseAddress,
                            cuts: nil,
                            count: self.count,
                            dimensions: dimensions,
                            cosine: similarity == .cosine
                        )
                        mrl_score_block_rows(path.checkedNumber, rows, rows.count, first.width, &queries, query, scores)
                    }
                }
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
}

/// Positions of one of several tables.
package struct RowStretch {
    package let table: Int
    package let positions: Range<Int>

    package init(table: Int, positions: Range<Int>) {
        self.table = table
        self.positions = positions
    }
}

/// Some queries of a batch, put side by side for a scan of rows that only they are interested in.
///
/// One object serves a whole batch: memory for all queries is taken once.
package protocol SubsetScan: AnyObject {
    /// Chooses the queries by number; to be followed by scans, then ``finish()``.
    func choose(_ members: some Collection<Int>)
    /// Offers the rows that are there in all stretches to the chosen queries' rankings.
    func scan(_ stretches: [RowStretch])
    /// The same for one stretch; `live` lends the mask of a block of 16.
    func scan(_ stretch: RowStretch, live: (Int) -> UInt16)
    /// Gives the rankings back.
    func finish()
}

/// Some queries of a batch at a step over codes or floats.
package final class QuerySubset: SubsetScan {
    private let queries: BlockQueries
    private let best: TopRows
    private let tables: [BlockedRows]
    private let list: TableList
    private let lent: UnsafeMutablePointer<mrl_block_rows>
    private var stretches: [mrl_stretch] = []
    private let codes: UnsafeMutablePointer<Int8>
    private let values: UnsafeMutablePointer<Float>
    private let factors: UnsafeMutablePointer<Float>
    private let biases: UnsafeMutablePointer<Int32>
    private let cuts: UnsafeMutablePointer<Float>
    private let selections: UnsafeMutablePointer<mrl_selection>
    private var members: [Int] = []

    // list: of the tables' directories. The tables do not change while the object lives.
    package init(of queries: BlockQueries, into best: TopRows, tables: [BlockedRows], list: TableList) {
        self.queries = queries
        self.best = best
        self.tables = tables
        self.list = list
        let lent = UnsafeMutablePointer<mrl_block_rows>.allocate(capacity: max(1, tables.count))
        self.lent = lent
        for (number, table) in tables.enumerated() {
            precondition(queries.fits(table), "tables of one shape, as wide as the queries at least")
            table.withRows(firstRow: list.firstRow(number), pass: .all) {
                (lent + number).initialize(to: $0.pointee)
            }
        }
        let count = max(1, best.queryCount)
        codes = .allocate(capacity: count * queries.groupBytes)
        values = .allocate(capacity: count * queries.dimensions)
        factors = .allocate(capacity: count)
        biases = .allocate(capacity: count)
        cuts = .allocate(capacity: count)
        selections = .allocate(capacity: count)
    }

    deinit {
        codes.deallocate()
        values.deallocate()
        factors.deallocate()
        biases.deallocate()
        cuts.deallocate()
        selections.deallocate()
        lent.deallocate()
    }

    package func choose(_ members: some Collection<Int>) {
        self.members = Array(members)
        for (place, query) in self.members.enumerated() {
            queries.copy(
                query,
                codes: codes + place * queries.groupBytes,
                values: values + place * queries.dimensions,
                factor: factors + place,
                bias: biases + place
            )
            selections[place] = best.selections[query]
        }
    }

    package func scan(_ stretches: [RowStretch]) {
        guard !members.isEmpty else { return }
        guard queries.isOfCodes else {
            for stretch in stretches {
                let live = tables[stretch.table].directory.live
                scan(stretch) { live[$0] }
            }
            return
        }
        self.stretches.removeAll(keepingCapacity: true)
        for stretch in stretches where !stretch.positions.isEmpty {
            precondition(stretch.positions.upperBound <= list.counts[stretch.table], "a stretch of other rows")
            self.stretches.append(
                mrl_stretch(
                    table: UInt32(stretch.table),
                    from: UInt32(stretch.positions.lowerBound),
                    up_to: UInt32(stretch.positions.upperBound)
                )
            )
        }
        queries.scan(
            self.stretches,
            of: lent,
            count: members.count,
            codes: codes,
            factors: factors,
            biases: biases,
            cuts: cuts,
            selections
        )
    }

    package func scan(_ stretch: RowStretch, live: (Int) -> UInt16) {
        guard !stretch.positions.isEmpty, !members.isEmpty else { return }
        let firstRow = list.firstRow(stretch.table)
        tables[stretch.table].withRows(stretch.positions, live: live, firstRow: firstRow) { rows in
            queries.scan(
                rows,
                count: members.count,
                codes: codes,
                values: values,
                factors: factors,
                biases: biases,
                cuts: cuts,
                selections
            )
        }
    }

    package func finish() {
        for (place, query) in members.enumerated() { best.selections[query] = selections[place] }
        members = []
    }
}

extension BlockQueries {
    fileprivate var isOfCodes: Bool { precision == .int8 }

    fileprivate func fits(_ rows: BlockedRows) -> Bool {
        dimensions <= rows.width && precision == rows.precision && similarity == rows.similarity
    }

    fileprivate func scan(
        _ stretches: [mrl_stretch],
        of tables: UnsafePointer<mrl_block_rows>,
        count: Int,
        codes: UnsafePointer<Int8>,
        factors: UnsafePointer<Float>,
        biases: UnsafePointer<Int32>,
        cuts: UnsafeMutablePointer<Float>,
        _ selections: UnsafeMutablePointer<mrl_selection>
    ) {
        var queries = mrl_int8_queries(
            codes: codes,
            factors: factors,
            biases: biases,
            cuts: cuts,
            count: count,
            dimensions: dimensions,
            cosine: similarity == .cosine
        )
        mrl_scan_stretches(path.checkedNumber, tables, stretches, stretches.count, &queries, selections)
    }

    fileprivate func copy(
        _ query: Int,
        codes: UnsafeMutablePointer<Int8>,
        values: UnsafeMutablePointer<Float>,
        factor: UnsafeMutablePointer<Float>,
        bias: UnsafeMutablePointer<Int32>
    ) {
        factor.initialize(to: factors[query])
        if precision == .int8 {
            for i in 0..<groupBytes { (codes + i).initialize(to: self.codes[query * groupBytes + i]) }
            bias.initialize(to: biases[query])
        } else {
            for i in 0..<dimensions { (values + i).initialize(to: self.values[query * dimensions + i]) }
        }
    }

    fileprivate func scan(
        _ rows: UnsafePointer<mrl_block_rows>,
        count: Int,
        codes: UnsafePointer<Int8>?,
        values: UnsafePointer<Float>?,
        factors: UnsafePointer<Float>?,
        biases: UnsafePointer<Int32>?,
        cuts: UnsafeMutablePointer<Float>,
        _ selections: UnsafeMutablePointer<mrl_selection>
    ) {
        if precision == .int8 {
            var queries = mrl_int8_queries(
                codes: codes,
                factors: factors,
                biases: biases,
                cuts: cuts,
                count: count,
                dimensions: dimensions,
                cosine: similarity == .cosine
            )
            mrl_scan_int8(path.checkedNumber, rows, &queries, selections)
        } else {
            var queries = mrl_float_queries(
                values: values,
                roots: factors,
                stride: dimensions,
                count: count,
                dimensions: dimensions,
                cosine: similarity == .cosine
            )
            mrl_scan_float(path.checkedNumber, rows, &queries, selections)
        }
    }
}
