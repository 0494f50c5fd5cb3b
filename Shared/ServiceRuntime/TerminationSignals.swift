import CPlatform
import Glibc

/// SIGTERM and SIGINT as a readable descriptor; SIGPIPE is ignored.
///
/// Make it first thing in `main`, before any thread is started. Watch ``fileDescriptor`` in an event loop: the first
/// signal asks for a graceful end; call ``exitAtOnce(_:)`` for the second.
public final class TerminationSignals: Sendable {
    /// Readable while a signal waits.
    public let fileDescriptor: Int32

    /// Blocks the signals in this thread and those it starts from now on.
    public init() {
        let descriptor = platform_termination_signalfd()
        precondition(descriptor >= 0, "signalfd failed with error \(-descriptor)")
        fileDescriptor = descriptor
    }

    deinit {
        close(fileDescriptor)
    }

    /// The next signal number, nil when none waits.
    public func next() -> Int32? {
        let signal = platform_signalfd_next(fileDescriptor)
        return signal == 0 ? nil : signal
    }

    /// Ends the process as the signal would have, without cleaning up.
    public static func exitAtOnce(_ signal: Int32) -> Never {
        _exit(128 + signal)
    }
}
