/// Classifies by the nearest mean of a few examples of each class, at any size: what vectors know of classes that nobody
/// trained a head for.
public struct NearestClassMean: Sendable {
    /// Size of the prefixes that are compared.
    public let size: Int
    private let dimensions: Int
    private let means: DenseCollection
    /// Class of each mean.
    private let classes: [Int]

    /// Takes means of unit prefixes.
    ///
    /// - Parameters:
    ///   - vectors: Examples, row-major.
    ///   - dimensions: Length of a row.
    ///   - labels: Class of each row.
    ///   - size: 1 to `dimensions`.
    public init(vectors: [Float], dimensions: Int, labels: [Int], size: Int) {
        precondition(labels.count * dimensions == vectors.count && (1...dimensions).contains(size), "whole rows")
        self.size = size
        self.dimensions = dimensions
        classes = Set(labels).sorted()
        let places = Dictionary(uniqueKeysWithValues: classes.enumerated().map { ($1, $0) })
        let prefixes = DenseCollection.prefixes(of: vectors, dimensions, size)
        // The sum has the mean's direction.
        var sums = [Float](repeating: 0, count: classes.count * size)
        for (row, label) in labels.enumerated() {
            let start = places[label]! * size
            for d in 0..<size { sums[start + d] += prefixes[row * size + d] }
        }
        means = DenseCollection(vectors: sums, dimensions: size)
    }

    /// The class of the mean nearest to each row; of equally near ones the lowest.
    public func labels(of vectors: [Float]) -> [Int] {
        let prefixes = DenseCollection.prefixes(of: vectors, dimensions, size)
        return means.nearest(queries: prefixes, size: size, keep: 1).map { classes[$0[0].item] }
    }

    /// Draws `shots` examples of each class; classes that have fewer give all.
    public static func drawShots(
        _ shots: Int,
        of labels: [Int],
        using generator: inout some RandomNumberGenerator
    ) -> [Int] {
        var members: [Int: [Int]] = [:]
        for (row, label) in labels.enumerated() { members[label, default: []].append(row) }
        return members.keys.sorted().flatMap { label in
            members[label]!.shuffled(using: &generator).prefix(shots).sorted()
        }
    }
}
