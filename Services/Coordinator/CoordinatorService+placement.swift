import Coordination
import DocumentStore
import Logging
import Matryoshka
import ServiceRuntime
import WireProtocol
import ZeroMQ

extension CoordinatorService {
    var isLeader: Bool { term != nil && now < leaseValidUntil }

    func leadershipTick() {
        guard !isEnding else { return }
        let seconds = Double(settings[.coordinatorLeaseSeconds])
        guard !control.isUnderWay(.lease) else {
            if now > leaseAskedAt + UInt64(seconds * 1_000_000) {
                noteDatabase(false, "no answer for \(Int(seconds)) s")
            }
            return
        }
        let asked = now
        leaseAskedAt = asked
        let name = name
        if let term {
            control.run(
                .lease,
                { try $0.renewLease(term: term, holder: name, seconds: seconds) },
                then: { [self] result in
                    switch result {
                    case .success(true):
                        noteDatabase(true)
                        leaseValidUntil = asked + UInt64(seconds * 1_000_000)
                    case .success(false):
                        noteDatabase(true)
                        log.warning("leadership lost to another coordinator", metadata: ["term": "\(term)"])
                        self.term = nil
                    case .failure(let error):
                        noteDatabase(false, "\(error)")
                    }
                }
            )
        } else {
            control.run(
                .lease,
                { store in
                    // The map's epoch goes on where the leader before left it: workers ignore lower ones.
                    try store.acquireLease(holder: name, seconds: seconds).map { term in
                        (term: term, epoch: try store.loadAssignments().epoch)
                    }
                },
                then: { [self] result in
                    switch result {
                    case .success((let term, let stored)?):
                        noteDatabase(true)
                        epoch = max(epoch, stored)
                        self.term = term
                        leaseValidUntil = asked + UInt64(seconds * 1_000_000)
                        log.notice("leader", metadata: ["term": "\(term)"])
                        for worker in registry.workers.keys { sendMap(to: worker) }
                        place()
                    case .success(nil): noteDatabase(true)
                    case .failure(let error): noteDatabase(false, "\(error)")
                    }
                }
            )
        }
    }

    func noteDatabase(_ isReachable: Bool, _ reason: String = "") {
        if databaseReachable != isReachable {
            if isReachable {
                log.notice("database reachable again")
            } else {
                log.error(
                    "database away: searches go on, the shard map is frozen",
                    metadata: ["reason": "\(reason)"]
                )
            }
        }
        databaseReachable = isReachable
    }

    /// Reads the collections; `then` is called once a reading that begins after this call has ended.
    func refreshCollections(then: (@Sendable () -> Void)? = nil) {
        if let then { awaitingCollections.append(then) }
        guard !control.isUnderWay(.collections) else { return }
        let served = awaitingCollections
        awaitingCollections = []
        control.run(
            .collections,
            { (try $0.collections(), try $0.pendingCounts(), try $0.currentPosition()) },
            then: { [self] result in
                if let (records, pending, position) = try? result.get() {
                    pendingCounts = pending
                    followLag.note(position.snapshot, at: now)
                    let fresh = Dictionary(uniqueKeysWithValues: records.map { ($0.shape.collection, $0) })
                    if fresh != collections {
                        collections = fresh
                        renameCollections()
                        place()
                    }
                    train()
                }
                for then in served { then() }
                if !awaitingCollections.isEmpty { refreshCollections() }
            }
        )
    }

    /// Remembers how many rows each shard has, for answers that must do without it.
    func noteRows() {
        for record in collections.values {
            let number = record.shape.collection
            var rows = knownRows[number] ?? Array(repeating: 0, count: Slots.shardCount)
            for role in [WorkerRole.rerank, .shortlist] {
                let holding = Holding(collection: number, generation: record.shape.generation, role: role)
                for shard in rows.indices {
                    if let ready = directory.ready(holding, shard: UInt16(shard)).first { rows[shard] = ready.rows }
                }
            }
            knownRows[number] = rows
        }
        if knownRows.count > collections.count { knownRows = knownRows.filter { collections[$0.key] != nil } }
    }

    func renameCollections() {
        names = [:]
        for (number, record) in collections {
            for alias in record.aliases { names[alias] = number }
        }
        for (number, record) in collections { names[record.shape.name] = number }
    }

