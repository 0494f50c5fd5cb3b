import Coordination
import DocumentStore
import Logging
import Matryoshka
import ServiceRuntime
import WireProtocol
import ZeroMQ

extension CoordinatorService {
    func frontReceived(_ message: ReceivedMessage) {
        if message.isTruncated {
            metrics.malformed += 1
            let parts = FrontCodec.split(message.frames)
            refuse(
                parts?.prefix ?? Array(message.frames.prefix(1)),
                FrontError(
                    .tooLarge,
                    field: "frames",
                    "the message is larger than this server takes",
                    allowed: "at most \(FrontLimits.buffersMax) buffers and \(FrontLimits.requestBytesMax) bytes"
                ),
                header: parts?.header
            )
            return
        }
        guard let (prefix, header, buffers) = FrontCodec.split(message.frames) else {
            metrics.malformed += 1
            if let (prefix, error) = FrontCodec.refusal(of: message.frames) { refuse(prefix, error) }
            return
        }
        do {
            let request = try FrontRequest.decode(header: header, buffers: buffers)
            accept(request, prefix: prefix, identity: Self.identity(key: message.userID, name: request.client))
        } catch {
            metrics.malformed += 1
            refuse(prefix, error, header: header)
        }
    }

    /// A key proves who sends; a name is taken on trust and never stands for a key.
    private static func identity(key: String?, name: String) -> String {
        if let key { return "curve:\(key)" }
        return name.isEmpty ? "" : "name:\(name)"
    }

    private func refuse(_ prefix: [[UInt8]], _ error: FrontError, header: [UInt8]? = nil) {
        let known = header.map { FrontRequest.peek(header: $0) } ?? FrontRequest.Peek()
        metrics.count(error.code)
        if known.isSearch {
            metrics.recordRefusal(error.code, collection: names[known.collection] ?? 0, minute: wallMinute)
        }
        send(FrontReply(id: known.id, body: .error(error)), prefix)
    }

    /// Sends a reply; what the client's queue does not take waits in the outbox.
    func send(_ reply: FrontReply, _ prefix: [[UInt8]]) {
        guard let client = prefix.first else { return }
        let frames = prefix + reply.encode()
        if outbox.holds(client) {
            outbox.add(frames, client: client, now: now)
            return
        }
        switch attempt(frames) {
        case .sent: break
        case .gone: outbox.drop()
        case .later:
            outbox.add(frames, client: client, now: now)
            flushOutboxSoon()
        }
    }

    /// libzmq does not tell when a client's queue has room again, and a client that reads makes room at once.
    private func flushOutboxSoon() {
        guard !isFlushPlanned else { return }
        isFlushPlanned = true
        _ = loop.schedule(afterMicroseconds: 1_000) { [self] in
            isFlushPlanned = false
            flushOutbox()
            if !outbox.isEmpty { flushOutboxSoon() }
        }
    }

    func flushOutbox() {
        guard !outbox.isEmpty else { return }
        outbox.flush(now: now) { attempt($0) }
    }

    private func attempt(_ frames: [[UInt8]]) -> Outbox.Attempt {
        switch try? front.send(frames) {
        case .sent?: .sent
        case .wouldBlock?: .later
        case .unreachable?, nil: .gone
        }
    }

