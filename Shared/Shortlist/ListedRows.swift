import Matryoshka
import VectorMath

/// The rows of one shard in the order of their inverted lists, followed by those that came since.
///
/// A row whose list changes gets a new place at the end. Not thread-safe.
final class ListedRows {
    private static let tailMin = 256

    let rows: BlockedRows
    let lists: CoarseLists
    /// Where each list begins among the ordered rows, and where the last one ends.
    private var starts: [UInt32]
    /// Lists of the rows behind the ordered ones.
    private var tail: [UInt32] = []
    /// Rows that wait for their lists, so that the centroids are scanned for many at a time.
    private var waiting: [(id: Int64, version: UInt32)] = []
    private var waitingHeads: [Float] = []

    init(rows: BlockedRows, lists: CoarseLists) {
        self.rows = rows
        self.lists = lists
        starts = [UInt32](repeating: 0, count: lists.count + 1)
    }

    var byteCount: Int { rows.byteCount + (starts.count + tail.count) * 4 + waitingHeads.count * 4 }

    private var orderedCount: Int { Int(starts[lists.count]) }

    func upsert(id: Int64, version: UInt32, head: Span<Float>) {
        waiting.append((id, version))
        head.withUnsafeBufferPointer { waitingHeads += $0 }
        if waiting.count == CoarseLists.batch { placeWaiting() }
    }

    /// Gives every row that waits its place; to be called before rows are counted, scanned or taken out.
    ///
    /// `grow` makes room for one more.
    func placeWaiting(grow: () -> Void) {
        guard !waiting.isEmpty else { return }
        let found = lists.lists(of: waitingHeads.span, width: rows.storedWidth)
        for (index, row) in waiting.enumerated() {
            if rows.directory.count == rows.directory.capacity { grow() }
            let head = waitingHeads.span.extracting(index * rows.storedWidth..<(index + 1) * rows.storedWidth)
            place(row.id, row.version, head, list: found[index])
        }
        waiting.removeAll(keepingCapacity: true)
        waitingHeads.removeAll(keepingCapacity: true)
    }

    private func placeWaiting() {
        placeWaiting { [rows] in rows.setCapacity(rows.directory.capacity + max(64, rows.directory.capacity / 2)) }
    }

    private func place(_ id: Int64, _ version: UInt32, _ head: Span<Float>, list: UInt32) {
        if let slot = rows.directory.slot(of: id) {
            if slot.isLive && version < rows.directory.versions[slot.position] { return }
            if self.list(at: slot.position) != list {
                rows.relocate(id: id, version: version, head: head)
                tail.append(list)
                return
            }
        } else {
            tail.append(list)
        }
        rows.place(id: id, version: version, head: head)
    }

    private func list(at position: Int) -> UInt32 {
        if position >= orderedCount { return tail[position - orderedCount] }
        // The last list that begins at or before the position and is not empty.
        var low = 0
        var high = lists.count
        while low < high {
            let middle = (low + high) / 2
            if Int(starts[middle + 1]) > position { high = middle } else { low = middle + 1 }
        }
        return UInt32(low)
    }

    /// Too many rows are out of order, or gone.
    var needsCompaction: Bool {
        tail.count > max(Self.tailMin, orderedCount / 16) || rows.directory.needsCompaction
    }

    /// Puts all rows in the order of their lists, without holes.
    func compact() {
        let ids = rows.directory.orderByID()
        var counts = [UInt32](repeating: 0, count: lists.count + 1)
        let listOf = ids.map { list(at: Int($0)) }
        for list in listOf { counts[Int(list) + 1] += 1 }
        for list in 0..<lists.count { counts[list + 1] += counts[list] }
        starts = counts
        var order = [UInt32](repeating: 0, count: ids.count)
        var byID = [UInt32](repeating: 0, count: ids.count)
        for (rank, position) in ids.enumerated() {
            let new = counts[Int(listOf[rank])]
            counts[Int(listOf[rank])] += 1
            order[Int(new)] = position
            byID[rank] = new
        }
        tail = []
        rows.compact(order, byID: byID)
    }

    /// Everything goes.
    func removeAll() {
        starts = [UInt32](repeating: 0, count: lists.count + 1)
        tail = []
        waiting = []
        waitingHeads = []
    }

    /// Positions of a list among the ordered rows.
    func ordered(_ list: Int) -> Range<Int> { Int(starts[list])..<Int(starts[list + 1]) }

    /// Positions behind the ordered rows.
    var tailRange: Range<Int> { orderedCount..<orderedCount + tail.count }

    /// Which rows of a block are there and in a list that `isProbed` names.
    func tailMask(block: Int, isProbed: (UInt32) -> Bool) -> UInt16 {
        var mask = rows.directory.live[block]
        var left = mask
        while left != 0 {
            let lane = left.trailingZeroBitCount
            left &= left - 1
            let place = block * RowDirectory.blockRows + lane - orderedCount
            if place < 0 || !isProbed(tail[place]) { mask &= ~(1 << UInt16(lane)) }
        }
        return mask
    }
}

/// Offers the rows of the probed lists of all tables to the rankings of `subset`'s batch: a list is scanned once for
/// all queries that look into it.
func scanLists(_ tables: [ListedRows], probed: [[UInt32]], by subset: some SubsetScan) {
    // Nearest lists first, so that thresholds are high when most rows come.
    var order: [UInt32] = []
    var askers: [UInt32: [Int]] = [:]
    for rank in 0..<(probed.map(\.count).max() ?? 0) {
        for query in probed.indices where rank < probed[query].count {
            if askers[probed[query][rank], default: []].isEmpty { order.append(probed[query][rank]) }
            askers[probed[query][rank], default: []].append(query)
        }
    }
    var stretches: [RowStretch] = []
    for (place, number) in order.enumerated() {
        for (table, rows) in tables.enumerated() {
            stretches.append(RowStretch(table: table, positions: rows.ordered(Int(number))))
        }
        let members = askers[number] ?? []
        if place + 1 < order.count, askers[order[place + 1]] == members { continue }
        subset.choose(members)
        subset.scan(stretches)
        subset.finish()
        stretches.removeAll(keepingCapacity: true)
    }
    let tails = tables.indices.filter { !tables[$0].tailRange.isEmpty }
    guard !tails.isEmpty else { return }
    for query in probed.indices {
        let wanted = Set(probed[query])
        subset.choose(CollectionOfOne(query))
        for table in tails {
            let rows = tables[table]
            subset.scan(RowStretch(table: table, positions: rows.tailRange)) { block in
                rows.tailMask(block: block, isProbed: wanted.contains)
            }
        }
        subset.finish()
    }
}
