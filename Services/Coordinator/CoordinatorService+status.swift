import Coordination
import DocumentStore
import Glibc
import Logging
import Matryoshka
import ServiceRuntime
import WireProtocol
import ZeroMQ

extension CoordinatorService {
    /// Minutes since 1970, for roll-ups alone; no logic depends on the wall clock.
    var wallMinute: Int { Int(time(nil)) / 60 }

    var hello: JSONValue {
        .object([
            .init("server", .string("matryoshka")), .init("version", .string("0.1.0")),
            .init("protocol", .array([.string("MRL1")])), .init("coordinator", .string(name)),
            .init("limits", FrontLimits.json), .init("collections", collectionsJSON),
        ])
    }

    private func int(_ key: String, _ value: Int) -> JSONValue.Member { .init(key, .integer(Int64(value))) }

    var collectionsJSON: JSONValue {
        .array(collections.values.sorted { $0.shape.name < $1.shape.name }.map { collectionJSON($0) })
    }

    /// The form that was asked for, and how far it has come; null where nothing changes.
    private func nextJSON(_ record: CollectionRecord) -> JSONValue {
        guard let next = record.targetShape else { return .null }
        let holding = Holding(collection: next.collection, generation: next.generation, role: .shortlist)
        return .object([
            int("generation", Int(next.generation)), int("resident_width", next.residentWidth),
            .init("resident_precision", .string(next.residentPrecision.rawValue)),
            .init("resident_signs", .bool(next.holdsSigns)), .init("index", .string(next.index.kind.rawValue)),
            .init("state", .string(next.isTrained ? "loading" : "training")),
            int("ready_shards", directory.readyShardCount(holding)),
            int("loaded_rows", directory.loadedRows(holding)),
        ])
    }

    func collectionJSON(_ record: CollectionRecord) -> JSONValue {
        let shape = record.shape
        var roles: [JSONValue.Member] = []
        for role in [WorkerRole.shortlist, .rerank] {
            let holding = Holding(collection: shape.collection, generation: shape.generation, role: role)
            let ready = directory.readyShardCount(holding)
            let loading = (0..<UInt16(Slots.shardCount)).filter {
                directory.replicas(of: holding, shard: $0).contains { $0.state == .loading || $0.state == .catchingUp }
            }.count
            roles.append(
                .init(
                    role.rawValue,
                    .object([
                        int("ready", ready), int("loading", loading), int("missing", Slots.shardCount - ready),
                        int("no_capacity", placement.withoutRoom[holding]?.count ?? 0),
                        int("rows", directory.rows(holding)),
                        int("loaded_rows", directory.loadedRows(holding)),
                    ])
                )
            )
        }
        let holding = Holding(collection: shape.collection, generation: shape.generation, role: .shortlist)
        return .object([
            .init("name", .string(shape.name)), .init("aliases", .array(record.aliases.map { .string($0) })),
            .init("model", .string(shape.model)), int("dimensions", shape.dimensions),
            int("smallest_dimensions", shape.smallestDimensions), .init("matryoshka", .bool(shape.isMatryoshka)),
            .init("similarity", .string(shape.similarity.rawValue)), int("stored_head_width", shape.storedHeadWidth),
            int("resident_width", shape.residentWidth),
            .init("resident_precision", .string(shape.residentPrecision.rawValue)),
            .init("resident_signs", .bool(shape.holdsSigns)), .init("sign_seed", .integer(Int64(shape.signSeed))),
            .init("index", .string(shape.index.kind.rawValue)),
            .init("rotation", .string(shape.rotation.rawValue)), .init("next", nextJSON(record)),
            int("generation", Int(shape.generation)), .init("changing", .bool(record.targetShape != nil)),
            int("rows", directory.rows(holding)), .init("shards", .object(roles)),
            int("pending", pendingCounts[shape.name] ?? 0), .init("lag_ms", lag(shape)),
        ])
    }

