import Glibc
import Testing

@testable import ZeroMQ

private let context = Context()

@Suite("Sockets", .timeLimit(.minutes(1)))
struct SocketTests {
    let folder = TemporaryFolder()

    /// A ROUTER and a DEALER that know each other, and the DEALER's address.
    private func connectedPair(
        _ endpoint: String,
        router: SocketOptions = SocketOptions(),
        dealer: SocketOptions = SocketOptions()
    ) throws -> (router: Socket, dealer: Socket, peer: [UInt8]) {
        let server = try Socket(context, .router, options: router)
        try server.bind(endpoint)
        let client = try Socket(context, .dealer, options: dealer)
        try client.connect(endpoint)
        #expect(try client.sendEventually([bytes("hello")]))
        let first = try #require(try server.received())
        return (server, client, first.frames[0])
    }

    @Test("carry frames both ways, empty ones too", arguments: ["ipc", "tcp"])
    func roundTrip(transport: String) throws {
        let endpoint = transport == "ipc" ? folder.endpoint() : "tcp://127.0.0.1:\(freePort())"
        let (router, dealer, peer) = try connectedPair(endpoint)
        let large = (0..<100_000).map { UInt8(truncatingIfNeeded: $0) }
        #expect(try router.send([peer, [], bytes("answer"), large]) == .sent)
        let answer = try #require(try dealer.received())
        #expect(answer.frames == [[], bytes("answer"), large])
        #expect(!answer.isTruncated)
        #expect(try dealer.receive() == nil)
    }

    @Test("say nothing waits rather than wait")
    func nothingThere() throws {
        let (router, dealer, _) = try connectedPair(folder.endpoint())
        #expect(try router.receive() == nil)
        #expect(try dealer.receive() == nil)
    }

    @Test("work with REQ through its empty delimiter")
    func request() throws {
        let router = try Socket(context, .router)
        try router.bind(folder.endpoint())
        let client = try Socket(context, .req)
        try client.connect(folder.endpoint())
        #expect(try client.sendEventually([bytes("question")]))
        let question = try #require(try router.received())
        #expect(question.frames.dropFirst() == [[], bytes("question")])
        #expect(try router.send([question.frames[0], [], bytes("answer")]) == .sent)
        #expect(try client.received()?.frames == [bytes("answer")])
    }

    @Test("tell that a ROUTER's peer vanished")
    func unreachable() throws {
        let (router, dealer, peer) = try connectedPair(folder.endpoint())
        dealer.close()
        let outcome = try eventually { try router.send([peer, bytes("x")]) == .unreachable ? true : nil }
        #expect(outcome == true)
        #expect(try router.send([[0, 1, 2, 3, 4], bytes("x")]) == .unreachable)
    }

    @Test("tell that a peer does not read, and lose nothing of what was accepted")
    func slowPeer() throws {
        var options = SocketOptions()
        options.sendHighWater = 10
        options.receiveHighWater = 10
        let (router, dealer, peer) = try connectedPair(folder.endpoint(), router: options, dealer: options)
        let payload = [UInt8](repeating: 7, count: 64 << 10)
        var sent = 0
        while try router.send([peer, [UInt8(truncatingIfNeeded: sent)], payload]) == .sent, sent < 10_000 { sent += 1 }
        #expect(sent < 1_000)
        for index in 0..<sent {
            #expect(try dealer.received()?.frames == [[UInt8(truncatingIfNeeded: index)], payload])
        }
        #expect(try router.sendEventually([peer, bytes("again")]))
    }

    @Test("queue nothing for a peer that is not there, so nothing stale is replayed to its successor")
    func immediate() throws {
        let dealer = try Socket(context, .dealer)
        try dealer.connect(folder.endpoint())
        #expect(try dealer.send([bytes("stale"), bytes("x")]) == .wouldBlock)
        let router = try Socket(context, .router)
        try router.bind(folder.endpoint())
        #expect(try dealer.sendEventually([bytes("fresh")]))
        #expect(try router.received()?.frames.last == bytes("fresh"))
        #expect(try router.receive() == nil)
    }

