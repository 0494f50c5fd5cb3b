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
///   - probed: By query, the inverted lists whose rows are scanned, see ``CoarseLists/probed(by:width:probes:)``; nil:
///     all rows are. The shards then have the lists.
/// - Returns: By query, at most `steps[0].keep` rows, best first by the first step.
public func scanShortlist(
    shards: [(shard: UInt16, rows: ResidentShard)],
    queries: Span<Float>,
    queryCount: Int,
    steps: [ResolvedPlan.Step],
    probed: [[UInt32]]? = nil
) -> [ShortlistColumns] {
    scanShortlist(
        shards: shards,
        queries: queries,
        queryCount: queryCount,
        steps: steps,
        probed: probed,
        path: .current
    )
}

package func scanShortlist(
    shards: [(shard: UInt16, rows: ResidentShard)],
    queries: Span<Float>,
    queryCount: Int,
    steps: [ResolvedPlan.Step],
    probed: [[UInt32]]? = nil,
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
    for shard in shards { shard.rows.settle() }
    let held = shards.map(\.rows.rows)
    precondition(held.allSatisfy { $0.storedWidth == shape.storedWidth }, "shards of one shape")
    let tables = TableList(held.map(\.directory))
    let rankings: [TopRows.Ranking]
    let listed = shards.compactMap(\.rows.listed)
    if let probed {
        precondition(listed.count == shards.count && probed.count == queryCount, "lists for every shard and query")
        let best = TopRows(queryCount: queryCount, keep: steps[0].keep, rowLimit: tables.rowCount, path: path)
        switch prepared[0] {
        case .blocks(let queries):
            scanLists(listed, probed: probed, by: QuerySubset(of: queries, into: best, tables: held, list: tables))
        case .bits(let queries):
            scanLists(
                listed,
                probed: probed,
                by: BitQuerySubset(of: queries, into: best, tables: held, list: tables)
            )
        }
        rankings = best.rankings()
    } else {
        rankings = TopRows.ranked(
            queryCount: queryCount,
            keep: steps[0].keep,
            tables: tables,
            path: path,
            blockRows: prepared[0].blockRows
        ) { table, pass, best in
            prepared[0].scan(held[table], firstRow: tables.firstRow(table), pass: pass, into: best)
        }
    }
    let versions = held.map(\.directory.versions)
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

/// The queries of a batch at one resident step.
private enum PreparedStep {
    case blocks(BlockQueries)
    case bits(BitQueries)

    init(_ step: ResolvedPlan.Step, heads: Span<Float>, count: Int, shape: BlockedRows, path: KernelPath) {
        if step.precision == .bit {
            guard let bits = shape.bits else { preconditionFailure("a bit step over rows without bits") }
            self = .bits(
                BitQueries(
                    heads: heads,
                    count: count,
                    rotation: bits.rotation,
                    dimensions: step.dimensions,
                    similarity: shape.similarity,
                    path: path
                )
            )
        } else {
            precondition(step.precision == shape.precision, "a step in another precision than the rows")
            self = .blocks(
                BlockQueries(
                    heads: heads,
                    count: count,
                    storedWidth: shape.storedWidth,
                    dimensions: step.dimensions,
                    precision: shape.precision,
                    similarity: shape.similarity,
                    path: path
                )
            )
        }
    }

    var blockRows: Int {
        switch self {
        case .blocks: RowDirectory.blockRows
        case .bits: BitRows.blockRows
        }
    }

    func scan(_ rows: BlockedRows, firstRow: Int, pass: TopRows.Pass, into best: TopRows) {
        switch self {
        case .blocks(let queries): queries.scan(rows, firstRow: firstRow, pass: pass, into: best)
        case .bits(let queries):
            guard let bits = rows.bits else { preconditionFailure("shards of one shape") }
            queries.scan(bits, directory: rows.directory, firstRow: firstRow, pass: pass, into: best)
        }
    }

    func scores(query: Int, tables: [BlockedRows], places: [(table: Int, position: Int)]) -> [Float] {
        switch self {
        case .blocks(let queries): return queries.scores(query: query, tables: tables, places: places)
        case .bits(let queries):
            return places.map { place in
                guard let bits = tables[place.table].bits else { preconditionFailure("shards of one shape") }
                return queries.score(query: query, rows: bits, position: place.position)
            }
        }
    }
}
