import Glibc
import Testing

@testable import ZeroMQ

@Suite("CURVE", .timeLimit(.minutes(1)))
struct CurveTests {
    let folder = TemporaryFolder()
    let context = Context()
    let server: CurveKeyPair
    let client: CurveKeyPair

    init() throws {
        server = try .generate()
        client = try .generate()
    }

    private func makeServer(_ endpoint: String) throws -> Socket {
        var options = SocketOptions()
        options.curve = .server(.init(secretKey: server.secretKey, allowListFile: "\(folder.path)/list"))
        let socket = try Socket(context, .router, options: options)
        try socket.bind(endpoint)
        return socket
    }

    private func makeClient(_ endpoint: String, keys: CurveKeyPair?) throws -> Socket {
        var options = SocketOptions()
        options.curve = keys.map { .client(.init(keys: $0, serverPublicKey: server.publicKey)) }
        let socket = try Socket(context, .dealer, options: options)
        try socket.connect(endpoint)
        return socket
    }

    @Test("lets a key on the list in and tells whose it is")
    func allowed() throws {
        folder.write("# who may come\n\(client.publicKey) the client\n", to: "list")
        let endpoint = "tcp://127.0.0.1:\(freePort())"
        let router = try makeServer(endpoint)
        let dealer = try makeClient(endpoint, keys: client)
        #expect(try dealer.sendEventually([bytes("hello"), bytes("x")]))
        let message = try #require(try router.received())
        #expect(message.userID == client.publicKey)
        #expect(try router.send([message.frames[0], bytes("answer")]) == .sent)
        #expect(try dealer.received()?.frames == [bytes("answer")])
        #expect(context.authenticationReport.allowed == 1)
    }

    @Test("lets neither another key nor no key in")
    func refused() throws {
        folder.write("\(client.publicKey)\n", to: "list")
        let router = try makeServer(folder.endpoint())
        let stranger = try makeClient(folder.endpoint(), keys: .generate())
        let naked = try makeClient(folder.endpoint(), keys: nil)
        #expect(try !stranger.sendEventually([bytes("x")], within: 0.5))
        #expect(try !naked.sendEventually([bytes("x")], within: 0.5))
        #expect(try router.receive() == nil)
        #expect(context.authenticationReport.allowed == 0)
        #expect(context.authenticationReport.refused >= 1)
    }

    @Test("talks to no server of another key")
    func wrongServer() throws {
        folder.write("\(client.publicKey)\n", to: "list")
        let router = try makeServer(folder.endpoint())
        var options = SocketOptions()
        options.curve = .client(.init(keys: client, serverPublicKey: try CurveKeyPair.generate().publicKey))
        let dealer = try Socket(context, .dealer, options: options)
        try dealer.connect(folder.endpoint())
        #expect(try !dealer.sendEventually([bytes("x")], within: 0.5))
        #expect(try router.receive() == nil)
    }

    @Test("lets nobody in while the list cannot be read, and the same client once it can")
    func unreadableList() throws {
        let router = try makeServer(folder.endpoint())
        let dealer = try makeClient(folder.endpoint(), keys: client)
        #expect(try !dealer.sendEventually([bytes("x")], within: 0.5))
        #expect(context.authenticationReport.deferred >= 1)
        #expect(context.authenticationReport.problem?.contains("/list") == true)
        folder.write("\(client.publicKey)\n", to: "list")
        #expect(try dealer.sendEventually([bytes("hello")], within: 10))
        #expect(try router.received()?.frames.last == bytes("hello"))
        #expect(context.authenticationReport.problem == nil)
    }

    @Test("lets nobody in while a line of the list is no key")
    func brokenList() throws {
        folder.write("\(client.publicKey)\nnonsense\n", to: "list")
        let router = try makeServer(folder.endpoint())
        let dealer = try makeClient(folder.endpoint(), keys: client)
        #expect(try !dealer.sendEventually([bytes("x")], within: 0.5))
        #expect(try router.receive() == nil)
        #expect(context.authenticationReport.problem?.contains("line 2") == true)
    }

    @Test("lets nobody in once a key is taken off the list")
    func revoked() throws {
        folder.write("\(client.publicKey)\n", to: "list")
        let router = try makeServer(folder.endpoint())
        folder.write("", to: "list")
        let dealer = try makeClient(folder.endpoint(), keys: client)
        #expect(try !dealer.sendEventually([bytes("x")], within: 0.5))
        #expect(try router.receive() == nil)
    }

