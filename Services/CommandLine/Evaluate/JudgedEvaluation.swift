import Corpora
import Evaluation
import Matryoshka
import ServiceRuntime
import VectorMath

/// Measures a collection in memory by judgements.
struct JudgedEvaluation {
    let documents: Matrix
    /// Only those with a judgement.
    let queries: Matrix
    /// By query: grades by row of ``documents``; relevant documents that are not there have rows below 0.
    let judgements: [[Int: Int]]
    let sizes: EvaluatedSizes
    let options: EvaluationOptions

    private var k: Int { min(options.k, documents.rows) }

    /// Numbers documents.
    ///
    /// - Returns: For each query that is judged its place and its grades by row.
    static func judged(
        _ queries: [String],
        _ documents: [String],
        _ judgements: RelevanceJudgements
    ) -> [(place: Int, grades: [Int: Int])] {
        let rows = Dictionary(uniqueKeysWithValues: documents.enumerated().map { ($1, $0) })
        return queries.enumerated().compactMap { place, query in
            var grades: [Int: Int] = [:]
            for (number, (document, grade)) in judgements.grades(of: query).sorted(by: { $0.key < $1.key }).enumerated()
            {
                grades[rows[document] ?? -1 - number] = grade
            }
            return grades.values.contains { $0 > 0 } ? (place, grades) : nil
        }
    }

    /// Measures everything; `source` and `model` are for the report.
    func report(source: String, model: String) -> JudgedReport {
        BLAS.useOneThread()
        let collection = DenseCollection(vectors: documents.values, dimensions: documents.columns)
        var line = ProgressLine("searching at each size", total: sizes.all.count, at: now())
        let depth = min(documents.rows, max(k, JudgedReport.deep))
        let found = sizes.all.enumerated().map { place, size in
            let rows = collection.nearest(queries: queries.values, size: size, keep: depth).map { $0.map(\.item) }
            line.update(place + 1, at: now())
            return rows
        }
        line.finish(sizes.all.count, at: now())
        let places = options.sampled(of: queries.rows)
        let plans = PlanFigures(
            PlanTrials(collection: collection, queries: queries.selecting(places).values),
            options.plans(sizes, rows: documents.rows),
            k: k,
            measure: "nDCG@\(k)"
        ) { found in
            RankingMeasures(zip(places, found).map { RankedRelevance(found: $1, judgements: judgements[$0]) }, at: k)
                .normalisedGain
        }
        return JudgedReport(
            source: source,
            model: model,
            documents: documents.rows,
            queries: queries.rows,
            judgements: judgements.map(\.count).reduce(0, +),
            k: k,
            mainSizes: sizes.main,
            sizes: zip(sizes.all, found).map { size, rows in
                let rankings = zip(rows, judgements).map { RankedRelevance(found: $0, judgements: $1) }
                return JudgedReport.Size(
                    size: size,
                    isTrained: sizes.trained.contains(size),
                    measures: RankingMeasures(rankings, at: k),
                    deepRecall: RankingMeasures(rankings, at: JudgedReport.deep).recall,
                    neighbourRecall: Metrics.recall(found: rows, truth: found[found.count - 1], at: k)
                )
            },
            plans: plans
        )
    }
}
