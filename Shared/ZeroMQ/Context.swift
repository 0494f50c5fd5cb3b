import CZeroMQ
import Glibc

/// The library's context: one per process, alive as long as any of its sockets.
public final class Context: Sendable {
    // The C library allows a context on any thread.
    nonisolated(unsafe) let handle: UnsafeMutableRawPointer
    let authenticator: Authenticator

    /// Makes the context with `ioThreads` threads that move bytes.
    public init(ioThreads: Int = 1) {
        guard let handle = zmq_ctx_new() else {
            preconditionFailure("zmq_ctx_new failed: \(errorText(zmq_errno()))")
        }
        zmq_ctx_set(handle, ZMQ_IO_THREADS, Int32(ioThreads))
        zmq_ctx_set(handle, ZMQ_BLOCKY, 0)
        self.handle = handle
        authenticator = Authenticator(context: handle)
    }

    deinit {
        authenticator.stop()
        while zmq_ctx_term(handle) != 0 && zmq_errno() == EINTR {}
    }

    /// Makes every call on every socket throw ``ZeroMQError/terminated`` from now on.
    public func shutdown() {
        zmq_ctx_shutdown(handle)
    }

    /// Who asked to connect to the CURVE sockets of this context, and the state of their allow-lists.
    public var authenticationReport: AuthenticationReport { authenticator.report }
}
