import DocumentStore
import Matryoshka
import PostgreSQL
import RetrievalTesting

/// A database of its own with the schema in it, and as many stores over it as a test asks for.
struct TestDatabase {
    let url: String

    init() throws {
        url = try PrivateCluster.shared().makeDatabase()
        try store().migrate()
    }

    func connection(user: String? = nil, statementTimeoutMilliseconds: Int = 30_000) throws -> Connection {
        var settings = ConnectionSettings(url: url)
        if let user { settings.url = url.replacing("postgres@", with: "\(user)@") }
        settings.statementTimeoutMilliseconds = statementTimeoutMilliseconds
        settings.silenceTimeoutMilliseconds = 300
        return try Connection(settings)
    }

    func store() throws -> Store { Store(try connection()) }
}

/// Repeats for a seed (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

let allShards = [UInt16](0..<UInt16(Slots.shardCount))

/// What a span lends, to keep.
func copy(_ span: Span<Float>) -> [Float] { span.withUnsafeBufferPointer { [Float]($0) } }

extension Store {
    /// A collection of small vectors.
    func makeCollection(_ name: String = "docs", dimensions: Int = 8, headWidth: Int = 4) throws -> CollectionShape {
        try createCollection(
            CollectionDefinition(
                name: name,
                dimensions: dimensions,
                smallestDimensions: 2,
                storedHeadWidth: headWidth,
                residency: ResidencyChange(width: 2)
            )
        ).shape
    }

    /// Every vector of the table, by id.
    func table(_ shape: CollectionShape, shards: [UInt16] = allShards) throws -> [Int64: VectorRow] {
        var rows: [Int64: VectorRow] = [:]
        _ = try loadVectors(shape, shards: shards) { shard, id, version, vector, externalID in
            rows[id] = VectorRow(
                shard: shard,
                id: id,
                version: version,
                vector: copy(vector),
                externalID: externalID
            )
        }
        return rows
    }
}
