/// The 65,536 slots that documents hash to, and the logical shards that are ranges of them.
///
/// slot = first 16 bits of md5(external id) as UTF-8. A document never leaves its slot.
public enum Slots {
    /// All slots of a collection.
    public static let count = 65_536
    /// Logical shards of a collection; each is one partition of its heads.
    public static let shardCount = 64
    /// Slots of one logical shard.
    public static let slotsPerShard = count / shardCount

    /// The logical shard that holds a slot.
    public static func shard(ofSlot slot: UInt16) -> UInt16 { slot / UInt16(slotsPerShard) }

    /// The slots of a logical shard; `shard` is below ``shardCount``.
    public static func slots(ofShard shard: UInt16) -> ClosedRange<UInt16> {
        let first = shard * UInt16(slotsPerShard)
        return first...(first + UInt16(slotsPerShard - 1))
    }
}
