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
    /// Change of basis.
    public var rotation: Rotation
    /// How shortlist workers hold it.
    public var residency: ResidencyChange

    /// Makes a definition.
    public init(
        name: String,
        model: String? = nil,
        dimensions: Int,
        smallestDimensions: Int? = nil,
        isMatryoshka: Bool = true,
        similarity: Similarity = .cosine,
        storedHeadWidth: Int? = nil,
        rotation: Rotation = .none,
        residency: ResidencyChange = ResidencyChange()
    ) {
        self.name = name
        self.model = model
        self.dimensions = dimensions
        self.smallestDimensions = smallestDimensions ?? dimensions
        self.isMatryoshka = isMatryoshka
        self.similarity = similarity
        self.storedHeadWidth = storedHeadWidth
        self.rotation = rotation
        self.residency = residency
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
    /// Rows that the collection had when the centroids in use were learnt; nil without centroids.
    public var rowsLearnt: Int?

    /// What workers are to hold: the shape in use, and the one asked for once all it needs has been learnt.
    public var loadableShapes: [CollectionShape] {
        [shape] + [targetShape].compactMap { $0 }.filter(\.isTrained)
    }

    /// Makes a record.
    public init(
        shape: CollectionShape,
        rowsEstimate: Int,
        targetShape: CollectionShape? = nil,
        aliases: [String],
        rowsLearnt: Int? = nil
    ) {
        self.shape = shape
        self.rowsEstimate = rowsEstimate
        self.targetShape = targetShape
        self.aliases = aliases
        self.rowsLearnt = rowsLearnt
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
                c.head_width, c.rotation, c.generation, t.generation,
                (SELECT coalesce(sum(greatest(p.reltuples::bigint, pg_stat_get_live_tuples(p.oid))), 0)::bigint
                    FROM pg_inherits AS i JOIN pg_class AS p ON p.oid = i.inhrelid
                    WHERE i.inhparent = to_regclass('matryoshka.heads_' || c.id)),
                ARRAY(SELECT a.name FROM matryoshka.aliases AS a WHERE a.collection = c.id ORDER BY a.name),
                \(Self.residencyColumns(of: "g")), \(Self.residencyColumns(of: "t")),
                (SELECT a.learnt_from FROM matryoshka.artefacts AS a WHERE a.id = g.centroids), c.sign_seed
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
            var shape = CollectionShape(
                collection: UInt32(result.int32(row, 0)),
                name: result.text(row, 1),
                model: result.text(row, 2),
                dimensions: Int(result.int32(row, 3)),
                smallestDimensions: Int(result.int32(row, 4)),
                isMatryoshka: result.bool(row, 5),
                similarity: Similarity(rawValue: result.text(row, 6)) ?? .cosine,
                storedHeadWidth: Int(result.int32(row, 7)),
                residentWidth: 1,
                residentPrecision: .int8,
                signSeed: UInt64(result.int64(row, 32)),
                rotation: Rotation(rawValue: result.text(row, 8)) ?? .none,
                generation: UInt32(result.int32(row, 9))
            )
            Self.readResidency(of: &shape, result, row, firstColumn: 13)
            var target: CollectionShape?
            if !result.isNull(row, 10) {
                var next = shape
                next.generation = UInt32(result.int32(row, 10))
                Self.readResidency(of: &next, result, row, firstColumn: 22)
                target = next
            }
            return CollectionRecord(
                shape: shape,
                rowsEstimate: Int(result.int64(row, 11)),
                targetShape: target,
                aliases: result.texts(row, 12),
                rowsLearnt: result.isNull(row, 31) ? nil : Int(result.int64(row, 31))
            )
        }
    }

    private static func residencyColumns(of table: String) -> String {
        [
            "resident_width", "resident_precision", "resident_signs", "index_kind", "lists", "coarse_dimensions",
            "links",
            "construction_effort",
        ].map { "\(table).\($0)" }.joined(separator: ", ")
            + ", ARRAY[coalesce(\(table).centroids, 0), coalesce(\(table).learnt_rotation, 0)]"
    }

    private static func readResidency(
        of shape: inout CollectionShape,
        _ result: QueryResult,
        _ row: Int,
        firstColumn: Int
    ) {
        shape.residentWidth = Int(result.int32(row, firstColumn))
        shape.residentPrecision = Precision(rawValue: result.text(row, firstColumn + 1)) ?? .int8
        shape.holdsSigns = result.bool(row, firstColumn + 2)
        let artefacts = result.int32s(row, firstColumn + 8)
        shape.index = CollectionIndex(
            kind: CollectionIndex.Kind(rawValue: result.text(row, firstColumn + 3)) ?? .flat,
            lists: Int(result.int32(row, firstColumn + 4)),
            coarseDimensions: Int(result.int32(row, firstColumn + 5)),
            links: Int(result.int32(row, firstColumn + 6)),
            constructionEffort: Int(result.int32(row, firstColumn + 7)),
            centroids: UInt32(artefacts[0])
        )
        shape.learntRotation = UInt32(artefacts[1])
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
        let asked = definition.residency
        let number = try transaction {
            let number = try execute(
                "SELECT matryoshka.create_collection($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                [
                    .text(definition.name), .optionalText(definition.model), .int32(Int32(definition.dimensions)),
                    .int32(Int32(definition.smallestDimensions)), .bool(definition.isMatryoshka),
                    .text(definition.similarity.rawValue), .int32(Int32(width)),
                    .int32(Int32(clamping: asked.width ?? min(width, 64))),
                    .text((asked.precision ?? .int8).rawValue),
                ]
            ).int32(0, 0)
            if definition.rotation != .none {
                try execute(
                    "UPDATE matryoshka.collections SET rotation = $2 WHERE id = $1",
                    [.int32(number), .text(definition.rotation.rawValue)]
                )
            }
            if asked.holdsSigns == true {
                // Nothing has to be learnt for them.
                guard width <= CollectionShape.signWidthMax else { throw Self.signsDoNotFit }
                try execute(
                    "UPDATE matryoshka.generations SET resident_signs = true WHERE collection = $1",
                    [.int32(number)]
                )
            }
            // The first generation serves as the plain one until what the wanted one needs has been learnt.
            let first = try record(UInt32(number)).shape
            var wanted = asked.applied(to: first)
            if definition.rotation != .none || wanted != first {
                wanted.generation += 1
                try ask(for: wanted)
            }
            return number
        }
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
            try execute(
                "UPDATE matryoshka.generations SET centroids = NULL, learnt_rotation = NULL WHERE collection = $1",
                [.int32(number)]
            )
            try execute("DELETE FROM matryoshka.artefacts WHERE collection = $1", [.int32(number)])
            return number
        }
        guard let dropped else { throw StoreError.unknownCollection("there is no collection \"\(name)\"") }
        // The collection is gone already: what hinders its tables is no failure of this.
        do {
            try transaction {
                try execute("SET LOCAL lock_timeout = '1s'")
                try execute("SELECT matryoshka.drop_tables($1)", [.int32(dropped)])
            }
        } catch StoreError.database(let error) where error.sqlState != nil {}
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

    private static var signsDoNotFit: StoreError {
        .invalidDefinition(
            "sign bits are held of heads of at most \(CollectionShape.signWidthMax) dimensions, in no graph"
        )
    }

    private func ask(for next: CollectionShape) throws {
        guard (1...next.storedHeadWidth).contains(next.residentWidth) else {
            throw StoreError.invalidDefinition(
                "the resident width is 1 to the stored head width \(next.storedHeadWidth)"
            )
        }
        guard next.residentPrecision == .int8 || next.residentPrecision == .float32 else {
            throw StoreError.invalidDefinition("the resident precision is int8 or float32")
        }
        guard !next.holdsSigns || next.canHoldSigns else {
            throw Self.signsDoNotFit
        }
        guard next.index.coarseDimensions <= next.storedHeadWidth else {
            throw StoreError.invalidDefinition(
                "the coarse dimensions are 1 to the stored head width \(next.storedHeadWidth)"
            )
        }
        try execute(
            """
            INSERT INTO matryoshka.generations (collection, generation, resident_width, resident_precision,
                resident_signs, index_kind, lists, coarse_dimensions, links, construction_effort, centroids,
                learnt_rotation)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, nullif($11, 0), nullif($12, 0))
            """,
            [
                .int32(Int32(next.collection)), .int32(Int32(next.generation)), .int32(Int32(next.residentWidth)),
                .text(next.residentPrecision.rawValue), .bool(next.holdsSigns), .text(next.index.kind.rawValue),
                .int32(Int32(next.index.lists)), .int32(Int32(next.index.coarseDimensions)),
                .int32(Int32(next.index.links)), .int32(Int32(next.index.constructionEffort)),
                .int32(Int32(next.index.centroids)), .int32(Int32(next.learntRotation)),
            ]
        )
    }

    /// Asks for another form of what shortlist workers hold; nil leaves a thing as it is (or as it was last asked for).
    ///
    /// - Returns: The shape with the next generation, or the present one where nothing changes.
    public func configure(_ name: String, _ change: ResidencyChange) throws -> CollectionShape {
        try transaction {
            let number = try number(ofCollection: name)
            // One at a time.
            try execute("SELECT FROM matryoshka.collections WHERE id = $1 FOR UPDATE", [.int32(Int32(number))])
            let record = try record(number)
            let before = record.targetShape ?? record.shape
            var next = change.applied(to: before)
            // A retraining changes nothing else, and one that has not begun is not asked for twice.
            if next == before { return before }
            next.generation = before.generation + 1
            try ask(for: next)
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
