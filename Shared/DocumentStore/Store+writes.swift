public import Matryoshka
internal import PostgreSQL

/// A document to be stored.
public struct UpsertRow: Sendable, Hashable {
    /// 1 to 512 bytes.
    public var externalID: String
    /// Text; needed where there is no vector.
    public var text: String?
    /// JSON text.
    public var payload: String?
    /// D floats; nil: the text waits to be encoded.
    public var vector: [Float]?

    /// Makes a row.
    public init(externalID: String, text: String? = nil, payload: String? = nil, vector: [Float]?) {
        self.externalID = externalID
        self.text = text
        self.payload = payload
        self.vector = vector
    }
}

/// Names a write, so that it is done once however often it is sent.
public struct IdempotencyKey: Sendable, Hashable {
    /// Who sends it.
    public var client: String
    /// At most 64 bytes.
    public var key: String
    /// Of the request's body; another one under the same key is a conflict.
    public var bodyHash: String

    /// Makes a key.
    public init(client: String, key: String, bodyHash: String) {
        self.client = client
        self.key = key
        self.bodyHash = bodyHash
    }
}

/// What a committed write did.
public struct WriteOutcome: Sendable, Hashable {
    /// The write's transaction: searchable on a replica once its snapshot includes it.
    public var token: UInt64
    /// Shards whose rows changed.
    public var touchedShards: Set<UInt16>
    /// Documents written or deleted.
    public var applied: Int
    /// Ids to delete that were not there.
    public var unknown: [String] = []
    /// The reply that was stored with the first write under that idempotency key; nothing was written now.
    public var replayedReply: String?

    /// Makes an outcome.
    public init(
        token: UInt64,
        touchedShards: Set<UInt16>,
        applied: Int,
        unknown: [String] = [],
        replayedReply: String? = nil
    ) {
        self.token = token
        self.touchedShards = touchedShards
        self.applied = applied
        self.unknown = unknown
        self.replayedReply = replayedReply
    }
}

/// A document that was read.
public struct StoredDocument: Sendable, Hashable {
    /// External id.
    public var externalID: String
    /// Text.
    public var text: String?
    /// JSON text.
    public var payload: String?
    /// Version.
    public var version: UInt32
    /// It waits to be encoded.
    public var isPending: Bool
    /// D floats, if asked for and there.
    public var vector: [Float]?

    /// Makes a document.
    public init(
        externalID: String,
        text: String? = nil,
        payload: String? = nil,
        version: UInt32,
        isPending: Bool,
        vector: [Float]? = nil
    ) {
        self.externalID = externalID
        self.text = text
        self.payload = payload
        self.version = version
        self.isPending = isPending
        self.vector = vector
    }
}

extension Store {
    /// Writes documents in one transaction, all or none; the last of a repeated id wins.
    ///
    /// - Parameters:
    ///   - collection: Number.
    ///   - rows: In order.
    ///   - idempotency: Its result is kept for 24 hours.
    ///   - reply: What to keep as the reply; called before the commit, only with `idempotency`.
    /// - Returns: The committed write, or the earlier one under that key.
    /// - Throws: ``StoreError``.
    public func upsert(
        collection: UInt32,
        rows: [UpsertRow],
        idempotency: IdempotencyKey? = nil,
        reply: (WriteOutcome) throws -> String = { _ in "" }
    ) throws -> WriteOutcome {
        try once(collection, idempotency, reply) {
            let result = try execute(
                "SELECT token, shards, applied FROM matryoshka.upsert_many($1, $2, $3, $4, $5)",
                [
                    .int32(Int32(collection)), .texts(rows.map(\.externalID)), .texts(rows.map(\.text)),
                    .jsons(rows.map(\.payload)), .floatVectors(rows.map(\.vector)),
                ],
                isPrepared: true
            )
            return outcome(result)
        }
    }

    /// Deletes documents in one transaction.
    public func delete(
        collection: UInt32,
        externalIDs: [String],
        idempotency: IdempotencyKey? = nil,
        reply: (WriteOutcome) throws -> String = { _ in "" }
    ) throws -> WriteOutcome {
        try once(collection, idempotency, reply) {
            let result = try execute(
                "SELECT token, shards, applied, unknown FROM matryoshka.delete_many($1, $2)",
                [.int32(Int32(collection)), .texts(externalIDs)],
                isPrepared: true
            )
            var found = outcome(result)
            found.unknown = result.texts(0, 3)
            return found
        }
    }

