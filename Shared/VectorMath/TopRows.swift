import CVectorKernels

/// The best rows of each query of a batch, exactly, while tables are scanned one after the other.
package final class TopRows {
    /// One query's rows, best first.
    package struct Ranking {
        package var ids: [Int64]
        package var scores: [Float]
        /// Position in its table plus the table's first row.
        package var rows: [UInt32]
    }

    let selections: UnsafeMutablePointer<mrl_selection>
    let queryCount: Int
    private let capacity: Int
    private let items: UnsafeMutablePointer<mrl_candidate>

    // rowLimit: no query is offered more rows than this.
    package init(queryCount: Int, keep: Int, rowLimit: Int) {
        precondition(keep >= 1 && rowLimit >= 0 && rowLimit < Int(UInt32.max), "a selection's sizes")
        self.queryCount = queryCount
        capacity = min(2 * keep + 64, max(keep, rowLimit) + 1)
        selections = .allocate(capacity: max(1, queryCount))
        items = .allocate(capacity: max(1, capacity * queryCount))
        for query in 0..<queryCount {
            mrl_selection_init(selections + query, items + query * capacity, UInt32(capacity), UInt32(keep))
        }
    }

    deinit {
        selections.deallocate()
        items.deallocate()
    }

    package func rankings() -> [Ranking] {
        let scratch = UnsafeMutablePointer<mrl_candidate>.allocate(capacity: capacity)
        defer { scratch.deallocate() }
        return (0..<queryCount).map { query in
            mrl_selection_finish(selections + query, scratch)
            let best = UnsafeBufferPointer(start: selections[query].items, count: Int(selections[query].count))
            return Ranking(ids: best.map(\.id), scores: best.map { mrl_key_score($0.key) }, rows: best.map(\.row))
        }
    }
}
