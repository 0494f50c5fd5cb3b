import Evaluation
import Glibc
import Matryoshka

/// Claim 8.
struct AdaptiveRetrievalClaim: StudyClaim {
    static let experiment = AdaptiveRetrieval()

    let number = 8
    let title = "A short list by few dimensions, ordered by all, saves most of the work"
    let statement = """
        Every plan of two stages is on or above the line of single searches of the same cost; (32,400)(512,10) is within 0.7 \
        points of full search at 13 times fewer multiply-adds or better; and the paper's funnel loses at most 0.5 points against \
        (16,200)(512,10).
        """
    let method = """
        Debian, one document of each source package, a nested model of 512 dimensions. Cost is N·Ds + K·Dr multiply-adds a \
        query; the line between two single searches runs over the logarithm of the cost. Ties count against us. The last \
        limit is this study's.
        """
    var experiments: [any Experiment] { [Self.experiment] }

    func findings(_ results: StudyResults) -> ClaimFindings {
        let experiment = Self.experiment
        let full = AdaptiveRetrieval.dimensions
        let rows = results.values(experiment, "rows").first.map { Int($0) } ?? 0
        func margin(_ figures: Figures, _ plan: [Stage]) -> Double? {
            guard let line = Self.line(figures, cost: Plan(stages: plan).multiplied(rows: rows), rows: rows),
                let value = figures["mrr " + AdaptiveRetrieval.text(plan)]
            else { return nil }
            return value - line
        }
        func against(_ plan: [Stage], _ other: String) -> [Double] {
            results.differences(experiment, "mrr " + AdaptiveRetrieval.text(plan), less: experiment, other)
        }
        func saving(_ plan: [Stage]) -> Double {
            Double(rows * full) / Double(max(1, Plan(stages: plan).multiplied(rows: rows)))
        }
        let claimed = AdaptiveRetrieval.claimed
        var found = ClaimFindings(parts: [
            results.part(
                "Every plan of the grid (\(AdaptiveRetrieval.grid.count)) against the single-shot line",
                of: [experiment]
            ) {
                [
                    Finding(
                        "the worst plan of each seed",
                        results.each(experiment).map { figures in
                            AdaptiveRetrieval.grid.compactMap { margin(figures, $0) }.min() ?? 0
                        },
                        .atLeast(0)
                    )
                ]
            },
            results.part(AdaptiveRetrieval.text(claimed) + " against full search", of: [experiment]) {
                [
                    Finding("MRR@10", against(claimed, "mrr/\(full)"), .atLeast(-0.7)),
                    Finding("fewer multiply-adds", [saving(claimed)], .atLeast(13), unit: " times", isExact: true),
                    Finding(
                        "recall of the true ten",
                        results.values(experiment, "recall " + AdaptiveRetrieval.text(claimed)),
                        unit: " %"
                    ),
                ]
            },
            results.part(
                "The paper's funnel " + AdaptiveRetrieval.text(AdaptiveRetrieval.paperFunnel),
                of: [experiment]
            ) {
                [
                    Finding(
                        "against " + AdaptiveRetrieval.text(AdaptiveRetrieval.paperPair),
                        against(
                            AdaptiveRetrieval.paperFunnel,
                            "mrr " + AdaptiveRetrieval.text(AdaptiveRetrieval.paperPair)
                        ),
                        .atLeast(-0.5)
                    ),
                    Finding("against full search", against(AdaptiveRetrieval.paperFunnel, "mrr/\(full)")),
                    Finding(
                        "fewer multiply-adds",
                        [saving(AdaptiveRetrieval.paperFunnel)],
                        unit: " times",
                        isExact: true
                    ),
                ]
            },
        ])
        guard results.absence(of: experiment) == nil else { return found }
        let wide = AdaptiveRetrieval.wideFunnel
        found.notes.append(
            "\(rows) documents. The funnel \(AdaptiveRetrieval.text(wide)): "
                + "\(intervalText(MeanInterval(against(wide, "mrr/\(full)")))) points against full search at "
                + "\(figure(saving(wide))) times fewer multiply-adds."
        )
        let near = AdaptiveRetrieval.grid
            .filter { plan in
                let interval = MeanInterval(against(plan, "mrr/\(full)"))
                return interval.mean - (interval.halfWidth ?? 0) >= -0.7
            }
            .max { saving($0) < saving($1) }
        if let near {
            found.notes.append(
                "The cheapest plan that is surely within 0.7 points of full search: \(AdaptiveRetrieval.text(near)), "
                    + "\(figure(saving(near))) times fewer multiply-adds."
            )
        }
        found.tables.append(table(results))
        found.plots.append(plot(results, rows: rows))
        return found
    }

