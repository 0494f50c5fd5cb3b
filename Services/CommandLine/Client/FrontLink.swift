import WireProtocol
import ZeroMQ

/// The connection to the front socket of one coordinator, used by one thread.
final class FrontLink {
    /// What became of a connection since it was last asked.
    struct Changes {
        var becameReady = false
        var isLost = false
        var isRefused = false
        var hasHandshakeFailed = false
    }

    let endpoint: String
    let socket: Socket
    private let monitor: SocketMonitor
    private var isReady = false

    /// Begins to connect.
    init(_ context: Context, _ endpoint: String, options: SocketOptions) throws {
        self.endpoint = endpoint
        socket = try Socket(context, .dealer, options: options)
        monitor = try SocketMonitor(context, of: socket)
        try socket.connect(endpoint)
    }

    deinit {
        monitor.close()
        socket.close()
    }

    /// To be waited for; then ``changes()``.
    var events: Socket { monitor.socket }

    /// Sends a request; false while there is no connection that takes it.
    ///
    /// The socket itself may still queue for a peer whose end the monitor has told of, and the request would be lost there.
    func send(_ frames: [[UInt8]]) throws -> Bool {
        guard isReady else { return false }
        return try socket.send(frames) == .sent
    }

    /// Hands over every reply that has arrived.
    func receive(_ body: (FrontReply) -> Void) throws {
        while let message = try socket.receive() { body(try FrontReply.decode(message.frames)) }
    }

    /// What happened to the connection.
    func changes() throws -> Changes {
        var changes = Changes()
        while let event = try monitor.next() {
            switch event {
            case .ready:
                isReady = true
                changes.becameReady = true
            case .disconnected:
                if isReady { changes.isLost = true }
                isReady = false
            case .handshakeFailed: changes.hasHandshakeFailed = true
            case .refused: changes.isRefused = true
            }
        }
        return changes
    }
}
