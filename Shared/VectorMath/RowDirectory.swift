import CVectorKernels

/// Ids, versions and presence of the rows of one table, by position.
package class RowColumns {
    /// Rows of one block; `live` has one bit per row.
    package static let blockRows = 16
    /// Bytes of a row in the three columns, rounded up.
    package static let bytesPerRow = 13

    /// Positions in use, holes included.
    package fileprivate(set) final var count = 0
    /// Rows that are there.
    package fileprivate(set) final var liveCount = 0
    fileprivate final var idColumn = Column<Int64>()
    fileprivate final var versionColumn = Column<UInt32>()
    fileprivate final var liveColumn = Column<UInt16>()

    package init() {}

    package final var ids: UnsafePointer<Int64> { UnsafePointer(idColumn.base) }
    package final var versions: UnsafePointer<UInt32> { UnsafePointer(versionColumn.base) }
    package final var live: UnsafePointer<UInt16> { UnsafePointer(liveColumn.base) }
    /// Positions that fit without growing; a multiple of ``blockRows``.
    package final var capacity: Int { idColumn.capacity }
    package final var blockCount: Int { (count + Self.blockRows - 1) / Self.blockRows }
    /// Of the columns.
    package var byteCount: Int { idColumn.byteCount + versionColumn.byteCount + liveColumn.byteCount }

    /// Makes room for exactly `rows` positions, rounded up to a block; never below ``count``.
    package final func setCapacity(_ rows: Int) {
        let blocks = (max(rows, count) + Self.blockRows - 1) / Self.blockRows
        idColumn.resize(to: blocks * Self.blockRows, keeping: count)
        versionColumn.resize(to: blocks * Self.blockRows, keeping: count)
        liveColumn.resize(to: blocks, keeping: blockCount)
    }

    package final func isLive(_ position: Int) -> Bool {
        liveColumn.base[position / Self.blockRows] >> UInt16(position % Self.blockRows) & 1 == 1
    }

    fileprivate final func setLive(_ position: Int, _ isLive: Bool) {
        let bit = UInt16(1) << UInt16(position % Self.blockRows)
        if isLive {
            liveColumn.base[position / Self.blockRows] |= bit
            liveCount += 1
        } else {
            liveColumn.base[position / Self.blockRows] &= ~bit
            liveCount -= 1
        }
    }
}

/// Columns whose rows lie where the caller wants them.
package final class PlacedColumns: RowColumns {
    /// Takes whole blocks into use, or gives back those at the end, which hold no row; there is room.
    package func setBlocks(_ blocks: Int) {
        precondition(blocks * Self.blockRows <= capacity, "columns must grow before rows are placed")
        for block in count / Self.blockRows..<max(blocks, count / Self.blockRows) { liveColumn.base[block] = 0 }
        count = blocks * Self.blockRows
    }

    /// Writes what is known of the row at a position, there or not.
    package func put(id: Int64, version: UInt32, at position: Int) {
        precondition(position < count, "a position in use")
        idColumn.base[position] = id
        versionColumn.base[position] = version
        if !isLive(position) { setLive(position, true) }
    }

    /// The row at a position goes.
    package func clear(_ position: Int) {
        if isLive(position) { setLive(position, false) }
    }

    /// Two blocks change places.
    package func swapBlocks(_ left: Int, _ right: Int) {
        for lane in 0..<Self.blockRows {
            let (a, b) = (left * Self.blockRows + lane, right * Self.blockRows + lane)
            (idColumn.base[a], idColumn.base[b]) = (idColumn.base[b], idColumn.base[a])
            (versionColumn.base[a], versionColumn.base[b]) = (versionColumn.base[b], versionColumn.base[a])
        }
        (liveColumn.base[left], liveColumn.base[right]) = (liveColumn.base[right], liveColumn.base[left])
    }
}