    /// Of the replica most behind, either kind; null where none is ready.
    private func lag(_ shape: CollectionShape) -> JSONValue {
        let behind = [WorkerRole.shortlist, .rerank].compactMap {
            followLag.microseconds(
                of: Holding(collection: shape.collection, generation: shape.generation, role: $0),
                in: directory,
                now: now
            )
        }
        return behind.max().map { .integer(Int64($0 / 1000)) } ?? .null
    }

    var status: JSONValue {
        let recent = metrics.latency(sinceMinute: wallMinute - 1)
        let seconds = max(0.001, Double(now - startedAt) / 1e6)
        func ms(_ q: Double) -> JSONValue {
            recent.quantileMicroseconds(q).map { .number(Double($0) / 1000) } ?? .null
        }
        let time = now
        let workers = registry.workers.values.sorted { $0.incarnation < $1.incarnation }.map { worker -> JSONValue in
            .object([
                int("incarnation", Int(worker.incarnation)), .init("role", .string(worker.registration.role.rawValue)),
                .init("host", .string(worker.registration.host)), int("pid", Int(worker.registration.pid)),
                .init("state", .string(worker.state)),
                int("shards", worker.shards.count),
                int("ready_shards", worker.shards.filter { $0.state == .ready }.count),
                int("rows", worker.rows),
                int("resident_bytes", worker.heartbeat?.residentBytes ?? 0),
                int("capacity_bytes", worker.registration.capacityBytes), int("in_flight", worker.inFlight),
                int("waiting", waiting[worker.incarnation]?.count ?? 0),
                int("heartbeat_age_ms", Int(time - min(time, worker.lastHeard)) / 1000),
                .init("database_reachable", .bool(worker.heartbeat?.databaseReachable ?? true)),
                .init("draining", .bool(worker.isDraining)),
                .init("model", worker.registration.model.map { .string($0.id) } ?? .null),
                .init("classifier", worker.registration.classifier.map { .string($0.id) } ?? .null),
            ])
        }
        return .object([
            .init(
                "coordinator",
                .object([
                    .init("name", .string(name)), .init("leader", .bool(isLeader)), int("term", Int(term ?? 0)),
                    int("epoch", Int(epoch)), int("incarnation", Int(incarnation)), int("pid", Int(getpid())),
                    .init("uptime_s", .number(seconds)),
                    int("in_flight", admission.inFlight), int("rows_in_flight", admission.rowsInFlight),
                    int("queue_depth", waiting.values.reduce(0) { $0 + $1.count }),
                    .init("searches", .integer(Int64(metrics.searches))),
                    .init("searches_per_second", .number(searchesPerSecond)), .init("p50_ms", ms(0.5)),
                    .init("p95_ms", ms(0.95)), .init("p99_ms", ms(0.99)),
                    int("rejected", metrics.errors.values.reduce(0, +)), int("malformed", metrics.malformed),
                    int("dropped_replies", outbox.dropped), int("late_answers", metrics.late),
                    int("dropped_slow_searches", metrics.slowDropped),
                    int(
                        "store_jobs_waiting",
                        [control, writes, changes, reads, operations].reduce(0) { $0 + $1.waitingCount }
                    ),
                    int("resident_bytes", ServiceProcess.residentBytes()),
                    .init("moving", .bool(placement.isMoving)),
                    .init("database_reachable", .bool(databaseReachable)),
                    .init(
                        "errors",
                        .object(metrics.errors.sorted { $0.key < $1.key }.map { int($0.key, $0.value) })
                    ),
                ])
            ), .init("workers", .array(workers)), .init("collections", collectionsJSON),
        ])
    }

    /// Of this minute and the one before.
    private var searchesPerSecond: Double {
        let minute = wallMinute
        let count = metrics.minutes.filter { $0.key.minute >= minute - 1 }.values.reduce(0) { $0 + $1.searches }
        let seconds = min(Double(Int(time(nil)) % 60 + 60), max(1, Double(now - startedAt) / 1e6))
        return Double(count) / seconds
    }

