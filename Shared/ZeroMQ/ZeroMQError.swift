import CZeroMQ

/// What can go wrong with a socket.
///
/// A full queue and a vanished peer are no errors but ``Socket/SendOutcome``s.
public enum ZeroMQError: Error, Equatable, CustomStringConvertible {
    /// A live process holds the port or the ipc path.
    case addressInUse(endpoint: String)
    /// The endpoint reaches beyond this machine and the socket has no CURVE keys.
    case insecureEndpoint(endpoint: String, reason: String)
    /// The endpoint cannot be used; the reason says what to change.
    case invalidEndpoint(endpoint: String, reason: String)
    /// A key, key file or allow-list cannot be used.
    case invalidKey(reason: String)
    /// The context is shut down: close the socket and end the thread.
    case terminated
    /// A library call failed; `code` is its errno.
    case failed(operation: String, code: Int32)

    /// One sentence that says what to change.
    public var description: String {
        switch self {
        case .addressInUse(let endpoint): "\(endpoint) is in use by another process that still runs"
        case .insecureEndpoint(let endpoint, let reason): "refused to use \(endpoint) without CURVE keys: \(reason)"
        case .invalidEndpoint(let endpoint, let reason): "cannot use the endpoint \(endpoint): \(reason)"
        case .invalidKey(let reason): reason
        case .terminated: "the ZeroMQ context is shut down"
        case .failed(let operation, let code): "\(operation) failed: \(errorText(code)) (\(code))"
        }
    }
}

func errorText(_ code: Int32) -> String {
    String(cString: zmq_strerror(code))
}
