import Evaluation
import Matryoshka

/// The rows nearest to each query at a small size, with their cosines at larger ones: from these every plan that begins
/// so is read off without another search.
struct Shortlists {
    private let targets: [Int]
    private let first: Int
    /// By query.
    private let lists: [ShortlistScores]

    /// Searches at one size, and scores what it finds at others.
    ///
    /// - Parameters:
    ///   - documents: Row-major, of full size.
    ///   - queries: Row-major, of full size.
    ///   - targets: The row that each query should find.
    ///   - dimensions: Full size D.
    ///   - first: Size that all rows are searched at.
    ///   - keep: Rows of each list.
    ///   - sizes: Ascending from more than `first` to D.
    init(
        documents: [Float],
        queries: [Float],
        targets: [Int],
        dimensions: Int,
        first: Int,
        keep: Int,
        sizes: [Int]
    ) {
        let collection = DenseCollection(vectors: documents, dimensions: dimensions)
        let found = collection.nearest(queries: queries, size: first, keep: keep)
        self.targets = targets
        self.first = first
        lists = found.enumerated().map { query, found in
            let vector = queries[query * dimensions..<(query + 1) * dimensions]
            let rows = found.map(\.item)
            return ShortlistScores(
                rows: rows,
                sizes: sizes,
                scores: collection.cosines(vector, rows: rows, sizes: sizes)
            )
        }
    }

    /// What a plan finds for each query; its first stage keeps no more than the lists hold.
    func found(_ plan: [Stage]) -> [DenseCollection.Found] {
        precondition(plan.count > 1 && plan[0].dimensions == first, "a plan that begins at \(first) dimensions")
        return zip(lists, targets).map { list, target in
            let ordered = list.ordered(following: Plan(stages: plan))
            return DenseCollection.Found(
                rows: ordered.prefix(plan[plan.count - 1].keep).map(\.item),
                rank: Metrics.pessimisticRank(of: target, among: ordered, tolerance: DenseCollection.tolerance)
            )
        }
    }
}
