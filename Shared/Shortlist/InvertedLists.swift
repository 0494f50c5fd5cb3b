public import Matryoshka
package import VectorMath

/// The heads of all shards that a worker holds of a collection, one inverted list after the other (AdANNS: Rege and
/// others, 2023, section 4.1).
///
/// The rows of a list fill blocks of 16, of which only the last has room, and its blocks follow each other in memory
/// as long as little is written; ``putInOrder()`` sees to it. Safe from any threads: searches go on side by side, and
/// see each write whole or not at all.
public final class InvertedLists: @unchecked Sendable {
    // Unchecked: `lock` guards what changes.
    /// Which list a row is in.
    public let coarse: CoarseLists
    let rows: BlockedRows
    private let columns: PlacedColumns
    private let path: KernelPath
    private let needsOrder: @Sendable () -> Void
    private let lock = ReadWriteLock()
    /// Of each list in turn, then of none.
    private var blocks: [[UInt32]]
    /// Rows of each list.
    private var counts: [Int]
    /// By block: its list, and its place among the list's blocks.
    private var places: [(list: UInt32, place: UInt32)] = []
    private var owners = Column<UInt16>()
    /// By owner.
    private var directories: [NodeDirectory] = []
    private var freeOwners: [UInt16] = []
    /// Owners whose rows are still coming.
    private var loading: Set<UInt16> = []
    /// Blocks that came to lie apart from those before them.
    private var strays = 0
    private var isOrderDue = false
    /// One thread at a time puts blocks in order.
    private let orderLock = ThreadLock()

    /// Fewer blocks are not worth the trouble.
    private static let disorderMin = 256
    /// Blocks that are moved, or rows let go of, while searches wait.
    private static let slice = 64

    /// Makes lists without rows.
    ///
    /// - Parameters:
    ///   - shape: Widths, precision, similarity and signs.
    ///   - coarse: The centroids of the shape's generation.
    ///   - needsOrder: Called on a writer's thread when ``putInOrder()`` should be called on another.
    public convenience init(
        shape: CollectionShape,
        coarse: CoarseLists,
        needsOrder: @escaping @Sendable () -> Void = {}
    ) {
        self.init(shape: shape, coarse: coarse, path: .current, needsOrder: needsOrder)
    }

    package init(
        shape: CollectionShape,
        coarse: CoarseLists,
        path: KernelPath,
        needsOrder: @escaping @Sendable () -> Void = {}
    ) {
        self.coarse = coarse
        self.path = path
        self.needsOrder = needsOrder
        columns = PlacedColumns()
        rows = BlockedRows(
            storedWidth: shape.storedHeadWidth,
            width: shape.residentWidth,
            precision: shape.residentPrecision,
            similarity: shape.similarity,
            columns: columns,
            rotation: shape.planSpace.bitWidth > 0 ? BitRotation(of: shape) : nil
        )
        blocks = [[UInt32]](repeating: [], count: coarse.count + 1)
        counts = [Int](repeating: 0, count: coarse.count)
    }

    /// About what one row takes.
    public static func bytesPerRow(_ shape: CollectionShape) -> Int {
        let row =
            ResidentShard.rowBytes(
                residentWidth: shape.residentWidth,
                precision: shape.residentPrecision,
                bitWidth: shape.planSpace.bitWidth,
                similarity: shape.similarity
            ) + MemoryLayout<UInt16>.size + NodeDirectory.bytesPerRow
        return row + (row + 31) / 32
    }

    /// Rows of all shards.
    public var rowCount: Int { lock.withReadLock { columns.liveCount } }

    /// The share that an owner's rows have in all the memory, and what finds them by id.
    func bytes(owner: UInt16) -> Int {
        lock.withReadLock {
            let directory = directories[Int(owner)]
            let share = Double(directory.count) / Double(max(1, columns.liveCount))
            return Int(Double(heldBytes) * share) + directory.byteCount
        }
    }

    /// What the lists take.
    package var byteCount: Int { lock.withReadLock { heldBytes } }

    // Each block has its number in a list, and its place.
    private var heldBytes: Int { rows.byteCount + owners.byteCount + places.count * (MemoryLayout<UInt32>.stride + 8) }

    // MARK: - Owners

    /// A number for the rows of a copy of a shard, which is loading until it is sealed.
    func makeOwner() -> UInt16 {
        lock.withWriteLock {
            let owner: UInt16
            if let free = freeOwners.popLast() {
                owner = free
            } else {
                precondition(directories.count < Int(UInt16.max), "more copies of shards than lists can hold")
                owner = UInt16(directories.count)
                directories.append(NodeDirectory())
            }
            loading.insert(owner)
            return owner
        }
    }

