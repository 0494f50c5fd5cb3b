public import Matryoshka

/// What plans find over a collection in memory, and how long it takes.
public struct PlanTrials: Sendable {
    /// What one plan found.
    public struct Outcome: Sendable {
        /// The plan.
        public let entry: PlanGrid.Entry
        /// By query: the hits, best first.
        public let found: [[Int]]
        /// Dimensions multiplied for one query.
        public let multiplied: Int
        /// Median time of one search, alone on one thread, in milliseconds; nil where none was timed.
        public let milliseconds: Double?
    }

    /// What is searched.
    public let collection: DenseCollection
    /// Row-major, of full size.
    public let queries: [Float]
    /// A row for each query that does not count; nil for none.
    public let excluding: [Int]?
    /// Queries that are run one by one for the time; 0 for none.
    public var timedQueries = 30

    /// Makes trials of some queries, at least one.
    public init(collection: DenseCollection, queries: [Float], excluding: [Int]? = nil) {
        precondition(!queries.isEmpty && queries.count % collection.dimensions == 0, "whole queries, one or more")
        self.collection = collection
        self.queries = queries
        self.excluding = excluding
    }

    /// Runs plans.
    ///
    /// Plans that begin alike share one scan: what follows is worked out from its rows' scores at all sizes.
    ///
    /// - Parameters:
    ///   - entries: The plans; sizes are 1 to D.
    ///   - progress: Called with how many plans are done.
    /// - Returns: In the order of the plans.
    public func run(_ entries: [PlanGrid.Entry], progress: (Int) -> Void = { _ in }) -> [Outcome] {
        var outcomes = [Outcome?](repeating: nil, count: entries.count)
        var done = 0
        let groups = Dictionary(grouping: entries.indices) { entries[$0].plan.stages[0].dimensions }
        for (size, places) in groups.sorted(by: { $0.key < $1.key }) {
            let prefixes = collection.prefixes(size)
            let found = found(places.map { entries[$0].plan }, in: prefixes)
            for (place, found) in zip(places, found) {
                outcomes[place] = Outcome(
                    entry: entries[place],
                    found: found,
                    multiplied: entries[place].plan.multiplied(rows: collection.count),
                    milliseconds: medianMilliseconds(entries[place].plan, in: prefixes)
                )
                done += 1
                progress(done)
            }
        }
        return outcomes.compactMap { $0 }
    }

    private func query(_ number: Int) -> ArraySlice<Float> {
        queries[number * collection.dimensions..<(number + 1) * collection.dimensions]
    }

    /// By plan, then by query.
    private func found(_ plans: [Plan], in prefixes: DenseCollection.Prefixes) -> [[[Int]]] {
        let keep = plans.map { $0.stages[0].keep }.max() ?? 1
        let sizes = Set(plans.flatMap { $0.stages.dropFirst().map(\.dimensions) }).sorted()
        let shortlists = collection.nearest(queries: queries, in: prefixes, keep: keep, excluding: excluding)
        var found = plans.map { _ in [[Int]]() }
        for (number, shortlist) in shortlists.enumerated() {
            let rows = shortlist.map(\.item)
            let scores = ShortlistScores(
                rows: rows,
                sizes: sizes,
                scores: sizes.isEmpty ? [] : collection.cosines(query(number), rows: rows, sizes: sizes)
            )
            for (place, plan) in plans.enumerated() { found[place].append(scores.rows(following: plan)) }
        }
        return found
    }

    private func medianMilliseconds(_ plan: Plan, in prefixes: DenseCollection.Prefixes) -> Double? {
        let count = min(timedQueries, queries.count / collection.dimensions)
        guard count > 0 else { return nil }
        let clock = ContinuousClock()
        // The first search finds caches cold.
        let times = ([0] + (0..<count)).map { number in
            let vector = Array(query(number))
            return clock.measure {
                _ = collection.search(vector, plan: plan, in: prefixes, excluding: excluding?[number])
            }
        }
        return times.dropFirst().sorted()[count / 2] / .milliseconds(1)
    }
}

/// One query's shortlist with its rows' scores at several sizes: any plan that begins with it is followed from there.
public struct ShortlistScores: Sendable {
    /// Best first.
    public let rows: [Int]
    private let sizes: [Int]
    /// By size, then by place in ``rows``.
    private let scores: [[Float]]

    /// Takes the scores of rows: by size, then by place.
    public init(rows: [Int], sizes: [Int], scores: [[Float]]) {
        self.rows = rows
        self.sizes = sizes
        self.scores = scores
    }

    /// What a plan keeps whose first stage makes this shortlist, or the beginning of it.
    public func rows(following plan: Plan) -> [Int] {
        guard let last = plan.stages.dropFirst().last else { return Array(rows.prefix(plan.stages[0].keep)) }
        return ordered(following: plan).prefix(last.keep).map(\.item)
    }

    /// All that the last stage of such a plan scores, best first; what is beyond its keep included.
    ///
    /// - Precondition: The plan has a second stage, and all after the first are of sizes that were scored.
    public func ordered(following plan: Plan) -> [(item: Int, score: Float)] {
        var kept = Array(rows.indices.prefix(plan.stages[0].keep))
        var ordered: [(item: Int, score: Float)] = []
        for stage in plan.stages.dropFirst() {
            guard let size = sizes.firstIndex(of: stage.dimensions) else {
                preconditionFailure("a size that was scored")
            }
            let column = scores[size]
            kept.sort { (column[$0], rows[$1]) > (column[$1], rows[$0]) }
            ordered = kept.map { (rows[$0], column[$0]) }
            kept.removeLast(max(0, kept.count - stage.keep))
        }
        return ordered
    }
}
