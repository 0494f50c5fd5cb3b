public import WireProtocol

/// One collection at one resident generation.
public struct HoldingKey: Sendable, Hashable {
    /// Number of the collection.
    public var collection: UInt32
    /// Resident generation.
    public var generation: UInt32

    /// Makes a key.
    public init(collection: UInt32, generation: UInt32) {
        self.collection = collection
        self.generation = generation
    }
}

/// One logical shard of a collection at one generation.
public struct ShardKey: Sendable, Hashable, Comparable {
    /// Collection and generation.
    public var holding: HoldingKey
    /// Logical shard.
    public var shard: UInt16

    /// Makes a key.
    public init(_ holding: HoldingKey, _ shard: UInt16) {
        self.holding = holding
        self.shard = shard
    }

    /// By collection, generation and shard.
    public static func < (left: ShardKey, right: ShardKey) -> Bool {
        (left.holding.collection, left.holding.generation, left.shard)
            < (right.holding.collection, right.holding.generation, right.shard)
    }
}

/// What a MAP changes for a worker.
public struct MapDifference: Sendable, Hashable {
    /// Listed and not held: to be loaded.
    public var load: Set<ShardKey>
    /// Held and not listed: to be let go once what is under way is answered.
    public var release: Set<ShardKey>

    /// Compares what is listed with what is held or being loaded.
    public init(listed: Set<ShardKey>, held: Set<ShardKey>) {
        load = listed.subtracting(held)
        release = held.subtracting(listed)
    }
}

extension ShardAssignments {
    /// All shards that the map lists for its worker; numbers that no collection can have are left out.
    public var listed: Set<ShardKey> {
        var keys: Set<ShardKey> = []
        for entry in collections {
            let holding = HoldingKey(collection: entry.shape.collection, generation: entry.shape.generation)
            for shard in entry.shards where shard < HeldShards.perCollection { keys.insert(ShardKey(holding, shard)) }
        }
        return keys
    }
}