    /// MRR@10 that a single search of so many multiply-adds has, between two sizes by the logarithm of the cost.
    static func line(_ figures: Figures, cost: Int, rows: Int) -> Double? {
        let points = AdaptiveRetrieval.sizes.compactMap { size in
            figures["mrr", size].map { (cost: rows * size, value: $0) }
        }
        guard let next = points.firstIndex(where: { $0.cost >= cost }) else { return points.last?.value }
        guard next > 0 else { return points[0].value }
        let (left, right) = (points[next - 1], points[next])
        let share = log(Double(cost) / Double(left.cost)) / log(Double(right.cost) / Double(left.cost))
        return left.value + share * (right.value - left.value)
    }

    private func table(_ results: StudyResults) -> StudyTable {
        let keeps = AdaptiveRetrieval.keeps
        var table = StudyTable(
            "Debian, \(Shared.reciprocalRank) by the first size and the length of the list, ordered by 512",
            ["first size", "alone"] + keeps.map { "K = \($0)" }
        )
        for first in AdaptiveRetrieval.sizes.dropLast() {
            let single = intervalText(MeanInterval(results.values(Self.experiment, "mrr", first)))
            table.add(
                ["\(first)", single]
                    + keeps.map { keep in
                        let plan = [
                            Stage(dimensions: first, keep: keep), Stage(dimensions: 512, keep: AdaptiveRetrieval.best),
                        ]
                        let values = results.values(Self.experiment, "mrr " + AdaptiveRetrieval.text(plan))
                        return intervalText(MeanInterval(values))
                    }
            )
        }
        let full = intervalText(MeanInterval(results.values(Self.experiment, "mrr", AdaptiveRetrieval.dimensions)))
        table.add(["512", full] + keeps.map { _ in "" })
        return table
    }

    private func plot(_ results: StudyResults, rows: Int) -> LinePlot {
        func point(_ cost: Int, _ name: String) -> (x: Double, y: Double) {
            (Double(cost) / 1e6, MeanInterval(results.values(Self.experiment, name)).mean)
        }
        var series = [
            LinePlot.Series(
                name: "single search",
                points: AdaptiveRetrieval.sizes.map { point(rows * $0, "mrr/\($0)") },
                isEmphasised: true
            )
        ]
        for first in [8, 16, 32, 64] {
            series.append(
                LinePlot.Series(
                    name: "(\(first),K)(512,10)",
                    points: AdaptiveRetrieval.keeps.map { keep in
                        let plan = [
                            Stage(dimensions: first, keep: keep), Stage(dimensions: 512, keep: AdaptiveRetrieval.best),
                        ]
                        return point(Plan(stages: plan).multiplied(rows: rows), "mrr " + AdaptiveRetrieval.text(plan))
                    }
                )
            )
        }
        series.append(
            LinePlot.Series(
                name: "funnels",
                points: [AdaptiveRetrieval.paperFunnel, AdaptiveRetrieval.wideFunnel].map {
                    point(Plan(stages: $0).multiplied(rows: rows), "mrr " + AdaptiveRetrieval.text($0))
                }
            )
        )
        let most = Double(max(1, rows) * AdaptiveRetrieval.dimensions) / 1e6
        var plot = LinePlot(
            title: "Quality against work",
            xLabel: "million multiply-adds a query",
            yLabel: Shared.reciprocalRank,
            xRange: most / 80...most * 1.1,
            series: series
        )
        plot.xScale = .logarithmic
        plot.yScale = .linear
        return plot
    }
}

/// Claim 10.
struct CoarserNumbers: StudyClaim {
    let number = 10
    let title = "Fewer dimensions and coarser numbers save both at once"
    let statement = """
        int8 costs at most 0.5 points at every size; and what is lost by cutting and coarsening together is at most half a \
        point more than what each loses alone, for int8 at every size and for signs from 64 dimensions up.
        """
    let method = """
        Debian, 512 dimensions. int8: codes of query and document with a scale each, 4 times smaller. Signs: one bit for each \
        number of a document under the query's floats, 32 times smaller. The limits are this study's.
        """
    var experiments: [any Experiment] { [AdaptiveRetrievalClaim.experiment] }