    @Test("lets nobody in when the handler is gone")
    func handlerGone() throws {
        folder.write("\(client.publicKey)\n", to: "list")
        let router = try makeServer(folder.endpoint())
        context.authenticator.stop()
        let dealer = try makeClient(folder.endpoint(), keys: client)
        #expect(try !dealer.sendEventually([bytes("x")], within: 0.5))
        #expect(try router.receive() == nil)
    }

    @Test("a monitor tells that a key was refused, or that the connection is ready and lost")
    func monitor() throws {
        folder.write("\(client.publicKey)\n", to: "list")
        let router = try makeServer(folder.endpoint())
        var options = SocketOptions()
        options.curve = .client(.init(keys: try .generate(), serverPublicKey: server.publicKey))
        let stranger = try Socket(context, .dealer, options: options)
        let strangers = try SocketMonitor(context, of: stranger)
        try stranger.connect(folder.endpoint())
        #expect(try eventually { try strangers.next() } == .refused)
        options.curve = .client(.init(keys: client, serverPublicKey: server.publicKey))
        let friend = try Socket(context, .dealer, options: options)
        let friends = try SocketMonitor(context, of: friend)
        try friend.connect(folder.endpoint())
        #expect(try eventually { try friends.next() } == .ready)
        router.close()
        #expect(try eventually { try friends.next() } == .disconnected)
        strangers.close()
        friends.close()
    }

    @Test("a key on the list of one socket is refused at another of the same context")
    func lists() throws {
        folder.write("\(client.publicKey)\n", to: "list")
        folder.write("", to: "list2")
        let open = try makeServer(folder.endpoint())
        var options = SocketOptions()
        options.curve = .server(
            .init(secretKey: server.secretKey, allowListFile: "\(folder.path)/list2", domain: "other")
        )
        let closed = try Socket(context, .router, options: options)
        try closed.bind(folder.endpoint("b.sock"))
        let stranger = try makeClient(folder.endpoint("b.sock"), keys: client)
        #expect(try !stranger.sendEventually([bytes("x")], within: 0.5))
        #expect(try closed.receive() == nil)
        let friend = try makeClient(folder.endpoint(), keys: client)
        #expect(try friend.sendEventually([bytes("x")]))
        #expect(try open.received() != nil)
    }

    @Test("takes one list for one name")
    func domains() throws {
        _ = try makeServer(folder.endpoint())
        var options = SocketOptions()
        options.curve = .server(.init(secretKey: server.secretKey, allowListFile: "\(folder.path)/list2"))
        #expect(throws: ZeroMQError.self) { try Socket(context, .router, options: options) }
    }

    @Test("opens addresses beyond loopback to a server with keys")
    func beyondLoopback() throws {
        folder.write("\(client.publicKey)\n", to: "list")
        let port = freePort()
        let router = try makeServer("tcp://*:\(port)")
        let dealer = try makeClient("tcp://localhost:\(port)", keys: client)
        #expect(try dealer.sendEventually([bytes("hello")]))
        #expect(try router.received() != nil)
    }

    @Test(
        "keys are refused unless they are 40 characters of Z85",
        arguments: ["", "short", String(repeating: "é", count: 40)]
    )
    func badKeys(key: String) throws {
        #expect(throws: ZeroMQError.self) { try CurveKeyPair(secretKey: key) }
        var options = SocketOptions()
        options.curve = .client(.init(keys: client, serverPublicKey: key))
        #expect(throws: ZeroMQError.self) { try Socket(context, .dealer, options: options) }
        options.curve = .server(.init(secretKey: key, allowListFile: "/dev/null"))
        #expect(throws: ZeroMQError.self) { try Socket(context, .router, options: options) }
    }

    @Test("secret keys live in files of their owner alone")
    func keyFiles() throws {
        let path = "\(folder.path)/key"
        try client.write(secretKeyFile: path)
        #expect(folder.mode(of: "key") == 0o600)
        #expect(try CurveKeyPair(secretKeyFile: path) == client)
        #expect(throws: ZeroMQError.self) { try server.write(secretKeyFile: path) }
        chmod(path, 0o644)
        #expect(throws: ZeroMQError.self) { try CurveKeyPair(secretKeyFile: path) }
    }

    @Test("a list may hold comments, blank lines and names beside the keys")
    func listFormat() throws {
        let keys = try AllowList.parse(
            "# comment\n\n#\n\(server.publicKey)\n  \(client.publicKey)\tname\r\n",
            path: "list"
        )
        #expect(keys == [try #require(decodeKey(server.publicKey)), try #require(decodeKey(client.publicKey))])
        #expect(decodeKey("#" + String(repeating: "0", count: 39)) == nil)
    }
}
