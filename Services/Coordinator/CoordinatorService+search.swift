import Coordination
import DocumentStore
import Logging
import Matryoshka
import ServiceRuntime
import WireProtocol
import ZeroMQ

extension CoordinatorService {
    var view: SearchMachine.View {
        SearchMachine.View(
            directory: directory,
            registry: registry,
            withoutRoom: placement.withoutRoom,
            knownRows: knownRows,
            now: now
        )
    }

    func begin(_ request: SearchRequest, _ key: UInt64) {
        do {
            let record = try resolve(request.collection)
            let shape = record.shape
            running[key]?.collection = shape.collection
            if let model = request.model, model != shape.model {
                throw FrontError(
                    .modelMismatch,
                    field: "model",
                    shape.model.isEmpty
                        ? "the collection is bound to no model"
                        : "the collection's vectors are of model \(shape.model)",
                    allowed: shape.model.isEmpty ? "leave it out" : shape.model
                )
            }
            if case .vectors(_, _, let width) = request.query, width != shape.dimensions {
                throw FrontError(
                    .badDimension,
                    field: "vectors",
                    "the query has \(width) dimensions",
                    allowed: "\(shape.dimensions)"
                )
            }
            if case .texts = request.query, registry.encoder(of: shape.model) == nil {
                throw FrontError(
                    .unavailable,
                    field: "text",
                    "no encoder of the collection's model is running",
                    allowed: "start mrl-encoder with the model, or send vectors",
                    retryAfterMilliseconds: 500
                )
            }
            let plan =
                request.isExact
                ? Plan(stages: [Stage(dimensions: shape.dimensions, keep: request.k)])
                : request.plan ?? Plan.standard(k: request.k, in: shape.planSpace)
            let resolved: ResolvedPlan
            do {
                resolved = try plan.resolved(in: shape.planSpace)
            } catch {
                throw FrontError(
                    error.isUnsupported ? .unsupported : .badPlan,
                    field: error.field,
                    error.message,
                    allowed: error.allowed
                )
            }
            let rows = request.query.count * resolved.steps[0].keep
            guard rows <= SearchLimits.batchRowsMax else {
                throw FrontError(
                    .tooLarge,
                    field: "plan[0].keep",
                    "\(request.query.count) queries keep \(resolved.steps[0].keep) rows each",
                    allowed: "queries times keep at most \(SearchLimits.batchRowsMax)"
                )
            }
            guard admission.admit(rows: rows) else {
                throw FrontError(
                    .overloaded,
                    "the searches under way ask for too many rows",
                    allowed: "\(admission.rows) rows under way, queries times keep",
                    retryAfterMilliseconds: 50
                )
            }
            running[key]?.rows = rows
            schedule(key, request)
            guard let entry = running[key] else { return }
            var machine = SearchMachine(
                request: request,
                shape: shape,
                plan: resolved,
                traceHigh: entry.traceHigh,
                traceLow: entry.traceLow,
                now: entry.started
            )
            let actions = machine.start(view)
            running[key]?.kind = .search(machine)
            perform(actions, key)
        } catch let error as FrontError {
            fail(key, error)
        } catch {
            fail(key, FrontError(.internalError, "\(error)"))
        }
    }

    /// The reply leaves a little before the deadline, so that it arrives within it.
    private func schedule(_ key: UInt64, _ request: SearchRequest) {
        guard let entry = running[key] else { return }
        let total = Int(entry.deadline - entry.started)
        let margin = min(50_000, total / 10)
        running[key]?.timers.append(
            loop.schedule(afterMicroseconds: total - margin) { [self] in
                step(key) { $0.deadline($1) }
            }
        )
        running[key]?.timers.append(
            loop.schedule(afterMicroseconds: total - margin / 4) { [self] in
                step(key) { $0.end($1) }
                fail(key, FrontError(.deadlineExceeded, "the search was not done within the deadline"))
            }
        )
        if request.minCoverage < 1 {
            running[key]?.timers.append(
                loop.schedule(afterMicroseconds: total * 6 / 10) { [self] in
                    step(key) { $0.scanCutOff($1) }
                }
            )
        }
    }

    /// Feeds an event to a search and performs what it decides.
    func step(_ key: UInt64, _ event: (inout SearchMachine, SearchMachine.View) -> [SearchMachine.Action]) {
        guard case .search(var machine)? = running[key]?.kind else { return }
        // The machine is moved out, so that its arrays are not copied when it changes.
        running[key]?.kind = .write
        let actions = event(&machine, view)
        running[key]?.kind = .search(machine)
        perform(actions, key)
    }

