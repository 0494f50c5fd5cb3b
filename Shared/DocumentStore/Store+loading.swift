public import Matryoshka
internal import PostgreSQL

/// How a load went.
public struct LoadOutcome: Sendable, Hashable {
    /// What the load has seen; follow changes from here.
    public var position: FollowPosition
    /// Rows handed out.
    public var rows: Int
    /// Bad rows, which were not handed out and are listed in ops.quarantine.
    public var quarantined: Int

    /// Makes an outcome.
    public init(
        position: FollowPosition,
        rows: Int,
        quarantined: Int
    ) {
        self.position = position
        self.rows = rows
        self.quarantined = quarantined
    }
}

/// A whole vector that was read.
public struct VectorRow: Sendable, Hashable {
    /// Logical shard.
    public var shard: UInt16
    /// Internal id.
    public var id: Int64
    /// Version.
    public var version: UInt32
    /// W or D floats, as asked.
    public var vector: [Float]
    /// External id; nil where heads alone were asked for.
    public var externalID: String?

    /// Makes a row.
    public init(
        shard: UInt16,
        id: Int64,
        version: UInt32,
        vector: [Float],
        externalID: String? = nil
    ) {
        self.shard = shard
        self.id = id
        self.version = version
        self.vector = vector
        self.externalID = externalID
    }
}

struct BadRow {
    var slot: Int32
    var id: Int64
    var version: UInt32
    var reason: String
}

extension Store {
    /// Reads the heads of logical shards, all at one snapshot.
    ///
    /// - Parameters:
    ///   - shape: Collection.
    ///   - shards: Logical shards; only their partitions are locked.
    ///   - row: Gets W floats, lent.
    /// - Returns: Where to follow on from, and counts.
    /// - Throws: ``StoreError``.
    public func loadHeads(
        _ shape: CollectionShape,
        shards: [UInt16],
        _ row: (_ shard: UInt16, _ id: Int64, _ version: UInt32, _ head: Span<Float>) -> Void
    ) throws -> LoadOutcome {
        let sql = """
            COPY (
                SELECT h.slot, h.id, h.version, h.head FROM matryoshka.heads_\(shape.collection) AS h
                WHERE \(Self.condition("h.slot", shards))
            ) TO STDOUT (FORMAT binary)
            """
        return try load(shape, sql, columns: 4, width: shape.storedHeadWidth) { shard, id, version, floats, _ in
            row(shard, id, version, floats)
        }
    }

    /// Reads the vectors of logical shards, all at one snapshot.
    ///
    /// - Parameters:
    ///   - shape: Collection.
    ///   - shards: Logical shards; only their partitions are locked.
    ///   - row: Gets D floats, lent; what it throws ends the load.
    /// - Returns: Where to follow on from, and counts.
    /// - Throws: ``StoreError``, and what `row` throws.
    public func loadVectors(
        _ shape: CollectionShape,
        shards: [UInt16],
        _ row: (_ shard: UInt16, _ id: Int64, _ version: UInt32, _ vector: Span<Float>, _ externalID: String) throws ->
            Void
    ) throws -> LoadOutcome {
        let sql = """
            COPY (
                SELECT h.slot, h.id, h.version, h.head, t.tail, t.external_id
                FROM matryoshka.heads_\(shape.collection) AS h JOIN matryoshka.tails_\(shape.collection) AS t ON t.id = h.id
                WHERE \(Self.condition("h.slot", shards))
            ) TO STDOUT (FORMAT binary)
            """
        return try load(shape, sql, columns: 6, width: shape.dimensions) { shard, id, version, floats, values in
            try row(shard, id, version, floats, values.text(5))
        }
    }

    /// About how many rows logical shards have, as the server's statistics know it; shards of which they know nothing
    /// are left out.
    ///
    /// - Throws: ``StoreError``.
    public func estimatedRows(_ shape: CollectionShape, shards: [UInt16]) throws -> [UInt16: Int] {
        // Partitions are named after their shard; by name, so that none is locked.
        let result = try execute(
            """
            SELECT s.shard, coalesce(nullif(pg_stat_get_live_tuples(c.oid), 0), c.reltuples::bigint)
            FROM unnest($1::int[]) AS s(shard)
                JOIN pg_class AS c ON c.relnamespace = 'matryoshka'::regnamespace
                    AND c.relname = 'heads_\(shape.collection)_' || s.shard
            """,
            [.int32s(shards.map(Int32.init))]
        )
        var rows: [UInt16: Int] = [:]
        for row in 0..<result.rowCount {
            let count = Int(result.int64(row, 1))
            if count > 0 { rows[UInt16(result.int32(row, 0))] = count }
        }
        return rows
    }

