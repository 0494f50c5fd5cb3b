import CZeroMQ
import Glibc

extension Socket {
    /// Waits until a message can be received, for callers that have no event loop.
    ///
    /// - Parameter milliseconds: At most so long.
    /// - Returns: False when none came.
    /// - Throws: ``ZeroMQError`` where the library fails.
    public func waitForMessage(milliseconds: Int) throws(ZeroMQError) -> Bool {
        guard let handle else { preconditionFailure("the socket is closed") }
        var item = zmq_pollitem_t(socket: handle, fd: 0, events: Int16(ZMQ_POLLIN), revents: 0)
        let count = zmq_poll(&item, 1, milliseconds)
        guard count < 0 else { return count > 0 }
        let code = zmq_errno()
        if code == EINTR { return false }
        throw code == zmq_context_terminated ? .terminated : .failed(operation: "waiting", code: code)
    }
}
