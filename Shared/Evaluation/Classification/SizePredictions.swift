/// What each size of a classifier says of each example, and what is true.
public struct SizePredictions: Sendable, Hashable {
    /// Ascending, the last one the full size.
    public let sizes: [Int]
    /// Class of each example, from 0.
    public let truth: [Int]
    /// By size, then by example.
    public let labels: [[Int]]
    /// By size, then by example: the probability of the label that is said, 0 to 1.
    public let confidences: [[Float]]

    /// Makes a table whose parts fit.
    public init(sizes: [Int], truth: [Int], labels: [[Int]], confidences: [[Float]]) {
        precondition(!sizes.isEmpty && zip(sizes, sizes.dropFirst()).allSatisfy { $0 < $1 }, "sizes ascend")
        precondition(
            labels.count == sizes.count && confidences.count == sizes.count
                && (labels.map(\.count) + confidences.map(\.count)).allSatisfy { $0 == truth.count },
            "each size says something of each example"
        )
        self.sizes = sizes
        self.truth = truth
        self.labels = labels
        self.confidences = confidences
    }

    /// Examples.
    public var count: Int { truth.count }

    /// Whether the size at `place` is right about an example.
    public func isRight(_ place: Int, _ example: Int) -> Bool { labels[place][example] == truth[example] }

    /// Share of the examples that the size at `place` is right about; 0 of none.
    public func accuracy(_ place: Int) -> Double { share { isRight(place, $0) } }

    /// The table of some examples, in the order given.
    public func restricted(to examples: [Int]) -> SizePredictions {
        SizePredictions(
            sizes: sizes,
            truth: examples.map { truth[$0] },
            labels: labels.map { column in examples.map { column[$0] } },
            confidences: confidences.map { column in examples.map { column[$0] } }
        )
    }

    func share(_ isCounted: (Int) -> Bool) -> Double {
        truth.isEmpty ? 0 : Double(truth.indices.count { isCounted($0) }) / Double(truth.count)
    }
}
