public import Matryoshka
package import VectorMath

/// The shortlist of one query, as columns, best first.
public struct ShortlistColumns: Sendable, Hashable {
    /// Internal ids.
    public var ids: [Int64] = []
    /// Versions of the rows that were scored.
    public var versions: [UInt32] = []
    /// Logical shard of each row.
    public var shards: [UInt16] = []
    /// `scores[step][row]`, for all steps that were given.
    public var scores: [[Float]] = []

    /// Makes an empty shortlist.
    public init() {}
}

/// Scans all rows of `shards` for a batch of queries and keeps, for each, the best of the first step over all shards
/// together: exactly the best, ties by lower id, whatever the data.
///
/// The shards have one shape and hold no id twice; whoever calls holds their locks.
///
/// - Parameters:
///   - shards: What to search, with the numbers that the answer names them by.
///   - queries: Row-major, `queryCount` stored heads of W floats, finite.
///   - queryCount: Number of queries.
///   - steps: The resident steps of a plan, at least one; the first one's keep bounds the answer, all are scored.
/// - Returns: By query, at most `steps[0].keep` rows, best first by the first step.
public func scanShortlist(
    shards: [(shard: UInt16, rows: ResidentShard)],
    queries: Span<Float>,
    queryCount: Int,
    steps: [ResolvedPlan.Step]
) -> [ShortlistColumns] {
    scanShortlist(
        shards: shards,
        queries: queries,
        queryCount: queryCount,
        steps: steps,
        path: .current
    )
}

package func scanShortlist(
    shards: [(shard: UInt16, rows: ResidentShard)],
    queries: Span<Float>,
    queryCount: Int,
    steps: [ResolvedPlan.Step],
    path: KernelPath
) -> [ShortlistColumns] {
    precondition(!steps.isEmpty, "a shortlist needs a step")
    guard let shape = shards.first?.rows.rows else {
        var empty = ShortlistColumns()
        empty.scores = steps.map { _ in [] }
        return [ShortlistColumns](repeating: empty, count: queryCount)
    }
    let prepared = steps.map { step in
        PreparedStep(step, heads: queries, count: queryCount, shape: shape, path: path)
    }
    let held = shards.map(\.rows.rows)
    precondition(held.allSatisfy { $0.storedWidth == shape.storedWidth }, "shards of one shape")
    let tables = TableList(held.map(\.columns))
    let rankings = TopRows.ranked(
        queryCount: queryCount,
        keep: steps[0].keep,
        tables: tables,
        path: path,
        blockRows: prepared[0].blockRows
    ) { table, pass, best in
        prepared[0].scan(held[table], firstRow: tables.firstRow(table), pass: pass, into: best)
    }
    let versions = held.map(\.columns.versions)
    let numbers = shards.map(\.shard)
    return rankings.enumerated().map { query, ranking in
        var columns = ShortlistColumns()
        let places = ranking.rows.map(tables.place)
        columns.ids = ranking.ids
        columns.versions = places.map { versions[$0.table][$0.position] }
        columns.shards = places.map { numbers[$0.table] }
        columns.scores = [ranking.scores]
        for later in prepared.dropFirst() {
            columns.scores.append(later.scores(query: query, tables: held, places: places))
        }
        return columns
    }
}
