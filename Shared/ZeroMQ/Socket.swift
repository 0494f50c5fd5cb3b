import CZeroMQ
import Glibc

/// The socket types in use.
public enum SocketKind: Sendable, Hashable {
    /// Many peers, each addressed by the first frame.
    case router
    /// Asynchronous client.
    case dealer
    /// Strict request and reply, client side.
    case req
    /// Strict request and reply, server side.
    case rep
    /// One peer, within the process.
    case pair

    var code: Int32 {
        switch self {
        case .router: ZMQ_ROUTER
        case .dealer: ZMQ_DEALER
        case .req: ZMQ_REQ
        case .rep: ZMQ_REP
        case .pair: ZMQ_PAIR
        }
    }
}

/// Settings of a socket, fixed when it is made.
public struct SocketOptions: Sendable {
    /// Messages queued towards a peer before sending answers `wouldBlock`; a backstop, credit is the control.
    public var sendHighWater = 1000
    /// Messages queued from a peer before its connection stops being read.
    public var receiveHighWater = 1000
    /// Largest frame, -1 for no limit; a larger one disconnects its sender.
    public var maxMessageBytes: Int64 = -1
    /// Whether only completed connections queue messages; nil for yes, save for `pair`.
    ///
    /// With `false` requests sent while a peer is away are replayed into its successor.
    public var immediate: Bool?
    /// CURVE keys; needed beyond loopback and ipc.
    public var curve: CurveOptions?
    /// Most frames handed out of one message; the rest is read, dropped and flagged.
    public var framesMax = 16
    /// Most bytes handed out of one message; frames beyond are read, dropped and flagged.
    public var totalBytesMax = 64 << 20

    /// The defaults.
    public init() {}
}

/// One message as received.
public struct ReceivedMessage: Sendable {
    /// Copies of the frames, at least one; a ROUTER's first is the sender.
    public var frames: [[UInt8]]
    /// Whether frames are missing because the message went beyond a limit of the socket.
    public var isTruncated = false
    /// The sender's public key (Z85) on a CURVE server, else nil.
    public var userID: String?
}

/// A ZeroMQ socket, which belongs to one thread: it makes, uses and closes it.
///
/// Nothing lingers after ``close()``; sends never wait; a ROUTER tells of vanished peers.
public final class Socket {
    /// What became of a message.
    public enum SendOutcome: Sendable, Hashable {
        /// It is in the peer's queue (delivery is not certain).
        case sent
        /// The queue is full or no peer is connected; nothing was sent.
        case wouldBlock
        /// The addressed peer of a ROUTER is gone; nothing was sent.
        case unreachable
    }

    /// The type it was made with.
    public let kind: SocketKind
    private let context: Context
    private let options: SocketOptions
    private let message: UnsafeMutablePointer<zmq_msg_t>
    private(set) var handle: UnsafeMutableRawPointer?

    /// Opens a socket.
    ///
    /// - Throws: ``ZeroMQError/invalidKey(reason:)`` for CURVE options that cannot be used.
    public init(
        _ context: Context,
        _ kind: SocketKind,
        options: SocketOptions = SocketOptions()
    ) throws(ZeroMQError) {
        guard let handle = zmq_socket(context.handle, kind.code) else { throw currentError("opening a socket") }
        do {
            try configure(handle, kind, options, context)
        } catch {
            zmq_close(handle)
            throw error
        }
        self.kind = kind
        self.context = context
        self.options = options
        message = .allocate(capacity: 1)
        zmq_msg_init(message)
        self.handle = handle
    }

    deinit {
        close()
        zmq_msg_close(message)
        message.deallocate()
    }

    /// Closes the socket at once; messages not yet on the wire are dropped.
    public func close() {
        guard let handle else { return }
        self.handle = nil
        zmq_close(handle)
    }

    /// Listens at an endpoint such as `ipc:///run/matryoshka/back.sock` or `tcp://127.0.0.1:7000`.
    ///
    /// The folder of an ipc socket is made with mode 0700 where it is missing, and the socket is its owner's alone.
    /// - Throws: ``ZeroMQError/addressInUse(endpoint:)``, ``ZeroMQError/insecureEndpoint(endpoint:reason:)``,
    ///   ``ZeroMQError/invalidEndpoint(endpoint:reason:)``.
    public func bind(_ endpoint: String) throws(ZeroMQError) {
        let handle = openHandle
        let checked = try checkedEndpoint(endpoint, handle)
        if case .ipc(let path) = checked { try Endpoint.prepareToBind(path: path, endpoint: endpoint) }
        while zmq_bind(handle, endpoint) != 0 {
            switch zmq_errno() {
            case EINTR: continue
            case EADDRINUSE: throw .addressInUse(endpoint: endpoint)
            case zmq_context_terminated: throw .terminated
            case let code: throw .invalidEndpoint(endpoint: endpoint, reason: errorText(code))
            }
        }
        if case .ipc(let path) = checked { chmod(path, 0o600) }
    }

