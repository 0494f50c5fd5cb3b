/// What could be had by always asking the smallest size that is right.
public struct OracleRouting: Sendable, Hashable {
    /// Share of the examples that some size is right about.
    public let accuracy: Double
    /// By size: share of the examples that it is the first to be right about.
    public let firstRight: [Double]
    /// Mean of the first right size; examples that no size is right about count with the full one.
    public let dimensions: Double
    /// ``accuracy`` less that of the full size.
    public let gain: Double
    /// Accuracy of what most sizes say; of labels with as many votes, the one that the largest of these sizes says.
    public let majorityAccuracy: Double

    /// Looks at every example.
    public init(_ predictions: SizePredictions) {
        let sizes = predictions.sizes
        var first = [Int](repeating: 0, count: sizes.count)
        var (total, byVote) = (0, 0)
        for example in predictions.truth.indices {
            let place = sizes.indices.first { predictions.isRight($0, example) }
            if let place { first[place] += 1 }
            total += sizes[place ?? sizes.count - 1]
            var votes: [Int: Int] = [:]
            for column in predictions.labels { votes[column[example], default: 0] += 1 }
            let most = votes.values.max() ?? 0
            let chosen = predictions.labels.last { votes[$0[example]] == most }?[example]
            if chosen == predictions.truth[example] { byVote += 1 }
        }
        let count = Double(max(1, predictions.count))
        accuracy = Double(first.reduce(0, +)) / count
        firstRight = first.map { Double($0) / count }
        dimensions = Double(total) / count
        gain = accuracy - predictions.accuracy(sizes.count - 1)
        majorityAccuracy = Double(byVote) / count
    }
}

/// How often two sizes say something else.
public struct SizeDisagreement: Sendable, Hashable {
    /// `[a][b]`: share of the examples about which the sizes at places a and b differ; symmetric.
    public let shares: [[Double]]
    /// By size but the last: share that it is wrong about and the next one is right about.
    public let mended: [Double]
    /// By size but the last: share that it is right about and the next one is wrong about.
    public let spoilt: [Double]

    /// Looks at every pair of sizes.
    public init(_ predictions: SizePredictions) {
        let places = predictions.sizes.indices
        shares = places.map { a in
            places.map { b in predictions.share { predictions.labels[a][$0] != predictions.labels[b][$0] } }
        }
        mended = places.dropLast().map { place in
            predictions.share { !predictions.isRight(place, $0) && predictions.isRight(place + 1, $0) }
        }
        spoilt = places.dropLast().map { place in
            predictions.share { predictions.isRight(place, $0) && !predictions.isRight(place + 1, $0) }
        }
    }
}

/// How the accuracy of each class changes from size to size.
public struct ClassTrends: Sendable, Hashable {
    /// Shape of a class's curve.
    public enum Trend: String, Sendable, Hashable, CaseIterable {
        /// Nowhere changes.
        case level
        /// Never falls, and rises somewhere.
        case rising
        /// Never rises, and falls somewhere.
        case falling
        /// Rises, then falls, and no more.
        case risingThenFalling = "rising, then falling"
        /// Falls, then rises, and no more.
        case fallingThenRising = "falling, then rising"
        /// Turns more than once.
        case mixed
    }

    /// By class, then by size; empty for a class without examples.
    public let accuracies: [[Double]]
    /// By class; nil without examples.
    public let trends: [Trend?]

    /// Looks at every class.
    ///
    /// - Parameters:
    ///   - predictions: Of examples of all classes.
    ///   - classes: How many there are.
    ///   - tolerance: A change of accuracy that is no larger counts as none.
    public init(_ predictions: SizePredictions, classes: Int, tolerance: Double = 0) {
        var counts = [Int](repeating: 0, count: classes)
        var right = [[Int]](repeating: [Int](repeating: 0, count: predictions.sizes.count), count: classes)
        for (example, label) in predictions.truth.enumerated() {
            counts[label] += 1
            for place in predictions.sizes.indices where predictions.isRight(place, example) {
                right[label][place] += 1
            }
        }
        let curves = zip(counts, right).map { count, right in
            count == 0 ? [] : right.map { Double($0) / Double(count) }
        }
        accuracies = curves
        trends = curves.map { $0.isEmpty ? nil : Self.trend($0, tolerance) }
    }

    /// Classes with each trend.
    public var counts: [Trend: Int] { trends.reduce(into: [:]) { if let trend = $1 { $0[trend, default: 0] += 1 } } }

    private static func trend(_ curve: [Double], _ tolerance: Double) -> Trend {
        var rises: [Bool] = []
        var level = curve[0]
        for value in curve.dropFirst() where abs(value - level) > tolerance {
            if rises.last != (value > level) { rises.append(value > level) }
            level = value
        }
        return switch rises {
        case []: .level
        case [true]: .rising
        case [false]: .falling
        case [true, false]: .risingThenFalling
        case [false, true]: .fallingThenRising
        default: .mixed
        }
    }
}

/// How often a size finds the right group of classes, if not the class.
public struct SuperclassAccuracy: Sendable, Hashable {
    /// By size, over examples whose class is in a group.
    public let grouped: [Double]
    /// By size, over all examples, where all classes outside of groups are one more group.
    ///
    /// This one tends to be large and easy, so that the figure flatters.
    public let withReject: [Double]

    /// Looks at every size.
    ///
    /// - Parameters:
    ///   - predictions: Of examples.
    ///   - groups: Group of each class; nil: it is in none.
    public init(_ predictions: SizePredictions, groups: [Int?]) {
        let members = predictions.truth.indices.filter { groups[predictions.truth[$0]] != nil }
        func isRight(_ place: Int, _ example: Int) -> Bool {
            groups[predictions.labels[place][example]] == groups[predictions.truth[example]]
        }
        grouped = predictions.sizes.indices.map { place in
            members.isEmpty ? 0 : Double(members.count { isRight(place, $0) }) / Double(members.count)
        }
        withReject = predictions.sizes.indices.map { place in predictions.share { isRight(place, $0) } }
    }
}
