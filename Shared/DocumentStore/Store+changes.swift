public import Matryoshka
internal import PostgreSQL

/// What has changed since a position.
public struct ChangeBatch: Sendable, Hashable {
    /// Row that is gone.
    public struct Removed: Sendable, Hashable {
        /// Logical shard.
        public var shard: UInt16
        /// Internal id.
        public var id: Int64

        /// Makes a removal.
        public init(shard: UInt16, id: Int64) {
            self.shard = shard
            self.id = id
        }
    }

    /// Where to go on once the batch is applied.
    public var next: FollowPosition
    /// Rows as they are now.
    public var upserts: [VectorRow] = []
    /// Rows that are not there any more, or that are bad.
    public var removed: [Removed] = []
    /// Shards to load anew; nothing else is told of them.
    public var reload: Set<UInt16> = []
    /// This is another server, or it has another history: `reload` names all shards.
    public var isOtherPrimary: Bool = false
    /// Bad rows among them.
    public var quarantined: Int = 0

    /// Makes an empty batch.
    public init(next: FollowPosition) { self.next = next }

    /// Nothing has changed.
    public var isEmpty: Bool { upserts.isEmpty && removed.isEmpty && reload.isEmpty }
}

extension Store {
    /// What others have committed in some logical shards since a position.
    ///
    /// Open transactions, here or elsewhere on the server, neither delay it nor hide anything from it: it asks for what
    /// the last snapshot could not see and the present one can.
    ///
    /// - Parameters:
    ///   - shape: Collection.
    ///   - shards: Logical shards to tell of.
    ///   - since: From a load, or the last batch's `next`.
    ///   - full: Whole vectors with external ids, rather than heads.
    /// - Returns: Rows as they are now, and the next position, also where nothing came.
    /// - Throws: ``StoreError``.
    public func changes(
        _ shape: CollectionShape,
        shards: [UInt16],
        since: FollowPosition,
        full: Bool
    ) throws -> ChangeBatch {
        let parameters: [Parameter] = [
            .text(since.snapshot.description), .int32(Int32(shape.collection)), .int32s(shards.map(Int32.init)),
        ]
        // Two branches, so that both use the index. What is visible now and was not then.
        let log = """
            SELECT c.shard, c.slots, c.ids FROM matryoshka.changes AS c
                WHERE c.collection = $2 AND c.shard = ANY ($3)
                    AND c.xid >= pg_snapshot_xmax($1::text::pg_snapshot)
            UNION ALL
            SELECT c.shard, c.slots, c.ids FROM matryoshka.changes AS c
                WHERE c.collection = $2 AND c.shard = ANY ($3)
                    AND c.xid = ANY (ARRAY(SELECT pg_snapshot_xip($1::text::pg_snapshot)))
            """
        // Mostly there is nothing, and this is cheap.
        let probe = try execute(
            """
            SELECT pg_current_snapshot()::text, matryoshka.primary_identity(),
                matryoshka.is_behind_retention($1::text::pg_snapshot), EXISTS (\(log))
            """,
            parameters,
            isPrepared: true
        )
        var batch = ChangeBatch(
            next: FollowPosition(snapshot: try Self.snapshot(probe.text(0, 0)), primary: probe.text(0, 1))
        )
        batch.isOtherPrimary = batch.next.primary != since.primary
        if batch.isOtherPrimary || probe.bool(0, 2) {
            batch.reload = Set(shards)
            return batch
        }
        guard probe.bool(0, 3) else { return batch }

        let tail = full ? "t.tail, t.external_id" : "NULL::bytea, NULL::text"
        let tails = full ? "LEFT JOIN matryoshka.tails_\(shape.collection) AS t ON t.id = touched.id" : ""
        let result = try execute(
            """
            WITH log AS MATERIALIZED (\(log)),
            touched AS MATERIALIZED (
                SELECT DISTINCT u.slot, u.id FROM log, unnest(log.slots, log.ids) AS u(slot, id)
                    WHERE log.shard NOT IN (SELECT shard FROM log WHERE ids IS NULL)
            )
            SELECT 0, NULL::int, NULL::bigint, NULL::int, NULL::bytea, NULL::bytea, pg_current_snapshot()::text
            UNION ALL
            SELECT DISTINCT 1, log.shard::int, NULL::bigint, NULL::int, NULL::bytea, NULL::bytea, NULL::text
                FROM log WHERE ids IS NULL
            UNION ALL
            SELECT 2, touched.slot, touched.id, h.version, h.head, \(tail) FROM touched
                LEFT JOIN matryoshka.heads_\(shape.collection) AS h
                    ON h.slot = touched.slot AND h.id = touched.id AND \(Self.condition("h.slot", shards))
                \(tails)
            """,
            // Not prepared: the text names the shards.
            parameters
        )
        var bad: [BadRow] = []
        batch.upserts.reserveCapacity(result.rowCount)
        for row in 0..<result.rowCount {
            switch result.int32(row, 0) {
            case 0: batch.next.snapshot = try Self.snapshot(result.text(row, 6))
            case 1: batch.reload.insert(UInt16(result.int32(row, 1)))
            default:
                if result.isNull(row, 3) || (full && result.isNull(row, 6)) {
                    let slot = UInt16(result.int32(row, 1))
                    batch.removed.append(.init(shard: Slots.shard(ofSlot: slot), id: result.int64(row, 2)))
                } else {
                    append(shape, result, row, firstColumn: 1, isFull: full, to: &batch.upserts, bad: &bad)
                }
            }
        }
        for row in bad {
            batch.removed.append(.init(shard: Slots.shard(ofSlot: UInt16(row.slot)), id: row.id))
        }
        batch.quarantined = bad.count
        quarantine(shape.collection, bad)
        return batch
    }
}
