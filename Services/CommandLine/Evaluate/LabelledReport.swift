import Evaluation
import Matryoshka

/// What a model's vectors know of the labels of a folder, size by size.
struct LabelledReport: EvaluationReport {
    struct Size: Encodable {
        var size: Int
        var isTrained: Bool
        var probe: Figure
        var nearest: Figure
        var vote: Figure
        var averagePrecisionByK: Figure
        var averagePrecisionByRelevant: Figure
        var averagePrecisionByFound: Figure
        var precision: Figure
        var recall: Figure
        var normalisedGain: Figure
        var reciprocalRank: Figure
        var neighbourRecall: Figure

        enum CodingKeys: String, CodingKey {
            case size, precision, recall
            case isTrained = "trained"
            case probe = "linear_probe"
            case nearest = "nearest_neighbour"
            case vote = "neighbours_vote"
            case averagePrecisionByK = "map_by_k"
            case averagePrecisionByRelevant = "map_by_min_k_r"
            case averagePrecisionByFound = "map_by_found"
            case normalisedGain = "ndcg"
            case reciprocalRank = "mrr"
            case neighbourRecall = "neighbour_recall"
        }
    }

    struct Shots: Encodable {
        var size: Int
        var shots: Int
        var accuracy: Figure
    }

    struct Cascade: Encodable {
        var rule: String
        var accuracy: Figure
        var finalDimensions: Figure
        var cumulativeDimensions: Figure

        enum CodingKeys: String, CodingKey {
            case rule, accuracy
            case finalDimensions = "final_dimensions"
            case cumulativeDimensions = "cumulative_dimensions"
        }
    }

    struct Oracle: Encodable {
        var accuracy: Figure
        var gain: Figure
        var dimensions: Figure
        var majority: Figure
        /// By main size.
        var firstRight: [Figure]

        enum CodingKeys: String, CodingKey {
            case accuracy, gain, dimensions, majority
            case firstRight = "first_right"
        }
    }

    struct Disagreement: Encodable {
        /// By main size, by main size.
        var shares: [[Figure]]
        /// By main size but the last.
        var mended: [Figure]
        var spoilt: [Figure]
    }

    struct Group: Encodable {
        var size: Int
        var grouped: Figure
        /// Nil where every label is in a group.
        var withReject: Figure?

        enum CodingKeys: String, CodingKey {
            case size, grouped
            case withReject = "with_reject"
        }
    }

    var folder: String
    var model: String
    /// How an adapter was taught before; nil where vectors are as they come.
    var method: String?
    var training: Int
    var heldOut: Int
    var test: Int
    /// Which part is reported on.
    var part: String
    var labels: [String]
    var seeds: Int
    var k: Int
    var mainSizes: [Int]
    var sizes: [Size]
    var shots: [Shots]
    var cascades: [Cascade]
    var oracle: Oracle?
    var disagreement: Disagreement?
    /// Labels with each trend, mean over the seeds.
    var trends: [String: Double]
    /// By label, then by main size: accuracy, mean over the seeds; empty for a label without test examples.
    var labelAccuracies: [String: [Double]]
    var groups: [Group]
    var groupCount: Int
    var plans: PlanFigures

    enum CodingKeys: String, CodingKey {
        case folder, model, method, training, test, part, seeds, k, sizes, cascades, oracle, disagreement, trends,
            groups
        case plans
        case heldOut = "held_out"
        case mainSizes = "main_sizes"
        case shots = "few_shot"
        case labelAccuracies = "label_accuracies"
        case groupCount = "group_count"
        case labels
    }

    func text(showsAllPlans: Bool) -> String {
        var sections = [heading, sizesText]
        sections.append(shotsText)
        if !cascades.isEmpty { sections.append(cascadesText) }
        if let oracle { sections.append(oracleText(oracle)) }
        if let disagreement { sections.append(disagreementText(disagreement)) }
        sections.append(trendsText)
        if !groups.isEmpty { sections.append(groupsText) }
        sections.append(plans.text(showsAll: showsAllPlans))
        return sections.joined(separator: "\n\n")
    }

    private var heading: String {
        "\(folder): \(grouped(training)) training, \(grouped(heldOut)) held-out and \(grouped(test)) test examples "
            + "(\(part)) of \(labels.count) labels\n"
            + "vectors of \(model)" + (method.map { ", adapted by \($0) on the training part with each seed" } ?? "")
    }

    private var sizesText: String {
        var table = Table([
            "size", "trained", "linear probe %", "1-NN %", "\(k)-NN %", "mAP@\(k) /k %", "mAP@\(k) /min(k,R) %",
            "MRR@\(k) %", "nDCG@\(k) %", "P@\(k) %", "recall@\(k) %", "neighbour recall@\(k) %",
        ])
        for size in sizes {
            table.add([
                "\(size.size)", size.isTrained ? "yes" : "", size.probe.percent, size.nearest.percent,
                size.vote.percent,
                size.averagePrecisionByK.percent, size.averagePrecisionByRelevant.percent,
                size.reciprocalRank.percent, size.normalisedGain.percent, size.precision.percent,
                size.recall.percent, size.neighbourRecall.percent,
            ])
        }
        return
            "By size; ± is the 95 % interval over \(seeds) seeds of training; neighbour recall: share of the "
            + "first \(k) at full size\n" + table.text
    }

    private var shotsText: String {
        let counts = Set(shots.map(\.shots)).sorted()
        var table = Table(["size"] + counts.map { "\($0) a label" })
        for size in mainSizes {
            table.add(["\(size)"] + shots.filter { $0.size == size }.map(\.accuracy.percent))
        }
        return "Nearest class mean from few examples, accuracy in %, \(seeds) draws\n" + table.text
    }

