import Evaluation
import Glibc
import Matryoshka

/// Plans side by side: what each costs, finds and gains.
struct PlanFigures: Encodable {
    struct Row: Encodable {
        var search: PlanGrid.Kind
        var plan: Plan
        /// Dimensions multiplied for one query.
        var multiplied: Int
        /// How many times fewer than full search multiplies.
        var lessBy: Double
        var milliseconds: Double?
        /// Share of full search's first k that are found.
        var recall: Double
        /// Nil where nothing is judged.
        var quality: Double?
        /// Nothing multiplies less and is as good.
        var isOnFront = false

        enum CodingKeys: String, CodingKey {
            case search, plan, recall, quality
            case multiplied = "dimensions_multiplied"
            case lessBy = "less_by"
            case milliseconds = "median_ms"
            case isOnFront = "on_pareto_front"
        }

        /// What the front is about.
        fileprivate var value: Double { quality ?? recall }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(search, forKey: .search)
            try container.encode(plan.stages.map { [$0.dimensions, $0.keep] }, forKey: .plan)
            try container.encode(multiplied, forKey: .multiplied)
            try container.encode(lessBy, forKey: .lessBy)
            try container.encodeIfPresent(milliseconds, forKey: .milliseconds)
            try container.encode(recall, forKey: .recall)
            try container.encodeIfPresent(quality, forKey: .quality)
            try container.encode(isOnFront, forKey: .isOnFront)
        }
    }

    /// What was measured as quality, `mAP@10` for example; nil where nothing is judged.
    let measure: String?
    let k: Int
    let queries: Int
    let documents: Int
    /// How the time was taken.
    let timing: String
    private(set) var rows: [Row]

    /// Compares plans.
    ///
    /// - Parameters:
    ///   - measure: Name of the quality.
    ///   - k: Hits that count.
    ///   - queries: How many.
    ///   - documents: Rows of the collection.
    ///   - timing: How the time was taken.
    ///   - rows: One of them the full search.
    init(measure: String?, k: Int, queries: Int, documents: Int, timing: String, rows: [Row]) {
        self.measure = measure
        self.k = k
        self.queries = queries
        self.documents = documents
        self.timing = timing
        self.rows = rows
        let points = rows.map { ParetoFront.Point(recall: $0.value, rate: 1 / Double($0.multiplied)) }
        let front = Set(ParetoFront(points).points)
        for place in rows.indices { self.rows[place].isOnFront = front.contains(points[place]) }
    }

    /// Measures plans over vectors in memory.
    ///
    /// - Parameters:
    ///   - trials: Of some queries.
    ///   - plans: One of them the full search.
    ///   - k: Hits that count.
    ///   - measure: Name of the quality.
    ///   - quality: Of what was found for all queries.
    init(
        _ trials: PlanTrials,
        _ plans: [PlanGrid.Entry],
        k: Int,
        measure: String,
        quality: ([[Int]]) -> Double
    ) {
        var line = ProgressLine("trying plans", total: plans.count, at: now())
        let outcomes = trials.run(plans) { line.update($0, at: now()) }
        line.finish(plans.count, at: now())
        guard let full = outcomes.first(where: { $0.entry.kind == .full }) else {
            preconditionFailure("a grid has the full search")
        }
        self.init(
            measure: measure,
            k: k,
            queries: full.found.count,
            documents: trials.collection.count,
            timing: "median of \(min(trials.timedQueries, full.found.count)) searches, one at a time, in this process, "
                + "float32, one thread",
            rows: outcomes.map { outcome in
                Row(
                    search: outcome.entry.kind,
                    plan: outcome.entry.plan,
                    multiplied: outcome.multiplied,
                    lessBy: Double(full.multiplied) / Double(outcome.multiplied),
                    milliseconds: outcome.milliseconds,
                    recall: Metrics.recall(found: outcome.found, truth: full.found, at: k),
                    quality: quality(outcome.found)
                )
            }
        )
    }

    /// A table; without `showsAll` of the grid's plans those that nothing beats.
    func text(showsAll: Bool) -> String {
        let judged = measure.map { [$0 + " %"] } ?? []
        var table = Table(
            ["search", "plan"] + judged + ["recall@\(k) %", "multiply-adds", "less by", "median ms", "front"]
        )
        let shown = rows.filter { showsAll || $0.search != .adaptive || $0.isOnFront }
        for row in shown {
            table.add(
                [row.search.rawValue, "\(row.plan)"] + (row.quality.map { [fixed($0 * 100, 1)] } ?? []) + [
                    fixed(row.recall * 100, 1), grouped(row.multiplied), fixed(row.lessBy, 1),
                    fixed(row.milliseconds ?? .nan, 3), row.isOnFront ? "*" : "",
                ]
            )
        }
        var lines = [
            "Plans over \(grouped(documents)) rows, \(grouped(queries)) queries; recall of full search's first \(k), a "
                + "star where nothing that multiplies less is as good:",
            table.text, "time: \(timing)",
        ]
        if shown.count < rows.count {
            lines.append("\(rows.count) plans were tried; --all shows the others too")
        }
        return lines.joined(separator: "\n")
    }

    /// Quality over cost, and over time.
    var plots: [(name: String, plot: LinePlot)] {
        let timed = rows.contains { $0.milliseconds != nil }
        return [("plans", plot("cost", "multiply-adds per query, millions") { Double($0.multiplied) / 1e6 })]
            + (timed ? [("plans-time", plot("time", "median time of a search, ms") { $0.milliseconds ?? .nan })] : [])
    }

    private func plot(_ aspect: String, _ xLabel: String, _ x: (Row) -> Double) -> LinePlot {
        func line(_ name: String, _ rows: [Row], isEmphasised: Bool = false) -> LinePlot.Series {
            let points = rows.map { (x: x($0), y: $0.value * 100) }.filter { $0.x.isFinite }.sorted { $0.x < $1.x }
            return LinePlot.Series(name: name, points: points, isEmphasised: isEmphasised)
        }
        let full = rows.filter { $0.search == .full }
        let last = full.first?.plan.stages.last?.dimensions
        var series = [line("single shot", rows.filter { $0.search == .singleShot } + full, isEmphasised: true)]
        // Of the grid, for each Ds how the quality rises with K where all dimensions score.
        let adaptive = rows.filter { $0.search == .adaptive && $0.plan.stages.last?.dimensions == last }
        for (size, rows) in Dictionary(grouping: adaptive, by: { $0.plan.stages[0].dimensions }).sorted(by: {
            $0.key < $1.key
        }) {
            series.append(line("Ds = \(size), Dr = \(last ?? 0)", rows))
        }
        // Of the funnels those that no cheaper one equals: they are many, with little order among them.
        var funnels = line("best funnels", rows.filter { $0.search == .funnel })
        var best = -Double.infinity
        funnels.points = funnels.points.filter { point in
            defer { best = max(best, point.y) }
            return point.y > best
        }
        series.append(funnels)
        series.removeAll { $0.points.isEmpty }
        let places = series.flatMap { $0.points.map(\.x) }
        let ends = (places.min() ?? 1) / 1.2...(places.max() ?? 2) * 1.2
        var plot = LinePlot(
            title: "Plans: \(measure ?? "recall@\(k)") and \(aspect)",
            xLabel: xLabel,
            yLabel: "\(measure ?? "recall@\(k)"), %",
            xRange: ends,
            series: series
        )
        plot.xScale = .logarithmic
        plot.yScale = .linear
        plot.xTicks = Self.roundNumbers(ends)
        return plot
    }

    /// 1, 2 and 5 times powers of ten; powers of ten alone over more than three of them.
    static func roundNumbers(_ range: ClosedRange<Double>) -> [Double] {
        let steps: [Double] = range.upperBound / range.lowerBound > 1000 ? [1] : [1, 2, 5]
        return (-9...12).flatMap { power in steps.map { $0 * pow(10, Double(power)) } }.filter(range.contains)
    }
}

/// A plot whose horizontal axis has sizes, doubling at equal distances.
func sizePlot(_ title: String, yLabel: String, sizes: [Int], named: [Int], series: [LinePlot.Series]) -> LinePlot {
    let ends = Double(sizes.min() ?? 1)...Double(max(sizes.max() ?? 1, (sizes.min() ?? 1) + 1))
    var plot = LinePlot(title: title, xLabel: "dimensions", yLabel: yLabel, xRange: ends, series: series)
    plot.xScale = .logarithmic
    plot.yScale = .linear
    plot.xTicks = named.map(Double.init)
    return plot
}
