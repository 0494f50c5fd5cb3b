import DocumentStore
import FoundationEssentials
import Glibc
import Matryoshka
import PostgreSQL
import ServiceRuntime

/// A cluster of its own in an empty folder, with one collection of synthetic vectors; gone with the benchmark.
struct SyntheticCluster {
    static let collection = "synthetic"

    let home: Home
    let dimensions: Int
    let residentWidth: Int

    /// - Throws: `StartupFailure` where the folder exists or settings point to another database.
    init(folder: String?, dimensions: Int, residentWidth: Int) throws {
        guard !DatabaseAddress.isGiven else {
            throw StartupFailure("it makes a cluster of its own: run it without DATABASE_URL and libpq's variables")
        }
        // Short, for the sockets' sake.
        let path = folder.map(absolutePath) ?? "/var/tmp/mrl-benchmark-\(getpid())"
        guard !exists(path) else { throw StartupFailure("\(path) exists already") }
        home = try Home(path)
        self.dimensions = dimensions
        self.residentWidth = residentWidth
    }

    /// Stops all processes and removes the folder.
    func remove() {
        try? down()
        try? FileManager.default.removeItem(atPath: home.path)
    }

    func up(_ arguments: [String]) throws {
        // No encoder: vectors come ready-made.
        try mrl(["up", "--home", home.path, "--encoders", "0"] + arguments)
    }

    func down() throws { try mrl(["down", "--home", home.path]) }

    func client() throws -> FrontClient {
        try FrontClient(try clientSettings(home: home))
    }

    private func mrl(_ arguments: [String]) throws {
        try Spawn(arguments: [try executableFolder() + "/mrl"] + arguments, log: "/dev/null").run()
    }

    /// Adds documents `from` up to `to`.
    func fill(from: Int, to: Int) throws {
        let store = Store(try DatabaseAddress.connect(home))
        try reportingStoreErrors {
            var shape = try store.collections().first { $0.shape.name == Self.collection }?.shape
            if shape == nil {
                shape = try store.createCollection(
                    CollectionDefinition(
                        name: Self.collection,
                        dimensions: dimensions,
                        smallestDimensions: 8,
                        storedHeadWidth: min(dimensions, max(residentWidth, 128)),
                        residency: ResidencyChange(width: residentWidth)
                    )
                ).shape
            }
            var progress = ProgressLine("fill", total: to - from, at: now())
            let batch = Store.bulkRowsMax
            for start in stride(from: from, to: to, by: batch) {
                let range = start..<min(start + batch, to)
                let vectors = QueryVectors.random(count: range.count, dimensions: dimensions, seed: UInt64(start + 1))
                let rows = range.map { number in
                    let place = number - start
                    return UpsertRow(
                        externalID: String(number),
                        vector: Array(vectors.values[place * dimensions..<(place + 1) * dimensions])
                    )
                }
                _ = try store.stageAndUpsert(collection: shape!.collection, rows: rows)
                progress.update(range.upperBound - from, at: now())
            }
            progress.finish(to - from, at: now())
            _ = try store.connection.execute("CHECKPOINT")
        }
    }
}
