internal import PostgreSQL

/// One replica of a logical shard on the map.
public struct AssignmentRow: Sendable, Hashable {
    /// Collection.
    public var collection: UInt32
    /// Resident generation.
    public var generation: UInt32
    /// Role of the worker.
    public var role: String
    /// Logical shard.
    public var shard: UInt16
    /// Incarnation of the worker.
    public var worker: UInt64
    /// Where it stands.
    public var state: String

    /// Makes a row.
    public init(collection: UInt32, generation: UInt32, role: String, shard: UInt16, worker: UInt64, state: String) {
        self.collection = collection
        self.generation = generation
        self.role = role
        self.shard = shard
        self.worker = worker
        self.state = state
    }
}

extension Store {
    /// Takes the leader's lease if it is free, expired by the database's clock, or this holder's own.
    ///
    /// - Returns: The new term, which fences everything that earlier leaders still try to write; nil if another leads.
    public func acquireLease(holder: String, seconds: Double) throws -> Int64? {
        let result = try execute(
            """
            UPDATE matryoshka.lease SET term = term + 1, holder = $1,
                expires_at = clock_timestamp() + make_interval(secs => $2)
                WHERE expires_at < clock_timestamp() OR holder = $1 RETURNING term
            """,
            [.text(holder), .float64(seconds)]
        )
        return result.rowCount == 1 ? result.int64(0, 0) : nil
    }

    /// Keeps the lease; false where another has taken it.
    public func renewLease(term: Int64, holder: String, seconds: Double) throws -> Bool {
        try execute(
            """
            UPDATE matryoshka.lease SET expires_at = clock_timestamp() + make_interval(secs => $3)
                WHERE term = $1 AND holder = $2
            """,
            [.int64(term), .text(holder), .float64(seconds)]
        ).affectedRows == 1
    }

    /// Gives the lease up, so that another may take it at once.
    public func releaseLease(term: Int64) throws {
        try execute("UPDATE matryoshka.lease SET expires_at = '-infinity' WHERE term = $1", [.int64(term)])
    }

    /// Whether `term` is the present one; it stays so until the end of the transaction.
    func isLeader(term: Int64) throws -> Bool {
        try execute("SELECT FROM matryoshka.lease WHERE term = $1 FOR SHARE", [.int64(term)]).rowCount == 1
    }

    /// Replaces the shard map.
    ///
    /// - Returns: false where `term` is not the present leader's or `epoch` is not above the stored one.
    public func saveAssignments(term: Int64, epoch: UInt64, _ rows: [AssignmentRow]) throws -> Bool {
        try transaction {
            guard try isLeader(term: term) else { return false }
            let isNewer =
                try execute(
                    "UPDATE matryoshka.map_epoch SET epoch = $2, term = $1 WHERE epoch < $2",
                    [.int64(term), .int64(Int64(epoch))]
                ).affectedRows == 1
            guard isNewer else { return false }
            try execute("DELETE FROM matryoshka.assignments")
            try execute(
                """
                INSERT INTO matryoshka.assignments (collection, generation, role, shard, worker, state)
                    SELECT * FROM unnest($1::int[], $2::int[], $3::text[], $4::int[], $5::bigint[], $6::text[])
                """,
                [
                    .int32s(rows.map { Int32($0.collection) }), .int32s(rows.map { Int32($0.generation) }),
                    .texts(rows.map(\.role)), .int32s(rows.map { Int32($0.shard) }),
                    .int64s(rows.map { Int64(bitPattern: $0.worker) }), .texts(rows.map(\.state)),
                ]
            )
            return true
        }
    }

    /// The stored shard map and its epoch.
    public func loadAssignments() throws -> (epoch: UInt64, rows: [AssignmentRow]) {
        try transaction("ISOLATION LEVEL REPEATABLE READ READ ONLY") {
            let epoch = UInt64(try execute("SELECT epoch FROM matryoshka.map_epoch").int64(0, 0))
            let result = try execute(
                """
                SELECT collection, generation, role, shard, worker, state FROM matryoshka.assignments
                    ORDER BY collection, generation, role, shard, worker
                """
            )
            let rows = (0..<result.rowCount).map { row in
                AssignmentRow(
                    collection: UInt32(result.int32(row, 0)),
                    generation: UInt32(result.int32(row, 1)),
                    role: result.text(row, 2),
                    shard: UInt16(result.int32(row, 3)),
                    worker: UInt64(bitPattern: result.int64(row, 4)),
                    state: result.text(row, 5)
                )
            }
            return (epoch, rows)
        }
    }

    /// Reserves incarnations that nobody had before; from 1 on.
    public func reserveIncarnations(count: Int) throws -> Range<UInt64> {
        let next = try execute(
            "UPDATE matryoshka.incarnations SET next = next + $1 RETURNING next",
            [.int64(Int64(count))]
        ).int64(0, 0)
        return UInt64(next - Int64(count))..<UInt64(next)
    }

    /// All incarnations below this have been reserved, by whomever.
    public func reservedIncarnationsEnd() throws -> UInt64 {
        UInt64(try execute("SELECT next FROM matryoshka.incarnations").int64(0, 0))
    }
}
