import Evaluation
import Matryoshka
import ServiceRuntime
import WireProtocol

/// Measures a collection that serves, by requests.
struct CollectionEvaluation {
    /// Queries that are asked one by one for a plan's time.
    static let timedQueries = 50

    let runs: SearchRuns
    let queries: QueryVectors
    /// Id of the row that each query is, which does not count; nil where queries are no rows.
    let ownIDs: [String]?
    /// By query, by document's id; empty where nothing is judged.
    let judgements: [[String: Int]]
    let rows: Int
    let sizes: EvaluatedSizes
    /// Whether ``sizes`` knows what the model was trained at.
    let knowsTrained: Bool
    let plans: [PlanGrid.Entry]
    let k: Int

    /// Hits beyond k: a query that is a row finds itself.
    static func extraHits(queriesAreRows: Bool) -> Int { queriesAreRows ? 1 : 0 }

    /// Hits without the query's own row, best first.
    static func others(_ hits: [String], than own: String?, at most: Int) -> [String] {
        Array(hits.lazy.filter { $0 != own }.prefix(most))
    }

    /// Measures everything; `source` and `model` are for the report.
    func report(source: String, model: String) throws -> JudgedReport {
        let tasks = sizes.all.count + plans.count
        var line = ProgressLine("asking", total: tasks, at: now())
        let depth = min(rows, max(k, JudgedReport.deep) + Self.extraHits(queriesAreRows: ownIDs != nil))
        var done = 0
        let found = try sizes.all.map { size in
            let hits = try self.found(Plan(stages: [Stage(dimensions: size, keep: depth)]), at: depth)
            done += 1
            line.update(done, at: now())
            return hits
        }
        let full = found[found.count - 1]
        let measured = try plans.map { entry in
            let hits = try self.found(entry.plan, at: k)
            let time = try milliseconds(entry.plan)
            done += 1
            line.update(done, at: now())
            return PlanFigures.Row(
                search: entry.kind,
                plan: entry.plan,
                multiplied: entry.plan.multiplied(rows: rows),
                lessBy: Double(rows * sizes.dimensions) / Double(entry.plan.multiplied(rows: rows)),
                milliseconds: time,
                recall: share(hits, of: full),
                quality: judgements.isEmpty ? nil : RankingMeasures(rankings(hits), at: k).normalisedGain
            )
        }
        line.finish(done, at: now())
        return JudgedReport(
            source: source,
            model: model,
            documents: rows,
            queries: queries.count,
            judgements: judgements.map(\.count).reduce(0, +),
            k: k,
            mainSizes: sizes.main,
            sizes: zip(sizes.all, found).map { size, hits in
                JudgedReport.Size(
                    size: size,
                    isTrained: knowsTrained ? sizes.trained.contains(size) : nil,
                    measures: RankingMeasures(rankings(hits), at: k),
                    deepRecall: RankingMeasures(rankings(hits), at: JudgedReport.deep).recall,
                    neighbourRecall: share(hits, of: full)
                )
            },
            remark: ownIDs.map { _ in
                "queries are rows of it: each finds itself, which does not count, and plans keep one hit more for it"
            },
            plans: PlanFigures(
                measure: judgements.isEmpty ? nil : "nDCG@\(k)",
                k: k,
                queries: queries.count,
                documents: rows,
                timing: "median of \(min(Self.timedQueries, queries.count)) requests, one at a time, from request to "
                    + "answer",
                rows: measured
            )
        )
    }

    private func found(_ plan: Plan, at most: Int) throws -> [[String]] {
        // A batch may keep so many rows in all.
        let widest = plan.stages.map(\.keep).max() ?? 1
        let batch = max(1, min(64, SearchLimits.batchRowsMax / widest))
        return try runs.all(queries, plan: plan, batch: batch).enumerated().map { place, hits in
            Self.others(hits.map(\.id), than: ownIDs?[place], at: most)
        }
    }

    private func rankings(_ found: [[String]]) -> [RankedRelevance] {
        zip(found, judgements).map { RankedRelevance(found: $0, judgements: $1) }
    }

    /// Mean share of full search's first k that are among the first k.
    private func share(_ found: [[String]], of full: [[String]]) -> Double {
        let shares = zip(found, full).map { found, full in
            let wanted = Set(full.prefix(k))
            return wanted.isEmpty ? 1 : Double(found.prefix(k).count { wanted.contains($0) }) / Double(wanted.count)
        }
        return shares.reduce(0, +) / Double(max(1, shares.count))
    }

    private func milliseconds(_ plan: Plan) throws -> Double {
        let timed = (0..<min(Self.timedQueries, queries.count)).map { runs.request(queries[$0..<$0 + 1], plan) }
        _ = try runs.oneAtATime(Array(timed.prefix(5)))
        return try runs.oneAtATime(timed).milliseconds(0.5)
    }
}
