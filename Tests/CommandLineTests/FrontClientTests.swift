import Glibc
import Matryoshka
import ServiceRuntime
import Testing
import WireProtocol
import ZeroMQ

@testable import CommandLine

@Suite("The client of several coordinators", .timeLimit(.minutes(1)))
struct FrontClientTests {
    private static func search(_ text: String) -> FrontRequestBody {
        .search(SearchRequest(collection: "c", query: .texts([text])))
    }

    /// Two coordinators and a client that talks to the first one.
    private static func pair() throws -> (first: FakeCoordinator, second: FakeCoordinator, client: FrontClient) {
        let first = FakeCoordinator()
        let second = FakeCoordinator()
        let client = try FrontClient(endpoints: [first.endpoint, second.endpoint])
        // Whichever connects first is chosen.
        _ = try client.object(.status)
        return second.requests.contains("status") ? (second, first, client) : (first, second, client)
    }

    @Test("sends reads, and writes with an idempotency key, to another where the first goes silent; and stays there")
    func silentCoordinator() throws {
        let (first, second, client) = try Self.pair()
        first.behaviour = .silent
        let sent = [
            try client.send(Self.search("a"), deadlineMilliseconds: 20_000),
            try client.send(
                .delete(DeleteRequest(collection: "c", ids: ["x"], idempotencyKey: "k")),
                deadlineMilliseconds: 500
            ),
        ]
        var answered: Set<UInt64> = []
        for _ in sent {
            let completion = try client.next()
            #expect(completion.microseconds < 10_000_000)
            guard case .object = completion.body else {
                Issue.record("\(completion)")
                continue
            }
            answered.insert(completion.ticket)
        }
        #expect(answered == Set(sent))
        #expect(first.requests.filter { $0 != "hello" } == ["status", "search", "delete"])
        #expect(second.requests.filter { $0 != "hello" } == ["search", "delete"])

        first.behaviour = .answers
        let started = EventLoop.nowMicroseconds()
        _ = try client.object(.status)
        #expect(EventLoop.nowMicroseconds() - started < EndpointChoice.silence)
        #expect(second.requests.last == "status")
    }

    @Test("ends a write without a key with an error, and never sends it again")
    func unrepeatable() throws {
        let (first, second, client) = try Self.pair()
        first.behaviour = .silent
        let body = FrontRequestBody.delete(DeleteRequest(collection: "c", ids: ["x"]))
        let failure = #expect(throws: StartupFailure.self) { try client.call(body, deadlineMilliseconds: 20_000) }
        #expect(failure?.sentence.contains("went silent before it answered: it is unknown whether") == true)
        // In order behind whatever was sent to the second before.
        _ = try client.object(.status)
        #expect(second.requests.filter { $0 != "hello" } == ["status"])
        #expect(first.requests.filter { $0 == "delete" }.count == 1)
    }

    @Test("leaves a slow request where it is while its coordinator gives signs of life")
    func slowRequest() throws {
        let (first, second, client) = try Self.pair()
        first.behaviour = .answersHelloAlone
        let ticket = try client.send(Self.search("slow"), deadlineMilliseconds: 3_500)
        let completion = try client.next()
        #expect(completion.ticket == ticket)
        guard case .error(let error) = completion.body else {
            Issue.record("\(completion)")
            return
        }
        #expect(error.code == .deadlineExceeded)
        #expect(second.requests.filter { $0 != "hello" }.isEmpty)
        #expect(first.requests.filter { $0 == "hello" }.count >= 2)
    }

    @Test("does not wait for silence where the connection is lost")
    func lostConnection() throws {
        let (first, second, client) = try Self.pair()
        first.behaviour = .silent
        try client.send(Self.search("lost"), deadlineMilliseconds: 20_000)
        try client.send(.collections(.drop(name: "c")), deadlineMilliseconds: 20_000)
        first.waitForRequests(3)
        first.stop()
        let completions = try (0..<2).map { _ in try client.next() }.sorted { $0.ticket < $1.ticket }
        #expect(completions.allSatisfy { $0.microseconds < EndpointChoice.silence })
        guard case .object = completions[0].body, case .error(let error) = completions[1].body
        else {
            Issue.record("\(completions)")
            return
        }
        #expect(error.message.contains("was lost before it answered: it is unknown whether"))
        #expect(second.requests == ["search"])
    }

