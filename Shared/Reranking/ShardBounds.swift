import Matryoshka
public import VectorMath

/// Codes of one shard's rows from which an exact search knows what their scores can come to, in a mapped file.
///
/// A row that is written loses its codes at once, and is scored by every exact search until it has new ones.
final class ShardBounds {
    let rows: BoundRows
    private let file: MappedFile
    private let cache: VectorCache
    private let similarity: Similarity
    private let byteCount: Int
    /// Positions that were written since rows were lent to be coded; nil while none are.
    private var written: Set<Int>?

    /// Nil where the cache has no room for so many rows.
    init?(_ space: BoundSpace, similarity: Similarity, rows count: Int, cache: VectorCache) {
        let capacity = (count + RowColumns.blockRows - 1) / RowColumns.blockRows * RowColumns.blockRows
        byteCount = BoundRows.byteCount(space, rows: max(RowColumns.blockRows, capacity))
        self.cache = cache
        self.similarity = similarity
        guard cache.reserve(byteCount) else { return nil }
        guard let file = MappedFile(in: cache.directory, isReadInOrder: true), file.resize(to: byteCount) else {
            cache.release(byteCount)
            return nil
        }
        self.file = file
        rows = BoundRows(
            space: space,
            similarity: similarity,
            memory: file.base!,
            rows: max(RowColumns.blockRows, capacity)
        )
    }

    deinit { cache.release(byteCount) }

    func loosen(_ position: Int) {
        rows.loosen(position)
        written?.insert(position)
    }

    func lend() { written = [] }

    func write(_ coded: CodedVectors, at positions: [Int], _ isStillThere: (Int) -> Bool) {
        guard let written else { return }
        self.written = nil
        for (number, position) in positions.enumerated()
        where !written.contains(position) && isStillThere(number) {
            rows.write(coded, number, at: position)
        }
    }

    /// The same rows at other positions; nil where there is no room for them.
    func moved(_ order: [UInt32]) -> ShardBounds? {
        let count = order.count + order.count / 8
        guard let moved = ShardBounds(rows.space, similarity: similarity, rows: count, cache: cache) else { return nil }
        moved.rows.take(rows, order: order)
        return moved
    }
}

/// Rows of a shard without codes, lent to be coded.
public struct LooseRows: Sendable {
    fileprivate var positions: [Int]
    fileprivate var ids: [Int64]
    /// Row-major.
    public fileprivate(set) var vectors: [Float]
}

extension VectorShard {
    /// Rows that an exact search must score, since they have no codes of this space.
    public func looseRowCount(_ space: BoundSpace) -> Int {
        guard let bounds, bounds.rows.space === space else { return rowCount }
        return bounds.rows.split(directory).loose.count
    }

    /// Makes room for codes of all rows that are held, where there is none; false where the cache has none.
    public func makeBounds(_ space: BoundSpace, in cache: VectorCache) -> Bool {
        guard isWhole else { return false }
        if let bounds, bounds.rows.space === space, bounds.rows.capacity >= directory.count { return true }
        // The old file goes first.
        bounds = nil
        bounds = ShardBounds(space, similarity: similarity, rows: directory.count + directory.count / 8, cache: cache)
        return bounds != nil
    }

    /// Some of the rows without codes from a position on, and the next position; nil where there are none.
    public func lendLoose(from first: Int, limit: Int) -> (rows: LooseRows, next: Int)? {
        guard let bounds else { return nil }
        var lent = LooseRows(positions: [], ids: [], vectors: [])
        var position = first
        while position < min(directory.count, bounds.rows.capacity), lent.positions.count < limit {
            if directory.isLive(position), !bounds.rows.isBound(position) {
                lent.positions.append(position)
                lent.ids.append(directory.ids[position])
                lent.vectors.append(contentsOf: UnsafeBufferPointer(start: row(position), count: dimensions))
            }
            position += 1
        }
        if lent.positions.isEmpty { return nil }
        bounds.lend()
        return (lent, position)
    }

    /// Adds every `step`-th row to a sample, the first one `first` rows from the beginning; returns how many rows of the
    /// next shard are to be passed over.
    public func sample(from first: Int, step: Int, into sample: inout [Float]) -> Int {
        guard isWhole else { return first }
        var left = first
        for position in 0..<directory.count where directory.isLive(position) {
            if left == 0 {
                sample.append(contentsOf: UnsafeBufferPointer(start: row(position), count: dimensions))
                left = step
            }
            left -= 1
        }
        return left
    }

    /// Keeps the codes of rows that were lent last, but of none that was written, moved or removed since.
    public func bind(_ lent: LooseRows, _ coded: CodedVectors, in space: BoundSpace) {
        guard let bounds, bounds.rows.space === space else { return }
        bounds.write(coded, at: lent.positions) { number in
            let position = lent.positions[number]
            return position < directory.count && directory.isLive(position)
                && directory.ids[position] == lent.ids[number]
        }
    }
}
