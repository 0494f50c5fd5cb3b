import Corpora
import Matryoshka
import ServiceRuntime
import WireProtocol

/// Known-item search over an evaluation collection: each held-out query should find the one document it is about.
struct KnownItemTable {
    /// One line of the table.
    struct Row {
        var kind: String
        var plan: Plan
        var meanReciprocalRank: Double
        var recall: Double
        /// Dimensions that are multiplied for one query.
        var multiplied: Int
        var milliseconds: Double
    }

    private static let hits = 10
    /// Hits fetched for quality: a run of ties at the end of the ten must be seen to its end.
    private static let hitsSeen = 50
    private static let timedQueries = 100

    let runs: SearchRuns
    let queries: QueryVectors
    let targets: [String]
    let rows: Int
    let dimensions: Int

    /// The plans of the table: single shots, adaptive retrieval, a funnel, and last the full search.
    static func plans(dimensions: Int, smallest: Int, resident: Int) -> [(kind: String, plan: Plan)] {
        var plans: [(String, Plan)] = []
        var size = smallest
        while size < dimensions {
            plans.append(("single shot", Plan(stages: [Stage(dimensions: size, keep: hits)])))
            size *= 2
        }
        for (first, keep) in [(16, 200), (16, 400), (32, 200), (32, 400), (64, 200)]
        where first >= smallest && first <= resident && first < dimensions {
            let stages = [Stage(dimensions: first, keep: keep), Stage(dimensions: dimensions, keep: hits)]
            plans.append(("adaptive", Plan(stages: stages)))
        }
        var funnel: [Stage] = []
        for (first, keep) in [(32, 200), (64, 100), (128, 50)] where first >= smallest && first < dimensions {
            funnel.append(Stage(dimensions: first, keep: keep))
        }
        if funnel.count > 1 {
            plans.append(("funnel", Plan(stages: funnel + [Stage(dimensions: dimensions, keep: hits)])))
        }
        plans.append(("full search", Plan(stages: [Stage(dimensions: dimensions, keep: hits)])))
        return plans
    }

    /// Runs every plan.
    func measure(_ plans: [(kind: String, plan: Plan)], progress: (String) -> Void) throws -> [Row] {
        let full = Plan(stages: [Stage(dimensions: dimensions, keep: Self.hitsSeen)])
        progress("full search")
        let truth = try runs.all(queries, plan: full).map { Set($0.prefix(Self.hits).map(\.id)) }
        return try plans.map { kind, plan in
            progress("\(kind) \(plan)")
            var wide = plan
            wide.stages[wide.stages.count - 1].keep = Self.hitsSeen
            // A stage before may keep no fewer than the last.
            for stage in wide.stages.indices { wide.stages[stage].keep = max(wide.stages[stage].keep, Self.hitsSeen) }
            let found = try runs.all(queries, plan: wide)
            var reciprocal = 0.0
            var recalled = 0
            for (place, hits) in found.enumerated() {
                if let rank = rank(of: targets[place], in: hits), rank <= Self.hits { reciprocal += 1 / Double(rank) }
                recalled += hits.prefix(Self.hits).count { truth[place].contains($0.id) }
            }
            let timed = (0..<min(Self.timedQueries, queries.count)).map { runs.request(queries[$0..<$0 + 1], plan) }
            _ = try runs.oneAtATime(Array(timed.prefix(10)))
            return Row(
                kind: kind,
                plan: plan,
                meanReciprocalRank: reciprocal / Double(found.count),
                recall: Double(recalled) / Double(truth.map(\.count).reduce(0, +)),
                multiplied: plan.multiplied(rows: rows),
                milliseconds: try runs.oneAtATime(timed).milliseconds(0.5)
            )
        }
    }

    /// The worst place that the document's score allows: whoever ties with it stands before it.
    private func rank(of target: String, in hits: [Hit]) -> Int? {
        guard let found = hits.first(where: { $0.id == target }) else { return nil }
        return (hits.lastIndex { $0.score == found.score } ?? 0) + 1
    }

    /// Dimensions that full search multiplies for one query.
    var multipliedByFullSearch: Int { rows * dimensions }

    /// The table for people; `full` is how many dimensions full search multiplies, whether it is in the table or not.
    static func text(_ rows: [Row], full: Int) -> String {
        var table = Table(["search", "plan", "MRR@10", "recall@10", "dimensions multiplied", "less by", "median ms"])
        for row in rows {
            table.add([
                row.kind, "\(row.plan)", fixed(100 * row.meanReciprocalRank, 1), fixed(100 * row.recall, 1),
                grouped(row.multiplied), fixed(Double(full) / Double(row.multiplied), 1), fixed(row.milliseconds, 2),
            ])
        }
        return table.text
    }

    /// The table for scripts.
    static func json(_ rows: [Row]) -> JSONValue {
        .array(
            rows.map { row in
                .object([
                    .init("search", .string(row.kind)), .init("plan", PlanArgument(plan: row.plan).json),
                    .init("mrr_at_10", .number(row.meanReciprocalRank)), .init("recall_at_10", .number(row.recall)),
                    .init("dimensions_multiplied", .integer(Int64(row.multiplied))),
                    .init("median_ms", .number(row.milliseconds)),
                ])
            }
        )
    }
}

/// Texts of held-out documents: what a user might type, never seen in training.
struct HeldOutQueries {
    var texts: [String]
    /// Id of the document that each is about.
    var targets: [String]

    /// Reads them; at most `limit`, spread over the corpus, or all where it is 0.
    init(corpus path: String, limit: Int) throws {
        let corpus: Corpus
        do { corpus = try Corpus(path: path) } catch { throw StartupFailure("\(error)") }
        let items = KnownItems(corpus)
        let all = items.queries.indices
        let step = limit > 0 ? max(1, Double(all.count) / Double(limit)) : 1
        let chosen = (0..<Int(Double(all.count) / step)).map { items.queries[Int(Double($0) * step)] }
        texts = chosen.map { corpus.documents[$0].short }
        targets = chosen.map { corpus.documents[$0].name }
    }
}
