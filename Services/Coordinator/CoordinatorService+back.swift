import Coordination
import DocumentStore
import Logging
import Matryoshka
import ServiceRuntime
import WireProtocol
import ZeroMQ

extension CoordinatorService {
    func backReceived(_ received: ReceivedMessage) {
        guard received.frames.count == 3, !received.isTruncated,
            let message = try? BackMessage.decode(frames: Array(received.frames[1...]))
        else {
            metrics.malformed += 1
            answerUnreadable(received)
            return
        }
        let route = received.frames[0]
        if case .register(let registration) = message.body {
            register(registration, message.header, route)
            return
        }
        guard let worker = registry.heard(route: route, now: now) else {
            reply(BackMessage(header: BackHeader(type: .whoAreYou), body: .whoAreYou), route)
            return
        }
        switch message.body {
        case .heartbeat(let beat):
            let wasDraining = registry.workers[worker]?.isDraining ?? false
            let hasTurned = registry.beat(beat, incarnation: worker)
            directory = ShardDirectory(registry)
            reply(
                BackMessage(
                    header: BackHeader(type: .heartbeat, incarnation: worker, epoch: epoch),
                    body: .heartbeatReply
                ),
                route
            )
            if hasTurned { hungOrNot(worker) }
            settleWaits()
            place()
            if hasTurned && !isHung(worker) { sendMap(to: worker) }
            if beat.draining && !wasDraining || wantsMap(worker, carrying: message.header.epoch) {
                sendMap(to: worker)
            }
        case .drained:
            log.notice("worker drained", metadata: ["worker": "\(worker)"])
            workerLost(worker)
        case .hits, .scores, .documents, .vectors, .labels, .trained, .failed:
            answered(message, by: worker)
        default:
            metrics.malformed += 1
        }
    }

    private func reply(_ message: BackMessage, _ route: [UInt8]) {
        _ = try? back.send([route] + message.encode())
    }

    /// A request whose answer cannot be read has failed; its credit comes back all the same.
    private func answerUnreadable(_ received: ReceivedMessage) {
        guard received.frames.count > 1, let worker = registry.heard(route: received.frames[0], now: now),
            let number = BackMessage.request(of: received.frames[1]), sent[number]?.worker == worker
        else { return }
        let failure = Failed(code: "INTERNAL", message: "a worker's answer cannot be read")
        answered(BackMessage(.failed(failure), BackHeader(type: .failed, request: number)), by: worker)
    }

    /// A map was lost on its way, or written before the worker could take it.
    private func wantsMap(_ worker: UInt64, carrying carried: UInt64) -> Bool {
        guard isLeader, registry.workers[worker]?.registration.role != .encoder else { return false }
        let patience = 2 * UInt64(settings[.coordinatorHeartbeatMilliseconds]) * 1000
        return maps.isDue(worker, carrying: carried, current: epoch, now: now, patience: patience)
    }

    /// Registrations that wait for what PostgreSQL says of their incarnation.
    private static let unconfirmedMax = 256
    /// After that long a worker has registered again, or is gone.
    private static let confirmationMicroseconds: UInt64 = 1_000_000

    private func register(_ registration: Register, _ header: BackHeader, _ route: [UInt8]) {
        switch incarnations.standing(of: header.incarnation) {
        case .none, .given: register(registration, as: header.incarnation, route)
        case .neverGiven: reject(Self.unknown(header.incarnation), route)
        case .unheardOf:
            guard unconfirmed.count < Self.unconfirmedMax || unconfirmed[route] != nil else { return }
            unconfirmed[route] = (registration, header)
            confirm()
        }
    }

    /// Asks PostgreSQL whether some coordinator has reserved the incarnations of workers that wait.
    private func confirm() {
        guard !unconfirmed.isEmpty, !control.isUnderWay(.reservedIncarnations) else { return }
        // Who comes later needs a later answer.
        let (asked, since) = (unconfirmed, now)
        unconfirmed = [:]
        control.run(
            .reservedIncarnations,
            { try $0.reservedIncarnationsEnd() },
            then: { [self] result in
                switch result {
                case .failure(let error):
                    log.warning(
                        "workers not registered: the database does not tell whether their incarnations were given",
                        metadata: ["workers": "\(asked.count)", "reason": "\(error)"]
                    )
                case .success(let end):
                    incarnations.heard(reservedEnd: end)
                    for (route, (registration, header)) in asked {
                        if incarnations.standing(of: header.incarnation) == .unheardOf {
                            reject(Self.unknown(header.incarnation), route)
                        } else if now - since < Self.confirmationMicroseconds {
                            register(registration, header, route)
                        }
                    }
                }
                confirm()
            }
        )
    }

