import Evaluation
import Matryoshka

/// The rows nearest to each query at a small size, with their cosines at larger ones: from these every plan that begins
/// so is read off without another search.
struct Shortlists {
    private let targets: [Int]
    private let first: Int
    private let sizes: [Int]
    /// By query: rows, best at the first size first.
    private let rows: [[Int]]
    /// By query, then by size, row by row.
    private let cosines: [[[Float]]]

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
        self.sizes = sizes
        rows = found.map { $0.map(\.item) }
        cosines = rows.enumerated().map { query, rows in
            let vector = queries[query * dimensions..<(query + 1) * dimensions]
            return collection.cosines(vector, rows: rows, sizes: sizes)
        }
    }

    /// What a plan finds for each query; its first stage keeps no more than the lists hold.
    func found(_ plan: [Stage]) -> [DenseCollection.Found] {
        precondition(plan.count > 1 && plan[0].dimensions == first, "a plan that begins at \(first) dimensions")
        let places = plan.dropFirst().map { stage in
            guard let place = sizes.firstIndex(of: stage.dimensions) else {
                preconditionFailure("\(stage.dimensions) dimensions were not scored")
            }
            return place
        }
        return rows.indices.map { query in
            let cosines = cosines[query]
            var kept = Array(0..<min(plan[0].keep, rows[query].count))
            var scored: [(item: Int, score: Float)] = []
            for (number, stage) in plan.enumerated().dropFirst() {
                let column = cosines[places[number - 1]]
                scored = kept.map { ($0, column[$0]) }
                scored.sort { ($0.score, rows[query][$1.item]) > ($1.score, rows[query][$0.item]) }
                kept = scored.prefix(stage.keep).map(\.item)
            }
            let wanted = rows[query].firstIndex(of: targets[query])
            return DenseCollection.Found(
                rows: kept.map { rows[query][$0] },
                rank: wanted.flatMap {
                    Metrics.pessimisticRank(of: $0, among: scored, tolerance: DenseCollection.tolerance)
                }
            )
        }
    }
}
