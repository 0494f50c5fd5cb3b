import CPlatform
import Glibc

/// A named operating system thread that runs one closure, with termination signals blocked.
public final class ServiceThread: @unchecked Sendable {
    // Written once in init, before anybody can call join; `joined` is guarded by the lock.
    private let handle: pthread_t
    private let lock = Lock()
    private var joined = false

    private final class Body {
        let name: String
        let run: @Sendable () -> Void
        init(name: String, run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }

    /// Starts the thread; the first 15 bytes of `name` are seen in `ps` and `top`.
    public init(name: String, _ body: @escaping @Sendable () -> Void) {
        let context = Unmanaged.passRetained(Body(name: name, run: body)).toOpaque()
        var thread = pthread_t()
        let code = platform_start_thread(
            &thread,
            { context in
                let body = Unmanaged<Body>.fromOpaque(context!).takeRetainedValue()
                platform_name_thread(body.name)
                body.run()
                return nil
            },
            context
        )
        precondition(code == 0, "cannot start thread \(name): error \(-code)")
        handle = thread
    }

    deinit {
        if !joined { pthread_detach(handle) }
    }

    /// Waits for the end of the closure; not from the thread itself.
    public func join() {
        let mine = lock.withLock {
            defer { joined = true }
            return !joined
        }
        if mine { pthread_join(handle, nil) }
    }
}

/// One thread that runs jobs in the order they came: the home of blocking work.
public final class SerialThread: @unchecked Sendable {
    // A class of its own, so that the running thread does not keep the SerialThread alive.
    private final class Queue: @unchecked Sendable {
        let lock = Lock()
        let condition: Condition
        var jobs: [@Sendable () -> Void] = []
        var isStopping = false
        var isWaiting = false

        init() { condition = Condition(lock) }

        func run() {
            var batch: [@Sendable () -> Void] = []
            while true {
                lock.withLock {
                    while jobs.isEmpty && !isStopping {
                        isWaiting = true
                        condition.wait()
                    }
                    isWaiting = false
                    swap(&batch, &jobs)
                }
                if batch.isEmpty { return }
                for job in batch { job() }
                batch.removeAll(keepingCapacity: true)
            }
        }
    }

    private let queue: Queue
    private let thread: ServiceThread
    private let limit: Int
    private let identity = Identity()

    private final class Identity: @unchecked Sendable {
        // Written by the thread itself before its first job, read by it alone to any effect.
        var thread: pthread_t?
    }

    /// Starts the thread.
    ///
    /// - Parameters:
    ///   - name: Seen in `ps` and `top`, cut at 15 bytes.
    ///   - limit: How many jobs may wait; nil for no limit.
    ///   - core: Where it runs; nil: wherever the system puts it.
    public init(name: String, limit: Int? = nil, core: Int? = nil) {
        let queue = Queue()
        let identity = self.identity
        self.queue = queue
        self.limit = limit ?? .max
        thread = ServiceThread(name: name) {
            queue.lock.withLock { identity.thread = pthread_self() }
            // A core that went away since the start leaves the choice to the system.
            if let core { _ = platform_pin_thread(Int32(core)) }
            queue.run()
        }
    }

    deinit {
        stop()
    }

    /// Adds a job.
    ///
    /// - Returns: False, and the job is dropped, when the queue is full or the thread was stopped.
    @discardableResult
    public func async(_ job: @escaping @Sendable () -> Void) -> Bool {
        queue.lock.withLock {
            guard !queue.isStopping, queue.jobs.count < limit else { return false }
            queue.jobs.append(job)
            if queue.isWaiting {
                queue.isWaiting = false
                queue.condition.signal()
            }
            return true
        }
    }

    /// Jobs that wait, without the one that runs.
    public var waitingCount: Int {
        queue.lock.withLock { queue.jobs.count }
    }

    /// Takes no more jobs, finishes those that wait, and returns when all are done.
    ///
    /// Called from a job of this thread it returns at once.
    public func stop() {
        let isSelf = queue.lock.withLock {
            queue.isStopping = true
            queue.condition.broadcast()
            return identity.thread.map { pthread_equal($0, pthread_self()) != 0 } ?? false
        }
        if !isSelf { thread.join() }
    }
}
