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
            registry.beat(beat, incarnation: worker)
            directory = ShardDirectory(registry)
            reply(
                BackMessage(
                    header: BackHeader(type: .heartbeat, incarnation: worker, epoch: epoch),
                    body: .heartbeatReply
                ),
                route
            )
            settleWaits()
            place()
            if beat.draining && !wasDraining { sendMap(to: worker) }
        case .drained:
            log.notice("worker drained", metadata: ["worker": "\(worker)"])
            workerLost(worker)
        case .hits, .scores, .documents, .vectors, .trained, .failed:
            answered(message, by: worker)
        default:
            metrics.malformed += 1
        }
    }

    private func reply(_ message: BackMessage, _ route: [UInt8]) {
        _ = try? back.send([route] + message.encode())
    }

    private func register(_ registration: Register, _ header: BackHeader, _ route: [UInt8]) {
        let outcome = registry.register(
            registration,
            route: route,
            proposed: header.incarnation,
            fresh: freshIncarnation(),
            now: now
        )
        switch outcome {
        case .rejected(let reject):
            log.warning("worker rejected", metadata: ["reason": "\(reject.message)"])
            reply(BackMessage(header: BackHeader(type: .reject), body: .reject(reject)), route)
        case .accepted(let incarnation):
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
            if let model = registration.model {
                control.run(
                    {
                        try $0.registerModel(
                            .init(
                                id: model.id,
                                name: model.name,
                                dimensions: model.dimensions,
                                smallestDimensions: model.smallestDimensions,
                                nesting: model.nesting
                            )
                        )
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

    private func freshIncarnation() -> UInt64 {
        if incarnations.count < 100 {
            control.run(
                { try $0.reserveIncarnations(count: 1000) },
                then: { [self] result in
                    if let block = try? result.get(), incarnations.count < 100 { incarnations = block }
                }
            )
        }
        // A thousand registrations without a database in between: numbers above every block stay unique to us.
        guard let first = incarnations.first else { return UInt64(Int64.max) - UInt64.random(in: 0..<(1 << 40)) }
        incarnations = (first + 1)..<incarnations.upperBound
        return first
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
        sent[number] = Sent(owner: owner, worker: worker, at: now)
        guard let target = registry.workers[worker] else {
            deliverFailure(number, Failed(code: "UNAVAILABLE", message: "the worker is gone"), died: false)
            return
        }
        if target.hasCredit && waiting[worker, default: []].isEmpty {
            transmit(Waiting(number: number, message: message, deadline: deadline), to: worker)
        } else if waiting[worker, default: []].count < Self.waitingPerWorkerMax {
            waiting[worker, default: []].append(Waiting(number: number, message: message, deadline: deadline))
        } else {
            deliverFailure(number, Failed(code: "OVERLOADED", message: "a worker's queue is full"), died: false)
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
            registry.answered(by: worker, afterMicroseconds: 0)
            deliverFailure(entry.number, Failed(code: "OVERLOADED", message: "a worker's queue is full"), died: false)
        case .unreachable?, nil:
            log.warning("worker lost: its connection is gone", metadata: ["worker": "\(worker)"])
            // Not from within a step of some other request.
            _ = loop.schedule(afterMicroseconds: 0) { [self] in workerLost(worker) }
        }
    }

    private func answered(_ message: BackMessage, by worker: UInt64) {
        let number = message.header.request
        guard let entry = sent.removeValue(forKey: number), entry.worker == worker else {
            metrics.late += 1
            // Its request was given up, yet the credit comes back.
            registry.answered(by: worker, afterMicroseconds: 0)
            drainWaiting(worker)
            return
        }
        registry.answered(by: worker, afterMicroseconds: now - entry.at)
        drainWaiting(worker)
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
        case (.texts(let then), .vectors(let vectors)): then(.success(vectors))
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
                sent[entry.number] = nil
                continue
            }
            transmit(entry, to: worker)
        }
    }

    private func deliverFailure(_ number: UInt64, _ failure: Failed, died: Bool) {
        guard let entry = sent.removeValue(forKey: number) else { return }
        // Later, since the caller may be in the middle of a step of the same request.
        _ = loop.schedule(afterMicroseconds: 0) { [self] in deliver(entry, failure, died: died) }
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
        case .texts(let then): then(.failure(error))
        case .training(let collection): trainingEnded(collection, .failure(error))
        }
    }

    /// Tells workers that nobody waits for a request any more.
    func abandonParts(of key: UInt64) {
        guard let entry = running[key], case .search(let machine) = entry.kind,
            !machine.outstanding.isEmpty || !machine.isFinished
        else { return }
        for (number, one) in sent {
            guard case .search(key, _) = one.owner else { continue }
            sent[number] = nil
            waiting[one.worker]?.removeAll { $0.number == number }
            if let target = registry.workers[one.worker] {
                reply(
                    BackMessage(
                        header: BackHeader(type: .cancel, request: number, incarnation: one.worker),
                        body: .cancel
                    ),
                    target.route
                )
            }
        }
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
            log.warning("worker lost: its connection is gone", metadata: ["worker": "\(worker.incarnation)"])
            workerLost(worker.incarnation)
        }
    }

    /// Counts a worker out; what it owed is sent elsewhere or reported missing.
    func workerLost(_ worker: UInt64) {
        guard registry.remove(worker) != nil else { return }
        mapsSent[worker] = nil
        waiting[worker] = nil
        directory = ShardDirectory(registry)
        let owed = sent.filter { $0.value.worker == worker }.sorted { $0.key < $1.key }
        for (number, entry) in owed {
            sent[number] = nil
            deliver(entry, Failed(code: "UNAVAILABLE", message: "a worker was lost"), died: entry.isWithWorker)
        }
        place()
    }
}
