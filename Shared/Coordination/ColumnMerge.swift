import Matryoshka
public import WireProtocol

extension CandidateColumns {
    /// Copies of the rows at `indices`, in that order.
    public func rows(at indices: [Int]) -> CandidateColumns {
        CandidateColumns(
            ids: indices.map { ids[$0] },
            versions: indices.map { versions[$0] },
            shards: indices.map { shards[$0] },
            scores: scores.map { column in indices.map { column[$0] } }
        )
    }

    /// Merges lists that are each best first at stage 0 into the best `keep` of all.
    public static func merged(_ lists: [CandidateColumns], keep: Int) -> CandidateColumns {
        if lists.count == 1, lists[0].count <= keep { return lists[0] }
        let stages = lists.map(\.scores.count).max() ?? 0
        let total = min(keep, lists.reduce(0) { $0 + $1.count })
        var result = CandidateColumns(scores: Array(repeating: [], count: stages))
        result.ids.reserveCapacity(total)
        result.versions.reserveCapacity(total)
        result.shards.reserveCapacity(total)
        for stage in 0..<stages { result.scores[stage].reserveCapacity(total) }
        var at = Array(repeating: 0, count: lists.count)
        while result.ids.count < total {
            var best = -1
            for list in lists.indices where at[list] < lists[list].count {
                if best < 0
                    || ranksBefore(
                        score: lists[list].scores[0][at[list]],
                        id: lists[list].ids[at[list]],
                        than: lists[best].scores[0][at[best]],
                        id: lists[best].ids[at[best]]
                    )
                {
                    best = list
                }
            }
            let row = at[best]
            result.ids.append(lists[best].ids[row])
            result.versions.append(lists[best].versions[row])
            result.shards.append(lists[best].shards[row])
            for stage in 0..<stages { result.scores[stage].append(lists[best].scores[stage][row]) }
            at[best] += 1
        }
        return result
    }

    /// The best `keep` rows by the score at `stage`, best first.
    public func best(_ keep: Int, atStage stage: Int) -> CandidateColumns {
        let column = scores[stage]
        let order = ids.indices.sorted {
            ranksBefore(score: column[$0], id: ids[$0], than: column[$1], id: ids[$1])
        }
        return rows(at: order.count > keep ? Array(order[..<keep]) : order)
    }

    /// One list after the other.
    public static func joined(_ lists: [CandidateColumns], stages: Int) -> CandidateColumns {
        var result = CandidateColumns(scores: Array(repeating: [], count: stages))
        for list in lists {
            result.ids += list.ids
            result.versions += list.versions
            result.shards += list.shards
            for stage in 0..<stages { result.scores[stage] += list.scores[stage] }
        }
        return result
    }
}