    private var cascadesText: String {
        var table = Table(["thresholds", "accuracy %", "expected dimensions", "with all heads asked"])
        for cascade in cascades {
            table.add([
                cascade.rule, cascade.accuracy.percent, cascade.finalDimensions.text(digits: 1),
                cascade.cumulativeDimensions.text(digits: 1),
            ])
        }
        return "Adaptive classification, thresholds learnt on the held-out part\n" + table.text
    }

    private func oracleText(_ oracle: Oracle) -> String {
        let first = zip(mainSizes, oracle.firstRight).map { "\($0) \(fixed($1.mean * 100, 1)) %" }
        return """
            Oracle routing: \(oracle.accuracy.percent) % if always the smallest right size were asked \
            (+\(oracle.gain.percent) points, \(oracle.dimensions.text(digits: 1)) dimensions); majority of the sizes \
            \(oracle.majority.percent) %
            first right: \(first.joined(separator: ", "))
            """
    }

    private func disagreementText(_ disagreement: Disagreement) -> String {
        var table = Table(["size"] + mainSizes.map(String.init) + ["mended by the next", "spoilt by the next"])
        for (place, size) in mainSizes.enumerated() {
            let isLast = place == mainSizes.count - 1
            table.add(
                ["\(size)"] + disagreement.shares[place].map { fixed($0.mean * 100, 1) } + [
                    isLast ? "–" : fixed(disagreement.mended[place].mean * 100, 1),
                    isLast ? "–" : fixed(disagreement.spoilt[place].mean * 100, 1),
                ]
            )
        }
        return "Test examples about which two sizes disagree, %\n" + table.text
    }

    private var trendsText: String {
        let parts = ClassTrends.Trend.allCases.map { "\($0.rawValue) \(fixed(trends[$0.rawValue] ?? 0, 1))" }
        return "Labels by the trend of their accuracy with size: " + parts.joined(separator: "; ")
    }

    private var groupsText: String {
        let hasReject = groups.contains { $0.withReject != nil }
        var table = Table(["size", "right group %"] + (hasReject ? ["with a reject group %"] : []))
        for group in groups {
            table.add(["\(group.size)", group.grouped.percent] + (group.withReject.map { [$0.percent] } ?? []))
        }
        return "Superclasses: \(groupCount) groups of labels"
            + (hasReject ? "" : ", which hold them all, so that nothing is to be rejected") + "\n" + table.text
    }

    var plots: [(name: String, plot: LinePlot)] {
        func line(_ name: String, _ figure: (Size) -> Figure, isEmphasised: Bool = false) -> LinePlot.Series {
            LinePlot.Series(
                name: name,
                points: sizes.map { (Double($0.size), figure($0).mean * 100) },
                isEmphasised: isEmphasised,
                spreads: sizes.map { (figure($0).halfWidth ?? 0) * 100 }
            )
        }
        var curves = [
            line("linear probe", \.probe, isEmphasised: true), line("1-NN", \.nearest), line("\(k)-NN", \.vote),
            line("mAP@\(k) /k", \.averagePrecisionByK), line("P@\(k)", \.precision),
            line("neighbour recall@\(k)", \.neighbourRecall),
        ]
        if !groups.isEmpty {
            curves.append(
                LinePlot.Series(name: "right group", points: groups.map { (Double($0.size), $0.grouped.mean * 100) })
            )
        }
        var plots = [
            (
                "sizes",
                sizePlot(
                    "\(fileName(folder)): \(model)" + (method.map { ", \($0)" } ?? ""),
                    yLabel: "%",
                    sizes: sizes.map(\.size),
                    named: mainSizes,
                    series: curves
                )
            )
        ]
        if !cascades.isEmpty {
            let heads = sizes.filter { mainSizes.contains($0.size) }
            plots.append(
                (
                    "cascades",
                    sizePlot(
                        "Adaptive classification: accuracy by expected dimensions",
                        yLabel: "accuracy, %",
                        sizes: mainSizes,
                        named: mainSizes,
                        series: [
                            LinePlot.Series(
                                name: "one size",
                                points: heads.map { (Double($0.size), $0.probe.mean * 100) },
                                spreads: heads.map { ($0.probe.halfWidth ?? 0) * 100 }
                            )
                        ]
                            + cascades.map { cascade in
                                LinePlot.Series(
                                    name: "cascade, " + cascade.rule,
                                    points: [(cascade.finalDimensions.mean, cascade.accuracy.mean * 100)],
                                    isEmphasised: true,
                                    spreads: [(cascade.accuracy.halfWidth ?? 0) * 100]
                                )
                            }
                            + (oracle.map { oracle in
                                [
                                    LinePlot.Series(
                                        name: "oracle routing",
                                        points: [(oracle.dimensions.mean, oracle.accuracy.mean * 100)],
                                        spreads: [(oracle.accuracy.halfWidth ?? 0) * 100]
                                    )
                                ]
                            } ?? [])
                    )
                )
            )
        }
        let counts = Set(shots.map(\.shots)).sorted()
        plots.append(
            (
                "few-shot",
                sizePlot(
                    "Nearest class mean from few examples of a label",
                    yLabel: "accuracy, %",
                    sizes: mainSizes,
                    named: mainSizes,
                    series: counts.map { count in
                        let line = shots.filter { $0.shots == count }
                        return LinePlot.Series(
                            name: "\(count) example\(count == 1 ? "" : "s")",
                            points: line.map { (Double($0.size), $0.accuracy.mean * 100) },
                            spreads: line.map { ($0.accuracy.halfWidth ?? 0) * 100 }
                        )
                    }
                )
            )
        )
        return plots + plans.plots
    }
}
