import CZeroMQ

/// What happens to the connections of a socket.
public enum SocketEvent: Sendable, Hashable {
    /// A connection is ready for messages.
    case ready
    /// A connection is lost; a connecting socket tries again.
    case disconnected
    /// The server refused the key for good: this socket never tries again, make a new one after a while.
    case refused
    /// The handshake failed for another reason, such as the wrong kind of peer.
    case handshakeFailed
}

/// Tells of the connections of one socket; on that socket's thread, and to be closed before it.
public final class SocketMonitor {
    /// To be watched by the event loop; then take ``next()`` until nil.
    public let socket: Socket
    private let monitored: UnsafeMutableRawPointer

    /// Starts to monitor.
    public init(_ context: Context, of target: Socket) throws(ZeroMQError) {
        guard let handle = target.handle else { preconditionFailure("the socket is closed") }
        let events =
            ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL
            | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH
        let endpoint = "inproc://monitor-\(UInt(bitPattern: handle))"
        guard zmq_socket_monitor(handle, endpoint, events) == 0 else {
            throw .failed(operation: "monitoring a socket", code: zmq_errno())
        }
        monitored = handle
        socket = try Socket(context, .pair)
        try socket.connect(endpoint)
    }

    /// Ends the monitoring.
    public func close() {
        guard socket.handle != nil else { return }
        zmq_socket_monitor(monitored, nil, 0)
        socket.close()
    }

    /// The next event, nil when none waits.
    public func next() throws(ZeroMQError) -> SocketEvent? {
        while let message = try socket.receive() {
            guard let first = message.frames.first, first.count == 6 else { continue }
            let code = Int32(first[0]) | Int32(first[1]) << 8
            let value = Int(first[2]) | Int(first[3]) << 8
            switch code {
            case ZMQ_EVENT_HANDSHAKE_SUCCEEDED: return .ready
            case ZMQ_EVENT_DISCONNECTED: return .disconnected
            case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH where value == 300: return .handshakeFailed
            case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH: return .refused
            case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL, ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL: return .handshakeFailed
            default: continue
            }
        }
        return nil
    }
}
