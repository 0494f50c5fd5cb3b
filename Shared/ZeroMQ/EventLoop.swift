import CPlatform
import CZeroMQ
import Glibc
import ServiceRuntime

/// Waits for sockets, descriptors, timers and jobs of other threads, and runs their callbacks on one thread.
///
/// Set it up on any one thread, then call ``run()``; from then on all but ``enqueue(_:)`` and ``stop()`` is for the
/// running thread alone, which is checked. A callback runs again as long as its socket is readable: take up to 64
/// messages (``Socket/drain(upTo:_:)``) and return. Idle it sleeps without waking up.
public final class EventLoop: @unchecked Sendable {
    // @unchecked: what other threads touch is under the lock; the rest is confined to the running thread, as checked.
    private struct Watch {
        let socket: Socket?
        let fileDescriptor: Int32
        var callback: (() -> Void)?
    }

    private let name: String
    private let wakeUp: Int32
    private let lock = Lock()
    private var waitingJobs: [@Sendable () -> Void] = []
    private var isSleeping = false
    private var isStopped = false
    private var owner: pthread_t?

    private var watches: [Watch] = []
    private var items: [zmq_pollitem_t] = []
    private var watchesChanged = true
    private var timers = TimerQueue()

    /// Makes a loop; the running thread takes its name.
    public init(name: String) throws(ZeroMQError) {
        let descriptor = platform_eventfd()
        guard descriptor >= 0 else { throw .failed(operation: "eventfd", code: -descriptor) }
        self.name = name
        wakeUp = descriptor
    }

    deinit {
        close(wakeUp)
    }

    /// Microseconds on the monotonic clock.
    public static func nowMicroseconds() -> UInt64 {
        platform_monotonic_microseconds()
    }

    /// Calls `onReadable` whenever messages wait, until ``unwatch(_:)``; unwatch a socket before closing it.
    public func watch(_ socket: Socket, _ onReadable: @escaping () -> Void) {
        checkThread()
        watches.append(Watch(socket: socket, fileDescriptor: 0, callback: onReadable))
        watchesChanged = true
    }

    /// Ends the watch; the callback is not called again, not even in this round.
    public func unwatch(_ socket: Socket) {
        forget { $0.socket === socket }
    }

    /// Calls `onReadable` whenever the descriptor is readable or broken, until ``unwatch(fileDescriptor:)``.
    public func watch(fileDescriptor: Int32, _ onReadable: @escaping () -> Void) {
        checkThread()
        watches.append(Watch(socket: nil, fileDescriptor: fileDescriptor, callback: onReadable))
        watchesChanged = true
    }

    /// Ends the watch.
    public func unwatch(fileDescriptor: Int32) {
        forget { $0.socket == nil && $0.fileDescriptor == fileDescriptor }
    }

    /// Runs `job` once, not before the time and at most about a millisecond after it when the loop is idle.
    ///
    /// Jobs run in the order of their times, those of the same time in the order they were scheduled.
    @discardableResult
    public func schedule(afterMicroseconds delay: Int, _ job: @escaping () -> Void) -> TimerID {
        checkThread()
        return timers.add(deadline: Self.nowMicroseconds() + UInt64(max(0, delay)), job)
    }

    /// Drops a timer; one that ran or was dropped already is ignored.
    public func cancel(_ timer: TimerID) {
        checkThread()
        timers.cancel(timer)
    }

    /// Runs `job` on the loop's thread, after those enqueued before; for any thread.
    ///
    /// The job is dropped once the loop has stopped.
    public func enqueue(_ job: @escaping @Sendable () -> Void) {
        let wakes = lock.withLock {
            waitingJobs.append(job)
            defer { isSleeping = false }
            return isSleeping
        }
        if wakes { platform_eventfd_signal(wakeUp) }
    }

    /// Makes ``run()`` return after the jobs enqueued so far; for any thread, and before `run` too.
    public func stop() {
        let wakes = lock.withLock {
            isStopped = true
            defer { isSleeping = false }
            return isSleeping
        }
        if wakes { platform_eventfd_signal(wakeUp) }
    }

    /// Whether the caller runs on this loop's thread, or the loop does not run.
    public var isCurrent: Bool {
        lock.withLock { owner.map { pthread_equal($0, pthread_self()) != 0 } ?? true }
    }