    @Test("cut off frames beyond the limit and flag it; the next message is whole")
    func tooManyFrames() throws {
        let (router, dealer, _) = try connectedPair(folder.endpoint())
        #expect(try dealer.send((0..<40).map { [$0] }) == .sent)
        #expect(try dealer.send([bytes("next")]) == .sent)
        let message = try #require(try router.received())
        #expect(message.isTruncated)
        #expect(message.frames.dropFirst() == (0..<15).map { [$0] }[...])
        let next = try #require(try router.received())
        #expect(!next.isTruncated)
        #expect(next.frames.last == bytes("next"))
    }

    @Test("cut off bytes beyond the limit and flag it; the next message is whole")
    func tooManyBytes() throws {
        var options = SocketOptions()
        options.totalBytesMax = 1_000
        let (router, dealer, peer) = try connectedPair(folder.endpoint(), router: options)
        let half = [UInt8](repeating: 1, count: 600)
        #expect(try dealer.send([half, half, bytes("small")]) == .sent)
        #expect(try dealer.send([bytes("next")]) == .sent)
        let message = try #require(try router.received())
        #expect(message.isTruncated)
        #expect(message.frames == [peer, half])
        #expect(try router.received()?.frames.last == bytes("next"))
    }

    @Test("disconnect the sender of an oversized frame only")
    func oversizedFrame() throws {
        var options = SocketOptions()
        options.maxMessageBytes = 1_000
        let (router, dealer, _) = try connectedPair(folder.endpoint(), router: options)
        let other = try Socket(context, .dealer)
        try other.connect(folder.endpoint())
        #expect(try other.sendEventually([bytes("before")]))
        let otherPeer = try #require(try router.received()).frames[0]
        #expect(try dealer.send([[UInt8](repeating: 1, count: 1_001)]) == .sent)
        usleep(100_000)
        #expect(try router.receive() == nil)
        #expect(try router.send([otherPeer, bytes("still there")]) == .sent)
        #expect(try other.received()?.frames == [bytes("still there")])
        #expect(try dealer.sendEventually([bytes("back again")]))
        #expect(try router.received()?.frames.last == bytes("back again"))
    }

    @Test("close at once, whatever is unsent")
    func noLinger() throws {
        let started = EventLoop.nowMicroseconds()
        do {
            let own = Context()
            let pair = try Socket(own, .dealer)
            try pair.connect("tcp://127.0.0.1:\(freePort())")
            _ = try pair.send([bytes("x")])
        }
        #expect(EventLoop.nowMicroseconds() - started < 1_000_000)
    }

    @Test("throw once the context is shut down")
    func shutdown() throws {
        let own = Context()
        let socket = try Socket(own, .dealer)
        own.shutdown()
        #expect(throws: ZeroMQError.terminated) { try socket.receive() }
        #expect(throws: ZeroMQError.terminated) { try socket.send([bytes("x")]) }
    }

    @Test("drain hands out at most so many messages")
    func drain() throws {
        let (router, dealer, _) = try connectedPair(folder.endpoint())
        for index in 0..<10 { #expect(try dealer.send([[UInt8(index)]]) == .sent) }
        #expect(try dealer.send([bytes("end")]) == .sent)
        usleep(50_000)
        var seen: [[UInt8]] = []
        try router.drain(upTo: 4) { seen.append($0.frames[1]) }
        #expect(seen == [[0], [1], [2], [3]])
        try router.drain { seen.append($0.frames[1]) }
        #expect(seen.count == 11)
    }
}

@Suite("Endpoints", .timeLimit(.minutes(1)))
struct EndpointTests {
    let folder = TemporaryFolder()

    private func failure(of use: (Socket) throws -> Void) throws -> ZeroMQError? {
        let socket = try Socket(context, .router)
        do {
            try use(socket)
            return nil
        } catch {
            return error as? ZeroMQError
        }
    }

    @Test(
        "beyond loopback are refused without CURVE keys",
        arguments: [
            "tcp://*:20001", "tcp://0.0.0.0:20001", "tcp://192.168.1.2:20001", "tcp://localhost:20001",
            "tcp://example.org:20001", "tcp://[::]:20001", "tcp://[2001:db8::1]:20001", "tcp://127.1:20001",
            "tcp://127.0.0.1.example.org:20001", "tcp://127.0.0.256:20001", "tcp://eth0:20001",
        ]
    )
    func insecure(endpoint: String) throws {
        for failure in [try failure { try $0.bind(endpoint) }, try failure { try $0.connect(endpoint) }] {
            guard case .insecureEndpoint(endpoint, _)? = failure else {
                Issue.record("\(String(describing: failure))")
                continue
            }
        }
    }

