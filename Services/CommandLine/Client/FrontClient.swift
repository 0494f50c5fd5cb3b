import Matryoshka
import ServiceRuntime
import WireProtocol
import ZeroMQ

/// A client of the front protocol for one thread: many requests in flight, answers matched by id.
final class FrontClient {
    /// An answer with the ticket of its request.
    struct Completion {
        var ticket: UInt64
        /// Microseconds from send to answer.
        var microseconds: UInt64
        var body: FrontReplyBody
    }

    /// Added to a request's own deadline before the client gives it up.
    private static let patienceMicroseconds: UInt64 = 1_000_000
    private static let connectSeconds = 5.0

    private let context = Context()
    private let socket: Socket
    private let monitor: SocketMonitor
    private let endpoints: [String]
    private let publicKey: String?
    private var isConnected = false
    private var refusals = 0
    private var hasHandshakeFailed = false
    private var nextTicket: UInt64 = 1
    private var pending: [UInt64: (sentAt: UInt64, giveUpAt: UInt64)] = [:]
    private var arrived: [Completion] = []

    /// Connects to every endpoint.
    ///
    /// - Throws: ``StartupFailure`` in one sentence.
    init(endpoints: [String], curve: CurveClientOptions? = nil) throws {
        self.endpoints = endpoints
        publicKey = curve?.keys.publicKey
        var options = SocketOptions()
        options.sendHighWater = 10_000
        options.receiveHighWater = 10_000
        options.curve = curve.map(CurveOptions.client)
        do {
            socket = try Socket(context, .dealer, options: options)
            monitor = try SocketMonitor(context, of: socket)
            for endpoint in endpoints { try socket.connect(endpoint) }
        } catch {
            throw StartupFailure("\(error)")
        }
    }

    deinit {
        monitor.close()
        socket.close()
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
        let request = FrontRequest(id: String(ticket), deadlineMilliseconds: deadlineMilliseconds, body: body)
        let frames = request.encode()
        let connectBy = EventLoop.nowMicroseconds() + UInt64(Self.connectSeconds * 1e6)
        var sentAt: UInt64
        while true {
            // Read before the message leaves: a thread that loses its core after sending would time itself short.
            sentAt = EventLoop.nowMicroseconds()
            let outcome: Socket.SendOutcome
            do { outcome = try socket.send(frames) } catch { throw StartupFailure("\(error)") }
            if outcome == .sent { break }
            guard EventLoop.nowMicroseconds() < connectBy else { throw StartupFailure(whyNotConnected) }
            try wait(milliseconds: 2)
        }
        let patience = UInt64(deadlineMilliseconds) * 1_000 + Self.patienceMicroseconds
        pending[ticket] = (sentAt, sentAt + patience)
        return ticket
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

    private var whyNotConnected: String {
        let places = endpoints.joined(separator: ", ")
        guard hasHandshakeFailed else {
            return "no coordinator answers at \(places): start one with mrl up, or name another with --front"
        }
        return publicKey == nil
            ? "the coordinator at \(places) does not take this connection: it wants CURVE keys, set curve.server_key and "
                + "curve.secret_key_file"
            : "the coordinator at \(places) does not complete the handshake: compare curve.server_key with "
                + "its public key, or unset it where that socket has no CURVE"
    }

    /// A socket whose key was refused never connects again, and would only look slow.
    private func observeConnections() throws {
        while let event = try monitor.next() {
            switch event {
            case .ready: isConnected = true
            case .disconnected: break
            case .handshakeFailed: hasHandshakeFailed = true
            case .refused: refusals += 1
            }
        }
        guard refusals >= endpoints.count, !isConnected else { return }
        throw StartupFailure(
            "the coordinator at \(endpoints.joined(separator: ", ")) refuses this client's key \(publicKey ?? ""): "
                + "its operator admits it with mrl keys allow client"
        )
    }

    private func giveUpOverdue() {
        let time = EventLoop.nowMicroseconds()
        for (ticket, times) in pending where times.giveUpAt <= time {
            pending[ticket] = nil
            let error = FrontError(.deadlineExceeded, "no answer came within the deadline")
            arrived.append(Completion(ticket: ticket, microseconds: time - times.sentAt, body: .error(error)))
        }
    }

    private func wait(milliseconds: Int) throws {
        do {
            guard try socket.waitForMessage(milliseconds: milliseconds) else { return try observeConnections() }
            try socket.drain { message in
                let reply = try FrontReply.decode(message.frames)
                guard let ticket = UInt64(reply.id), let times = pending.removeValue(forKey: ticket) else { return }
                let microseconds = EventLoop.nowMicroseconds() - times.sentAt
                arrived.append(Completion(ticket: ticket, microseconds: microseconds, body: reply.body))
            }
        } catch let failure as StartupFailure {
            throw failure
        } catch let error as FrontError {
            throw StartupFailure("the coordinator's answer cannot be read: \(error.message)")
        } catch {
            throw StartupFailure("\(error)")
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
