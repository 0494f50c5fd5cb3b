import Evaluation

/// How well a model finds what is judged relevant, size by size.
struct JudgedReport: EvaluationReport {
    struct Size: Encodable {
        var size: Int
        /// Nil where nobody says what the model was trained at.
        var isTrained: Bool?
        var measures: RankingMeasures
        var deepRecall: Double
        var neighbourRecall: Double

        enum CodingKeys: String, CodingKey {
            case size, precision, recall, ndcg, mrr
            case isTrained = "trained"
            case exponential = "ndcg_exponential"
            case byK = "map_by_k"
            case byRelevant = "map_by_min_k_r"
            case byFound = "map_by_found"
            case deepRecall = "recall_at_100"
            case neighbourRecall = "neighbour_recall"
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(size, forKey: .size)
            try container.encodeIfPresent(isTrained, forKey: .isTrained)
            try container.encode(neighbourRecall, forKey: .neighbourRecall)
            guard measures.queries > 0 else { return }
            try container.encode(measures.normalisedGain, forKey: .ndcg)
            try container.encode(measures.normalisedExponentialGain, forKey: .exponential)
            try container.encode(measures.reciprocalRank, forKey: .mrr)
            try container.encode(measures.precision, forKey: .precision)
            try container.encode(measures.recall, forKey: .recall)
            try container.encode(measures.averagePrecision[.depth], forKey: .byK)
            try container.encode(measures.averagePrecision[.relevant], forKey: .byRelevant)
            try container.encode(measures.averagePrecision[.found], forKey: .byFound)
            try container.encode(deepRecall, forKey: .deepRecall)
        }
    }

    /// Hits that ``Size/deepRecall`` looks at.
    static let deep = 100

    /// A folder or a collection.
    var source: String
    var model: String
    var documents: Int
    /// Those for which something is relevant; all where nothing is judged.
    var queries: Int
    var judgements: Int
    var k: Int
    var mainSizes: [Int]
    var sizes: [Size]
    /// What a reader should know beside; nil: nothing.
    var remark: String?
    var plans: PlanFigures

    enum CodingKeys: String, CodingKey {
        case source, model, documents, queries, judgements, k, sizes, remark, plans
        case mainSizes = "main_sizes"
    }

    private var isJudged: Bool { judgements > 0 }

    func text(showsAllPlans: Bool) -> String {
        let judged =
            isJudged
            ? [
                "nDCG@\(k) %", "MRR@\(k) %", "mAP@\(k) /k %", "mAP@\(k) /min(k,R) %", "P@\(k) %", "recall@\(k) %",
                "recall@\(Self.deep) %",
            ]
            : []
        let tells = sizes.contains { $0.isTrained != nil }
        var table = Table(["size"] + (tells ? ["trained"] : []) + judged + ["neighbour recall@\(k) %"])
        for size in sizes {
            let measures = size.measures
            let values: [Double] = [
                measures.normalisedGain, measures.reciprocalRank, measures.averagePrecision[.depth] ?? 0,
                measures.averagePrecision[.relevant] ?? 0, measures.precision, measures.recall, size.deepRecall,
            ]
            table.add(
                ["\(size.size)"] + (tells ? [size.isTrained == true ? "yes" : ""] : [])
                    + (isJudged ? values.map { fixed($0 * 100, 1) } : [])
                    + [fixed(size.neighbourRecall * 100, 1)]
            )
        }
        let heading =
            "\(source): \(grouped(documents)) documents, \(grouped(queries)) queries"
            + (isJudged ? ", \(grouped(judgements)) judgements" : ", nothing judged") + "\nvectors of \(model)"
            + (remark.map { "\n" + $0 } ?? "")
        return [
            heading,
            "By size; "
                + (isJudged ? "nDCG with grades as gains; " : "")
                + "neighbour recall: share of the first \(k) at full size\n" + table.text,
            plans.text(showsAll: showsAllPlans),
        ].joined(separator: "\n\n")
    }

    var plots: [(name: String, plot: LinePlot)] {
        func line(_ name: String, _ value: (Size) -> Double, isEmphasised: Bool = false) -> LinePlot.Series {
            LinePlot.Series(
                name: name,
                points: sizes.map { (Double($0.size), value($0) * 100) },
                isEmphasised: isEmphasised
            )
        }
        let judged =
            isJudged
            ? [
                line("nDCG@\(k)", \.measures.normalisedGain, isEmphasised: true),
                line("MRR@\(k)", \.measures.reciprocalRank),
                line("mAP@\(k) /min(k,R)") { $0.measures.averagePrecision[.relevant] ?? 0 },
                line("recall@\(k)", \.measures.recall), line("recall@\(Self.deep)", \.deepRecall),
            ] : []
        let curves = judged + [line("neighbour recall@\(k)", \.neighbourRecall, isEmphasised: !isJudged)]
        let plot = sizePlot(
            "\(fileName(source)): \(model)",
            yLabel: "%",
            sizes: sizes.map(\.size),
            named: mainSizes,
            series: curves
        )
        return [("sizes", plot)] + plans.plots
    }
}