    /// Connects, now and again whenever the connection is lost.
    ///
    /// - Throws: ``ZeroMQError/insecureEndpoint(endpoint:reason:)``, ``ZeroMQError/invalidEndpoint(endpoint:reason:)``.
    public func connect(_ endpoint: String) throws(ZeroMQError) {
        let handle = openHandle
        _ = try checkedEndpoint(endpoint, handle)
        while zmq_connect(handle, endpoint) != 0 {
            switch zmq_errno() {
            case EINTR: continue
            case zmq_context_terminated: throw .terminated
            case let code: throw .invalidEndpoint(endpoint: endpoint, reason: errorText(code))
            }
        }
    }

    /// Ends a connection made with ``connect(_:)``; unknown endpoints are ignored.
    public func disconnect(_ endpoint: String) {
        zmq_disconnect(openHandle, endpoint)
    }

    /// Sends one message of at least one frame without waiting.
    public func send(_ frames: [[UInt8]]) throws(ZeroMQError) -> SendOutcome {
        let handle = openHandle
        precondition(!frames.isEmpty, "a message has at least one frame")
        var outcome = SendOutcome.sent
        let last = frames.count - 1
        for index in 0...last {
            let flags = index < last ? ZMQ_DONTWAIT | ZMQ_SNDMORE : ZMQ_DONTWAIT
            let code = frames[index].withUnsafeBytes { bytes in
                sendRetrying(handle, bytes, flags)
            }
            switch code {
            case 0: continue
            case EAGAIN:
                // Nothing is queued yet when the first frame is refused. Later on (the peer vanished half-way) the
                // library drops the message, and wants to see the rest of it.
                outcome = .wouldBlock
                if index == 0 { return outcome }
            case EHOSTUNREACH:
                return .unreachable
            case zmq_context_terminated:
                throw .terminated
            default:
                throw .failed(operation: "sending", code: code)
            }
        }
        return outcome
    }

    /// Takes the next message; nil when none waits.
    public func receive() throws(ZeroMQError) -> ReceivedMessage? {
        let handle = openHandle
        var code = receiveFrame(handle)
        if code == EAGAIN { return nil }
        var frames: [[UInt8]] = []
        frames.reserveCapacity(4)
        var result = ReceivedMessage(frames: [])
        var total = 0
        while code == 0 {
            let size = zmq_msg_size(message)
            total += size
            if result.isTruncated || frames.count == options.framesMax || total > options.totalBytesMax {
                result.isTruncated = true
            } else {
                frames.append(bytes(of: message))
            }
            guard zmq_msg_more(message) != 0 else { break }
            code = receiveFrame(handle)
        }
        switch code {
        case 0: break
        case EAGAIN: result.isTruncated = true
        case zmq_context_terminated: throw .terminated
        default: throw .failed(operation: "receiving", code: code)
        }
        // Only the last payload frame carries it reliably: on a ROUTER's routing frame it is missing.
        if case .server? = options.curve, let user = zmq_msg_gets(message, "User-Id") {
            result.userID = String(cString: user)
        }
        result.frames = frames
        return result
    }

    /// Hands up to `limit` waiting messages to `body`: what a readiness callback does, so that one busy socket cannot
    /// starve the others of its loop.
    public func drain(upTo limit: Int = 64, _ body: (ReceivedMessage) throws -> Void) throws {
        for _ in 0..<limit {
            // A callback may close the socket.
            guard handle != nil, let message = try receive() else { return }
            try body(message)
        }
    }

    private var openHandle: UnsafeMutableRawPointer {
        guard let handle else { preconditionFailure("the socket is closed") }
        return handle
    }

    private func receiveFrame(_ handle: UnsafeMutableRawPointer) -> Int32 {
        while zmq_msg_recv(message, handle, ZMQ_DONTWAIT) < 0 {
            let code = zmq_errno()
            if code != EINTR { return code }
        }
        return 0
    }

    private func checkedEndpoint(
        _ text: String,
        _ handle: UnsafeMutableRawPointer
    ) throws(ZeroMQError) -> Endpoint {
        let endpoint = try Endpoint(text)
        if options.curve == nil, let danger = endpoint.dangerWithoutCurve {
            throw .insecureEndpoint(endpoint: text, reason: danger)
        }
        try set(handle, ZMQ_IPV6, Int32(endpoint.needsIPv6 ? 1 : 0))
        return endpoint
    }
}

