import CVectorKernels

/// Which blocks are scanned for which queries of a batch, list by list.
package struct ListVisits {
    /// Blocks that follow each other, of all lists.
    private(set) var stretches: [mrl_stretch] = []
    private(set) var visits: [mrl_list_visit] = []
    /// Numbers of queries, ascending in each visit.
    private(set) var askers: [UInt32] = []
    /// Above all blocks.
    private(set) var blockLimit = 0

    package init() {}

    /// A list is scanned after those that were appended before it.
    ///
    /// - Parameters:
    ///   - blocks: Where its rows are.
    ///   - askers: The queries that look into it, ascending.
    package mutating func append(blocks: [UInt32], askers: some Collection<UInt32>) {
        let first = stretches.count
        for block in blocks {
            blockLimit = max(blockLimit, Int(block) + 1)
            if stretches.count > first, let last = stretches.last, last.block + last.count == block {
                stretches[stretches.count - 1].count += 1
            } else {
                stretches.append(mrl_stretch(block: block, count: 1))
            }
        }
        self.askers += askers
        visits.append(
            mrl_list_visit(stretches_end: UInt32(stretches.count), askers_end: UInt32(self.askers.count))
        )
    }

    /// The blocks of all lists.
    package var blocks: some Sequence<Int> {
        stretches.lazy.flatMap { Int($0.block)..<Int($0.block + $0.count) }
    }

    /// Calls `body` for each list with its stretches and its queries.
    func forEach(_ body: (_ stretches: ArraySlice<mrl_stretch>, _ askers: ArraySlice<UInt32>) -> Void) {
        var (stretch, asker) = (0, 0)
        for visit in visits {
            body(stretches[stretch..<Int(visit.stretches_end)], askers[asker..<Int(visit.askers_end)])
            (stretch, asker) = (Int(visit.stretches_end), Int(visit.askers_end))
        }
    }
}