/// Columns that find their rows by id.
///
/// The first ``sortedCount`` positions hold ascending ids. Later ones are found through runs: lists of positions
/// sorted by id whose sizes fall by half, so that a bulk load in any order costs a logarithmic number of merges.
/// Ascending ids, the common case, extend the sorted part and cost nothing. A removed row leaves a hole that only
/// its own id can fill again, until ``compact(_:)``.
package final class RowDirectory: RowColumns {
    /// Where an offered row goes.
    package enum Placement: Equatable {
        /// A newer version is held.
        case ignored
        /// Write the row here.
        case at(Int)
    }

    private static let freshLimit = 128

    private var sortedCount = 0
    private var runs: [[UInt32]] = []
    private var fresh: [UInt32] = []
    private var greatest = Int64.min

    package override var byteCount: Int { super.byteCount + 4 * runs.reduce(fresh.count) { $0 + $1.count } }

    /// The position of a row that is there.
    package func position(of id: Int64) -> Int? {
        guard let position = entry(of: id), isLive(position) else { return nil }
        return position
    }

    /// Finds or makes the place of a row.
    ///
    /// There must be room for one more.
    package func place(id: Int64, version: UInt32) -> Placement {
        if let position = entry(of: id) {
            if isLive(position) {
                if version < versionColumn.base[position] { return .ignored }
            } else {
                setLive(position, true)
            }
            versionColumn.base[position] = version
            return .at(position)
        }
        precondition(count < capacity, "a directory must grow before a row is placed")
        let position = count
        count += 1
        idColumn.base[position] = id
        versionColumn.base[position] = version
        setLive(position, true)
        if sortedCount == position && (position == 0 || id > greatest) {
            sortedCount += 1
        } else {
            fresh.append(UInt32(position))
            if fresh.count == Self.freshLimit { flush() }
        }
        greatest = max(greatest, id)
        return .at(position)
    }

    /// Takes a row out; false where it is not there.
    package func remove(id: Int64) -> Bool {
        guard let position = position(of: id) else { return false }
        setLive(position, false)
        return true
    }

    package func removeAll() {
        count = 0
        liveCount = 0
        sortedCount = 0
        runs = []
        fresh = []
        greatest = .min
        setCapacity(0)
    }

    /// Holes have become too many.
    package var needsCompaction: Bool { count - liveCount > 256 && (count - liveCount) * 16 > count }

    /// The positions of all rows by ascending id; nil where they are in that order already and without holes.
    package func compactionOrder() -> [UInt32]? {
        if sortedCount == count && liveCount == count { return nil }
        flush()
        var order: [UInt32] = []
        while let run = runs.popLast() { order = merge(run, order) }
        order = merge([UInt32](0..<UInt32(sortedCount)), order)
        order.removeAll { !isLive(Int($0)) }
        return order
    }

    /// Moves the row at `order[i]` to position i; the order is that of the ids, and names every row.
    ///
    /// The caller moves its own columns alike.
    package func compact(_ order: [UInt32]) {
        precondition(order.count == liveCount, "an order names every row once")
        let oldIDs = [Int64](UnsafeBufferPointer(start: idColumn.base, count: count))
        let oldVersions = [UInt32](UnsafeBufferPointer(start: versionColumn.base, count: count))
        for (position, from) in order.enumerated() {
            idColumn.base[position] = oldIDs[Int(from)]
            versionColumn.base[position] = oldVersions[Int(from)]
        }
        for block in 0..<blockCount {
            let rows = max(0, min(Self.blockRows, order.count - block * Self.blockRows))
            liveColumn.base[block] = UInt16(truncatingIfNeeded: (1 << rows) - 1)
        }
        count = order.count
        sortedCount = count
        runs = []
        fresh = []
        greatest = order.isEmpty ? .min : idColumn.base[count - 1]
    }

    /// The position of an id, there or a hole.
    private func entry(of id: Int64) -> Int? {
        guard count > 0, id <= greatest else { return nil }
        return place(of: id, near: nearer(id, from: guess(of: id)))
    }

    // MARK: Many ids at once

    /// About where an id is among those in order; what is there is asked for.
    ///
    /// Whoever looks for many ids does so step by step for all of them: guess, ``nearer(_:from:)`` twice, then
    /// ``place(of:near:)``. No look at memory waits for another then.
    package func guess(of id: Int64) -> Int {
        guard sortedCount > 0 else { return 0 }
        let ids = idColumn.base
        let (first, last) = (Double(ids[0]), Double(ids[sortedCount - 1]))
        // Ids are spread over their range nearly evenly.
        let share = (Double(id) - first) / max(1, last - first)
        let place = min(sortedCount - 1, max(0, Int(min(1, max(0, share)) * Double(sortedCount - 1))))
        mrl_prefetch(ids + place)
        return place
    }

    /// Goes on to where an even spread from a place on has the id.
    package func nearer(_ id: Int64, from place: Int) -> Int {
        guard sortedCount > 0 else { return 0 }
        let ids = idColumn.base
        let distance = Double(id) - Double(ids[place])
        if distance == 0 { return place }
        let perID = Double(sortedCount - 1) / max(1, Double(ids[sortedCount - 1]) - Double(ids[0]))
        let step = max(-Double(sortedCount), min(Double(sortedCount), distance * perID))
        let next = min(sortedCount - 1, max(0, place + Int(step)))
        mrl_prefetch(ids + next)
        return next
    }

    /// Where an id is, there or a hole, the sooner the nearer the place is; nil where it was never placed.
    package func place(of id: Int64, near place: Int) -> Int? {
        let ids = idColumn.base
        if let found = Self.search(sortedCount, { ids[$0] }, for: id, from: place) { return found }
        for run in runs {
            if let found = run.withUnsafeBufferPointer({ run in
                Self.search(run.count, { ids[Int(run[$0])] }, for: id, from: run.count / 2).map { Int(run[$0]) }
            }) {
                return found
            }
        }
        for position in fresh where ids[Int(position)] == id { return Int(position) }
        return nil
    }

    /// Widens around a place until the id is inside, then halves.
    @inline(__always)
    private static func search(_ count: Int, _ idAt: (Int) -> Int64, for id: Int64, from place: Int) -> Int? {
        guard count > 0, id >= idAt(0), id <= idAt(count - 1) else { return nil }
        var low = place
        var length: Int
        var step = 4
        if idAt(low) <= id {
            while low + step < count, idAt(low + step) <= id {
                low += step
                step *= 2
            }
            length = min(step, count - low)
        } else {
            let above = low
            repeat {
                low = max(0, low - step)
                step *= 2
            } while low > 0 && idAt(low) > id
            length = above - low
        }
        while length > 1 {
            let half = length / 2
            if idAt(low + half) <= id { low += half }
            length -= half
        }
        return idAt(low) == id ? low : nil
    }

    /// What is known of the row at a position is about to be read.
    package func expectRow(_ position: Int) {
        mrl_prefetch(versionColumn.base + position)
        mrl_prefetch(liveColumn.base + position / Self.blockRows)
    }

    private func flush() {
        guard !fresh.isEmpty else { return }
        let ids = idColumn.base
        var run = fresh.sorted { ids[Int($0)] < ids[Int($1)] }
        fresh.removeAll(keepingCapacity: true)
        while let last = runs.last, last.count < 2 * run.count {
            runs.removeLast()
            run = merge(last, run)
        }
        runs.append(run)
    }

    private func merge(_ left: [UInt32], _ right: [UInt32]) -> [UInt32] {
        guard let leftLast = left.last, let rightFirst = right.first else { return left.isEmpty ? right : left }
        let ids = idColumn.base
        if ids[Int(leftLast)] < ids[Int(rightFirst)] { return left + right }
        return [UInt32](unsafeUninitializedCapacity: left.count + right.count) { out, count in
            var (i, j) = (0, 0)
            while i < left.count || j < right.count {
                let takesLeft = j == right.count || (i < left.count && ids[Int(left[i])] < ids[Int(right[j])])
                out[i + j] = takesLeft ? left[i] : right[j]
                if takesLeft { i += 1 } else { j += 1 }
            }
            count = i + j
        }
    }
}