    private func outcome(_ result: QueryResult) -> WriteOutcome {
        WriteOutcome(
            token: result.xid8(0, 0),
            touchedShards: Set(result.int32s(0, 1).map { UInt16($0) }),
            applied: Int(result.int32(0, 2))
        )
    }

    private func once(
        _ collection: UInt32,
        _ idempotency: IdempotencyKey?,
        _ reply: (WriteOutcome) throws -> String,
        _ write: () throws -> WriteOutcome
    ) throws -> WriteOutcome {
        guard let idempotency else { return try write() }
        let names: [Parameter] = [.int32(Int32(collection)), .text(idempotency.client), .text(idempotency.key)]
        return try transaction {
            // A second writer with the key waits here for the first to end. A key that has expired is taken anew.
            let isFirst =
                try execute(
                    """
                    INSERT INTO matryoshka.idempotency AS i (collection, client, key, body_hash) VALUES ($1, $2, $3, $4)
                        ON CONFLICT (collection, client, key) DO UPDATE SET body_hash = EXCLUDED.body_hash, at = now()
                        WHERE i.at < now() - interval '24 hours'
                    """,
                    names + [.text(idempotency.bodyHash)]
                ).affectedRows == 1
            guard isFirst else {
                let stored = try execute(
                    """
                    SELECT token, shards, applied, body_hash, reply FROM matryoshka.idempotency
                        WHERE collection = $1 AND client = $2 AND key = $3
                    """,
                    names
                )
                guard stored.rowCount == 1, stored.text(0, 3) == idempotency.bodyHash else {
                    throw StoreError.idempotencyConflict
                }
                var before = outcome(stored)
                before.replayedReply = stored.text(0, 4)
                return before
            }
            let outcome = try write()
            try execute(
                """
                UPDATE matryoshka.idempotency SET token = $4, shards = $5, applied = $6, reply = $7
                    WHERE collection = $1 AND client = $2 AND key = $3
                """,
                names + [
                    .xid8(outcome.token), .int32s(outcome.touchedShards.sorted().map { Int32($0) }),
                    .int32(Int32(outcome.applied)), .text(try reply(outcome)),
                ]
            )
            return outcome
        }
    }

    /// Tells listeners that a batch was written: a hint, once per batch.
    public func notifyWritten(collection: UInt32) throws {
        try execute("SELECT pg_notify($1, $2)", [.text(Self.writtenChannel), .text(String(collection))])
    }

    // MARK: - Bulk

    /// Rows of one bulk batch.
    public static let bulkRowsMax = 10_000

    /// Writes a batch through staging, with the offset that the import has come to, in one transaction.
    ///
    /// - Parameters:
    ///   - collection: Number.
    ///   - rows: At most ``bulkRowsMax``.
    ///   - source: Name of what is imported, and where to go on after a restart; nil for none.
    /// - Returns: The committed write.
    /// - Throws: ``StoreError``.
    public func stageAndUpsert(
        collection: UInt32,
        rows: [UpsertRow],
        source: (name: String, offset: Int64)? = nil
    ) throws -> WriteOutcome {
        precondition(rows.count <= Self.bulkRowsMax, "a bulk batch is at most \(Self.bulkRowsMax) rows")
        return try transaction {
            try connection.copyIn(
                """
                COPY matryoshka.staging (collection, external_id, text, payload, vector)
                FROM STDIN (FORMAT binary)
                """
            ) { writer, sendIfFull in
                for row in rows {
                    writer.beginRow(columns: 5)
                    writer.append(Int32(collection))
                    writer.append(text: row.externalID)
                    writer.append(text: row.text)
                    writer.append(json: row.payload)
                    if let vector = row.vector { writer.append(floats: vector.span) } else { writer.appendNull() }
                    try sendIfFull(&writer)
                }
            }
            let result = try execute(
                "SELECT token, shards, applied FROM matryoshka.upsert_staged($1)",
                [.int32(Int32(collection))]
            )
            if let source {
                try execute(
                    """
                    INSERT INTO matryoshka.import_offsets (collection, source, position) VALUES ($1, $2, $3)
                        ON CONFLICT (collection, source) DO UPDATE SET position = EXCLUDED.position, updated_at = now()
                    """,
                    [.int32(Int32(collection)), .text(source.name), .int64(source.offset)]
                )
            }
            return outcome(result)
        }
    }

    /// Where an import goes on; nil where it has not begun.
    public func importOffset(collection: UInt32, source: String) throws -> Int64? {
        let result = try execute(
            "SELECT position FROM matryoshka.import_offsets WHERE collection = $1 AND source = $2",
            [.int32(Int32(collection)), .text(source)]
        )
        return result.rowCount == 0 ? nil : result.int64(0, 0)
    }

