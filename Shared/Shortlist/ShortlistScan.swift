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
    scanShortlist(shards: shards, queries: queries, queryCount: queryCount, steps: steps, path: .current)
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
        precondition(step.precision == shape.precision, "a step in another precision than the rows")
        return BlockQueries(
            heads: queries,
            count: queryCount,
            storedWidth: shape.storedWidth,
            dimensions: step.dimensions,
            precision: shape.precision,
            similarity: shape.similarity,
            path: path
        )
    }
    let tables = TableList(shards.map(\.rows.rows.directory.count))
    let best = TopRows(queryCount: queryCount, keep: steps[0].keep, rowLimit: tables.rowCount)
    for (number, shard) in shards.enumerated() {
        precondition(shard.rows.rows.storedWidth == shape.storedWidth, "shards of one shape")
        prepared[0].scan(shard.rows.rows, firstRow: tables.firstRows[number], into: best)
    }
    return best.rankings().enumerated().map { query, ranking in
        var columns = ShortlistColumns()
        columns.ids = ranking.ids
        columns.versions.reserveCapacity(ranking.ids.count)
        columns.shards.reserveCapacity(ranking.ids.count)
        columns.scores = [ranking.scores]
        let places = ranking.rows.map { tables.place(of: Int($0)) }
        for place in places {
            columns.versions.append(shards[place.table].rows.rows.directory.versions[place.position])
            columns.shards.append(shards[place.table].shard)
        }
        for later in prepared.dropFirst() {
            columns.scores.append(
                places.map { later.score(query: query, rows: shards[$0.table].rows.rows, position: $0.position) }
            )
        }
        return columns
    }
}