/// Sends one frame; the errno, 0 for success.
private func sendRetrying(_ handle: UnsafeMutableRawPointer, _ bytes: UnsafeRawBufferPointer, _ flags: Int32) -> Int32 {
    while zmq_send(handle, bytes.baseAddress, bytes.count, flags) < 0 {
        let code = zmq_errno()
        if code != EINTR { return code }
    }
    return 0
}

private func configure(
    _ handle: UnsafeMutableRawPointer,
    _ kind: SocketKind,
    _ options: SocketOptions,
    _ context: Context
) throws(ZeroMQError) {
    try set(handle, ZMQ_LINGER, 0)
    try set(handle, ZMQ_SNDHWM, Int32(clamping: options.sendHighWater))
    try set(handle, ZMQ_RCVHWM, Int32(clamping: options.receiveHighWater))
    try set(handle, ZMQ_IMMEDIATE, options.immediate ?? (kind != .pair) ? 1 : 0)
    if kind == .router { try set(handle, ZMQ_ROUTER_MANDATORY, 1) }
    var limit = options.maxMessageBytes
    guard zmq_setsockopt(handle, ZMQ_MAXMSGSIZE, &limit, MemoryLayout<Int64>.size) == 0 else {
        throw currentError("limiting the size of messages")
    }
    try set(handle, ZMQ_HANDSHAKE_IVL, 3_000)
    try set(handle, ZMQ_RECONNECT_IVL, 100)
    try set(handle, ZMQ_RECONNECT_IVL_MAX, 1_000)
    // A cut cable is noticed by nothing else; the library's own heartbeats abort the process under load.
    try set(handle, ZMQ_TCP_KEEPALIVE, 1)
    try set(handle, ZMQ_TCP_KEEPALIVE_IDLE, 3)
    try set(handle, ZMQ_TCP_KEEPALIVE_INTVL, 1)
    try set(handle, ZMQ_TCP_KEEPALIVE_CNT, 3)
    try set(handle, ZMQ_TCP_MAXRT, 5_000)

    switch options.curve {
    case nil: break
    case .server(let server)?:
        let keys = try CurveKeyPair(secretKey: server.secretKey)
        try context.authenticator.admit(domain: server.domain, allowListFile: server.allowListFile)
        try set(handle, ZMQ_CURVE_SERVER, 1)
        try set(handle, ZMQ_CURVE_SECRETKEY, keys.secretKey)
        // Both are needed to fail closed when the handler is gone.
        try set(handle, ZMQ_ZAP_DOMAIN, server.domain)
        try set(handle, ZMQ_ZAP_ENFORCE_DOMAIN, 1)
    case .client(let client)?:
        guard decodeKey(client.serverPublicKey) != nil else {
            throw .invalidKey(reason: "the CURVE server key is not 40 characters of Z85")
        }
        try set(handle, ZMQ_CURVE_SERVERKEY, client.serverPublicKey)
        try set(handle, ZMQ_CURVE_PUBLICKEY, client.keys.publicKey)
        try set(handle, ZMQ_CURVE_SECRETKEY, client.keys.secretKey)
    }
}

private func set(_ handle: UnsafeMutableRawPointer, _ option: Int32, _ value: Int32) throws(ZeroMQError) {
    var value = value
    guard zmq_setsockopt(handle, option, &value, MemoryLayout<Int32>.size) == 0 else {
        throw currentError("setting socket option \(option)")
    }
}

private func set(_ handle: UnsafeMutableRawPointer, _ option: Int32, _ value: String) throws(ZeroMQError) {
    guard zmq_setsockopt(handle, option, value, value.utf8.count) == 0 else {
        throw currentError("setting socket option \(option)")
    }
}

private func currentError(_ operation: String) -> ZeroMQError {
    let code = zmq_errno()
    return code == zmq_context_terminated ? .terminated : .failed(operation: operation, code: code)
}

/// Copies the payload out: the library's pointer is often unaligned and dies with the message.
func bytes(of message: UnsafeMutablePointer<zmq_msg_t>) -> [UInt8] {
    let size = zmq_msg_size(message)
    guard size > 0, let data = zmq_msg_data(message) else { return [] }
    return Array(unsafeUninitializedCapacity: size) { buffer, count in
        memcpy(buffer.baseAddress!, data, size)
        count = size
    }
}
