public import Matryoshka
internal import PostgreSQL

/// What a new collection shall be.
public struct CollectionDefinition: Sendable, Hashable {
    /// 1 to 63 of a–z, 0–9, `-`, `_`, starting with a letter.
    public var name: String
    /// Registered model that its vectors come from; nil for none.
    public var model: String?
    /// D.
    public var dimensions: Int
    /// Smallest legal size.
    public var smallestDimensions: Int
    /// Prefixes are legal.
    public var isMatryoshka: Bool
    /// How vectors are compared.
    public var similarity: Similarity
    /// W; nil for min(D, 128).
    public var storedHeadWidth: Int?
    /// H; nil for min(W, 64).
    public var residentWidth: Int?
    /// int8 or float32.
    public var residentPrecision: Precision

    /// Makes a definition.
    public init(
        name: String,
        model: String? = nil,
        dimensions: Int,
        smallestDimensions: Int? = nil,
        isMatryoshka: Bool = true,
        similarity: Similarity = .cosine,
        storedHeadWidth: Int? = nil,
        residentWidth: Int? = nil,
        residentPrecision: Precision = .int8
    ) {
        self.name = name
        self.model = model
        self.dimensions = dimensions
        self.smallestDimensions = smallestDimensions ?? dimensions
        self.isMatryoshka = isMatryoshka
        self.similarity = similarity
        self.storedHeadWidth = storedHeadWidth
        self.residentWidth = residentWidth
        self.residentPrecision = residentPrecision
    }
}

/// A collection as the store knows it.
public struct CollectionRecord: Sendable, Hashable {
    /// What searches use now.
    public var shape: CollectionShape
    /// Rows with vectors, as the server's statistics know it.
    public var rowsEstimate: Int
    /// The shape that was asked for and is not yet in use everywhere.
    public var targetShape: CollectionShape?
    /// Other names.
    public var aliases: [String]

    /// Makes a record.
    public init(
        shape: CollectionShape,
        rowsEstimate: Int,
        targetShape: CollectionShape? = nil,
        aliases: [String]
    ) {
        self.shape = shape
        self.rowsEstimate = rowsEstimate
        self.targetShape = targetShape
        self.aliases = aliases
    }
}

/// A model that vectors come from.
public struct ModelRecord: Sendable, Hashable {
    /// Hash of the model's directory.
    public var id: String
    /// Name for people.
    public var name: String
    /// Full size.
    public var dimensions: Int
    /// Smallest trained size.
    public var smallestDimensions: Int
    /// Sizes that it was trained for.
    public var nesting: [Int]

    /// Makes a record.
    public init(id: String, name: String, dimensions: Int, smallestDimensions: Int, nesting: [Int]) {
        self.id = id
        self.name = name
        self.dimensions = dimensions
        self.smallestDimensions = smallestDimensions
        self.nesting = nesting
    }
}

extension Store {
    /// All collections in use, by number.
    public func collections() throws -> [CollectionRecord] {
        let result = try execute(
            """
            SELECT c.id, c.name, coalesce(c.model, ''), c.dimensions, c.smallest_dimensions, c.is_matryoshka, c.similarity,
                c.head_width, g.resident_width, g.resident_precision, c.generation,
                t.generation, t.resident_width, t.resident_precision,
                (SELECT coalesce(sum(greatest(p.reltuples::bigint, pg_stat_get_live_tuples(p.oid))), 0)::bigint
                    FROM pg_inherits AS i JOIN pg_class AS p ON p.oid = i.inhrelid
                    WHERE i.inhparent = to_regclass('matryoshka.heads_' || c.id)),
                ARRAY(SELECT a.name FROM matryoshka.aliases AS a WHERE a.collection = c.id ORDER BY a.name)
            FROM matryoshka.collections AS c
                JOIN matryoshka.generations AS g ON g.collection = c.id AND g.generation = c.generation
                LEFT JOIN LATERAL (
                    SELECT * FROM matryoshka.generations AS n WHERE n.collection = c.id AND n.generation > c.generation
                    ORDER BY n.generation DESC LIMIT 1
                ) AS t ON true
            WHERE c.state = 'active' ORDER BY c.id
            """
        )
        return (0..<result.rowCount).map { row in
            let shape = CollectionShape(
                collection: UInt32(result.int32(row, 0)),
                name: result.text(row, 1),
                model: result.text(row, 2),
                dimensions: Int(result.int32(row, 3)),
                smallestDimensions: Int(result.int32(row, 4)),
                isMatryoshka: result.bool(row, 5),
                similarity: Similarity(rawValue: result.text(row, 6)) ?? .cosine,
                storedHeadWidth: Int(result.int32(row, 7)),
                residentWidth: Int(result.int32(row, 8)),
                residentPrecision: Precision(rawValue: result.text(row, 9)) ?? .int8,
                generation: UInt32(result.int32(row, 10))
            )
            var target: CollectionShape?
            if !result.isNull(row, 11) {
                target = shape
                target?.generation = UInt32(result.int32(row, 11))
                target?.residentWidth = Int(result.int32(row, 12))
                target?.residentPrecision = Precision(rawValue: result.text(row, 13)) ?? .int8
            }
            return CollectionRecord(
                shape: shape,
                rowsEstimate: Int(result.int64(row, 14)),
                targetShape: target,
                aliases: result.texts(row, 15)
            )
        }
    }