    func findings(_ results: StudyResults) -> ClaimFindings {
        let experiment = AdaptiveRetrievalClaim.experiment
        let (sizes, full) = (AdaptiveRetrieval.sizes, AdaptiveRetrieval.dimensions)
        /// What both together lose beyond the sum of their own losses.
        func excess(_ code: String, _ size: Int) -> [Double] {
            results.each(experiment).compactMap { figures in
                guard let whole = figures["mrr", full], let cut = figures["mrr", size],
                    let coarse = figures[code, full],
                    let both = figures[code, size]
                else { return nil }
                return (whole - both) - (whole - cut) - (whole - coarse)
            }
        }
        var found = ClaimFindings(parts: [
            results.part("int8 against floats of the same size", of: [experiment]) {
                sizes.map { size in
                    Finding(
                        "\(size) dimensions",
                        results.differences(experiment, "int8/\(size)", less: experiment, "mrr/\(size)"),
                        .atLeast(-0.5)
                    )
                }
            },
            results.part("Cut and int8: more than the sum of both losses", of: [experiment]) {
                sizes.dropLast().map { Finding("\($0) dimensions", excess("int8", $0), .atMost(0.5)) }
            },
            results.part("Cut and signs: more than the sum of both losses", of: [experiment]) {
                sizes.dropLast().filter { $0 >= 64 }.map {
                    Finding("\($0) dimensions", excess("bit", $0), .atMost(0.5))
                }
            },
        ])
        guard results.absence(of: experiment) == nil else { return found }
        var table = StudyTable(
            "Debian: \(Shared.reciprocalRank), and how many times smaller than 512 floats",
            ["dimensions", "float32", "smaller", "int8", "smaller ", "signs", "smaller  "]
        )
        for size in sizes {
            func text(_ measure: String) -> String {
                intervalText(MeanInterval(results.values(experiment, measure, size)))
            }
            let saving = Double(full / size)
            table.add([
                "\(size)", text("mrr"), decimal(saving), text("int8"), decimal(4 * saving), text("bit"),
                decimal(32 * saving),
            ])
        }
        found.tables.append(table)
        var series: [LinePlot.Series] = []
        for (name, measure, bits) in [("float32", "mrr", 32.0), ("int8", "int8", 8), ("signs", "bit", 1)] {
            let values = sizes.map { MeanInterval(results.values(experiment, measure, $0)) }
            series.append(
                LinePlot.Series(
                    name: name,
                    points: zip(sizes, values).map { (Double($0) * bits / 8, $1.mean) },
                    isEmphasised: measure == "int8",
                    spreads: values.map { $0.halfWidth ?? 0 }
                )
            )
        }
        var plot = LinePlot(
            title: "Quality against memory",
            xLabel: "bytes a document",
            yLabel: Shared.reciprocalRank,
            xRange: 1...2048,
            series: series
        )
        plot.xScale = .logarithmic
        plot.yScale = .linear
        plot.xTicks = (0...11).map { Double(1 << $0) }
        found.plots.append(plot)
        return found
    }
}

/// Claim 11.
struct TrainingCost: StudyClaim {
    let number = 11
    let title = "All sizes at once cost little more than the largest"
    let statement = """
        An epoch of nested training takes at most twice as long as one of the full size alone, and less than those of a \
        model for each size together.
        """
    let method = """
        Processor time of one thread for an epoch, validation included, on the same machine. Static models and linear adapters \
        are nearly nothing but their loss, which is what nesting repeats: with a deep encoder the ratio tends to 1. The \
        limits are this study's.
        """
    var experiments: [any Experiment] {
        [Shared.debian, Shared.debianRigid, Shared.intents, Shared.rigidIntents]
    }

    func findings(_ results: StudyResults) -> ClaimFindings {
        func ratio(_ name: String, _ nested: any Experiment, _ rigid: any Experiment, _ sizes: [Int]) -> StudyPart {
            results.part(name, of: [nested, rigid]) {
                let full = sizes[sizes.count - 1]
                let each = results.pairs(nested, rigid).compactMap { own, single -> (Double, Double)? in
                    guard let all = own["seconds an epoch"], let largest = single["seconds an epoch", full],
                        largest > 0
                    else { return nil }
                    return (all / largest, all / sizes.compactMap { single["seconds an epoch", $0] }.reduce(0, +))
                }
                return [
                    Finding("MRL over FF at \(full)", each.map(\.0), .atMost(2), unit: " times"),
                    Finding("MRL over all FF models together", each.map(\.1), .atMost(1), unit: " times"),
                    Finding("an epoch of MRL", results.values(nested, "seconds an epoch"), unit: " s"),
                ]
            }
        }
        return ClaimFindings(parts: [
            ratio("Debian, static models", Shared.debian, Shared.debianRigid, StaticRecipe.sizes),
            ratio(
                "CLINC150, linear adapters on frozen vectors",
                Shared.intents,
                Shared.rigidIntents,
                IntentRecipe.frozenSizes
            ),
        ])
    }
}
