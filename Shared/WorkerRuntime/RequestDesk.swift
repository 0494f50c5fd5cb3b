import Glibc
public import ServiceRuntime
public import WireProtocol

/// An answer, ready for the wire.
public struct WorkerAnswer: Sendable {
    /// Where it goes.
    public var origin: RequestOrigin
    /// Frames of the message.
    public var frames: [[UInt8]]
}

extension WorkerRequest {
    /// Encodes the answer to this request; any thread.
    public func answer(_ body: BackBody) -> WorkerAnswer {
        var header = message.header
        header.deadlineMicroseconds = 0
        return WorkerAnswer(origin: origin, frames: BackMessage(body, header).encode())
    }

    /// An answer that says why the request is not served; `code` is one of the front protocol.
    public func failed(_ code: String, _ message: String) -> WorkerAnswer {
        answer(.failed(Failed(code: code, message: message)))
    }
}

/// Takes requests from the links, lets compute threads take them as they please, and sends the answers back.
public final class RequestDesk: @unchecked Sendable {
    // Unchecked, because all that changes is guarded by `lock`, save `deliver`, which is set before any thread uses it.
    /// What the worker is busy with, for heartbeats.
    public struct Load: Sendable, Hashable {
        /// Requests received and not answered.
        public var inFlight: Int
        /// Milliseconds since the slowest compute thread last finished something or was idle.
        public var progressAgeMilliseconds: Int
        /// Requests answered since the start.
        public var answered: UInt64
    }

    /// Takes from the queue what is to be computed next; empty only if nothing that has not expired waits.
    public typealias Taking = @Sendable (inout RequestQueue, _ now: UInt64) -> [WorkerRequest]

    private let lock = Lock()
    private var queue: RequestQueue
    private var running = 0
    private var answered: UInt64 = 0
    private var busySince: [(thread: pthread_t, since: UInt64)?]
    private var idle: [Int]
    private let threads: [SerialThread]
    private let take: Taking
    private let serve: @Sendable ([WorkerRequest], RequestDesk) -> Void
    private var deliver: @Sendable ([WorkerAnswer]) -> Void = { _ in }

    /// Starts the compute threads.
    ///
    /// - Parameters:
    ///   - threads: How many compute, and where.
    ///   - creditPerLink: Most requests of one link that may wait.
    ///   - take: Picks what is computed next; runs under the desk's lock.
    ///   - serve: Runs on a compute thread; answers each request exactly once with ``answer(_:)``, at once or later.
    public init(
        threads: ThreadPlacement,
        creditPerLink: Int,
        take: @escaping Taking,
        serve: @escaping @Sendable ([WorkerRequest], RequestDesk) -> Void
    ) {
        queue = RequestQueue(limitPerLink: creditPerLink)
        busySince = Array(repeating: nil, count: threads.count)
        idle = Array((0..<threads.count).reversed())
        self.threads = (0..<threads.count).map { SerialThread(name: "compute\($0)", core: threads.core(of: $0)) }
        self.take = take
        self.serve = serve
    }

    /// Where answers go; called once, before the first request.
    func connect(_ deliver: @escaping @Sendable ([WorkerAnswer]) -> Void) { self.deliver = deliver }

    /// Takes a request in; false where the queue of its link is full.
    func receive(_ request: WorkerRequest) -> Bool {
        let (isTaken, thread) = lock.withLock {
            guard queue.push(request) else { return (false, Int?.none) }
            return (true, idle.popLast())
        }
        if let thread { threads[thread].async { self.work(thread) } }
        return isTaken
    }

    /// Answers a request that still waits with CANCELLED; one that is computed is answered when it is done.
    func cancel(_ origin: RequestOrigin) {
        guard let request = lock.withLock({ queue.cancel(origin) }) else { return }
        refuse([request.failed("CANCELLED", "the coordinator cancelled this request")])
    }

    /// Removes what waits from a link whose socket is gone.
    func forget(link: Int) { lock.withLock { queue.forget(link: link) } }

    /// Sends answers, all in one hop; any thread.
    public func answer(_ answers: [WorkerAnswer]) {
        guard !answers.isEmpty else { return }
        deliver(answers)
        lock.withLock {
            running -= answers.count
            answered += UInt64(answers.count)
        }
    }

    /// Sends answers to requests that were not computed.
    private func refuse(_ answers: [WorkerAnswer]) {
        guard !answers.isEmpty else { return }
        deliver(answers)
        lock.withLock { answered += UInt64(answers.count) }
    }

    private func refuseExpired(_ expired: [WorkerRequest]) {
        refuse(expired.map { $0.failed("DEADLINE_EXCEEDED", "the deadline passed while the request waited") })
    }

    /// A long computation goes on; called from `serve`, on its thread.
    ///
    /// It says nothing of the other threads.
    public func progressed() {
        let now = ServiceProcess.monotonicMicroseconds()
        let caller = pthread_self()
        lock.withLock {
            for index in busySince.indices where busySince[index]?.thread == caller { busySince[index]?.since = now }
        }
    }

    /// Takes further requests in the midst of `serve`, which must answer them too.
    public func takeBetween(_ take: Taking) -> [WorkerRequest] {
        let (batch, expired) = lock.withLock {
            let taken = take(&queue, ServiceProcess.monotonicMicroseconds())
            running += taken.count
            return (taken, queue.takeExpired())
        }
        refuseExpired(expired)
        return batch
    }

    /// What heartbeats say.
    var load: Load {
        let now = ServiceProcess.monotonicMicroseconds()
        return lock.withLock {
            let oldest = busySince.compactMap { $0?.since }.min() ?? now
            return Load(
                inFlight: queue.count + running,
                progressAgeMilliseconds: now > oldest ? Int((now - oldest) / 1000) : 0,
                answered: answered
            )
        }
    }

    private func work(_ thread: Int) {
        while true {
            let (batch, expired) = lock.withLock {
                let now = ServiceProcess.monotonicMicroseconds()
                let taken = take(&queue, now)
                running += taken.count
                if taken.isEmpty {
                    busySince[thread] = nil
                    idle.append(thread)
                } else {
                    busySince[thread] = (pthread_self(), now)
                }
                return (taken, queue.takeExpired())
            }
            refuseExpired(expired)
            if batch.isEmpty { return }
            serve(batch, self)
        }
    }
}
