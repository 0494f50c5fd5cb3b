import Matryoshka
import ServiceRuntime
import WireProtocol
import ZeroMQ

/// A client of the front protocol for one thread: many requests in flight, answers matched by id.
///
/// It talks to one of its coordinators and stays with it. Where that one goes silent or away, what may be sent twice is
/// sent again, once, to another; other requests end with an error that says so.
final class FrontClient {
    /// An answer with the ticket of its request.
    struct Completion {
        var ticket: UInt64
        /// Microseconds from send to answer.
        var microseconds: UInt64
        var body: FrontReplyBody
    }

    /// A request that waits for its answer.
    private struct Pending {
        var body: FrontRequestBody
        var deadlineMilliseconds: Int
        var sentAt: UInt64
        var giveUpAt: UInt64
        /// Where the answer is to come from; nil: to be sent again.
        var link: Int?
        var isSentAgain = false
    }

    /// Added to a request's own deadline before the client gives it up.
    private static let patienceMicroseconds: UInt64 = 1_000_000
    private static let connectSeconds = 5.0
    private static let probeID = "hello"
    private static let probeDeadlineMilliseconds = 5_000

    private let context = Context()
    private let links: [FrontLink]
    /// Of all links first what brings replies, then what tells of connections.
    private let sockets: [Socket]
    private let publicKey: String?
    private var choice: EndpointChoice
    private var isConnected = false
    private var refusals = 0
    private var hasHandshakeFailed = false
    private var nextTicket: UInt64 = 1
    private var pending: [UInt64: Pending] = [:]
    private var hasUnsent = false
    private var arrived: [Completion] = []

    /// Connects to every endpoint.
    ///
    /// - Throws: ``StartupFailure`` in one sentence.
    init(endpoints: [String], curve: CurveClientOptions? = nil) throws {
        publicKey = curve?.keys.publicKey
        var options = SocketOptions()
        options.sendHighWater = 10_000
        options.receiveHighWater = 10_000
        options.curve = curve.map(CurveOptions.client)
        do {
            let context = context
            links = try endpoints.map { try FrontLink(context, $0, options: options) }
        } catch {
            throw StartupFailure("\(error)")
        }
        sockets = links.map(\.socket) + links.map(\.events)
        choice = EndpointChoice(count: links.count)
    }

    /// Requests that wait for their answers.
    var inFlight: Int { pending.count + arrived.count }

    /// Sends a request and returns its ticket.
    ///
    /// - Throws: ``StartupFailure`` where no coordinator can be reached.
    @discardableResult
    func send(_ body: FrontRequestBody, deadlineMilliseconds: Int) throws -> UInt64 {
        let ticket = nextTicket
        nextTicket += 1
        let frames = FrontRequest(id: String(ticket), deadlineMilliseconds: deadlineMilliseconds, body: body).encode()
        let connectBy = EventLoop.nowMicroseconds() + UInt64(Self.connectSeconds * 1e6)
        while true {
            // Read before the message leaves: a thread that loses its core after sending would time itself short.
            let time = EventLoop.nowMicroseconds()
            if let link = try post(frames) {
                if pending.isEmpty { choice.beginToWait(now: time) }
                pending[ticket] = Pending(
                    body: body,
                    deadlineMilliseconds: deadlineMilliseconds,
                    sentAt: time,
                    giveUpAt: time + patience(deadlineMilliseconds),
                    link: link
                )
                return ticket
            }
            guard time < connectBy else { throw StartupFailure(whyNotConnected) }
            try wait(milliseconds: 2)
        }
    }

    /// The next answer in order of arrival; a request that nobody answered in time counts as DEADLINE_EXCEEDED.
    ///
    /// - Precondition: Something is in flight.
    func next() throws -> Completion {
        precondition(inFlight > 0, "nothing is in flight")
        while arrived.isEmpty {
            try wait(milliseconds: 50)
            if arrived.isEmpty { giveUpOverdue() }
        }
        return arrived.removeFirst()
    }

    /// One request and its answer.
    ///
    /// - Throws: ``StartupFailure`` also for an answer that is an error.
    func call(_ body: FrontRequestBody, deadlineMilliseconds: Int = 10_000) throws -> FrontReplyBody {
        let ticket = try send(body, deadlineMilliseconds: deadlineMilliseconds)
        while true {
            let completion = try next()
            guard completion.ticket == ticket else { continue }
            if case .error(let error) = completion.body { throw error.asFailure }
            return completion.body
        }
    }

    /// A call whose answer is a JSON object.
    func object(_ body: FrontRequestBody, deadlineMilliseconds: Int = 10_000) throws -> JSONValue {
        guard case .object(_, let json) = try call(body, deadlineMilliseconds: deadlineMilliseconds) else {
            throw StartupFailure("the coordinator's answer is of another kind than the request")
        }
        return json
    }

    /// Microseconds until a request is given up; with several coordinators long enough to go over to another.
    private func patience(_ deadlineMilliseconds: Int) -> UInt64 {
        let own = UInt64(deadlineMilliseconds) * 1_000 + Self.patienceMicroseconds
        return links.count > 1 ? max(own, 3 * EndpointChoice.silence) : own
    }

    private var places: String { links.map(\.endpoint).joined(separator: ", ") }

    private var whyNotConnected: String {
        guard hasHandshakeFailed else {
            return "no coordinator answers at \(places): start one with mrl up, or name another with --front"
        }
        return publicKey == nil
            ? "the coordinator at \(places) does not take this connection: it wants CURVE keys, set curve.server_key and "
                + "curve.secret_key_file"
            : "the coordinator at \(places) does not complete the handshake: compare curve.server_key with "
                + "its public key, or unset it where that socket has no CURVE"
    }