    /// Runs callbacks on the calling thread until ``stop()``, or until the context is shut down.
    public func run() {
        lock.withLock {
            precondition(owner == nil, "the event loop \(name) runs already")
            owner = pthread_self()
        }
        platform_name_thread(name)
        defer { end() }

        var jobs: [@Sendable () -> Void] = []
        while true {
            let stops = lock.withLock {
                swap(&jobs, &waitingJobs)
                isSleeping = jobs.isEmpty && !isStopped
                return isStopped
            }
            for job in jobs { job() }
            let ranJobs = !jobs.isEmpty
            jobs.removeAll(keepingCapacity: true)
            if stops { return }
            guard poll(timeoutMilliseconds: ranJobs ? 0 : millisecondsToNextTimer()) else { return }
            runDueTimers()
        }
    }

    /// Waits, then calls back; false when the context is gone.
    private func poll(timeoutMilliseconds: Int) -> Bool {
        if watchesChanged { rebuildItems() }
        let count = zmq_poll(&items, Int32(items.count), timeoutMilliseconds)
        let code = count < 0 ? zmq_errno() : 0
        lock.withLock { isSleeping = false }
        if code == zmq_context_terminated { return false }
        precondition(
            code == 0 || code == EINTR,
            "zmq_poll of \(name): \(errorText(code)); was a watched socket closed?"
        )
        guard count > 0 else { return true }
        if items[0].revents != 0 { platform_eventfd_clear(wakeUp) }
        // Watches that callbacks add wait for the next round; those that they end are skipped by their nil callback.
        for index in 1..<items.count where items[index].revents != 0 {
            watches[index - 1].callback?()
        }
        return true
    }

    private func rebuildItems() {
        watches.removeAll { $0.callback == nil }
        let input = Int16(ZMQ_POLLIN)
        items = [zmq_pollitem_t(socket: nil, fd: wakeUp, events: input, revents: 0)]
        for watch in watches {
            let events = watch.socket == nil ? input | Int16(ZMQ_POLLERR) : input
            items.append(
                zmq_pollitem_t(socket: watch.socket?.handle, fd: watch.fileDescriptor, events: events, revents: 0)
            )
            precondition(watch.socket == nil || watch.socket?.handle != nil, "a watched socket was closed")
        }
        watchesChanged = false
    }

    private func forget(_ matches: (Watch) -> Bool) {
        checkThread()
        for index in watches.indices where matches(watches[index]) { watches[index].callback = nil }
        watchesChanged = true
    }

    private func millisecondsToNextTimer() -> Int {
        guard let deadline = timers.nextDeadline() else { return -1 }
        let now = Self.nowMicroseconds()
        return deadline <= now ? 0 : Int(min((deadline - now + 999) / 1_000, 3_600_000))
    }

    /// Only what is due now: a timer of zero delay set by a timer waits for the next round, so sockets get their turn.
    private func runDueTimers() {
        guard timers.liveCount > 0 else { return }
        let now = Self.nowMicroseconds()
        while let job = timers.popDue(now: now) {
            job()
        }
    }

    /// Frees all callbacks: they often hold what holds the loop.
    private func end() {
        watches.removeAll()
        items.removeAll()
        timers.removeAll()
        watchesChanged = true
        let dropped = lock.withLock {
            owner = nil
            isStopped = true
            defer { waitingJobs.removeAll() }
            return waitingJobs
        }
        _ = dropped
    }

    private func checkThread() {
        precondition(isCurrent, "the event loop \(name) is used from another thread")
    }
}

/// Holds what belongs to an event loop, so that `@Sendable` jobs can carry it there; any other thread traps.
public final class LoopBound<Value>: @unchecked Sendable {
    // @unchecked: the value is only reached on the loop's thread, as checked.
    private let loop: EventLoop
    private var stored: Value

    /// Binds the value to the loop.
    public init(_ value: Value, to loop: EventLoop) {
        self.loop = loop
        stored = value
    }

    /// The value, for the thread of the loop.
    public var value: Value {
        get {
            precondition(loop.isCurrent, "a value of an event loop is used from another thread")
            return stored
        }
        set {
            precondition(loop.isCurrent, "a value of an event loop is used from another thread")
            stored = newValue
        }
    }
}