    private static func unknown(_ incarnation: UInt64) -> Reject {
        Reject(code: "UNKNOWN_INCARNATION", message: "nobody was given incarnation \(incarnation); start anew")
    }

    private func reject(_ reject: Reject, _ route: [UInt8]) {
        log.warning("worker rejected", metadata: ["code": "\(reject.code)", "reason": "\(reject.message)"])
        reply(BackMessage(header: BackHeader(type: .reject), body: .reject(reject)), route)
    }

    private func register(_ registration: Register, as proposed: UInt64, _ route: [UInt8]) {
        let outcome = registry.register(
            registration,
            route: route,
            proposed: proposed,
            fresh: freshIncarnation,
            now: now
        )
        switch outcome {
        case .rejected(let reason): reject(reason, route)
        // It asks again.
        case .postponed: log.warning("worker not registered: the database gives no incarnations")
        case .accepted(let incarnation, let hasNewRoute, let former):
            if let former { workerLost(former, died: false) }
            log.info(
                "worker registered",
                metadata: [
                    "worker": "\(incarnation)", "role": "\(registration.role.rawValue)", "pid": "\(registration.pid)",
                ]
            )
            reply(
                BackMessage(
                    header: BackHeader(type: .registered, incarnation: incarnation, epoch: epoch),
                    body: .registered(
                        Registered(
                            incarnation: incarnation,
                            heartbeatMilliseconds: settings[.coordinatorHeartbeatMilliseconds],
                            leaseMilliseconds: settings[.coordinatorDeadMilliseconds],
                            coordinator: name
                        )
                    )
                ),
                route
            )
            if hasNewRoute { routeChanged(incarnation) }
            if let model = registration.model {
                control.run(
                    .model(model.id),
                    {
                        try $0.registerModel(ModelRecord(model))
                    },
                    then: { [self] result in
                        if case .failure(let error) = result {
                            log.warning("model not registered", metadata: ["reason": "\(error)"])
                        }
                    }
                )
            }
            directory = ShardDirectory(registry)
            place()
            if term != nil { sendMap(to: incarnation) }
        }
    }

    private func freshIncarnation() -> UInt64? {
        if incarnations.isLow {
            control.run(
                .incarnations,
                { try $0.reserveIncarnations(count: Incarnations.blockCount) },
                then: { [self] result in
                    switch result {
                    case .success(let block): incarnations.add(block)
                    case .failure(let error):
                        log.warning("no incarnations reserved", metadata: ["reason": "\(error)"])
                    }
                }
            )
        }
        return incarnations.next()
    }

    // MARK: Requests to workers

    /// Sends a request, or lets it wait for the worker's credit.
    func dispatch(_ message: BackMessage, to worker: UInt64, owner: Sent.Owner, deadline: UInt64) {
        let number = nextNumber
        nextNumber += 1
        var message = message
        message.header.request = number
        message.header.incarnation = worker
        message.header.epoch = epoch
        let time = now
        sent[number] = Sent(owner: owner, worker: worker, at: time)
        if let key = owner.key { running[key]?.asked[number] = owner.part }
        let entry = Waiting(number: number, message: message, deadline: deadline, since: time)
        guard let target = registry.workers[worker], !target.isHung else {
            deliverFailure(number, Failed(code: "UNAVAILABLE", message: "the worker is gone"))
            return
        }
        if target.hasCredit && waiting[worker, default: []].isEmpty {
            transmit(entry, to: worker)
        } else if waiting[worker, default: []].count < Self.waitingPerWorkerMax {
            waiting[worker, default: []].append(entry)
        } else {
            deliverFailure(number, Failed(code: "OVERLOADED", message: "a worker's queue is full"))
        }
    }

    private func transmit(_ entry: Waiting, to worker: UInt64) {
        guard let target = registry.workers[worker] else { return }
        var message = entry.message
        let time = now
        message.header.deadlineMicroseconds = entry.deadline > time ? max(1, entry.deadline - time) : 1
        sent[entry.number]?.at = time
        registry.sent(to: worker)
        let frames = [target.route] + message.encode()
        switch try? back.send(frames) {
        case .sent?:
            sent[entry.number]?.isWithWorker = true
        case .wouldBlock?:
            registry.answered(by: worker, afterMicroseconds: nil)
            deliverFailure(entry.number, Failed(code: "OVERLOADED", message: "a worker's queue is full"))
        case .unreachable?, nil:
            // Not from within a step of some other request.
            _ = loop.schedule(afterMicroseconds: 0) { [self] in connectionLost(worker, route: target.route) }
        }
    }