    @Test(
        "that make no sense are refused with a reason",
        arguments: [
            "", "tcp", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:0", "tcp://127.0.0.1:*", "tcp://127.0.0.1:70000",
            "tcp://1.2.3.4:5;127.0.0.1:20001", "udp://127.0.0.1:20001", "ws://127.0.0.1:20001", "pgm://x:1", "ipc://",
            "ipc://*", "ipc://@abstract", "ipc://relative/path", "ipc:///tmp/", "inproc://", "file:///tmp/x",
        ]
    )
    func invalid(endpoint: String) throws {
        for failure in [try failure { try $0.bind(endpoint) }, try failure { try $0.connect(endpoint) }] {
            guard case .invalidEndpoint(endpoint, _)? = failure else {
                Issue.record("\(String(describing: failure))")
                continue
            }
        }
    }

    @Test("on loopback, ipc and inproc need no keys")
    func loopback() throws {
        let socket = try Socket(context, .router)
        try socket.bind("tcp://127.0.0.1:\(freePort())")
        try socket.bind("tcp://127.8.0.1:\(freePort())")
        try socket.bind(folder.endpoint())
        try socket.bind("inproc://endpoint-tests")
        #expect(try Endpoint("tcp://[::1]:20001").dangerWithoutCurve == nil)
        #expect(try Endpoint("tcp://[::1]:20001").needsIPv6)
    }

    @Test("of ipc get a folder of mode 0700 and a socket of mode 0600")
    func folderMode() throws {
        let socket = try Socket(context, .router)
        try socket.bind(folder.endpoint("deep/er/a.sock"))
        #expect(folder.mode(of: "deep") == 0o700)
        #expect(folder.mode(of: "deep/er") == 0o700)
        #expect(folder.mode(of: "deep/er/a.sock") == 0o600)
    }

    @Test("of ipc with a path the system cannot hold name both lengths")
    func longPath() throws {
        let endpoint = "ipc:///tmp/" + String(repeating: "x", count: 103)
        let reason = "the path has 108 bytes, the system allows 107"
        #expect(try failure { try $0.bind(endpoint) } == .invalidEndpoint(endpoint: endpoint, reason: reason))
    }

    @Test("of ipc that a live process listens on are left to it")
    func liveListener() throws {
        let first = try Socket(context, .router)
        try first.bind(folder.endpoint())
        let second = try Socket(context, .router)
        #expect(throws: ZeroMQError.addressInUse(endpoint: folder.endpoint())) { try second.bind(folder.endpoint()) }
        let client = try Socket(context, .dealer)
        try client.connect(folder.endpoint())
        #expect(try client.sendEventually([bytes("to the first")]))
        #expect(try first.received()?.frames.last == bytes("to the first"))
    }

    @Test("of ipc that a dead process left behind are taken over")
    func staleSocket() throws {
        let file = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: "\(folder.path)/a.sock".utf8) }
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(file, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        #expect(bound == 0)
        close(file)
        let router = try Socket(context, .router)
        try router.bind(folder.endpoint())
        let client = try Socket(context, .dealer)
        try client.connect(folder.endpoint())
        #expect(try client.sendEventually([bytes("x")]))
    }

    @Test("of ipc never delete a file that is no socket")
    func plainFile() throws {
        folder.write("precious", to: "plain")
        let reason = "a file that is no socket stands there"
        let refusal = ZeroMQError.invalidEndpoint(endpoint: folder.endpoint("plain"), reason: reason)
        #expect(try failure { try $0.bind(folder.endpoint("plain")) } == refusal)
        #expect(access("\(folder.path)/plain", F_OK) == 0)
    }

    @Test("of tcp whose port is taken say so")
    func portInUse() throws {
        let endpoint = "tcp://127.0.0.1:\(freePort())"
        let first = try Socket(context, .router)
        try first.bind(endpoint)
        let second = try Socket(context, .router)
        #expect(throws: ZeroMQError.addressInUse(endpoint: endpoint)) { try second.bind(endpoint) }
        #expect(
            "\(ZeroMQError.addressInUse(endpoint: "tcp://127.0.0.1:7000"))".contains("tcp://127.0.0.1:7000 is in use")
        )
    }
}