    /// The owner's bulk load has ended.
    func seal(owner: UInt16) {
        let isDue = lock.withWriteLock {
            loading.remove(owner)
            return comesDue()
        }
        // It is the loading thread's to wait.
        if isDue { putInOrder() }
    }

    /// Takes all rows of an owner out, and the owner.
    func letGo(owner: UInt16) {
        var ids = lock.withReadLock { directories[Int(owner)].nodes.map { columns.ids[Int($0)] } }
        while !ids.isEmpty {
            lock.withWriteLock { for id in ids.suffix(Self.slice) { take(id, owner) } }
            ids.removeLast(min(Self.slice, ids.count))
        }
        let isDue = lock.withWriteLock {
            loading.remove(owner)
            directories[Int(owner)] = NodeDirectory()
            freeOwners.append(owner)
            return comesDue()
        }
        if isDue { needsOrder() }
    }

    // MARK: - Rows

    func count(owner: UInt16) -> Int { lock.withReadLock { directories[Int(owner)].count } }

    func version(of id: Int64, owner: UInt16) -> UInt32? {
        lock.withReadLock { position(of: id, owner).map { columns.versions[$0] } }
    }

    /// Writes rows over what is held of their ids; older versions than the held ones are ignored.
    ///
    /// - Parameters:
    ///   - written: Ids and versions.
    ///   - heads: Row-major, W floats each.
    ///   - owner: Whose rows they are.
    func place(_ written: [(id: Int64, version: UInt32)], heads: Span<Float>, owner: UInt16) {
        let width = rows.storedWidth
        let lists = coarse.lists(of: heads, width: width)
        let isDue = lock.withWriteLock {
            for (index, row) in written.enumerated() {
                let head = heads.extracting(index * width..<(index + 1) * width)
                place(row.id, row.version, head, list: Int(lists[index]), owner)
            }
            return comesDue()
        }
        if isDue { needsOrder() }
    }

    /// Takes a row out; nothing happens where it is not held.
    func remove(id: Int64, owner: UInt16) {
        let isDue = lock.withWriteLock {
            take(id, owner)
            return comesDue()
        }
        if isDue { needsOrder() }
    }

    private func numberOfList(at position: Int) -> Int { Int(places[position / RowColumns.blockRows].list) }

    private func position(of id: Int64, _ owner: UInt16) -> Int? {
        directories[Int(owner)].node(of: id) { [columns] in columns.ids[Int($0)] }.map { Int($0) }
    }

    private func place(_ id: Int64, _ version: UInt32, _ head: Span<Float>, list: Int, _ owner: UInt16) {
        if let held = position(of: id, owner) {
            guard version >= columns.versions[held] else { return }
            if numberOfList(at: held) == list {
                rows.write(head, at: held)
                columns.put(id: id, version: version, at: held)
                return
            }
            take(id, owner)
        }
        let position = makeRoom(in: list)
        rows.write(head, at: position)
        columns.put(id: id, version: version, at: position)
        owners.base[position] = owner
        directories[Int(owner)].insert(UInt32(position), id: id) { [columns] in columns.ids[Int($0)] }
    }

    /// The last row of the list moves into the gap.
    private func take(_ id: Int64, _ owner: UInt16) {
        let idOf: (UInt32) -> Int64 = { [columns] in columns.ids[Int($0)] }
        guard let gap = directories[Int(owner)].remove(id: id, idOf: idOf).map({ Int($0) }) else { return }
        let list = numberOfList(at: gap)
        counts[list] -= 1
        guard let block = blocks[list].last else { preconditionFailure("a list with a row has a block") }
        let last = Int(block) * RowColumns.blockRows + counts[list] % RowColumns.blockRows
        if last != gap {
            let moved = (id: columns.ids[last], version: columns.versions[last], owner: owners.base[last])
            let slot = directories[Int(moved.owner)].slot(holding: UInt32(last), id: moved.id)
            directories[Int(moved.owner)].replace(slot, with: UInt32(gap))
            rows.copyRow(last, to: gap)
            columns.put(id: moved.id, version: moved.version, at: gap)
            owners.base[gap] = moved.owner
        }
        columns.clear(last)
        if counts[list] % RowColumns.blockRows == 0 {
            blocks[list].removeLast()
            append(block, to: coarse.count)
        }
    }

    private func makeRoom(in list: Int) -> Int {
        if counts[list] % RowColumns.blockRows == 0 {
            let block = blocks[coarse.count].popLast() ?? makeBlock()
            if let last = blocks[list].last, last + 1 != block { strays += 1 }
            append(block, to: list)
            rows.clearBlock(Int(block))
        }
        guard let block = blocks[list].last else { preconditionFailure("a block was made") }
        defer { counts[list] += 1 }
        return Int(block) * RowColumns.blockRows + counts[list] % RowColumns.blockRows
    }

