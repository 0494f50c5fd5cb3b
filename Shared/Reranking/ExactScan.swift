import Matryoshka
public import VectorMath

/// What an exact search has cost.
public struct ExactEffort: Sendable, Hashable {
    /// Multiply-adds of all queries, of codes and of floats alike.
    public var multiplyAdds = 0
    /// Rows of all queries that were scored on the original vector.
    public var scoredRows = 0
    /// Rows of the shards that had no codes.
    public var looseRows = 0

    /// Nothing was done.
    public init() {}

    /// Adds another's.
    public static func += (left: inout ExactEffort, right: ExactEffort) {
        left.multiplyAdds += right.multiplyAdds
        left.scoredRows += right.scoredRows
        left.looseRows += right.looseRows
    }
}

/// Finds what ``scanFull(shards:queries:queryCount:step:)`` finds at full size in float32, to the bit, for less.
///
/// A first level of rotated codes is read for all rows, and those that look best are scored. From then on a row is let
/// go at the level where even the greatest score that the rest of it allows does not reach the k-th best; every error
/// of codes, rotation and rounding is part of what it allows. What is left is scored on the original vector. Rows
/// without codes are scored, all of them.
///
/// - Parameters:
///   - shards: What to search, with the numbers that the answer names them by; held whole.
///   - queries: Row-major, `queryCount` full vectors, finite.
///   - queryCount: Number of queries.
///   - keep: Rows wanted of each query.
///   - space: Of the codes; codes of another count as none.
/// - Returns: By query, exactly the best rows over all shards together, best first, ties by lower id.
public func scanExact(
    shards: [(shard: UInt16, rows: VectorShard)],
    queries: Span<Float>,
    queryCount: Int,
    keep: Int,
    space: BoundSpace
) -> (found: [FullScanColumns], effort: ExactEffort) {
    scanExact(shards: shards, queries: queries, queryCount: queryCount, keep: keep, space: space, path: .current)
}

package func scanExact(
    shards: [(shard: UInt16, rows: VectorShard)],
    queries: Span<Float>,
    queryCount: Int,
    keep: Int,
    space: BoundSpace,
    path: KernelPath
) -> (found: [FullScanColumns], effort: ExactEffort) {
    var effort = ExactEffort()
    guard let shape = shards.first?.rows else {
        return (Array(repeating: FullScanColumns(), count: queryCount), effort)
    }
    precondition(shape.dimensions == space.dimensions, "codes of another size")
    let width = space.dimensions
    let batch = 8
    var found: [FullScanColumns] = []
    for first in stride(from: 0, to: queryCount, by: batch) {
        let count = min(batch, queryCount - first)
        let vectors = queries.extracting(first * width..<(first + count) * width)
        let scan = ExactScan(shards: shards, queries: vectors, count: count, keep: keep, space: space, path: path)
        found += scan.run()
        effort += scan.effort
        effort.looseRows = scan.effort.looseRows
    }
    return (found, effort)
}

/// One batch of queries over all tables.
private final class ExactScan {
    /// What is seen of a table.
    private struct Table {
        var rows: VectorShard
        var codes: BoundRows?
        /// By block, the rows with codes.
        var lanes: [UInt16]
        /// Positions of those without.
        var loose: [UInt32]
        /// Where its partial sums begin.
        var sumsAt: Int
        var boundCount: Int
    }

    private let shards: [(shard: UInt16, rows: VectorShard)]
    private let space: BoundSpace
    private let keep: Int
    private let list: TableList
    private let tables: [Table]
    private let queryVectors: [Float]
    private let queries: BoundQueries
    private let scorers: [FloatQuery]
    private let best: TopRows
    private let sumCount: Int
    private let boundCount: Int
    private(set) var effort = ExactEffort()

    init(
        shards: [(shard: UInt16, rows: VectorShard)],
        queries vectors: Span<Float>,
        count: Int,
        keep: Int,
        space: BoundSpace,
        path: KernelPath
    ) {
        self.shards = shards
        self.space = space
        self.keep = keep
        let held = shards.map(\.rows)
        precondition(held.allSatisfy { $0.dimensions == space.dimensions && $0.isWhole }, "whole shards of one shape")
        list = TableList(held.map(\.directory))
        var sumCount = 0
        tables = held.map { rows in
            let codes = rows.bounds.flatMap { $0.rows.space === space ? $0.rows : nil }
            let (lanes, loose) =
                codes?.split(rows.directory) ?? (
                    [], (0..<UInt32(rows.directory.count)).filter { rows.directory.isLive(Int($0)) }
                )
            defer { sumCount += codes == nil ? 0 : lanes.count * RowColumns.blockRows }
            return Table(
                rows: rows,
                codes: codes,
                lanes: lanes,
                loose: loose,
                sumsAt: sumCount,
                boundCount: lanes.reduce(0) { $0 + $1.nonzeroBitCount }
            )
        }
        self.sumCount = sumCount
        boundCount = tables.reduce(0) { $0 + $1.boundCount }
        queryVectors = vectors.withUnsafeBufferPointer { [Float]($0) }
        queries = BoundQueries(queryVectors, space: space, path: path)
        scorers = (0..<count).map { query in
            FloatQuery(
                vectors.extracting(query * space.dimensions..<(query + 1) * space.dimensions),
                dimensions: space.dimensions,
                isHalf: false,
                similarity: held[0].similarity,
                path: path
            )
        }
        best = TopRows(queryCount: count, keep: keep, rowLimit: list.rowCount, path: path)
        effort.multiplyAdds = count * space.dimensions * space.dimensions
        effort.looseRows = tables.reduce(0) { $0 + $1.loose.count }
    }