    /// Documents whose text waits to be encoded, oldest first, from the one after an internal id on.
    public func pending(
        collection: UInt32,
        after: Int64 = 0,
        limit: Int
    ) throws -> [(id: Int64, externalID: String, text: String)] {
        let result = try execute(
            """
            SELECT id, external_id, coalesce(text, '') FROM matryoshka.documents_\(collection)
                WHERE pending AND id > $1 ORDER BY id LIMIT $2
            """,
            [.int64(after), .int64(Int64(limit))]
        )
        return (0..<result.rowCount).map { (result.int64($0, 0), result.text($0, 1), result.text($0, 2)) }
    }

    // MARK: - Reading

    /// Documents by external id, in the order asked for; those that are not there are left out.
    ///
    /// - Throws: ``StoreError/tooLarge(bytesMax:)`` where they have more than `bytesMax` bytes together; these are then
    ///   not read. Vectors do not count.
    public func get(
        _ shape: CollectionShape,
        externalIDs: [String],
        withVector: Bool = false,
        bytesMax: Int = .max
    ) throws -> [StoredDocument] {
        let number = shape.collection
        return try transaction("ISOLATION LEVEL REPEATABLE READ READ ONLY") {
            try refuse(
                number,
                beyond: bytesMax,
                "coalesce(octet_length(text), 0) + coalesce(octet_length(payload::text), 0)",
                where: "external_id = ANY ($1::text[])",
                .texts(externalIDs)
            )
            let result = try execute(
                """
                SELECT d.external_id, d.text, d.payload::text, d.version, d.pending, d.id, d.slot
                FROM unnest($1::text[]) WITH ORDINALITY AS asked(external_id, place)
                    JOIN matryoshka.documents_\(number) AS d ON d.external_id = asked.external_id COLLATE "C"
                ORDER BY asked.place
                """,
                [.texts(externalIDs)]
            )
            var ids: [Int64] = []
            var shards: Set<UInt16> = []
            var found = (0..<result.rowCount).map { row in
                ids.append(result.int64(row, 5))
                shards.insert(Slots.shard(ofSlot: UInt16(result.int32(row, 6))))
                return StoredDocument(
                    externalID: result.text(row, 0),
                    text: result.optionalText(row, 1),
                    payload: result.optionalText(row, 2),
                    version: UInt32(bitPattern: result.int32(row, 3)),
                    isPending: result.bool(row, 4)
                )
            }
            guard withVector, !ids.isEmpty else { return found }
            var vectors: [Int64: [Float]] = [:]
            for row in try fetchVectors(shape, ids: ids, shards: [UInt16](shards)).rows { vectors[row.id] = row.vector }
            for (place, id) in ids.enumerated() { found[place].vector = vectors[id] }
            return found
        }
    }

    /// Throws where documents have more bytes than allowed; the server stops counting there.
    private func refuse(
        _ collection: UInt32,
        beyond bytesMax: Int,
        _ bytes: String,
        where condition: String,
        _ parameter: Parameter
    ) throws {
        guard bytesMax < .max else { return }
        let isTooLarge = try execute(
            """
            SELECT EXISTS (
                SELECT FROM (
                    SELECT sum(\(bytes)) OVER (ROWS UNBOUNDED PRECEDING) AS total
                    FROM matryoshka.documents_\(collection) WHERE \(condition)
                ) AS counted WHERE total > $2
            )
            """,
            [parameter, .int64(Int64(bytesMax))],
            isPrepared: true
        ).bool(0, 0)
        if isTooLarge { throw StoreError.tooLarge(bytesMax: bytesMax) }
    }

    /// Payloads by internal id; those that are not there are left out.
    ///
    /// - Throws: ``StoreError/tooLarge(bytesMax:)`` where they have more than `bytesMax` bytes together; these are then
    ///   not read.
    public func fetchPayloads(
        _ shape: CollectionShape,
        ids: [Int64],
        bytesMax: Int = .max
    ) throws -> [Int64: String?] {
        try refuse(
            shape.collection,
            beyond: bytesMax,
            "coalesce(octet_length(payload::text), 0)",
            where: "id = ANY ($1)",
            .int64s(ids)
        )
        let result = try execute(
            "SELECT id, payload::text FROM matryoshka.documents_\(shape.collection) WHERE id = ANY ($1)",
            [.int64s(ids)],
            isPrepared: true
        )
        var found: [Int64: String?] = [:]
        for row in 0..<result.rowCount { found[result.int64(row, 0)] = .some(result.optionalText(row, 1)) }
        return found
    }
}
