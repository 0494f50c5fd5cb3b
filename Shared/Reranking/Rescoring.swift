public import Matryoshka
package import VectorMath

/// What rerank shards say of a list of candidates, as columns in the list's order.
public struct RescoredRows: Sendable, Hashable {
    /// By candidate: the version of the held row; nil where none is held.
    public var versions: [UInt32?]
    /// `scores[step][candidate]` for the steps asked for; 0 where none is held.
    public var scores: [[Float]]
}

extension VectorShard {
    /// Scores one row at some steps of a plan; nil where it is not held.
    ///
    /// Resident steps use the resident score of the collection, over the codes of the stored head.
    public func score(id: Int64, query: PreparedQuery, plan: ResolvedPlan, steps: Range<Int>) -> [Float]? {
        position(of: id).map { position in
            steps.map { query.scores(of: [row(position)], plan: plan, step: $0, path: .current)[0] }
        }
    }

    /// Scores many rows of this shard at some steps of a plan.
    public func score(ids: [Int64], query: PreparedQuery, plan: ResolvedPlan, steps: Range<Int>) -> RescoredRows {
        rescore(ids: ids, query: query, plan: plan, steps: steps) { _ in self }
    }
}

/// Scores candidates that lie in many shards at some steps of a plan, in one pass.
///
/// - Parameters:
///   - ids: The candidates.
///   - query: What they are compared with.
///   - plan: The plan that runs.
///   - steps: Which of its steps to score.
///   - shard: The shard of the candidate with this number in `ids`; nil where it is not here.
/// - Returns: One entry per candidate, in the order of `ids`.
public func rescore(
    ids: [Int64],
    query: PreparedQuery,
    plan: ResolvedPlan,
    steps: Range<Int>,
    shard: (Int) -> VectorShard?
) -> RescoredRows {
    rescore(ids: ids, query: query, plan: plan, steps: steps, path: .current, shard: shard)
}

package func rescore(
    ids: [Int64],
    query: PreparedQuery,
    plan: ResolvedPlan,
    steps: Range<Int>,
    path: KernelPath,
    shard: (Int) -> VectorShard?
) -> RescoredRows {
    var versions = [UInt32?](repeating: nil, count: ids.count)
    var rows: [UnsafePointer<Float>] = []
    var found: [Int] = []
    rows.reserveCapacity(ids.count)
    found.reserveCapacity(ids.count)
    // What one pass reads, the one before it asks for.
    let shards = ids.indices.map(shard)
    var near = zip(ids, shards).map { $1?.guess(of: $0) ?? 0 }
    for _ in 0..<2 {
        for (candidate, id) in ids.enumerated() {
            if let shard = shards[candidate] { near[candidate] = shard.nearer(id, from: near[candidate]) }
        }
    }
    let places = ids.indices.map { candidate -> Int? in
        guard let shard = shards[candidate], let place = shard.place(of: ids[candidate], near: near[candidate]) else {
            return nil
        }
        shard.expectRow(place)
        return place
    }
    for (candidate, place) in places.enumerated() {
        guard let place, let shard = shards[candidate], shard.isHeld(place) else { continue }
        precondition(shard.dimensions == query.vector.count, "a query of another size")
        versions[candidate] = shard.version(at: place)
        rows.append(shard.row(place))
        found.append(candidate)
    }
    let scores = steps.map { step in
        let known = query.scores(of: rows, plan: plan, step: step, path: path)
        if found.count == ids.count { return known }
        var all = [Float](repeating: 0, count: ids.count)
        for (number, candidate) in found.enumerated() { all[candidate] = known[number] }
        return all
    }
    return RescoredRows(versions: versions, scores: scores)
}
