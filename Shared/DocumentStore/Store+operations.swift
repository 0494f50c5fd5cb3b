public import Matryoshka
internal import PostgreSQL

/// What a worker last said of itself.
public struct WorkerStatusRow: Sendable, Hashable {
    /// Incarnation.
    public var incarnation: UInt64
    /// Role.
    public var role: String
    /// Host.
    public var host: String
    /// Process id.
    public var pid: Int32
    /// One word, such as `ready` or `draining`.
    public var state: String
    /// Shards that it holds.
    public var shards: Int
    /// Rows that it holds.
    public var rows: Int
    /// Bytes of these rows.
    public var residentBytes: Int
    /// Bytes that it may hold.
    public var capacityBytes: Int
    /// Requests that it has not answered yet.
    public var inFlight: Int
    /// Requests that wait for it.
    public var queued: Int
    /// Requests that it has answered.
    public var answered: Int

    /// Makes a row.
    public init(
        incarnation: UInt64,
        role: String,
        host: String,
        pid: Int32,
        state: String,
        shards: Int,
        rows: Int,
        residentBytes: Int,
        capacityBytes: Int,
        inFlight: Int,
        queued: Int,
        answered: Int
    ) {
        self.incarnation = incarnation
        self.role = role
        self.host = host
        self.pid = pid
        self.state = state
        self.shards = shards
        self.rows = rows
        self.residentBytes = residentBytes
        self.capacityBytes = capacityBytes
        self.inFlight = inFlight
        self.queued = queued
        self.answered = answered
    }
}

/// Where one replica of a logical shard stands.
public struct CoverageRow: Sendable, Hashable {
    /// Collection.
    public var collection: UInt32
    /// Resident generation.
    public var generation: UInt32
    /// Role.
    public var role: String
    /// Logical shard.
    public var shard: UInt16
    /// Incarnation of the worker.
    public var worker: UInt64
    /// One word, such as `loading` or `ready`.
    public var state: String
    /// Rows that it holds.
    public var rows: Int
    /// What it has applied; nil before it is loaded.
    public var applied: TransactionSnapshot?

    /// Makes a row.
    public init(
        collection: UInt32,
        generation: UInt32,
        role: String,
        shard: UInt16,
        worker: UInt64,
        state: String,
        rows: Int,
        applied: TransactionSnapshot?
    ) {
        self.collection = collection
        self.generation = generation
        self.role = role
        self.shard = shard
        self.worker = worker
        self.state = state
        self.rows = rows
        self.applied = applied
    }
}

/// The searches of one minute that one coordinator answered over one collection.
public struct SearchMinuteRow: Sendable, Hashable {
    /// Start of the minute, in seconds since 1970.
    public var minute: Int
    /// Incarnation of the coordinator.
    public var coordinator: UInt64
    /// Collection; 0 where it was unknown.
    public var collection: UInt32
    /// All of them, also those that were refused.
    public var searches: Int
    /// Answered with full coverage.
    public var complete: Int
    /// Answered with less than full coverage.
    public var partial: Int
    /// Answered, but not as asked: partial, or degraded in another way.
    public var degraded: Int
    /// Logical shards that these searches needed.
    public var shardsAsked: Int
    /// Those of them that did not answer, by reason.
    public var shardsMissing: [String: Int]
    /// Errors by code.
    public var errors: [String: Int]
    /// Latencies: upper bound of each bucket in microseconds, and how many fell into it.
    public var buckets: [(upTo: Int, count: Int)]

    /// Makes a row.
    public init(
        minute: Int,
        coordinator: UInt64,
        collection: UInt32,
        searches: Int,
        complete: Int,
        partial: Int,
        degraded: Int,
        shardsAsked: Int,
        shardsMissing: [String: Int],
        errors: [String: Int],
        buckets: [(upTo: Int, count: Int)]
    ) {
        self.minute = minute
        self.coordinator = coordinator
        self.collection = collection
        self.searches = searches
        self.complete = complete
        self.partial = partial
        self.degraded = degraded
        self.shardsAsked = shardsAsked
        self.shardsMissing = shardsMissing
        self.errors = errors
        self.buckets = buckets
    }