    private func append(_ block: UInt32, to list: Int) {
        places[Int(block)] = (UInt32(list), UInt32(blocks[list].count))
        blocks[list].append(block)
    }

    private func makeBlock() -> UInt32 {
        let block = places.count
        if (block + 1) * RowColumns.blockRows > columns.capacity {
            setCapacity(blocks: block + 1 + max(RowColumns.blockRows, block / 32))
        }
        columns.setBlocks(block + 1)
        places.append((UInt32(coarse.count), 0))
        return UInt32(block)
    }

    private func setCapacity(blocks: Int) {
        let kept = min(places.count, blocks) * RowColumns.blockRows
        rows.setCapacity(blocks * RowColumns.blockRows)
        owners.resize(to: columns.capacity, keeping: kept)
    }

    // MARK: - Order

    private func comesDue() -> Bool {
        guard loading.isEmpty, !isOrderDue else { return false }
        let limit = max(Self.disorderMin, (places.count - blocks[coarse.count].count) / 8)
        isOrderDue = strays > limit || blocks[coarse.count].count > 2 * limit
        return isOrderDue
    }

    /// Lets the blocks of each list follow each other, and gives back those that no list has.
    ///
    /// Searches and writes go on meanwhile, and wait for no more than a few blocks to be moved.
    public func putInOrder() {
        orderLock.withLock {
            var next: UInt32 = 0
            for list in 0..<coarse.count {
                var place = 0
                var isMore = true
                while isMore {
                    isMore = lock.withWriteLock {
                        let end = min(blocks[list].count, place + Self.slice)
                        while place < end {
                            swap(blocks[list][place], next)
                            next += 1
                            place += 1
                        }
                        return place < blocks[list].count
                    }
                }
            }
            lock.withWriteLock {
                strays = 0
                isOrderDue = false
                giveBack()
            }
        }
    }

    /// All blocks of the lists follow each other.
    package var isInOrder: Bool {
        lock.withReadLock { blocks.dropLast().joined().enumerated().allSatisfy { $0.offset == Int($0.element) } }
    }

    private func swap(_ left: UInt32, _ right: UInt32) {
        guard left != right, Int(right) < places.count else { return }
        var moves: [(owner: Int, slot: Int, position: UInt32)] = []
        for (from, to) in [(left, right), (right, left)] {
            for lane in 0..<UInt32(RowColumns.blockRows) {
                let position = from * UInt32(RowColumns.blockRows) + lane
                guard columns.isLive(Int(position)) else { continue }
                let owner = Int(owners.base[Int(position)])
                let slot = directories[owner].slot(holding: position, id: columns.ids[Int(position)])
                moves.append((owner, slot, to * UInt32(RowColumns.blockRows) + lane))
            }
        }
        for move in moves { directories[move.owner].replace(move.slot, with: move.position) }
        rows.swapBlocks(Int(left), Int(right))
        columns.swapBlocks(Int(left), Int(right))
        for lane in 0..<RowColumns.blockRows {
            let (a, b) = (Int(left) * RowColumns.blockRows + lane, Int(right) * RowColumns.blockRows + lane)
            (owners.base[a], owners.base[b]) = (owners.base[b], owners.base[a])
        }
        places.swapAt(Int(left), Int(right))
        for block in [left, right] {
            let place = places[Int(block)]
            blocks[Int(place.list)][Int(place.place)] = block
        }
    }

    private func giveBack() {
        let used = (places.lastIndex { $0.list != UInt32(coarse.count) } ?? -1) + 1
        let left = blocks[coarse.count].filter { $0 < used }
        blocks[coarse.count] = []
        for block in left { append(block, to: coarse.count) }
        places.removeLast(places.count - used)
        columns.setBlocks(used)
        setCapacity(blocks: used)
    }

    // MARK: - Searching