    /// Every alias and the name of its collection.
    public func aliases() throws -> [String: String] {
        let result = try execute(
            """
            SELECT a.name, c.name FROM matryoshka.aliases AS a
                JOIN matryoshka.collections AS c ON c.id = a.collection AND c.state = 'active'
            """
        )
        return Dictionary(uniqueKeysWithValues: (0..<result.rowCount).map { (result.text($0, 0), result.text($0, 1)) })
    }

    /// Makes a collection and its tables.
    public func createCollection(_ definition: CollectionDefinition) throws -> CollectionRecord {
        let width = definition.storedHeadWidth ?? min(definition.dimensions, 128)
        let limits = 1...65_535
        guard limits.contains(definition.dimensions), limits.contains(width),
            (1...definition.dimensions).contains(definition.smallestDimensions)
        else {
            throw StoreError.invalidDefinition(
                "dimensions are 1 to 65535, the smallest size and the stored head width 1 to the dimensions"
            )
        }
        let number = try execute(
            "SELECT matryoshka.create_collection($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            [
                .text(definition.name), .optionalText(definition.model), .int32(Int32(definition.dimensions)),
                .int32(Int32(definition.smallestDimensions)), .bool(definition.isMatryoshka),
                .text(definition.similarity.rawValue), .int32(Int32(width)),
                .int32(Int32(clamping: definition.residentWidth ?? min(width, 64))),
                .text(definition.residentPrecision.rawValue),
            ]
        ).int32(0, 0)
        return try record(UInt32(number))
    }

    private func record(_ number: UInt32) throws -> CollectionRecord {
        guard let record = try collections().first(where: { $0.shape.collection == number }) else {
            throw StoreError.unknownCollection("there is no collection number \(number)")
        }
        return record
    }

    private func number(ofCollection name: String) throws -> UInt32 {
        UInt32(try execute("SELECT matryoshka.collection_id($1)", [.text(name)]).int32(0, 0))
    }

    /// Marks a collection dropped, takes its aliases away, then drops its tables.
    ///
    /// Where a reader still holds a lock on
    /// these, ``maintain()`` drops them later.
    public func dropCollection(_ name: String) throws {
        let dropped = try transaction { () -> Int32? in
            let result = try execute(
                """
                UPDATE matryoshka.collections SET state = 'dropped', dropped_at = now()
                    WHERE name = $1 AND state = 'active' RETURNING id
                """,
                [.text(name)]
            )
            guard result.rowCount == 1 else { return nil }
            let number = result.int32(0, 0)
            for table in ["aliases", "assignments", "import_offsets", "idempotency", "shard_status", "quarantine"] {
                try execute("DELETE FROM matryoshka.\(table) WHERE collection = $1", [.int32(number)])
            }
            return number
        }
        guard let dropped else { throw StoreError.unknownCollection("there is no collection \"\(name)\"") }
        do {
            try transaction {
                try execute("SET LOCAL lock_timeout = '1s'")
                try execute("SELECT matryoshka.drop_tables($1)", [.int32(dropped)])
            }
        } catch StoreError.database(let error) where error.sqlState == "55P03" {}
    }

    /// Points an alias at a collection at once for all; nil takes the alias away.
    public func setAlias(_ alias: String, collection: String?) throws {
        try transaction {
            try execute("SELECT pg_advisory_xact_lock(hashtext('matryoshka.names'))")
            guard let collection else {
                let gone = try execute("DELETE FROM matryoshka.aliases WHERE name = $1", [.text(alias)]).affectedRows
                if gone == 0 { throw StoreError.unknownCollection("there is no alias \"\(alias)\"") }
                return
            }
            let isTaken = try execute(
                "SELECT EXISTS (SELECT FROM matryoshka.collections WHERE name = $1 AND state = 'active')",
                [.text(alias)]
            ).bool(0, 0)
            if isTaken { throw StoreError.alreadyExists("a collection is called \"\(alias)\"") }
            let number = try number(ofCollection: collection)
            do {
                try execute(
                    """
                    INSERT INTO matryoshka.aliases (name, collection) VALUES ($1, $2)
                        ON CONFLICT (name) DO UPDATE SET collection = EXCLUDED.collection
                    """,
                    [.text(alias), .int32(Int32(number))]
                )
            } catch StoreError.database(let error) where error.sqlState == "23514" {
                throw StoreError.invalidDefinition("\"\(alias)\" is not a name of a–z, 0–9, - and _")
            }
        }
    }

    /// Asks for another resident width or precision; nil leaves one as it is (or as it was last asked for).
    ///
    /// - Returns: The shape with the next generation, or the present one where nothing changes.
    public func configure(_ name: String, residentWidth: Int?, residentPrecision: Precision?) throws -> CollectionShape
    {
        try transaction {
            let number = try number(ofCollection: name)
            // One at a time.
            try execute("SELECT FROM matryoshka.collections WHERE id = $1 FOR UPDATE", [.int32(Int32(number))])
            let record = try record(number)
            let before = record.targetShape ?? record.shape
            var next = before
            next.residentWidth = residentWidth ?? before.residentWidth
            next.residentPrecision = residentPrecision ?? before.residentPrecision
            if next == before { return before }
            guard (1...next.storedHeadWidth).contains(next.residentWidth) else {
                throw StoreError.invalidDefinition(
                    "the resident width is 1 to the stored head width \(next.storedHeadWidth)"
                )
            }
            guard next.residentPrecision == .int8 || next.residentPrecision == .float32 else {
                throw StoreError.invalidDefinition("the resident precision is int8 or float32")
            }
            next.generation = before.generation + 1
            try execute(
                """
                INSERT INTO matryoshka.generations (collection, generation, resident_width, resident_precision)
                    VALUES ($1, $2, $3, $4)
                """,
                [
                    .int32(Int32(number)), .int32(Int32(next.generation)), .int32(Int32(next.residentWidth)),
                    .text(next.residentPrecision.rawValue),
                ]
            )
            return next
        }
    }

    /// Makes an asked-for generation the one that searches use.
    ///
    /// - Returns: false where `term` is not the present leader's, or a newer generation is in use.
    public func completeGeneration(collection: UInt32, generation: UInt32, term: Int64) throws -> Bool {
        try transaction {
            guard try isLeader(term: term) else { return false }
            let parameters: [Parameter] = [.int32(Int32(collection)), .int32(Int32(generation))]
            let changed = try execute(
                """
                UPDATE matryoshka.collections AS c SET generation = $2 WHERE c.id = $1 AND c.generation < $2
                    AND EXISTS (SELECT FROM matryoshka.generations AS g WHERE g.collection = $1 AND g.generation = $2)
                """,
                parameters
            ).affectedRows
            try execute(
                """
                UPDATE matryoshka.generations SET completed_at = now()
                    WHERE collection = $1 AND generation = $2 AND completed_at IS NULL
                """,
                parameters
            )
            return changed == 1
        }
    }

    /// Makes a model known; the same id twice is no harm, for an id is the hash of what it names.
    public func registerModel(_ model: ModelRecord, record: String = "{}") throws {
        try execute(
            """
            INSERT INTO matryoshka.models (id, name, dimensions, smallest_dimensions, nesting, record)
                VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING
            """,
            [
                .text(model.id), .text(model.name), .int32(Int32(model.dimensions)),
                .int32(Int32(model.smallestDimensions)),
                .int32s(model.nesting.map { Int32($0) }), .json(record),
            ]
        )
    }

    /// All models that were registered.
    public func models() throws -> [ModelRecord] {
        let result = try execute(
            "SELECT id, name, dimensions, smallest_dimensions, nesting FROM matryoshka.models ORDER BY registered_at, id"
        )
        return (0..<result.rowCount).map { row in
            ModelRecord(
                id: result.text(row, 0),
                name: result.text(row, 1),
                dimensions: Int(result.int32(row, 2)),
                smallestDimensions: Int(result.int32(row, 3)),
                nesting: result.int32s(row, 4).map { Int($0) }
            )
        }
    }
}
