import Evaluation
import Learning
import VectorMath

extension JudgedCollection {
    /// nDCG@10 in percent of rankings, one for each query, best first.
    func gain(_ rankings: [[Int]]) -> Double { 100 * RankingMeasures(judged(rankings), at: 10).normalisedGain }

    /// Recall@100 in percent.
    func recall(_ rankings: [[Int]]) -> Double { 100 * RankingMeasures(judged(rankings), at: 100).recall }

    private func judged(_ rankings: [[Int]]) -> [RankedRelevance] {
        zip(rankings, grades).map { RankedRelevance(found: $0, judgements: $1) }
    }

    /// The best 100 documents of each query by vectors of one size.
    func rankings(documents: Matrix, queries: Matrix, size: Int) -> [[Int]] {
        DenseCollection(vectors: documents.values, dimensions: documents.columns)
            .nearest(queries: queries.values, size: size, keep: 100).map { $0.map(\.item) }
    }
}

/// Static models of Debian's and WordNet's pairs on a collection that they have never seen: a nested one, and a rigid one
/// that is cut.
struct ZeroShotStatic: Experiment {
    private static let tokensMax = 256

    let name = "cranfield-static"
    let title = "Cranfield by models of Debian and WordNet"
    let needs: [StudyData] = [.debian, .wordNet, .cranfield]
    let isSeeded = true
    private var nesting: Nesting { .doubling(from: 8, to: 256) }
    var recipe: String {
        StaticRecipe.text(nesting, epochs: KnownItemSet.both.epochs) + ", \(Self.tokensMax) tokens, nDCG@10, recall@100"
    }
    var cost: Double { 2 * KnownItemSet.both.cost }

    func measure(_ library: StudyLibrary, seed: Int, progress: @escaping (Double) -> Void) throws -> Figures {
        let (data, judged) = (try library.knownItems(.both), try library.judgedCollection())
        let settings = StaticRecipe.settings(nesting, epochs: KnownItemSet.both.epochs, seed: seed)
        func tokens(_ texts: [String]) -> TokenRows {
            TokenRows(rows: texts.map { data.tokens.ids(of: $0, limit: Self.tokensMax) })
        }
        let (documents, queries) = (tokens(judged.documents), tokens(judged.queries))
        var figures = Figures()
        for (number, method) in [TrainingMethod.matryoshka, .truncation].enumerated() {
            let (trained, _) = try StaticRecipe.train(method, settings, data) { progress((Double(number) + $0) / 2) }
            for size in nesting.sizes {
                let found = judged.rankings(
                    documents: trained.vectors(of: documents, size: nesting.dimensions),
                    queries: trained.vectors(of: queries, size: nesting.dimensions),
                    size: size
                )
                figures["ndcg " + method.rawValue, size] = judged.gain(found)
                figures["recall " + method.rawValue, size] = judged.recall(found)
            }
        }
        return figures
    }
}

/// Lexical search on the same collection.
struct LexicalJudged: Experiment {
    let name = "cranfield-bm25"
    let title = "Cranfield, BM25"
    let needs: [StudyData] = [.cranfield]
    let isSeeded = false
    let recipe = "BM25, k 1.2, b 0.75, pieces of its own documents, nDCG@10, recall@100"
    let cost = 2.0

    func measure(_ library: StudyLibrary, seed: Int, progress: @escaping (Double) -> Void) throws -> Figures {
        let judged = try library.judgedCollection()
        let tokens = StudyTokens(learntFrom: judged.documents, size: 30_000)
        let index = BM25(judged.documents.map { tokens.ids(of: $0, limit: .max) })
        let found = judged.queries.map { index.ranking(of: tokens.ids(of: $0, limit: .max), keep: 100) }
        var figures = Figures()
        figures["ndcg"] = judged.gain(found)
        figures["recall"] = judged.recall(found)
        return figures
    }
}

/// The frozen transformer on the same collection, cut.
struct FrozenJudged: Experiment {
    let name = "cranfield-encoder"
    let title = "Cranfield by the frozen encoder"
    let needs: [StudyData] = [.cranfield, .encoder]
    let isSeeded = false
    let recipe = "cut, nDCG@10, recall@100"
    let cost = 90.0

    func measure(_ library: StudyLibrary, seed: Int, progress: @escaping (Double) -> Void) throws -> Figures {
        let judged = try library.judgedCollection()
        let documents = try library.vectors(of: judged.documents, role: "document", label: "Cranfield, documents")
        let queries = try library.vectors(of: judged.queries, role: "query", label: "Cranfield, queries")
        var figures = Figures()
        for size in Nesting.doubling(from: 8, to: documents.columns).sizes {
            let found = judged.rankings(documents: documents, queries: queries, size: size)
            figures["ndcg", size] = judged.gain(found)
            figures["recall", size] = judged.recall(found)
        }
        return figures
    }
}