    /// Compares all fields.
    public static func == (left: SearchMinuteRow, right: SearchMinuteRow) -> Bool {
        left.minute == right.minute && left.coordinator == right.coordinator && left.collection == right.collection
            && left.searches == right.searches && left.complete == right.complete && left.partial == right.partial
            && left.degraded == right.degraded && left.shardsAsked == right.shardsAsked
            && left.shardsMissing == right.shardsMissing && left.errors == right.errors
            && left.buckets.elementsEqual(right.buckets, by: ==)
    }

    /// Hashes the key.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(minute)
        hasher.combine(coordinator)
        hasher.combine(collection)
    }
}

/// A search that took long.
public struct SlowSearchRow: Sendable, Hashable {
    /// 32 hexadecimal digits.
    public var traceID: String
    /// Incarnation of the coordinator.
    public var coordinator: UInt64
    /// Collection; 0 where it was unknown.
    public var collection: UInt32
    /// The plan that ran.
    public var plan: String
    /// From receipt to reply.
    public var totalMicroseconds: Int
    /// JSON object of the stages.
    public var stageTimings: String
    /// 0 to 1.
    public var coverage: Double
    /// Hits.
    public var hits: Int
    /// Error code; nil where it was answered.
    public var error: String?

    /// Makes a row.
    public init(
        traceID: String,
        coordinator: UInt64,
        collection: UInt32,
        plan: String,
        totalMicroseconds: Int,
        stageTimings: String,
        coverage: Double,
        hits: Int,
        error: String?
    ) {
        self.traceID = traceID
        self.coordinator = coordinator
        self.collection = collection
        self.plan = plan
        self.totalMicroseconds = totalMicroseconds
        self.stageTimings = stageTimings
        self.coverage = coverage
        self.hits = hits
        self.error = error
    }
}

extension Store {
    /// Writes what is known of workers; the time is the database's.
    public func recordWorkers(_ rows: [WorkerStatusRow]) throws {
        try execute(
            """
            INSERT INTO matryoshka.worker_status AS w (incarnation, role, host, pid, state, shards, rows, resident_bytes,
                    capacity_bytes, in_flight, queued, answered)
                SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::int[], $5::text[], $6::int[], $7::bigint[],
                    $8::bigint[], $9::bigint[], $10::int[], $11::int[], $12::bigint[])
                ON CONFLICT (incarnation) DO UPDATE SET state = EXCLUDED.state, shards = EXCLUDED.shards,
                    rows = EXCLUDED.rows, resident_bytes = EXCLUDED.resident_bytes,
                    capacity_bytes = EXCLUDED.capacity_bytes, in_flight = EXCLUDED.in_flight,
                    queued = EXCLUDED.queued, answered = EXCLUDED.answered, last_seen = now()
            """,
            [
                .int64s(rows.map { Int64(bitPattern: $0.incarnation) }), .texts(rows.map(\.role)),
                .texts(rows.map(\.host)),
                .int32s(rows.map(\.pid)), .texts(rows.map(\.state)), .int32s(rows.map { Int32(clamping: $0.shards) }),
                .int64s(rows.map { Int64($0.rows) }), .int64s(rows.map { Int64($0.residentBytes) }),
                .int64s(rows.map { Int64($0.capacityBytes) }), .int32s(rows.map { Int32(clamping: $0.inFlight) }),
                .int32s(rows.map { Int32(clamping: $0.queued) }), .int64s(rows.map { Int64($0.answered) }),
            ]
        )
    }

    /// Replaces what is known of all shards; the leader writes it.
    public func recordCoverage(_ rows: [CoverageRow]) throws {
        try transaction {
            try execute("DELETE FROM matryoshka.shard_status")
            try execute(
                """
                INSERT INTO matryoshka.shard_status
                        (collection, generation, role, shard, worker, state, rows, applied)
                    SELECT c, g, r, s, w, t, n, a::pg_snapshot FROM unnest($1::int[], $2::int[], $3::text[], $4::int[],
                        $5::bigint[], $6::text[], $7::bigint[], $8::text[]) AS u(c, g, r, s, w, t, n, a)
                    ON CONFLICT (collection, generation, role, shard, worker) DO NOTHING
                """,
                [
                    .int32s(rows.map { Int32($0.collection) }), .int32s(rows.map { Int32($0.generation) }),
                    .texts(rows.map(\.role)), .int32s(rows.map { Int32($0.shard) }),
                    .int64s(rows.map { Int64(bitPattern: $0.worker) }), .texts(rows.map(\.state)),
                    .int64s(rows.map { Int64($0.rows) }), .texts(rows.map { $0.applied?.description }),
                ]
            )
        }
    }

