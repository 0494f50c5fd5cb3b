/// One row that is still in the running for a query.
public struct Candidate: Sendable, Hashable {
    /// Internal id; ties break on it, the lower first.
    public var id: Int64
    /// Version of the row that was scored.
    public var version: UInt32
    /// Logical shard that holds the row.
    public var shard: UInt16
    /// Scores by stage, in plan order, as far as they are known.
    public var scores: [Float]

    /// Makes a candidate.
    public init(id: Int64, version: UInt32, shard: UInt16, scores: [Float]) {
        self.id = id
        self.version = version
        self.shard = shard
        self.scores = scores
    }
}

/// The order of all results: score descending, then id ascending.
///
/// NaN counts as less than every number.
@inlinable
public func ranksBefore(score left: Float, id leftID: Int64, than right: Float, id rightID: Int64) -> Bool {
    if left == right { return leftID < rightID }
    if left.isNaN { return right.isNaN && leftID < rightID }
    if right.isNaN { return true }
    return left > right
}

extension Array where Element == Candidate {
    /// The best `keep` by their score at `stage`, best first.
    public func best(_ keep: Int, atStage stage: Int) -> [Candidate] {
        let ordered = sorted {
            ranksBefore(score: $0.scores[stage], id: $0.id, than: $1.scores[stage], id: $1.id)
        }
        return ordered.count <= keep ? ordered : [Candidate](ordered[..<keep])
    }

    /// Applies the keeps of stages `range` in turn (a funnel).
    public func funnelled(_ steps: [ResolvedPlan.Step], stages range: Range<Int>) -> [Candidate] {
        var left = self
        for stage in range { left = left.best(steps[stage].keep, atStage: stage) }
        return left
    }
}
