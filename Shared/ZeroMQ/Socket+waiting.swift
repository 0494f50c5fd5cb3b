import CZeroMQ
import Glibc

extension Socket {
    /// Waits until a message can be received on one of several sockets, for callers that have no event loop.
    ///
    /// - Parameters:
    ///   - sockets: At least one, all of this thread.
    ///   - milliseconds: At most so long.
    /// - Returns: Places in `sockets` of those that have one, ascending; none when the time came first.
    /// - Throws: ``ZeroMQError`` where the library fails.
    public static func waitForMessages(on sockets: [Socket], milliseconds: Int) throws(ZeroMQError) -> [Int] {
        var items = sockets.map { socket in
            guard let handle = socket.handle else { preconditionFailure("the socket is closed") }
            return zmq_pollitem_t(socket: handle, fd: 0, events: Int16(ZMQ_POLLIN), revents: 0)
        }
        let count = zmq_poll(&items, Int32(items.count), milliseconds)
        if count > 0 { return items.indices.filter { items[$0].revents != 0 } }
        guard count < 0 else { return [] }
        let code = zmq_errno()
        if code == EINTR { return [] }
        throw code == zmq_context_terminated ? .terminated : .failed(operation: "waiting", code: code)
    }
}
