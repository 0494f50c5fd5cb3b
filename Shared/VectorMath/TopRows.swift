import CVectorKernels

/// The best rows of each query of a batch, exactly, while tables are scanned one after the other.
package final class TopRows {
    /// Which blocks of a table a scan visits.
    package enum Pass: Int32 {
        case all
        /// Every sixteenth run of four blocks.
        case sample
        /// The blocks that `sample` leaves out.
        case rest
    }

    /// One query's rows, best first.
    package struct Ranking {
        package var ids: [Int64]
        package var scores: [Float]
        /// Position in its table plus the table's first row.
        package var rows: [UInt32]
    }

    let selections: UnsafeMutablePointer<mrl_selection>
    let queryCount: Int
    private let keep: Int
    private let capacity: Int
    private let items: UnsafeMutablePointer<mrl_candidate>

    // rowLimit: no query is offered more rows than this.
    package init(queryCount: Int, keep: Int, rowLimit: Int, path: KernelPath = .current) {
        precondition(keep >= 1 && rowLimit >= 0 && rowLimit < Int(UInt32.max), "a selection's sizes")
        self.queryCount = queryCount
        self.keep = keep
        capacity = min(2 * keep + 64, max(keep, rowLimit) + 1)
        selections = .allocate(capacity: max(1, queryCount))
        items = .allocate(capacity: max(1, capacity * queryCount))
        for query in 0..<queryCount {
            mrl_selection_init(
                path.checkedNumber,
                selections + query,
                items + query * capacity,
                UInt32(capacity),
                UInt32(keep)
            )
        }
    }

    deinit {
        selections.deallocate()
        items.deallocate()
    }

    /// Ranks the rows of all tables.
    ///
    /// Admission of rows costs more than their dot products, so thresholds are guessed early: after a share of the
    /// rows, the final one is near the score whose rank is that share of `keep`, and a margin. The first rows come from
    /// all over the tables. A guess that turns out too high, which only the order of the data can cause, is
    /// seen by a missing row, and the scan is done again without guesses: the answer is always exact.
    ///
    /// `scan` offers the rows of one pass over one table, in blocks of `blockRows`.
    package static func ranked(
        queryCount: Int,
        keep: Int,
        tables: TableList,
        path: KernelPath,
        blockRows: Int = RowColumns.blockRows,
        scan: (_ table: Int, _ pass: Pass, _ best: TopRows) -> Void
    ) -> [Ranking] {
        if tables.rowCount >= 2048 && keep <= tables.rowCount / 8 {
            let best = TopRows(queryCount: queryCount, keep: keep, rowLimit: tables.rowCount, path: path)
            if best.speculate(tables, blockRows, scan) { return best.rankings() }
        }
        let best = TopRows(queryCount: queryCount, keep: keep, rowLimit: tables.rowCount, path: path)
        for table in tables.counts.indices { scan(table, .all, best) }
        return best.rankings()
    }

    /// False where a guess was too high.
    private func speculate(_ tables: TableList, _ blockRows: Int, _ scan: (Int, Pass, TopRows) -> Void) -> Bool {
        var seen = 0
        var nextGuess = 128
        for pass in [Pass.sample, .rest] {
            for (table, count) in tables.counts.enumerated() {
                scan(table, pass, self)
                let run = blockRows * Int(MRL_SAMPLE_RUN)
                let stride = run * Int(MRL_SAMPLE_STEP)
                let sampled = count / stride * run + min(run, count % stride)
                seen += pass == .sample ? sampled : count - sampled
                guard seen >= nextGuess else { continue }
                nextGuess = seen * 2
                let expected = Float(keep) * Float(seen) / Float(tables.rowCount)
                let rank = Int(expected + 3 * expected.squareRoot()) + 4
                guard rank < keep else { continue }
                for query in 0..<queryCount { mrl_selection_speculate(selections + query, UInt32(rank)) }
            }
        }
        let present = min(keep, tables.liveCount)
        return (0..<queryCount).allSatisfy { selections[$0].count >= present }
    }

    /// Offers some rows to one query's ranking, which keeps the best of all that it is offered.
    package func offer(_ query: Int, scores: [Float], ids: [Int64], rows: [UInt32]) {
        precondition(scores.count == ids.count && scores.count == rows.count, "one score and one id a row")
        mrl_selection_offer(selections + query, scores, ids, rows, scores.count)
        mrl_selection_speculate(selections + query, UInt32(keep))
    }

    /// A row with a lower score is not among the best of what was offered.
    package func threshold(_ query: Int) -> Float { selections[query].threshold }

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