    @Test("gives a link nothing from the moment that its loss is known")
    func lostLink() throws {
        for _ in 0..<20 {
            let coordinator = FakeCoordinator()
            let link = try FrontLink(Context(), coordinator.endpoint, options: SocketOptions())
            func waitUntil(_ isReached: (FrontLink.Changes) -> Bool) throws -> Bool {
                let end = EventLoop.nowMicroseconds() + 10_000_000
                while EventLoop.nowMicroseconds() < end {
                    _ = try Socket.waitForMessages(on: [link.events], milliseconds: 50)
                    if isReached(try link.changes()) { return true }
                }
                return false
            }
            let hello = FrontRequest(id: "1", deadlineMilliseconds: 1_000, body: .hello).encode()
            #expect(try waitUntil(\.becameReady))
            #expect(try link.send(hello))
            coordinator.waitForRequests(1)
            coordinator.stop()
            #expect(try waitUntil(\.isLost))
            #expect(try !link.send(hello))
        }
    }

    @Test("sends a read again to a coordinator that comes back, once")
    func comesBack() throws {
        let first = FakeCoordinator()
        let client = try FrontClient(endpoints: [first.endpoint])
        _ = try client.object(.status)
        first.behaviour = .silent
        try client.send(Self.search("a"), deadlineMilliseconds: 20_000)
        first.waitForRequests(2)
        first.stop()
        let second = FakeCoordinator(path: first.path)
        second.behaviour = .silent
        let stopper = ServiceThread(name: "stopper") {
            second.waitForRequests(1)
            second.stop()
        }
        guard case .error(let error) = try client.next().body else {
            Issue.record("it was answered")
            return
        }
        stopper.join()
        #expect(error.code == .unavailable)
        #expect(error.message.contains("as another did before"))
        #expect(second.requests == ["search"])
    }
}

/// A front socket with a mind of its own.
private final class FakeCoordinator: @unchecked Sendable {
    // @unchecked: the fields are under the lock; the socket is the thread's.
    enum Behaviour { case answers, answersHelloAlone, silent }

    let path: String
    var endpoint: String { "ipc://\(path)" }
    private let lock = Lock()
    private var isStopped = false
    private var current = Behaviour.answers
    private var types: [String] = []
    private var thread: ServiceThread?

    init(path: String? = nil) {
        var template = Array("/tmp/mrlcli-XXXXXX".utf8CString)
        self.path = path ?? String(cString: mkdtemp(&template)) + "/front.sock"
        let isListening = Lock()
        let listens = Condition(isListening)
        nonisolated(unsafe) var isReady = false
        thread = ServiceThread(name: "fake") { [unowned self] in
            let context = Context()
            guard let socket = try? Socket(context, .router), (try? socket.bind(endpoint)) != nil else {
                preconditionFailure("cannot listen at \(self.endpoint)")
            }
            isListening.withLock {
                isReady = true
                listens.signal()
            }
            serve(socket)
            socket.close()
        }
        isListening.withLock { while !isReady { listens.wait() } }
    }

    deinit {
        stop()
        unlink(path)
        rmdir(String(path.prefix(upTo: path.lastIndex(of: "/")!)))
    }

    var behaviour: Behaviour {
        get { lock.withLock { current } }
        set { lock.withLock { current = newValue } }
    }

    /// Types of all requests so far.
    var requests: [String] { lock.withLock { types } }

    /// Waits until so many requests have come.
    func waitForRequests(_ count: Int) {
        let end = EventLoop.nowMicroseconds() + 10_000_000
        while requests.count < count, EventLoop.nowMicroseconds() < end { usleep(1_000) }
    }

    /// Goes away; connections are lost.
    func stop() {
        lock.withLock { isStopped = true }
        thread?.join()
        thread = nil
    }

    private func serve(_ socket: Socket) {
        while !lock.withLock({ isStopped }) {
            guard (try? Socket.waitForMessages(on: [socket], milliseconds: 5).isEmpty) == false,
                let message = try? socket.receive(),
                let request = try? FrontRequest.decode(
                    header: message.frames[2],
                    buffers: Array(message.frames.dropFirst(3))
                )
            else { continue }
            let type =
                switch request.body {
                case .hello: "hello"
                case .search: "search"
                case .delete: "delete"
                case .status: "status"
                default: "other"
                }
            let behaviour = lock.withLock {
                types.append(type)
                return current
            }
            guard behaviour == .answers || (behaviour == .answersHelloAlone && type == "hello") else { continue }
            let reply = FrontReply(id: request.id, body: .object(type: type, json: .object([])))
            _ = try? socket.send([message.frames[0]] + reply.encode())
        }
    }
}