    private func perform(_ actions: [SearchMachine.Action], _ key: UInt64) {
        for action in actions {
            guard let entry = running[key], case .search(let machine) = entry.kind else { return }
            let shape = machine.shape
            func header(_ type: BackType, _ generation: UInt32) -> BackHeader {
                BackHeader(
                    type: type,
                    traceHigh: entry.traceHigh,
                    traceLow: entry.traceLow,
                    collection: shape.collection,
                    generation: generation
                )
            }
            switch action {
            case .encode(let part, let texts):
                guard let encoder = registry.encoder(of: shape.model) else {
                    fail(key, FrontError(.unavailable, "no encoder is running", retryAfterMilliseconds: 500))
                    return
                }
                dispatch(
                    BackMessage(
                        header: header(.encode, 0),
                        body: .encode(EncodeCommand(role: .query, isUrgent: true, texts: texts))
                    ),
                    to: encoder.incarnation,
                    owner: .search(key, part: part),
                    deadline: entry.deadline
                )
            case .search(let part, let worker, let command):
                dispatch(
                    BackMessage(
                        header: header(.search, machine.plan.isExhaustive ? 0 : shape.generation),
                        body: .search(command)
                    ),
                    to: worker,
                    owner: .search(key, part: part),
                    deadline: entry.deadline
                )
            case .rerank(let part, let worker, let command):
                dispatch(
                    BackMessage(header: header(.rerank, 0), body: .rerank(command)),
                    to: worker,
                    owner: .search(key, part: part),
                    deadline: entry.deadline
                )
            case .fetch(let part, let worker, let command):
                dispatch(
                    BackMessage(header: header(.fetch, 0), body: .fetch(command)),
                    to: worker,
                    owner: .search(key, part: part),
                    deadline: entry.deadline
                )
            case .identify(let part, let ids):
                let queued = reads.run(
                    { store in
                        try store.externalIDs(shape, ids: ids)
                    },
                    then: { [self] result in step(key) { $0.identified(part: part, try? result.get(), $1) } }
                )
                if !queued { step(key) { $0.identified(part: part, nil, $1) } }
            case .abandon(let parts):
                for (number, part) in entry.asked where parts.contains(part) { abandon(number) }
            case .reply(let reply):
                metrics.record(
                    reply,
                    collection: shape.collection,
                    minute: wallMinute,
                    slowMicroseconds: settings[.slowSearchMilliseconds] * 1000
                )
                finish(key, .search(reply))
            case .fail(let error):
                fail(key, error)
            }
        }
    }

    func begin(_ request: EncodeRequest, _ key: UInt64) {
        do {
            var model = request.model
            if let name = request.collection {
                let record = try resolve(name)
                running[key]?.collection = record.shape.collection
                if let asked = model, !record.shape.model.isEmpty, asked != record.shape.model {
                    throw FrontError(
                        .modelMismatch,
                        field: "model",
                        "the collection's model is another",
                        allowed: record.shape.model
                    )
                }
                model = record.shape.model
            }
            guard let encoder = registry.encoder(of: model) else {
                let known = registry.workers(of: .encoder).compactMap { $0.registration.model?.id }
                if let model, !known.isEmpty {
                    throw FrontError(
                        .modelMismatch,
                        field: "model",
                        "no running encoder has the model \(model)",
                        allowed: known.joined(separator: ", ")
                    )
                }
                throw FrontError(.unavailable, "no encoder is running", retryAfterMilliseconds: 500)
            }
            ask(
                encoder.incarnation,
                .encode(EncodeCommand(role: request.role, isUrgent: request.role == .query, texts: request.texts)),
                key
            )
        } catch let error as FrontError {
            fail(key, error)
        } catch {
            fail(key, FrontError(.internalError, "\(error)"))
        }
    }

    func begin(_ request: ClassifyRequest, _ key: UInt64) {
        guard let encoder = registry.classifier(request.classifier) else {
            let known = registry.workers(of: .encoder).compactMap { $0.registration.classifier?.id }
            guard let classifier = request.classifier, !known.isEmpty else {
                return fail(
                    key,
                    FrontError(
                        .unavailable,
                        "no encoder with a classifier is running",
                        allowed: "start mrl-encoder with --encoder-classifier",
                        retryAfterMilliseconds: 500
                    )
                )
            }
            return fail(
                key,
                FrontError(
                    .modelMismatch,
                    field: "classifier",
                    "no running encoder has the classifier \(classifier)",
                    allowed: known.joined(separator: ", ")
                )
            )
        }
        ask(
            encoder.incarnation,
            .classify(ClassifyCommand(threshold: request.threshold, texts: request.texts)),
            key
        )
    }

    /// Has an encoder answer a request.
    private func ask(_ encoder: UInt64, _ body: BackBody, _ key: UInt64) {
        running[key]?.kind = .encode
        guardDeadline(key) { FrontError(.deadlineExceeded, "the encoder did not answer within the deadline") }
        guard let entry = running[key] else { return }
        dispatch(
            BackMessage(body, BackHeader(type: body.type, traceHigh: entry.traceHigh, traceLow: entry.traceLow)),
            to: encoder,
            owner: .encode(key),
            deadline: entry.deadline
        )
    }
}