    private func load(
        _ shape: CollectionShape,
        _ sql: String,
        columns: Int,
        width: Int,
        _ row: (UInt16, Int64, UInt32, Span<Float>, CopyReader.Row) throws -> Void
    ) throws -> LoadOutcome {
        var rows = 0
        var bad: [BadRow] = []
        // A value in a COPY message is seldom aligned; floats are read from here.
        var scratch = [Float](repeating: 0, count: width)
        let position = try transaction("ISOLATION LEVEL REPEATABLE READ READ ONLY") {
            try execute("SET LOCAL statement_timeout = 0")
            // The first statement takes the snapshot that all others see.
            let position = try self.position()
            var reader = CopyReader(columns: columns)
            try connection.copyOut(sql) { piece in
                try reader.consume(piece) { found in
                    let slot = found.int32(0)
                    let id = found.int64(1)
                    let version = UInt32(bitPattern: found.int32(2))
                    let headBytes = found.byteCount(3)
                    let tailBytes = columns > 4 ? found.byteCount(4) : 0
                    var fault: VectorFault? = headBytes + tailBytes == width * 4 ? nil : .wrongLength
                    if fault == nil {
                        let isFinite = scratch.withUnsafeMutableBytes { target in
                            found.copyBytes(3, to: target)
                            if tailBytes > 0 {
                                found.copyBytes(4, to: UnsafeMutableRawBufferPointer(rebasing: target[headBytes...]))
                            }
                            return VectorFault.isFinite(UnsafeBufferPointer(target.bindMemory(to: UInt32.self)))
                        }
                        if !isFinite { fault = .nonFinite }
                        // A head may be zero, a whole vector may not.
                        if isFinite && columns > 4 {
                            fault = VectorFault.find(in: scratch.span, dimensions: width)
                        }
                    }
                    if let fault {
                        bad.append(BadRow(slot: slot, id: id, version: version, reason: fault.rawValue))
                        return
                    }
                    rows += 1
                    try row(Slots.shard(ofSlot: UInt16(truncatingIfNeeded: slot)), id, version, scratch.span, found)
                }
            }
            return position
        }
        quarantine(shape.collection, bad)
        return LoadOutcome(position: position, rows: rows, quarantined: bad.count)
    }

    /// What the present statement sees, and of which server.
    func position() throws -> FollowPosition {
        let result = try execute("SELECT pg_current_snapshot()::text, matryoshka.primary_identity()")
        return FollowPosition(snapshot: try Self.snapshot(result.text(0, 0)), primary: result.text(0, 1))
    }

    static func snapshot(_ text: String) throws -> TransactionSnapshot {
        guard let snapshot = TransactionSnapshot(text) else {
            throw StoreError.database(PostgreSQLError(message: "\"\(text)\" is not a snapshot"))
        }
        return snapshot
    }

    /// Where the server has come to; a write with a token below is searchable on who follows to here.
    public func currentPosition() throws -> FollowPosition { try position() }

    /// Lists bad rows in ops.quarantine; a reader that may not, or cannot, serves on without.
    func quarantine(_ collection: UInt32, _ rows: [BadRow]) {
        guard !rows.isEmpty else { return }
        _ = try? execute(
            """
            INSERT INTO matryoshka.quarantine (collection, slot, id, version, reason)
                SELECT $1, * FROM unnest($2::int[], $3::bigint[], $4::int[], $5::text[])
                ON CONFLICT (collection, id, version) DO NOTHING
            """,
            [
                .int32(Int32(collection)), .int32s(rows.map(\.slot)), .int64s(rows.map(\.id)),
                .int32s(rows.map { Int32(bitPattern: $0.version) }), .texts(rows.map(\.reason)),
            ]
        )
    }

    /// Whole vectors by internal id, as they are now, in one statement; those that are gone or bad are left out.
    ///
    /// - Parameters:
    ///   - shape: Collection.
    ///   - ids: Internal ids.
    ///   - shards: The logical shards that they are in; only their partitions are locked.
    /// - Returns: Rows in any order, and the server that they are from, as ``FollowPosition/primary`` names it.
    /// - Throws: ``StoreError``.
    public func fetchVectors(
        _ shape: CollectionShape,
        ids: [Int64],
        shards: [UInt16]
    ) throws -> (rows: [VectorRow], primary: String) {
        let result = try execute(
            """
            SELECT h.slot, h.id, h.version, h.head, t.tail, t.external_id, (SELECT matryoshka.primary_identity())
            FROM matryoshka.tails_\(shape.collection) AS t
                JOIN matryoshka.heads_\(shape.collection) AS h ON h.slot = t.slot AND h.id = t.id
            WHERE t.id = ANY ($1) AND \(Self.condition("h.slot", shards))
            """,
            // Not prepared: the text names the shards, and there are too many sets of them.
            [.int64s(ids)]
        )
        var found: [VectorRow] = []
        found.reserveCapacity(result.rowCount)
        var bad: [BadRow] = []
        for row in 0..<result.rowCount {
            append(shape, result, row, firstColumn: 0, isFull: true, to: &found, bad: &bad)
        }
        quarantine(shape.collection, bad)
        return (found, result.rowCount > 0 ? result.text(0, 6) : "")
    }

    /// Reads slot, id, version, head, tail, external id; a row with a fault goes to `bad`.
    func append(
        _ shape: CollectionShape,
        _ result: QueryResult,
        _ row: Int,
        firstColumn: Int,
        isFull: Bool,
        to found: inout [VectorRow],
        bad: inout [BadRow]
    ) {
        let slot = result.int32(row, firstColumn)
        let width = isFull ? shape.dimensions : shape.storedHeadWidth
        var vector: [Float] = []
        vector.reserveCapacity(width)
        result.appendFloats(row, firstColumn + 3, to: &vector)
        if isFull, !result.isNull(row, firstColumn + 4) { result.appendFloats(row, firstColumn + 4, to: &vector) }
        let new = VectorRow(
            shard: Slots.shard(ofSlot: UInt16(slot)),
            id: result.int64(row, firstColumn + 1),
            version: UInt32(bitPattern: result.int32(row, firstColumn + 2)),
            vector: vector,
            externalID: isFull ? result.optionalText(row, firstColumn + 5) : nil
        )
        var fault = VectorFault.find(in: vector.span, dimensions: width)
        if !isFull && fault == .zero { fault = nil }
        // Huge but finite heads are for the engine to score; the whole vector's norm decides.
        if !isFull && fault == .nonFinite && vector.allSatisfy(\.isFinite) { fault = nil }
        if let fault {
            bad.append(BadRow(slot: slot, id: new.id, version: new.version, reason: fault.rawValue))
        } else {
            found.append(new)
        }
    }
}