    /// Finds, for each query, the best rows by the first step among those of the lists that it looks into: exactly the
    /// best, ties by lower id.
    ///
    /// - Parameters:
    ///   - shards: Whose rows are answers, with the owners that the lists know them by.
    ///   - queries: Row-major, `queryCount` stored heads of W floats, finite.
    ///   - queryCount: Number of queries.
    ///   - steps: The resident steps of a plan, at least one; the first one's keep bounds the answer, all are scored.
    ///   - probed: By query, its lists, see ``CoarseLists/probed(by:width:probes:)``.
    ///   - part: Which of the `parts` of the lists are scanned.
    ///   - parts: In how many parts the lists are scanned, for example by as many threads.
    /// - Returns: By query, at most `steps[0].keep` rows, best first by the first step.
    public func search(
        shards: [(shard: UInt16, owner: UInt16)],
        queries: Span<Float>,
        queryCount: Int,
        steps: [ResolvedPlan.Step],
        probed: [[UInt32]],
        part: Int = 0,
        of parts: Int = 1
    ) -> [ShortlistColumns] {
        precondition(!steps.isEmpty && probed.count == queryCount, "a step, and lists for every query")
        let prepared = steps.map { PreparedStep($0, heads: queries, count: queryCount, shape: rows, path: path) }
        let order = ProbeOrder(probed, lists: coarse.count, part: part, of: parts)
        return lock.withReadLock {
            var numbers = [UInt16](repeating: 0, count: directories.count)
            var isWanted = [Bool](repeating: false, count: directories.count)
            var wantedCount = 0
            for (shard, owner) in shards {
                numbers[Int(owner)] = shard
                isWanted[Int(owner)] = true
                wantedCount += directories[Int(owner)].count
            }
            let visits = order.visits { blocks[Int($0)] }
            let best = TopRows(queryCount: queryCount, keep: steps[0].keep, rowLimit: columns.count, path: path)
            if wantedCount == columns.liveCount {
                prepared[0].scan(rows, visits, live: nil, into: best)
            } else if wantedCount > 0 {
                let live = masks(visits, isWanted)
                live.withUnsafeBufferPointer { prepared[0].scan(rows, visits, live: $0.baseAddress, into: best) }
            }
            let versions = columns.versions
            return best.rankings().enumerated().map { query, ranking in
                var found = ShortlistColumns()
                let places = ranking.rows.map { (table: 0, position: Int($0)) }
                found.ids = ranking.ids
                found.versions = places.map { versions[$0.position] }
                found.shards = places.map { numbers[Int(owners.base[$0.position])] }
                found.scores = [ranking.scores]
                for later in prepared.dropFirst() {
                    found.scores.append(later.scores(query: query, tables: [rows], places: places))
                }
                return found
            }
        }
    }

    /// The rows of wanted owners, by block; of the visited blocks alone.
    private func masks(_ visits: ListVisits, _ isWanted: [Bool]) -> [UInt16] {
        var masks = [UInt16](repeating: 0, count: columns.blockCount)
        for block in visits.blocks {
            var left = columns.live[block]
            while left != 0 {
                let lane = left.trailingZeroBitCount
                left &= left - 1
                if isWanted[Int(owners.base[block * RowColumns.blockRows + lane])] { masks[block] |= 1 << UInt16(lane) }
            }
        }
        return masks
    }
}

/// In which order lists are scanned, and for which queries: the nearest come first, so that thresholds are high when
/// most rows come, and each comes once.
private struct ProbeOrder {
    private var lists: [UInt32] = []
    /// Where the queries of each list end.
    private var ends: [Int] = []
    private var askers: [UInt32] = []

    init(_ probed: [[UInt32]], lists count: Int, part: Int, of parts: Int) {
        precondition(part >= 0 && part < parts, "a part of the lists")
        if probed.count == 1 {
            lists = stride(from: part, to: probed[0].count, by: parts).map { probed[0][$0] }
            ends = lists.indices.map { $0 + 1 }
            askers = [UInt32](repeating: 0, count: lists.count)
            return
        }
        var sizes = [Int](repeating: 0, count: count)
        for query in probed { for list in query { sizes[Int(list)] += 1 } }
        var number = 0
        var starts = [Int](repeating: -1, count: count)
        for rank in 0..<(probed.map(\.count).max() ?? 0) {
            for query in probed where rank < query.count {
                let list = Int(query[rank])
                guard starts[list] < 0, sizes[list] > 0 else { continue }
                defer { number += 1 }
                if number % parts != part {
                    sizes[list] = 0
                    continue
                }
                lists.append(query[rank])
                starts[list] = ends.last ?? 0
                ends.append(starts[list] + sizes[list])
            }
        }
        askers = [UInt32](repeating: 0, count: ends.last ?? 0)
        for (number, query) in probed.enumerated() {
            for list in query where starts[Int(list)] >= 0 {
                askers[starts[Int(list)]] = UInt32(number)
                starts[Int(list)] += 1
            }
        }
    }

    func visits(_ blocks: (UInt32) -> [UInt32]) -> ListVisits {
        var visits = ListVisits()
        var start = 0
        for (list, end) in zip(lists, ends) {
            visits.append(blocks: blocks(list), askers: askers[start..<end])
            start = end
        }
        return visits
    }
}
