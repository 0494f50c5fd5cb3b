/// The sizes M that a model is trained at, and how much each counts (c_m).
public struct Nesting: Sendable, Hashable {
    /// Ascending, the last one the full size D.
    public let sizes: [Int]
    /// One for each size, above 0.
    public let weights: [Float]

    /// Makes a nesting; nil unless the sizes ascend from 1 or more and each has a finite weight above 0.
    ///
    /// - Parameters:
    ///   - sizes: At least one.
    ///   - weights: One for each size; 1 each where nil.
    public init?(sizes: [Int], weights: [Float]? = nil) {
        let weights = weights ?? sizes.map { _ in 1 }
        guard let first = sizes.first, first > 0, zip(sizes, sizes.dropFirst()).allSatisfy({ $0 < $1 }),
            weights.count == sizes.count, weights.allSatisfy({ $0 > 0 && $0.isFinite })
        else { return nil }
        self.sizes = sizes
        self.weights = weights
    }

    /// One size alone: training without nesting.
    public static func single(_ size: Int) -> Nesting {
        precondition(size > 0, "a size of 1 or more")
        return Nesting(sizes: [size])!
    }

    /// Logarithmic spacing: the smallest size, doubled while it is below the full one, and the full one.
    public static func doubling(from smallest: Int, to dimensions: Int) -> Nesting {
        precondition(smallest > 0 && smallest <= dimensions, "the smallest size is 1 to \(dimensions)")
        var sizes: [Int] = []
        var size = smallest
        while size < dimensions {
            sizes.append(size)
            size *= 2
        }
        return Nesting(sizes: sizes + [dimensions])!
    }

    /// Uniform spacing: `count` sizes from the smallest to the full one at equal distances, rounded (§K.1).
    public static func uniform(from smallest: Int, to dimensions: Int, count: Int) -> Nesting {
        precondition(smallest > 0 && smallest < dimensions && count >= 2, "two sizes or more, of 1 to \(dimensions)")
        precondition(count <= dimensions - smallest + 1, "more sizes than there are")
        let sizes = (0..<count).map { step in
            smallest + ((dimensions - smallest) * step + (count - 1) / 2) / (count - 1)
        }
        return Nesting(sizes: sizes)!
    }

    /// The full size D.
    public var dimensions: Int { sizes[sizes.count - 1] }

    /// The columns that each size adds to the one before it.
    var blocks: [Range<Int>] { zip([0] + sizes, sizes).map { $0..<$1 } }
}
