import Matryoshka
import WireProtocol
import ZeroMQ

/// A client of the front socket that blocks and belongs to one thread.
final class TestClient {
    private static let context = Context()
    /// What the client calls itself in its requests.
    var name = ""
    private let socket: Socket
    private var replies: [String: FrontReply] = [:]
    private var lastID = 0

    init(_ endpoint: String, kind: SocketKind = .dealer, curve: CurveClientOptions? = nil) throws {
        var options = SocketOptions()
        options.curve = curve.map(CurveOptions.client)
        socket = try Socket(Self.context, kind, options: options)
        try socket.connect(endpoint)
    }

    deinit { socket.close() }

    /// Sends a request and returns its id.
    @discardableResult
    func post(_ body: FrontRequestBody, deadline: Int = 5_000, id: String? = nil) throws -> String {
        lastID += 1
        let id = id ?? "r\(lastID)"
        try post(frames: FrontRequest(id: id, deadlineMilliseconds: deadline, client: name, body: body).encode())
        return id
    }

    /// Sends frames as they are.
    func post(frames: [[UInt8]]) throws {
        // An IMMEDIATE socket has no pipe until the connection stands.
        let sent = try poll(seconds: 5, every: 0.001) { try socket.send(frames) == .sent }
        if !sent { throw TestFailure("nothing could be sent") }
    }

    /// Sends frames if they can be sent within a moment; for what a peer may hang up on.
    func tryPost(_ frames: [[UInt8]]) {
        _ = poll(seconds: 0.3, every: 0.001) { (try? socket.send(frames)) == .sent }
    }

    /// The next reply of any request.
    func next(seconds: Double) throws -> FrontReply? {
        guard let frames = try nextFrames(seconds: seconds) else { return nil }
        return try FrontReply.decode(frames)
    }

    /// The next message of any kind.
    func nextFrames(seconds: Double) throws -> [[UInt8]]? {
        var frames: [[UInt8]]?
        _ = try poll(seconds: seconds, every: 0.0002) {
            frames = try socket.receive()?.frames
            return frames != nil
        }
        return frames
    }

    /// The reply to `id`; others are kept for later.
    func reply(to id: String, seconds: Double = 10) throws -> FrontReplyBody {
        let end = now() + seconds
        while true {
            if let reply = replies.removeValue(forKey: id) { return reply.body }
            guard now() < end, let reply = try next(seconds: end - now()) else {
                throw TestFailure("no reply to \(id) within \(seconds) s")
            }
            replies[reply.id] = reply
        }
    }

    /// Sends and waits; an error reply is thrown.
    func call(_ body: FrontRequestBody, deadline: Int = 5_000) throws -> FrontReplyBody {
        let reply = try reply(to: post(body, deadline: deadline), seconds: Double(deadline) / 1000 + 3)
        if case .error(let error) = reply { throw error }
        return reply
    }

    /// Searches.
    func search(_ request: SearchRequest, deadline: Int = 5_000) throws -> SearchReply {
        guard case .search(let reply) = try call(.search(request), deadline: deadline) else {
            throw TestFailure("not a search reply")
        }
        return reply
    }

    /// Writes.
    func write(_ body: FrontRequestBody, deadline: Int = 10_000) throws -> WriteReply {
        guard case .write(let reply) = try call(body, deadline: deadline) else {
            throw TestFailure("not a write reply")
        }
        return reply
    }

    /// Status, hello, collections.
    func object(_ body: FrontRequestBody, deadline: Int = 10_000) throws -> JSONValue {
        guard case .object(_, let json) = try call(body, deadline: deadline) else { throw TestFailure("not an object") }
        return json
    }

    /// The error that a request is answered with; nil where it succeeds.
    func refusal(_ body: FrontRequestBody, deadline: Int = 5_000) throws -> FrontError? {
        do { _ = try call(body, deadline: deadline) } catch let error as FrontError { return error }
        return nil
    }
}

/// Something that the cluster did not do.
struct TestFailure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}