    /// Writes the searches of minutes; what was written for the same minute, coordinator and collection is replaced.
    public func recordSearchRollup(_ rows: [SearchMinuteRow]) throws {
        try transaction {
            for row in rows {
                try execute(
                    """
                    INSERT INTO matryoshka.search_rollup (minute, coordinator, collection, searches, partial, degraded,
                            errors, bucket_bounds, bucket_counts, complete, shards_asked, shards_missing)
                        SELECT to_timestamp($1), $2, $3, $4, $5, $6,
                            (SELECT coalesce(jsonb_object_agg(c, n), '{}') FROM unnest($7::text[], $8::bigint[]) AS e(c, n)),
                            $9, $10, $11, $12,
                            (SELECT coalesce(jsonb_object_agg(r, n), '{}') FROM unnest($13::text[], $14::bigint[]) AS m(r, n))
                        ON CONFLICT (minute, coordinator, collection) DO UPDATE SET searches = EXCLUDED.searches,
                            partial = EXCLUDED.partial, degraded = EXCLUDED.degraded, errors = EXCLUDED.errors,
                            bucket_bounds = EXCLUDED.bucket_bounds, bucket_counts = EXCLUDED.bucket_counts,
                            complete = EXCLUDED.complete, shards_asked = EXCLUDED.shards_asked,
                            shards_missing = EXCLUDED.shards_missing
                    """,
                    [
                        .float64(Double(row.minute)), .int64(Int64(bitPattern: row.coordinator)),
                        .int32(Int32(row.collection)), .int64(Int64(row.searches)), .int64(Int64(row.partial)),
                        .int64(Int64(row.degraded)), .texts(row.errors.map(\.key)),
                        .int64s(row.errors.map { Int64($0.value) }), .int64s(row.buckets.map { Int64($0.upTo) }),
                        .int64s(row.buckets.map { Int64($0.count) }), .int64(Int64(row.complete)),
                        .int64(Int64(row.shardsAsked)), .texts(row.shardsMissing.map(\.key)),
                        .int64s(row.shardsMissing.map { Int64($0.value) }),
                    ],
                    isPrepared: true
                )
            }
        }
    }

    /// Writes searches that took long.
    public func recordSlowSearches(_ rows: [SlowSearchRow]) throws {
        try execute(
            """
            INSERT INTO matryoshka.slow_search (trace_id, coordinator, collection, plan, total_microseconds, stage_timings,
                    coverage, hits, error)
                SELECT t, o, c, p, m, s::jsonb, v::float8 / 1e6, h, e FROM unnest($1::text[], $2::bigint[], $3::int[],
                    $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::int[], $9::text[]) AS
                    u(t, o, c, p, m, s, v, h, e)
            """,
            [
                .texts(rows.map(\.traceID)), .int64s(rows.map { Int64(bitPattern: $0.coordinator) }),
                .int32s(rows.map { Int32($0.collection) }), .texts(rows.map(\.plan)),
                .int64s(rows.map { Int64($0.totalMicroseconds) }), .texts(rows.map(\.stageTimings)),
                .int64s(rows.map { Int64(($0.coverage * 1e6).rounded()) }),
                .int32s(rows.map { Int32(clamping: $0.hits) }), .texts(rows.map(\.error)),
            ]
        )
    }

    /// Lists bad rows that a reader found by itself.
    public func recordQuarantine(
        collection: UInt32,
        _ rows: [(shard: UInt16, id: Int64, version: UInt32, reason: String)]
    ) throws {
        quarantine(
            collection,
            rows.map {
                let slot = Int32(Slots.slots(ofShard: $0.shard).lowerBound)
                return BadRow(slot: slot, id: $0.id, version: $0.version, reason: $0.reason)
            }
        )
    }

    /// Documents that wait to be encoded, by collection; those with none are left out.
    public func pendingCounts() throws -> [String: Int] {
        let result = try execute("SELECT collection, documents FROM ops.pending WHERE documents > 0")
        return Dictionary(
            uniqueKeysWithValues: (0..<result.rowCount).map { (result.text($0, 0), Int(result.int64($0, 1))) }
        )
    }
}
