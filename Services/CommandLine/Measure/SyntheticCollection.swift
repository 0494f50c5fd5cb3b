import DocumentStore
import Matryoshka

/// A cluster of its own in an empty folder, with one collection of synthetic vectors; gone with the benchmark.
struct SyntheticCluster {
    static let collection = "synthetic"

    let dimensions: Int
    let residentWidth: Int
    private let cluster: OwnCluster

    /// - Throws: `StartupFailure` where the folder exists or settings point to another database.
    init(folder: String?, dimensions: Int, residentWidth: Int) throws {
        cluster = try OwnCluster(folder: folder, purpose: "benchmark")
        self.dimensions = dimensions
        self.residentWidth = residentWidth
    }

    /// Stops all processes and removes the folder.
    func remove() { cluster.remove() }

    func up(_ arguments: [String]) throws {
        // No encoder: vectors come ready-made.
        try cluster.mrl(["up", "--encoders", "0"] + arguments)
    }

    func down() throws { try cluster.mrl(["down"]) }

    func client() throws -> FrontClient { try cluster.client() }

    /// Adds documents `from` up to `to`.
    func fill(from: Int, to: Int) throws {
        let definition = CollectionDefinition(
            name: Self.collection,
            dimensions: dimensions,
            smallestDimensions: 8,
            storedHeadWidth: min(dimensions, max(residentWidth, 128)),
            residency: ResidencyChange(width: residentWidth)
        )
        _ = try cluster.fill(definition, from..<to) { range in
            let vectors = QueryVectors.random(
                count: range.count,
                dimensions: dimensions,
                seed: UInt64(range.lowerBound + 1)
            )
            return (0..<range.count).map { Array(vectors.values[$0 * dimensions..<($0 + 1) * dimensions]) }
        }
    }
}
