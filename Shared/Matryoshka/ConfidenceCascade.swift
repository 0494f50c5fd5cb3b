/// Sizes that a classifier asks one after the other until one is sure enough: adaptive classification (Kusupati et al.,
/// Matryoshka Representation Learning, 2022, §4.2.1).
public struct ConfidenceCascade: Sendable, Hashable {
    /// Ascending; the last one decides whatever is left.
    public let sizes: [Int]
    /// For each size but the last: it decides where its confidence is above this, not where it is equal.
    public let thresholds: [Float]

    /// Makes a cascade; nil where sizes do not ascend from 1 or more, or a threshold is missing or not from 0 to 1.
    public init?(sizes: [Int], thresholds: [Float]) {
        guard let first = sizes.first, first > 0, zip(sizes, sizes.dropFirst()).allSatisfy({ $0 < $1 }),
            thresholds.count == sizes.count - 1, thresholds.allSatisfy({ (0...1).contains($0) })
        else { return nil }
        self.sizes = sizes
        self.thresholds = thresholds
    }

    /// The same sizes with one threshold for all; nil where it is not from 0 to 1.
    public func with(threshold: Float) -> ConfidenceCascade? {
        ConfidenceCascade(sizes: sizes, thresholds: [Float](repeating: threshold, count: sizes.count - 1))
    }

    /// Which size decides, by its place in ``sizes``.
    ///
    /// - Parameter confidence: What the size at a place says, 0 to 1; asked in order, and no further than needed.
    /// - Returns: The place.
    public func deciding(_ confidence: (_ place: Int) -> Float) -> Int {
        for (place, threshold) in thresholds.enumerated() where confidence(place) > threshold { return place }
        return sizes.count - 1
    }

    /// Dimensions of all heads that are evaluated where the size at `place` decides.
    public func cumulativeDimensions(at place: Int) -> Int { sizes[...place].reduce(0, +) }
}