    private func answered(_ message: BackMessage, by worker: UInt64) {
        let number = message.header.request
        // An answer that fits no request of this worker gives no credit: the request is another coordinator's, or was
        // counted as lost with the connection it went over.
        guard let entry = sent[number], entry.worker == worker, entry.isWithWorker else {
            metrics.late += 1
            return
        }
        forget(number)
        registry.answered(by: worker, afterMicroseconds: now - entry.at)
        drainWaiting(worker)
        if case .nobody = entry.owner {
            metrics.late += 1
            return
        }
        if case .failed(let failure) = message.body {
            deliver(entry, failure, died: false)
            return
        }
        switch (entry.owner, message.body) {
        case (.search(let key, let part), .hits(let hits)): step(key) { $0.hits(part: part, hits, $1) }
        case (.search(let key, let part), .scores(let scores)): step(key) { $0.scores(part: part, scores, $1) }
        case (.search(let key, let part), .documents(let documents)):
            step(key) { $0.documents(part: part, documents, $1) }
        case (.search(let key, let part), .vectors(let vectors)): step(key) { $0.encoded(part: part, vectors, $1) }
        case (.encode(let key), .vectors(let vectors)):
            let model = registry.workers[worker]?.registration.model?.id ?? ""
            finish(key, .vectors(dimensions: vectors.dimensions, values: vectors.values, model: model))
        case (.encode(let key), .labels(let labels)):
            let registration = registry.workers[worker]?.registration
            finish(
                key,
                .labels(
                    LabelsReply(
                        labels: labels.labels,
                        classifier: registration?.classifier?.id ?? "",
                        model: registration?.model?.id ?? ""
                    )
                )
            )
        case (.texts(_, let then), .vectors(let vectors)): then(.success(vectors))
        case (.training(let collection), .trained(let trained)): trainingEnded(collection, .success(trained))
        default:
            deliver(entry, Failed(code: "INTERNAL", message: "a worker's answer has the wrong type"), died: false)
        }
    }

    private func drainWaiting(_ worker: UInt64) {
        while let target = registry.workers[worker], target.hasCredit, !waiting[worker, default: []].isEmpty {
            guard let entry = waiting[worker]?.removeFirst() else { return }
            guard sent[entry.number] != nil else { continue }
            if entry.deadline <= now {
                deliverFailure(entry.number, Self.expiredWaiting)
                continue
            }
            noteWait(of: entry)
            transmit(entry, to: worker)
        }
    }

    static let expiredWaiting = Failed(
        code: "DEADLINE_EXCEEDED",
        message: "the deadline passed before a worker was free"
    )

    /// Tells the owner of a request that never reached its worker.
    func deliverFailure(_ number: UInt64, _ failure: Failed) {
        guard let entry = forget(number) else { return }
        // Later, since the caller may be in the middle of a step of the same request.
        _ = loop.schedule(afterMicroseconds: 0) { [self] in deliver(entry, failure, died: false) }
    }

    @discardableResult
    private func forget(_ number: UInt64) -> Sent? {
        guard let entry = sent.removeValue(forKey: number) else { return nil }
        if let key = entry.owner.key { running[key]?.asked[number] = nil }
        return entry
    }

    private func noteWait(of entry: Waiting) {
        guard case .search(let key, let part)? = sent[entry.number]?.owner,
            case .search(var machine)? = running[key]?.kind
        else { return }
        // Moved out and in, so that its arrays are not copied.
        running[key]?.kind = .write
        machine.waited(part: part, microseconds: now - entry.since)
        running[key]?.kind = .search(machine)
    }

    private func deliver(_ entry: Sent, _ failure: Failed, died: Bool) {
        let error = FrontError(
            FrontErrorCode(rawValue: failure.code) ?? .internalError,
            failure.message,
            retryAfterMilliseconds: failure.code == "OVERLOADED" ? 50 : nil
        )
        switch entry.owner {
        case .search(let key, let part): step(key) { $0.failed(part: part, failure, died: died, $1) }
        case .encode(let key): fail(key, error)
        case .texts(_, let then): then(.failure(error))
        case .nobody: break
        case .training(let collection): trainingEnded(collection, .failure(error))
        }
    }