    /// Brings the shard map up to date; it counts once PostgreSQL has it.
    func place() {
        guard isLeader, !control.isUnderWay(.placement), now >= placeNotBefore, let term else { return }
        var demands: [Placement.Demand] = []
        for record in collections.values.sorted(by: { $0.shape.collection < $1.shape.collection }) {
            for shape in record.loadableShapes {
                demands.append(demand(shape, record, .shortlist))
            }
            demands.append(demand(record.shape, record, .rerank))
        }
        var hosts: [WorkerRole: [Placement.Host]] = [:]
        for role in [WorkerRole.shortlist, .rerank] {
            hosts[role] = registry.workers(of: role).map {
                Placement.Host(
                    worker: $0.incarnation,
                    capacityBytes: $0.registration.capacityBytes,
                    isDraining: $0.isDraining
                )
            }
        }
        var next = placement
        next.update(demands: demands, hosts: hosts, directory: directory)
        completeGenerations(term)
        guard next.units != placement.units else {
            placement = next
            return
        }
        let rows = next.units.flatMap { holding, units in
            units.enumerated().flatMap { shard, unit -> [AssignmentRow] in
                [(unit.holder, "assigned"), (unit.next, "loading")].compactMap { worker, state in
                    worker.map {
                        AssignmentRow(
                            collection: holding.collection,
                            generation: holding.generation,
                            role: holding.role.rawValue,
                            shard: UInt16(shard),
                            worker: $0,
                            state: state
                        )
                    }
                }
            }
        }
        let nextEpoch = epoch + 1
        control.run(
            .placement,
            { try $0.saveAssignments(term: term, epoch: nextEpoch, rows) },
            then: { [self, next] result in
                switch result {
                case .success(true):
                    placement = next
                    epoch = nextEpoch
                    for worker in registry.workers.keys { sendMap(to: worker) }
                    place()
                case .success(false):
                    self.term = nil
                case .failure(let error):
                    noteDatabase(!error.isDatabaseAway, "\(error)")
                }
            }
        )
    }

    private func demand(_ shape: CollectionShape, _ record: CollectionRecord, _ role: WorkerRole) -> Placement.Demand {
        let holding = Holding(collection: shape.collection, generation: shape.generation, role: role)
        let perRow = role == .shortlist ? shape.shortlistBytesPerRow : shape.dimensions * 4 + 56
        let expected = max(0, record.rowsEstimate) / Slots.shardCount * perRow
        // What a lost worker last reported is a better guess than the table's statistics.
        var bytes = shardBytes[holding] ?? Array(repeating: expected, count: Slots.shardCount)
        for shard in bytes.indices {
            let ready = directory.replicas(of: holding, shard: UInt16(shard)).filter { $0.state == .ready }
            bytes[shard] = ready.map(\.bytes).max() ?? max(bytes[shard], expected)
        }
        shardBytes[holding] = bytes
        return Placement.Demand(holding: holding, shardBytes: bytes)
    }

    /// Switches collections whose next generation is ready everywhere.
    private func completeGenerations(_ term: Int64) {
        for record in collections.values {
            guard let target = record.targetShape else { continue }
            let holding = Holding(collection: target.collection, generation: target.generation, role: .shortlist)
            guard directory.readyShardCount(holding) == Slots.shardCount else { continue }
            control.run(
                .generation(target.collection),
                {
                    _ = try $0.completeGeneration(
                        collection: target.collection,
                        generation: target.generation,
                        term: term
                    )
                },
                then: { [self] _ in refreshCollections {} }
            )
        }
    }

    /// Tells a worker all that it shall hold.
    func sendMap(to worker: UInt64) {
        // A hung worker keeps what it holds, so that it is back at once when it goes on.
        guard isLeader, let target = registry.workers[worker], !target.isHung else { return }
        var entries: [ShardAssignments.Assigned] = []
        for record in collections.values.sorted(by: { $0.shape.collection < $1.shape.collection }) {
            for shape in record.loadableShapes {
                let role = target.registration.role
                if role == .rerank && shape.generation != record.shape.generation { continue }
                let holding = Holding(collection: shape.collection, generation: shape.generation, role: role)
                let shards = placement.shards(of: holding, at: worker)
                guard !shards.isEmpty else { continue }
                var wire = WireShape(shape)
                wire.generation = holding.generation
                entries.append(ShardAssignments.Assigned(shape: wire, shards: shards))
            }
        }
        let message = BackMessage(
            header: BackHeader(type: .map, incarnation: worker, epoch: epoch),
            body: .map(ShardAssignments(epoch: epoch, collections: entries))
        )
        switch try? back.send([target.route] + message.encode()) {
        case .sent?: maps.sent(epoch, to: worker, now: now)
        case .unreachable?:
            _ = loop.schedule(afterMicroseconds: 0) { [self] in connectionLost(worker, route: target.route) }
        // A beat that carries a lower epoch will ask for it again.
        case .wouldBlock?, nil: maps.forget(worker)
        }
    }
}