    // MARK: Operations views

    /// Hands what has gathered to PostgreSQL, off the query path; what cannot be written is dropped.
    ///
    /// Unless it is the last time, it waits for its turn after the one before.
    func flushOperations(isLast: Bool = false) {
        let minute = wallMinute
        defer { metrics.minutes = metrics.minutes.filter { $0.key.minute >= minute - 1 } }
        guard isLast || !operations.isUnderWay(.operations) else { return }
        let rollups = metrics.minutes.map { key, value in
            SearchMinuteRow(
                minute: key.minute * 60,
                coordinator: incarnation,
                collection: key.collection,
                searches: value.searches,
                complete: value.complete,
                partial: value.partial,
                degraded: value.degraded,
                shardsAsked: value.shardsAsked,
                shardsMissing: Dictionary(
                    uniqueKeysWithValues: value.shardsMissing.map { ($0.key.rawValue, $0.value) }
                ),
                errors: value.errors,
                buckets: value.latency.counts.enumerated().filter { $0.element > 0 }.map {
                    (
                        upTo: Int(LatencyHistogram.upperBoundMicroseconds(ofBucket: $0.offset)),
                        count: Int($0.element)
                    )
                }
            )
        }
        let slow = metrics.takeSlow().map {
            SlowSearchRow(
                traceID: Self.hex($0.trace.high) + Self.hex($0.trace.low),
                coordinator: incarnation,
                collection: $0.collection,
                plan: $0.plan,
                totalMicroseconds: $0.microseconds,
                stageTimings: $0.timings,
                coverage: $0.coverage,
                hits: $0.hits,
                error: $0.error
            )
        }
        let workers = registry.workers.values.map { worker in
            WorkerStatusRow(
                incarnation: worker.incarnation,
                role: worker.registration.role.rawValue,
                host: worker.registration.host,
                pid: worker.registration.pid,
                state: worker.state,
                shards: worker.shards.count,
                rows: worker.rows,
                residentBytes: worker.heartbeat?.residentBytes ?? 0,
                capacityBytes: worker.registration.capacityBytes,
                inFlight: worker.inFlight,
                queued: waiting[worker.incarnation]?.count ?? 0,
                answered: Int(worker.heartbeat?.answered ?? 0)
            )
        }
        var coverage: [CoverageRow] = []
        for (holding, shards) in directory.replicas where collections[holding.collection] != nil {
            for (shard, replicas) in shards.enumerated() {
                for replica in replicas {
                    coverage.append(
                        CoverageRow(
                            collection: holding.collection,
                            generation: holding.generation,
                            role: holding.role.rawValue,
                            shard: UInt16(shard),
                            worker: replica.worker,
                            state: replica.state.rawValue,
                            rows: replica.rows,
                            applied: replica.applied
                        )
                    )
                }
            }
        }
        let leads = isLeader
        let job: @Sendable (Store) throws -> Void = { [coverage] store in
            if !rollups.isEmpty { try store.recordSearchRollup(rollups) }
            if !slow.isEmpty { try store.recordSlowSearches(slow) }
            if leads {
                try store.recordWorkers(workers)
                try store.recordCoverage(coverage)
            }
        }
        let then: @Sendable (Result<Void, any Error>) -> Void = { [self] result in
            if case .failure(let error) = result {
                metrics.lost(slow.count)
                log.debug("operations not recorded", metadata: ["reason": "\(error)"])
            }
        }
        let isTaken = isLast ? operations.run(job, then: then) : operations.run(.operations, job, then: then)
        if !isTaken { metrics.lost(slow.count) }
    }

    private static func hex(_ value: UInt64) -> String {
        let text = String(value, radix: 16)
        return String(repeating: "0", count: 16 - text.count) + text
    }
}