    func run() -> [FullScanColumns] {
        let sums = UnsafeMutablePointer<Float>.allocate(capacity: max(1, sumCount * scorers.count))
        let longest = 1 + (tables.map { $0.lanes.count * RowColumns.blockRows }.max() ?? 0)
        let positions = UnsafeMutablePointer<UInt32>.allocate(capacity: longest)
        let partials = UnsafeMutablePointer<Float>.allocate(capacity: longest)
        defer {
            sums.deallocate()
            positions.deallocate()
            partials.deallocate()
        }
        for table in tables {
            guard let codes = table.codes else { continue }
            for query in scorers.indices where queries.isBounded(query) {
                codes.firstSums(queries, query, lanes: table.lanes, into: sums + query * sumCount + table.sumsAt)
                effort.multiplyAdds += table.boundCount * space.levels[0].count
            }
        }
        for query in scorers.indices {
            for (number, table) in tables.enumerated() { score(query, number, table.loose) }
            search(query, sums + query * sumCount, positions, partials)
        }
        return best.rankings().map { ranking in
            var columns = FullScanColumns()
            columns.ids = ranking.ids
            columns.scores = ranking.scores
            for row in ranking.rows {
                let place = list.place(of: row)
                columns.versions.append(tables[place.table].rows.directory.versions[place.position])
                columns.shards.append(shards[place.table].shard)
            }
            return columns
        }
    }

    private func search(
        _ query: Int,
        _ sums: UnsafePointer<Float>,
        _ positions: UnsafeMutablePointer<UInt32>,
        _ partials: UnsafeMutablePointer<Float>
    ) {
        var lanes = tables.map(\.lanes)
        guard queries.isBounded(query) else {
            for (number, lanes) in lanes.enumerated() { score(query, number, Self.positions(lanes)) }
            return
        }
        seed(query, sums, &lanes)
        // Where bounds let nothing go, they are only asked now and then.
        var (asked, left, skipped) = (0, 0, 0)
        for (number, table) in tables.enumerated() where table.boundCount > 0 {
            if asked >= 2048, left * 2 > asked, skipped < 7 {
                skipped += 1
                score(query, number, Self.positions(lanes[number]))
                continue
            }
            if skipped > 0 { (asked, left, skipped) = (0, 0, 0) }
            let count = table.codes!.survivors(
                queries,
                query,
                lanes: lanes[number],
                sums: sums + table.sumsAt,
                threshold: best.threshold(query),
                rows: positions,
                partials: partials,
                work: &effort.multiplyAdds
            )
            asked += table.boundCount
            left += count
            score(query, number, UnsafeBufferPointer(start: positions, count: count))
        }
    }

    /// Scores those that look best at the first level, and takes them out of the lanes.
    private func seed(_ query: Int, _ sums: UnsafePointer<Float>, _ lanes: inout [[UInt16]]) {
        let wanted = max(256, 4 * keep)
        // Their rank among some rows from everywhere tells the sum that so many reach.
        let step = max(1, boundCount / 4096)
        var sample: [Float] = []
        sample.reserveCapacity(boundCount / step + 1)
        var next = 0
        for table in tables {
            for (block, live) in table.lanes.enumerated() where live != 0 {
                var rest = live
                while rest != 0 {
                    if next == 0 {
                        sample.append(sums[table.sumsAt + block * RowColumns.blockRows + rest.trailingZeroBitCount])
                        next = step
                    }
                    next -= 1
                    rest &= rest - 1
                }
            }
        }
        guard !sample.isEmpty else { return }
        sample.sort(by: >)
        let cut = sample[min(sample.count - 1, wanted / step + 2)]
        var left = 4 * wanted
        for (number, table) in tables.enumerated() where left > 0 {
            var chosen: [UInt32] = []
            for (block, live) in table.lanes.enumerated() where live != 0 {
                let first = block * RowColumns.blockRows
                for lane in 0..<RowColumns.blockRows
                where sums[table.sumsAt + first + lane] >= cut && live >> UInt16(lane) & 1 == 1 {
                    chosen.append(UInt32(first + lane))
                    lanes[number][block] &= ~(1 << UInt16(lane))
                }
            }
            left -= chosen.count
            score(query, number, chosen)
        }
    }

    private static func positions(_ lanes: [UInt16]) -> [UInt32] {
        var positions: [UInt32] = []
        for (block, live) in lanes.enumerated() {
            var rest = live
            while rest != 0 {
                positions.append(UInt32(block * RowColumns.blockRows + rest.trailingZeroBitCount))
                rest &= rest - 1
            }
        }
        return positions
    }

    /// Scores rows of one table on their original vectors.
    private func score(_ query: Int, _ number: Int, _ positions: some Collection<UInt32>) {
        guard !positions.isEmpty else { return }
        let rows = tables[number].rows
        let scores = scorers[query].scores(of: positions.map { rows.row(Int($0)) })
        let firstRow = UInt32(list.firstRow(number))
        best.offer(
            query,
            scores: scores,
            ids: positions.map { rows.directory.ids[Int($0)] },
            rows: positions.map { firstRow + $0 }
        )
        effort.multiplyAdds += scores.count * space.dimensions
        effort.scoredRows += scores.count
    }
}
