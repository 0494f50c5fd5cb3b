public import Matryoshka
package import VectorMath

/// The best rows of one query, as columns, best first.
public struct FullScanColumns: Sendable, Hashable {
    /// Internal ids.
    public var ids: [Int64] = []
    /// Versions of the rows that were scored.
    public var versions: [UInt32] = []
    /// Logical shard of each row.
    public var shards: [UInt16] = []
    /// The step's score of each row.
    public var scores: [Float] = []

    /// Makes an empty ranking.
    public init() {}
}

/// Scans all rows of `shards` at one float step for a batch of queries: plans that no head can start.
///
/// The shards have one shape, are held whole, and hold no id twice; whoever calls holds their locks.
///
/// - Parameters:
///   - shards: What to search, with the numbers that the answer names them by.
///   - queries: Row-major, `queryCount` full vectors, finite.
///   - queryCount: Number of queries.
///   - step: float32 or float16, at most D dimensions.
/// - Returns: By query, exactly the best `step.keep` rows over all shards together, best first, ties by lower id.
public func scanFull(
    shards: [(shard: UInt16, rows: VectorShard)],
    queries: Span<Float>,
    queryCount: Int,
    step: ResolvedPlan.Step
) -> [FullScanColumns] {
    scanFull(shards: shards, queries: queries, queryCount: queryCount, step: step, path: .current)
}

package func scanFull(
    shards: [(shard: UInt16, rows: VectorShard)],
    queries: Span<Float>,
    queryCount: Int,
    step: ResolvedPlan.Step,
    path: KernelPath
) -> [FullScanColumns] {
    precondition(step.precision >= .float16, "a full scan is a float step")
    guard let shape = shards.first?.rows else {
        return [FullScanColumns](repeating: FullScanColumns(), count: queryCount)
    }
    let prepared = FullQueries(
        vectors: queries,
        count: queryCount,
        width: shape.dimensions,
        dimensions: step.dimensions,
        isHalf: step.precision == .float16,
        similarity: shape.similarity,
        path: path
    )
    let held = shards.map(\.rows)
    precondition(held.allSatisfy { $0.dimensions == shape.dimensions }, "shards of one shape")
    precondition(held.allSatisfy(\.isWhole), "a scan needs all rows")
    let tables = TableList(held.map(\.directory))
    let rankings = TopRows.ranked(queryCount: queryCount, keep: step.keep, tables: tables, path: path) {
        table,
        pass,
        best in
        prepared.scan(
            held[table].row(0),
            stride: shape.stride,
            directory: held[table].directory,
            firstRow: tables.firstRow(table),
            pass: pass,
            into: best
        )
    }
    return rankings.map { ranking in
        var columns = FullScanColumns()
        columns.ids = ranking.ids
        columns.scores = ranking.scores
        for row in ranking.rows {
            let place = tables.place(of: row)
            columns.versions.append(held[place.table].directory.versions[place.position])
            columns.shards.append(shards[place.table].shard)
        }
        return columns
    }
}