    private func accept(_ request: FrontRequest, prefix: [[UInt8]], identity: String) {
        let client = prefix[0]
        func answer(_ body: FrontReplyBody) { send(FrontReply(id: request.id, body: body), prefix) }
        func refuse(_ error: FrontError) {
            metrics.count(error.code)
            if case .search(let search) = request.body {
                metrics.recordRefusal(error.code, collection: names[search.collection] ?? 0, minute: wallMinute)
            }
            answer(.error(error))
        }
        switch request.body {
        case .hello:
            answer(.object(type: "welcome", json: hello))
            return
        case .status:
            answer(.object(type: "status", json: status))
            return
        case .cancel(let target):
            answer(.object(type: "cancelled", json: .object([.init("found", .bool(cancel(target, of: client)))])))
            return
        case .search, .encode, .classify, .upsert, .delete, .get, .collections:
            break
        }
        if stopping {
            refuse(FrontError(.unavailable, "this coordinator is stopping", retryAfterMilliseconds: 1000))
            return
        }
        if outbox.isClogged(client) {
            refuse(
                FrontError(
                    .overloaded,
                    "this client does not read its replies",
                    allowed: "\(Outbox.unreadBytesMax) bytes of unread replies",
                    retryAfterMilliseconds: 1000
                )
            )
            return
        }
        var cost = 1
        var kind = Running.Kind.write
        if case .search(let search) = request.body {
            cost = search.query.count
            kind = .unplanned
        }
        if let refusal = admission.admit(client: client, cost: cost) {
            let limit =
                refusal == .clientFull
                ? "\(admission.perClient) requests of one client" : "\(admission.total) requests"
            refuse(
                FrontError(
                    .overloaded,
                    refusal == .clientFull
                        ? "this client has too many requests under way" : "too many requests are under way",
                    allowed: limit,
                    retryAfterMilliseconds: 50
                )
            )
            return
        }
        let key = nextKey
        nextKey += 1
        let time = now
        var traceHigh = request.traceHigh
        var traceLow = request.traceLow
        if traceHigh == 0 && traceLow == 0 {
            traceHigh = UInt64.random(in: 1...UInt64.max)
            traceLow = UInt64.random(in: 1...UInt64.max)
        }
        running[key] = Running(
            client: client,
            identity: identity,
            prefix: prefix,
            id: request.id,
            kind: kind,
            cost: cost,
            collection: 0,
            deadline: time + UInt64(request.deadlineMilliseconds) * 1000,
            started: time,
            traceHigh: traceHigh,
            traceLow: traceLow
        )
        if !request.id.isEmpty { byClientID[client + Array(request.id.utf8)] = key }
        switch request.body {
        case .search(let search): begin(search, key)
        case .encode(let encode): begin(encode, key)
        case .classify(let classify): begin(classify, key)
        case .upsert(let upsert): begin(upsert, key)
        case .delete(let delete): begin(delete, key)
        case .get(let get): begin(get, key)
        case .collections(let action): begin(action, key)
        case .hello, .status, .cancel: break
        }
    }

    /// Ends a request with its answer; later answers to it are dropped.
    func finish(_ key: UInt64, _ body: FrontReplyBody) {
        guard let done = running.removeValue(forKey: key) else { return }
        // What was answered without it is not written later.
        _ = done.passage?.close()
        for timer in done.timers { loop.cancel(timer) }
        for number in done.asked.keys { abandon(number) }
        if !done.id.isEmpty {
            let clientID = done.client + Array(done.id.utf8)
            if byClientID[clientID] == key { byClientID[clientID] = nil }
        }
        admission.release(client: done.client, cost: done.cost, rows: done.rows)
        if case .error(let error) = body { count(error, of: done) }
        send(FrontReply(id: done.id, body: body), done.prefix)
    }

    private func count(_ error: FrontError, of request: Running) {
        metrics.count(error.code)
        switch request.kind {
        case .unplanned: metrics.recordRefusal(error.code, collection: request.collection, minute: wallMinute)
        case .search(let machine):
            metrics.recordFailure(
                error,
                of: machine,
                minute: wallMinute,
                microseconds: Int(now - request.started),
                slowMicroseconds: settings[.slowSearchMilliseconds] * 1000
            )
        case .encode, .write: break
        }
    }

    func fail(_ key: UInt64, _ error: FrontError) { finish(key, .error(error)) }

    /// Answers with an error should nothing else have answered shortly before the deadline.
    func guardDeadline(_ key: UInt64, _ error: @escaping () -> FrontError) {
        guard let request = running[key] else { return }
        let left = max(0, Int(request.deadline) - Int(now))
        // The answer itself needs time to travel.
        let margin = min(50_000, left / 10)
        running[key]?.timers.append(loop.schedule(afterMicroseconds: left - margin) { [self] in fail(key, error()) })
    }

    /// Takes back what ``guardDeadline(_:_:)`` has set up: the request answers in time by itself.
    func dropGuard(_ key: UInt64) {
        for timer in running[key]?.timers ?? [] { loop.cancel(timer) }
        running[key]?.timers = []
    }

    private func cancel(_ target: String, of client: [UInt8]) -> Bool {
        guard let key = byClientID[client + Array(target.utf8)], running[key] != nil else { return false }
        fail(key, FrontError(.cancelled, "the client cancelled this request"))
        return true
    }

    /// The collection behind a name or alias.
    func resolve(_ name: String, field: String = "collection") throws(FrontError) -> CollectionRecord {
        if let number = names[name], let record = collections[number] { return record }
        throw FrontError(
            .unknownCollection,
            field: field,
            "there is no collection or alias \(name)",
            allowed: knownNames
        )
    }

    /// Collections and aliases, as far as they fit a message.
    var knownNames: String {
        let known = names.keys.sorted().prefix(20).joined(separator: ", ")
        return known.isEmpty ? "none exists yet; create one with collections/create" : known
    }
}
