import DocumentStore
import Matryoshka
import Reranking
import VectorMath
import WireProtocol

/// One RERANK under way: scores what is held, takes what is read from the store, applies the keeps.
struct RerankJob: Sendable {
    /// One query's rows, as columns.
    private struct Rows: Sendable {
        var columns: CandidateColumns
        /// Rows that are not scored yet: after ``score(_:)``, those that are not held, or held in an older version than
        /// the shortlist saw.
        var pending: [Int]
        /// Rows that are no part of the answer: gone or skipped.
        var isOut: [Bool]
    }

    let command: RerankCommand
    let shape: CollectionShape
    private let queries: [PreparedQuery]
    private var rows: [Rows]
    private(set) var gone: UInt32 = 0
    private(set) var rescoredNewer: UInt32 = 0
    private(set) var skipped: [Int64] = []
    private(set) var fetchedRows: UInt32 = 0
    /// External ids of rows that came from the store.
    private(set) var readIDs: [Int64: String] = [:]

    /// Why the command cannot be served; nil where it can.
    static func fault(_ command: RerankCommand, _ shape: CollectionShape) -> String? {
        let steps = command.plan.steps
        if command.width != shape.dimensions { return "queries have \(command.width) floats, not \(shape.dimensions)" }
        if command.queries.count != command.queryCount * command.width { return "queries are cut short" }
        if command.candidates.count != command.queryCount { return "candidates and queries differ in number" }
        if !(0..<steps.count).contains(command.firstStep) { return "there is no step \(command.firstStep)" }
        for step in steps {
            let widest =
                switch step.precision {
                // Whole vectors give bits at every generation, also at one that holds none.
                case .bit: shape.storedHeadWidth <= CollectionShape.signWidthMax ? shape.storedHeadWidth : 0
                case .int8: shape.storedHeadWidth
                case .float16, .float32: shape.dimensions
                }
            if step.dimensions < 1 || step.dimensions > widest || step.keep < 1 {
                return "a step of the plan does not fit the collection"
            }
        }
        for columns in command.candidates where columns.scores.count < command.firstStep {
            return "candidates lack known scores"
        }
        return nil
    }

    init(_ command: RerankCommand, _ shape: CollectionShape, basis: VectorRotation? = nil) {
        self.command = command
        self.shape = shape
        queries = (0..<command.queryCount).map { number in
            PreparedQuery(
                vector: command.queries.span.extracting(number * command.width..<(number + 1) * command.width),
                shape: shape,
                basis: basis
            )
        }
        let stepCount = command.plan.steps.count
        rows = command.candidates.map { columns in
            var columns = columns
            columns.scores = (0..<stepCount).map { step in
                step < command.firstStep ? columns.scores[step] : [Float](repeating: 0, count: columns.count)
            }
            return Rows(
                columns: columns,
                pending: Array(0..<columns.count),
                isOut: Array(repeating: false, count: columns.count)
            )
        }
    }

    /// Scores those of the pending rows that are held; `held` has the shard of each number, or nil.
    mutating func score(_ held: [VectorShard?]) {
        let steps = command.firstStep..<command.plan.steps.count
        for number in rows.indices {
            let columns = rows[number].columns
            let asked = rows[number].pending
            rows[number].pending = []
            let isAll = asked.count == columns.count
            let ids = isAll ? columns.ids : asked.map { columns.ids[$0] }
            let found = rescore(ids: ids, query: queries[number], plan: command.plan, steps: steps) { place in
                shard(columns.shards[asked[place]], held)
            }
            for (offset, step) in steps.enumerated() {
                if isAll {
                    rows[number].columns.scores[step] = found.scores[offset]
                } else {
                    for (place, row) in asked.enumerated() {
                        rows[number].columns.scores[step][row] = found.scores[offset][place]
                    }
                }
            }
            for (place, row) in asked.enumerated() {
                guard let version = found.versions[place], version >= columns.versions[row] else {
                    rows[number].pending.append(row)
                    continue
                }
                if version == columns.versions[row] { continue }
                let scores = shard(columns.shards[row], held)?.score(
                    id: columns.ids[row],
                    query: queries[number],
                    plan: command.plan,
                    steps: 0..<command.plan.steps.count
                )
                guard let scores else { continue }
                takeNewer(number, row, version, scores)
            }
        }
    }

    private func shard(_ shard: UInt16, _ held: [VectorShard?]) -> VectorShard? {
        Int(shard) < held.count ? held[Int(shard)] : nil
    }

    private mutating func takeNewer(_ number: Int, _ row: Int, _ version: UInt32, _ scores: [Float]) {
        rows[number].columns.versions[row] = version
        for (step, score) in scores.enumerated() { rows[number].columns.scores[step][row] = score }
        rescoredNewer += 1
    }

    /// Rows must be read from the store.
    var hasPending: Bool { rows.contains { !$0.pending.isEmpty } }

    /// Which ones, and where they lie.
    var pending: (ids: Set<Int64>, shards: Set<UInt16>) {
        var ids: Set<Int64> = []
        var shards: Set<UInt16> = []
        for rows in rows {
            for row in rows.pending {
                ids.insert(rows.columns.ids[row])
                shards.insert(rows.columns.shards[row])
            }
        }
        return (ids, shards)
    }

    /// Scores what was read, and counts what was not found as gone, or as skipped where the store could not be read.
    mutating func take(_ read: [Int64: VectorRow]?) {
        fetchedRows = UInt32(clamping: read?.count ?? 0)
        let all = 0..<command.plan.steps.count
        for number in rows.indices {
            let pending = rows[number].pending
            rows[number].pending = []
            for row in pending {
                let id = rows[number].columns.ids[row]
                guard let found = read?[id] else {
                    rows[number].isOut[row] = true
                    if read == nil { skipped.append(id) } else { gone += 1 }
                    continue
                }
                readIDs[id] = found.externalID
                let isSame = found.version == rows[number].columns.versions[row]
                let steps = isSame ? command.firstStep..<all.upperBound : all
                let scores = scoreVector(
                    found.vector.span,
                    query: queries[number],
                    plan: command.plan,
                    steps: steps
                )
                if isSame {
                    for (step, score) in zip(steps, scores) { rows[number].columns.scores[step][row] = score }
                } else {
                    takeNewer(number, row, found.version, scores)
                }
            }
        }
    }

    /// The rows of the answer by query: the final hits where all candidates are here, or else all that were scored.
    func results() -> [CandidateColumns] {
        rows.map { rows in
            var left = rows.columns.ids.indices.filter { !rows.isOut[$0] }
            if command.isWhole {
                for step in command.firstStep..<command.plan.steps.count {
                    let scores = rows.columns.scores[step]
                    let ids = rows.columns.ids
                    left.sort { ranksBefore(score: scores[$0], id: ids[$0], than: scores[$1], id: ids[$1]) }
                    left.removeLast(max(0, left.count - command.plan.steps[step].keep))
                }
            } else if left.count == rows.columns.count {
                return rows.columns
            }
            return rows.columns.picking(left)
        }
    }

    /// A final hit has vanished while the answer was put together.
    mutating func lost(_ count: Int) { gone += UInt32(clamping: count) }
}

extension CandidateColumns {
    /// These rows, in this order.
    func picking(_ rows: [Int]) -> CandidateColumns {
        CandidateColumns(
            ids: rows.map { ids[$0] },
            versions: rows.map { versions[$0] },
            shards: rows.map { shards[$0] },
            scores: scores.map { column in rows.map { column[$0] } }
        )
    }
}