    /// Nobody waits for the answer any more: the worker is told, and its credit comes back with what it answers.
    func abandon(_ number: UInt64) {
        guard let entry = sent[number] else { return }
        if let key = entry.owner.key { running[key]?.asked[number] = nil }
        guard entry.isWithWorker else {
            sent[number] = nil
            waiting[entry.worker]?.removeAll { $0.number == number }
            return
        }
        sent[number]?.owner = .nobody
        guard let target = registry.workers[entry.worker] else { return }
        let header = BackHeader(type: .cancel, request: number, incarnation: entry.worker)
        reply(BackMessage(header: header, body: .cancel), target.route)
    }

    /// Writes to workers that owe answers and are silent.
    ///
    /// What was sent just before a connection broke is lost without a word; only the next send tells of it.
    func probeOwing() {
        let time = now
        for worker in registry.workers.values where worker.inFlight > 0 && worker.lastHeard + 150_000 < time {
            let probe = BackMessage(
                header: BackHeader(type: .heartbeat, incarnation: worker.incarnation, epoch: epoch),
                body: .heartbeatReply
            )
            guard (try? back.send([worker.route] + probe.encode())) == .unreachable else { continue }
            connectionLost(worker.incarnation, route: worker.route)
        }
    }

    /// Counts a worker out whose connection is gone, unless it has come back over another.
    func connectionLost(_ worker: UInt64, route: [UInt8]) {
        guard registry.workers[worker]?.route == route else { return }
        log.warning("worker lost: its connection is gone", metadata: ["worker": "\(worker)"])
        workerLost(worker)
    }

    /// Counts a worker out; what it owed is sent elsewhere or reported missing.
    ///
    /// `died`: its process is gone with what it was doing.
    func workerLost(_ worker: UInt64, died: Bool = true) {
        guard registry.remove(worker) != nil else { return }
        maps.forget(worker)
        waiting[worker] = nil
        directory = ShardDirectory(registry)
        deliverLost(of: worker, isGone: true, died: died)
        place()
    }

    func isHung(_ worker: UInt64) -> Bool { registry.workers[worker]?.isHung ?? false }

    /// A worker's threads have stopped or go on: what it owes is asked for elsewhere, or it is in service again.
    private func hungOrNot(_ worker: UInt64) {
        guard isHung(worker) else {
            log.notice("worker goes on", metadata: ["worker": "\(worker)"])
            return
        }
        log.warning("worker hangs: it computes without progress", metadata: ["worker": "\(worker)"])
        for (number, entry) in sent.filter({ $0.value.worker == worker }).sorted(by: { $0.key < $1.key }) {
            // An answer that comes after all gives its credit back.
            abandon(number)
            deliver(
                entry,
                Failed(code: "UNAVAILABLE", message: "a worker hangs"),
                died: entry.isWithWorker
            )
        }
    }

    /// The worker came back over another connection: what went over the old one is lost.
    private func routeChanged(_ worker: UInt64) {
        maps.forget(worker)
        deliverLost(of: worker, isGone: false, died: false)
        // The registration is not done yet; what waits for credit follows it.
        _ = loop.schedule(afterMicroseconds: 0) { [self] in drainWaiting(worker) }
    }

    /// Reports what a worker owed as lost, and where it `isGone`, what waited for its credit too.
    private func deliverLost(of worker: UInt64, isGone: Bool, died: Bool) {
        let owed = sent.filter { $0.value.worker == worker && (isGone || $0.value.isWithWorker) }
        for (number, entry) in owed.sorted(by: { $0.key < $1.key }) {
            forget(number)
            deliver(
                entry,
                Failed(code: "UNAVAILABLE", message: "a worker was lost"),
                died: died && entry.isWithWorker
            )
        }
    }
}

extension CoordinatorService.Sent.Owner {
    /// Part of a search; 0 of anything else.
    fileprivate var part: Int { if case .search(_, let part) = self { part } else { 0 } }
}

extension ModelRecord {
    /// What an encoder reports of its model.
    init(_ model: ModelReport) {
        self.init(
            id: model.id,
            name: model.name,
            dimensions: model.dimensions,
            smallestDimensions: model.smallestDimensions,
            nesting: model.nesting
        )
    }
}
