public import Matryoshka
internal import PostgreSQL

/// Something learnt from a collection's rows: a float32 matrix.
public struct Artefact: Sendable, Hashable {
    /// What was learnt; the raw value is the store's word.
    public enum Subject: String, Sendable, Hashable {
        /// Centroids of inverted lists, one a row.
        case centroids
        /// An orthogonal matrix; row i makes coordinate i.
        case rotation
    }
    /// What was learnt.
    public var subject: Subject
    /// Rows of the matrix.
    public var rowCount: Int
    /// Columns of the matrix.
    public var columnCount: Int
    /// Row-major.
    public var values: [Float]
    /// Rows that the collection had when it was learnt.
    public var learntFrom: Int
    /// How well it fits them, to be compared with a later one of the same subject; nil where nothing was measured.
    public var fit: Double?

    /// Makes an artefact; `values` has `rowCount · columnCount` elements.
    public init(
        subject: Subject,
        rowCount: Int,
        columnCount: Int,
        values: [Float],
        learntFrom: Int,
        fit: Double? = nil
    ) {
        self.subject = subject
        self.rowCount = rowCount
        self.columnCount = columnCount
        self.values = values
        self.learntFrom = learntFrom
        self.fit = fit
    }
}

extension Store {
    /// Keeps an artefact and names it to the generation that waits for it.
    ///
    /// - Returns: Its number; nil where no such generation waits (another worker was first, or it was asked anew).
    public func learn(_ artefact: Artefact, collection: UInt32, generation: UInt32) throws -> UInt32? {
        try transaction {
            let column = artefact.subject == .centroids ? "centroids" : "learnt_rotation"
            let place: [Parameter] = [.int32(Int32(collection)), .int32(Int32(generation))]
            let waiting = try execute(
                """
                SELECT FROM matryoshka.generations WHERE collection = $1 AND generation = $2 AND \(column) IS NULL FOR UPDATE
                """,
                place
            )
            guard waiting.rowCount == 1 else { return nil }
            let bytes = artefact.values.withUnsafeBytes { Array($0) }
            let number = try execute(
                """
                INSERT INTO matryoshka.artefacts
                    (collection, subject, row_count, column_count, content, learnt_from, fit)
                    VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id
                """,
                [
                    .int32(Int32(collection)), .text(artefact.subject.rawValue), .int32(Int32(artefact.rowCount)),
                    .int32(Int32(artefact.columnCount)), .bytes(bytes), .int64(Int64(artefact.learntFrom)),
                    artefact.fit.map { .float64($0) } ?? .null,
                ]
            ).int32(0, 0)
            try execute(
                "UPDATE matryoshka.generations SET \(column) = $3 WHERE collection = $1 AND generation = $2",
                place + [.int32(number)]
            )
            return UInt32(number)
        }
    }

    /// A sample of a collection's rows: those of some slots of every logical shard.
    ///
    /// A slot comes from a hash, so that it says nothing of the row. The same table gives the same sample.
    ///
    /// - Parameters:
    ///   - shape: Collection.
    ///   - rows: About how many to read at most.
    ///   - full: D floats of a row rather than W.
    /// - Returns: Row-major vectors, without bad rows, and how many rows there are in all.
    /// - Throws: ``StoreError``.
    public func sampleVectors(_ shape: CollectionShape, rows: Int, full: Bool) throws
        -> (vectors: [Float], population: Int)
    {
        let present = try execute("SELECT count(*) FROM matryoshka.heads_\(shape.collection)").int64(0, 0)
        let perShard = Slots.slots(ofShard: 0).count
        let slots = min(perShard, max(1, Int(Double(perShard) * Double(rows) / Double(max(1, present)))))
        let ranges = (0..<UInt16(Slots.shardCount)).map { shard in
            let first = Int(Slots.slots(ofShard: shard).lowerBound)
            return "h.slot BETWEEN \(first) AND \(first + slots - 1)"
        }
        let columns = full ? "h.head, t.tail" : "h.head"
        let join = full ? "JOIN matryoshka.tails_\(shape.collection) AS t ON t.id = h.id" : ""
        let width = full ? shape.dimensions : shape.storedHeadWidth
        var vectors: [Float] = []
        vectors.reserveCapacity(min(rows, Int(present)) * width)
        var row = [Float](repeating: 0, count: width)
        var reader = CopyReader(columns: full ? 2 : 1)
        try connection.copyOut(
            """
            COPY (
                SELECT \(columns) FROM matryoshka.heads_\(shape.collection) AS h \(join)
                WHERE \(ranges.joined(separator: " OR "))
            ) TO STDOUT (FORMAT binary)
            """
        ) { piece in
            try reader.consume(piece) { found in
                let headBytes = found.byteCount(0)
                guard headBytes + (full ? found.byteCount(1) : 0) == width * 4 else { return }
                let isFinite = row.withUnsafeMutableBytes { target in
                    found.copyBytes(0, to: target)
                    if full { found.copyBytes(1, to: UnsafeMutableRawBufferPointer(rebasing: target[headBytes...])) }
                    return VectorFault.isFinite(UnsafeBufferPointer(target.bindMemory(to: UInt32.self)))
                }
                if isFinite { vectors += row }
            }
        }
        return (vectors, Int(present))
    }

    /// An artefact by its number.
    public func artefact(_ number: UInt32) throws -> Artefact {
        let result = try execute(
            """
            SELECT subject, row_count, column_count, content, learnt_from, fit FROM matryoshka.artefacts WHERE id = $1
            """,
            [.int32(Int32(number))]
        )
        guard result.rowCount == 1, let subject = Artefact.Subject(rawValue: result.text(0, 0)) else {
            throw StoreError.unknownCollection("there is no artefact number \(number)")
        }
        let bytes = result.bytes(0, 3)
        var values = [Float](repeating: 0, count: bytes.count / 4)
        values.withUnsafeMutableBytes { $0.copyBytes(from: bytes) }
        return Artefact(
            subject: subject,
            rowCount: Int(result.int32(0, 1)),
            columnCount: Int(result.int32(0, 2)),
            values: values,
            learntFrom: Int(result.int64(0, 4)),
            fit: result.isNull(0, 5) ? nil : result.float64(0, 5)
        )
    }
}
