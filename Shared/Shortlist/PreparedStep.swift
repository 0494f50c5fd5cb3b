import Matryoshka
import VectorMath

/// The queries of a batch at one resident step.
enum PreparedStep {
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
        case .blocks: RowColumns.blockRows
        case .bits: BitRows.blockRows
        }
    }

    func scan(_ rows: BlockedRows, firstRow: Int, pass: TopRows.Pass, into best: TopRows) {
        switch self {
        case .blocks(let queries): queries.scan(rows, firstRow: firstRow, pass: pass, into: best)
        case .bits(let queries):
            guard let bits = rows.bits else { preconditionFailure("shards of one shape") }
            queries.scan(bits, columns: rows.columns, firstRow: firstRow, pass: pass, into: best)
        }
    }

    // live: which rows of each block count, in place of the columns.
    func scan(_ rows: BlockedRows, _ visits: ListVisits, live: UnsafePointer<UInt16>?, into best: TopRows) {
        switch self {
        case .blocks(let queries): queries.scan(rows, visits, live: live, into: best)
        case .bits(let queries):
            guard let bits = rows.bits else { preconditionFailure("rows of one shape") }
            queries.scan(bits, columns: rows.columns, visits, live: live ?? rows.columns.live, into: best)
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
