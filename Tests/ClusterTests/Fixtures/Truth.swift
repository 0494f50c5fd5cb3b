import DocumentStore
import Matryoshka
import RetrievalTesting
import WireProtocol

/// One hit as the oracle sees it.
struct ExpectedHit: Sendable, Equatable {
    var id: String
    /// Scores of all stages, as bits: equality means to the last one.
    var scores: [UInt32]
}

/// A search with its right answer.
struct KnownSearch: Sendable {
    var request: SearchRequest
    var plan: ResolvedPlan
    var hits: [[ExpectedHit]]
    var rows: Int

    /// What is wrong with a reply; nil where it is right and complete.
    func fault(in reply: SearchReply) -> String? {
        if !reply.coverage.isComplete { return "incomplete: \(reply.coverage)" }
        if !reply.degraded.isEmpty { return "degraded: \(reply.degraded)" }
        if reply.coverage.rowsSearched != rows { return "\(reply.coverage.rowsSearched) rows searched of \(rows)" }
        if reply.plan != plan { return "ran \(reply.plan.plan), not \(plan.plan)" }
        return faultInHits(of: reply)
    }

    /// As ``fault(in:)``, the hits alone.
    func faultInHits(of reply: SearchReply) -> String? {
        guard reply.hits.count == hits.count else { return "\(reply.hits.count) lists for \(hits.count) queries" }
        for (query, (got, expected)) in zip(reply.hits, hits).enumerated() {
            if got.count != expected.count { return "query \(query): \(got.count) hits, not \(expected.count)" }
            for (place, (hit, right)) in zip(got, expected).enumerated() {
                let scores = (hit.scores ?? [hit.score]).map(\.bitPattern)
                let rightScores = hit.scores == nil ? [UInt32](right.scores.suffix(1)) : right.scores
                if hit.id != right.id || scores != rightScores || hit.score.bitPattern != right.scores.last {
                    return "query \(query), place \(place): \(hit), expected \(right.id) "
                        + "\(right.scores.map { Float(bitPattern: $0) }) in \(reply.plan.plan)"
                }
            }
        }
        return nil
    }
}

/// The rows of a collection as the tables have them.
struct Truth: Sendable {
    private(set) var shape: CollectionShape
    let rows: [Oracle.Row]
    let externalIDs: [Int64: String]
    private let oracle: Oracle
    /// Of a rotated collection: its axes, and the rows in their basis.
    private let turned: (axes: [[Float]], oracle: Oracle)?

    private init(
        _ shape: CollectionShape,
        _ rows: [Oracle.Row],
        _ externalIDs: [Int64: String],
        axes: [[Float]]? = nil
    ) {
        turned = axes.map { axes in
            let turnedRows = rows.map { row in
                var row = row
                row.vector = axes.map { Oracle.dot($0, row.vector, row.vector.count) }
                return row
            }
            return (
                axes,
                Oracle(
                    rows: turnedRows,
                    storedHeadWidth: shape.storedHeadWidth,
                    similarity: shape.similarity,
                    rotationSeed: shape.holdsSigns ? shape.signSeed : nil
                )
            )
        }
        self.shape = shape
        self.rows = rows
        self.externalIDs = externalIDs
        oracle = Oracle(
            rows: rows,
            storedHeadWidth: shape.storedHeadWidth,
            similarity: shape.similarity,
            rotationSeed: shape.holdsSigns ? shape.signSeed : nil
        )
    }

    /// Reads everything.
    init(_ store: Store, _ shape: CollectionShape) throws {
        var rows: [Oracle.Row] = []
        var externalIDs: [Int64: String] = [:]
        _ = try store.loadVectors(shape, shards: [UInt16](0..<UInt16(Slots.shardCount))) {
            _,
            id,
            _,
            vector,
            externalID in
            var copy: [Float] = []
            copy.reserveCapacity(vector.count)
            for place in vector.indices { copy.append(vector[place]) }
            rows.append(Oracle.Row(id: id, vector: copy))
            externalIDs[id] = externalID
        }
        var axes: [[Float]]?
        if shape.learntRotation != 0 {
            let (values, width) = (try store.artefact(shape.learntRotation).values, shape.dimensions)
            axes = (0..<width).map { [Float](values[$0 * width..<($0 + 1) * width]) }
        }
        self.init(shape, rows, externalIDs, axes: axes)
    }

    /// The rows that a search is to see.
    func keeping(_ isKept: (Oracle.Row) -> Bool) -> Truth {
        Truth(shape, rows.filter(isKept), externalIDs, axes: turned?.axes)
    }

    /// The same rows under other settings of H and precision.
    func asking(_ shape: CollectionShape) -> Truth {
        if shape.holdsSigns != self.shape.holdsSigns { return Truth(shape, rows, externalIDs, axes: turned?.axes) }
        var changed = self
        changed.shape = shape
        return changed
    }

    /// The right answer to a search.
    func answer(to request: SearchRequest) throws -> KnownSearch {
        guard case .vectors(let values, let count, let width) = request.query else {
            throw TestFailure("needs vectors")
        }
        let plan = try (request.plan ?? Plan.standard(k: request.k, in: shape.planSpace)).resolved(in: shape.planSpace)
        let hits = (0..<count).map { query -> [ExpectedHit] in
            self.hits([Float](values[query * width..<(query + 1) * width]), plan).map { hit in
                ExpectedHit(id: externalIDs[hit.id] ?? "?", scores: hit.scores.map(\.bitPattern))
            }
        }
        return KnownSearch(request: request, plan: plan, hits: hits, rows: rows.count)
    }

    /// In a rotated collection all steps but the last are scored in its basis, the last on the original.
    private func hits(_ query: [Float], _ plan: ResolvedPlan) -> [Oracle.Hit] {
        guard let turned, plan.steps.count > 1 else { return oracle.hits(query: query, plan: plan) }
        let last = plan.steps[plan.steps.count - 1]
        let turnedQuery = turned.axes.map { Oracle.dot($0, query, query.count) }
        var left = turned.oracle.stages(query: turnedQuery, steps: plan.steps.dropLast()).last ?? []
        for place in left.indices {
            left[place].scores.append(oracle.score(id: left[place].id, query: query, step: last) ?? 0)
        }
        let number = plan.steps.count - 1
        left.sort { (one: Oracle.Hit, other: Oracle.Hit) -> Bool in
            ranksBefore(score: one.scores[number], id: one.id, than: other.scores[number], id: other.id)
        }
        return Array(left.prefix(last.keep))
    }
}

extension SearchRequest {
    /// A search by vectors with explained scores.
    init(_ collection: String, _ queries: [[Float]], plan: [Stage]? = nil, k: Int = 10, minCoverage: Double = 1) {
        self.init(
            collection: collection,
            query: .vectors(values: queries.flatMap { $0 }, count: queries.count, width: queries.first?.count ?? 0),
            plan: plan.map(Plan.init),
            k: plan?.last?.keep ?? k,
            minCoverage: minCoverage,
            explain: true
        )
    }
}