    /// Sends to the chosen link, or else to the first one that is connected, which is the chosen one then.
    ///
    /// - Returns: Where it went; nil while no link is connected.
    private func post(_ frames: [[UInt8]]) throws -> Int? {
        do {
            if let chosen = choice.chosen, try links[chosen].send(frames) { return chosen }
            for place in links.indices where try place != choice.chosen && links[place].send(frames) {
                choice.choose(place, now: EventLoop.nowMicroseconds())
                return place
            }
            return nil
        } catch {
            throw StartupFailure("\(error)")
        }
    }

    /// Waits for messages, takes them, and looks after the connections.
    private func wait(milliseconds: Int) throws {
        do {
            // Under load the next replies are there already, and nothing else is pressing.
            if !hasUnsent, let chosen = choice.chosen {
                let known = arrived.count
                try receive(from: chosen)
                if arrived.count > known { return }
            }
            let ready = try Socket.waitForMessages(on: sockets, milliseconds: milliseconds)
            for place in ready where place < links.count { try receive(from: place) }
            for place in ready where place >= links.count { try observe(place - links.count) }
            if !pending.isEmpty { try leaveSilent() }
            if hasUnsent { try sendAgain() }
        } catch let failure as StartupFailure {
            throw failure
        } catch let error as FrontError {
            throw StartupFailure("the coordinator's answer cannot be read: \(error.message)")
        } catch {
            throw StartupFailure("\(error)")
        }
    }

    private func receive(from place: Int) throws {
        try links[place].receive { reply in
            let time = EventLoop.nowMicroseconds()
            choice.heard(place, now: time)
            guard let ticket = UInt64(reply.id), let request = pending.removeValue(forKey: ticket) else { return }
            arrived.append(Completion(ticket: ticket, microseconds: time - request.sentAt, body: reply.body))
        }
    }

    private func observe(_ place: Int) throws {
        let changes = try links[place].changes()
        if changes.becameReady { isConnected = true }
        if changes.hasHandshakeFailed { hasHandshakeFailed = true }
        if changes.isLost {
            choice.lost(place)
            // What it still said counts.
            try receive(from: place)
            withdraw(from: place, because: "the connection to the coordinator at \(links[place].endpoint) was lost")
        }
        guard changes.isRefused else { return }
        // A socket whose key was refused never connects again, and would only look slow.
        refusals += 1
        guard refusals >= links.count, !isConnected else { return }
        throw StartupFailure(
            "the coordinator at \(places) refuses this client's key \(publicKey ?? ""): "
                + "its operator admits it with mrl keys allow client"
        )
    }

    private func leaveSilent() throws {
        let left = choice.chosen
        switch choice.next(now: EventLoop.nowMicroseconds()) {
        case .stay: break
        case .probe:
            let request = FrontRequest(
                id: Self.probeID,
                deadlineMilliseconds: Self.probeDeadlineMilliseconds,
                body: .hello
            ).encode()
            for link in links { _ = try link.send(request) }
        case .move:
            guard let left else { return }
            withdraw(from: left, because: "the coordinator at \(links[left].endpoint) went silent")
        }
    }

    /// Waits no longer for answers from there: what may be sent twice is marked to be, the rest ends with an error.
    private func withdraw(from place: Int, because reason: String) {
        let time = EventLoop.nowMicroseconds()
        for ticket in pending.keys.sorted() {
            guard let request = pending[ticket], request.link == place else { continue }
            if request.body.isSafeToRepeat, !request.isSentAgain {
                pending[ticket]?.link = nil
                hasUnsent = true
                continue
            }
            pending[ticket] = nil
            let consequence =
                request.body.isSafeToRepeat
                ? "before it answered, as another did before"
                : "before it answered: it is unknown whether the change was made, and it is not sent again, since it has "
                    + "no idempotency key"
            let error = FrontError(.unavailable, "\(reason) \(consequence)")
            arrived.append(Completion(ticket: ticket, microseconds: time - request.sentAt, body: .error(error)))
        }
    }

    /// Sends what is marked, as soon as there is a connection; its deadline begins anew.
    private func sendAgain() throws {
        for ticket in pending.keys.sorted() {
            guard var request = pending[ticket], request.link == nil else { continue }
            let frames = FrontRequest(
                id: String(ticket),
                deadlineMilliseconds: request.deadlineMilliseconds,
                body: request.body
            ).encode()
            guard let link = try post(frames) else { return }
            request.link = link
            request.isSentAgain = true
            request.giveUpAt = EventLoop.nowMicroseconds() + patience(request.deadlineMilliseconds)
            pending[ticket] = request
        }
        hasUnsent = false
    }

    private func giveUpOverdue() {
        let time = EventLoop.nowMicroseconds()
        for (ticket, request) in pending where request.giveUpAt <= time {
            pending[ticket] = nil
            let error = FrontError(.deadlineExceeded, "no answer came within the deadline")
            arrived.append(Completion(ticket: ticket, microseconds: time - request.sentAt, body: .error(error)))
        }
    }
}

extension FrontError {
    /// The error as a sentence for a person.
    var asFailure: StartupFailure {
        var sentence = message
        if let field, !message.contains(field) { sentence = "\(field): \(sentence)" }
        if let allowed { sentence += " (allowed: \(allowed))" }
        if let coverage, !coverage.isComplete {
            sentence += " (\(coverage.shardsOK) of \(coverage.shardsTotal) shards answered)"
        }
        return StartupFailure("\(code.rawValue): \(sentence)")
    }
}
