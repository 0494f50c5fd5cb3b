import Coordination
import DocumentStore
import Glibc
import Logging
import Matryoshka
import PostgreSQL
import ServiceRuntime
import WireProtocol
import ZeroMQ

/// The coordinator: two ROUTERs, the running requests, and what it knows of workers and collections.
///
/// Everything here is used on the event loop's thread alone, hence `@unchecked Sendable`; PostgreSQL is reached through
/// ``StoreThread``s whose answers come back to the loop.
final class CoordinatorService: @unchecked Sendable {
    /// A search or a write under way.
    struct Running {
        enum Kind {
            /// A search that has no plan yet.
            case unplanned
            case search(SearchMachine)
            case encode
            case write
        }
        var client: [UInt8]
        /// Who asks, across connections: the CURVE key, or the name that the client gives itself.
        var identity: String
        var prefix: [[UInt8]]
        var id: String
        var kind: Kind
        var cost: Int
        /// Of a search, what ``Admission`` has counted for it.
        var rows = 0
        var collection: UInt32
        var deadline: UInt64
        var started: UInt64
        /// Of a write that has been handed to the database's thread.
        var passage: WritePassage?
        var timers: [TimerID] = []
        /// Numbers of its requests to workers, with the search's part.
        var asked: [UInt64: Int] = [:]
        var traceHigh: UInt64
        var traceLow: UInt64
    }

    /// A message to a worker that has not been answered.
    struct Sent {
        enum Owner {
            case search(UInt64, part: Int)
            case encode(UInt64)
            /// Texts of an upsert: the answer goes to the closure (nil: failed, with the reason).
            case texts(UInt64, (Result<Vectors, FrontError>) -> Void)
            /// What a collection has to learn.
            case training(UInt32)
            /// Nobody waits any more; the answer gives the credit back.
            case nobody

            /// The request that waits for it.
            var key: UInt64? {
                switch self {
                case .search(let key, _), .encode(let key), .texts(let key, _): key
                case .training, .nobody: nil
                }
            }
        }
        var owner: Owner
        var worker: UInt64
        var at: UInt64
        /// The worker may have begun with it: its death may be this request's doing.
        var isWithWorker = false
    }

    /// A message that waits for a worker's credit.
    struct Waiting {
        var number: UInt64
        var message: BackMessage
        var deadline: UInt64
        var since: UInt64
    }

    let loop: EventLoop
    let context: Context
    let front: Socket
    let back: Socket
    let settings: Settings
    let signals: TerminationSignals
    let log: Logger
    let name: String
    let incarnation: UInt64
    let control: StoreThread
    let writes: StoreThread
    let changes: StoreThread
    let reads: StoreThread
    let operations: StoreThread
    let startedAt: UInt64

    // Workers and shards.
    var registry: WorkerRegistry
    var directory = ShardDirectory() { didSet { noteRows() } }
    /// By collection and logical shard, the rows of a ready replica when one was last there.
    var knownRows: [UInt32: [Int]] = [:]
    var placement = Placement()
    /// Bytes that each logical shard took when it was last reported.
    var shardBytes: [Holding: [Int]] = [:]
    var epoch: UInt64 = 0
    var incarnations: Incarnations
    /// By route, workers whose incarnation no coordinator may have reserved: PostgreSQL is asked.
    var unconfirmed: [[UInt8]: (Register, BackHeader)] = [:]
    var maps = MapDeliveries()
    var placeNotBefore: UInt64

    // Collections.
    var collections: [UInt32: CollectionRecord] = [:]
    var names: [String: UInt32] = [:]
    var pendingCounts: [String: Int] = [:]
    var trainings: [UInt32: Training] = [:]
    /// Called with what the next reading of the collections brings.
    var awaitingCollections: [@Sendable () -> Void] = []

    // Leadership.
    var term: Int64?
    var leaseValidUntil: UInt64 = 0
    var leaseAskedAt: UInt64 = 0
    var databaseReachable = true

    // Requests.
    var running: [UInt64: Running] = [:]
    var byClientID: [[UInt8]: UInt64] = [:]
    var nextKey: UInt64 = 1
    var sent: [UInt64: Sent] = [:]
    var nextNumber: UInt64
    var waiting: [UInt64: [Waiting]] = [:]
    var waits = SearchableWaits<UInt64>()
    var followLag = FollowLag()
    var waitReplies: [UInt64: WriteReply] = [:]
    var admission: Admission
    var outbox = Outbox()
    var isFlushPlanned = false
    var metrics = SearchMetrics()
    var stopping = false
    /// The lease is given back and nothing new is begun.
    var isEnding = false
    /// Threads that still wait for PostgreSQL at the end.
    private var storesLeft = 0

    /// Queries waiting for one worker's credit before OVERLOADED.
    static let waitingPerWorkerMax = 1024
    static let writesWaitingMax = 256
    /// Changes of collections that wait for the database.
    static let changesWaitingMax = 64
    /// Time for statements to end that were cancelled because the process shall end.
    static let cancelledMicroseconds: UInt64 = 500_000

    init(settings: Settings, signals: TerminationSignals) throws {
        self.settings = settings
        self.signals = signals
        log = Logger(label: "coordinator")
        loop = try EventLoop(name: "coordinator")
        startedAt = EventLoop.nowMicroseconds()
        let database = ConnectionSettings(url: settings[.databaseURL], applicationName: "mrl-coordinator")
        let store: Store
        do {
            store = Store(try Connection(database))
        } catch {
            throw StartupFailure(
                error.isPasswordRefused
                    ? "cannot use the database: \(error)"
                    : "the database cannot be reached: \(error); set DATABASE_URL or --database-url"
            )
        }
        try store.checkSchema()
        var block = try store.reserveIncarnations(count: Incarnations.blockCount)
        incarnation = block.removeFirst()
        incarnations = Incarnations(block)
        // A late answer to a coordinator that was here before fits none of this one's requests.
        nextNumber = incarnation << 32
        var host = [CChar](repeating: 0, count: 256)
        gethostname(&host, 255)
        name = String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) + ":\(getpid())"
        let stored = try store.loadAssignments()
        epoch = stored.epoch
        // After a restart, workers that still hold their shards get time to come back before shards are dealt anew.
        placeNotBefore = startedAt + (stored.rows.isEmpty ? 300_000 : 2_500_000)
        for record in try store.collections() { collections[record.shape.collection] = record }

        registry = WorkerRegistry(hungMilliseconds: settings[.coordinatorHungMilliseconds])
        admission = Admission(
            total: settings[.coordinatorInflightMax],
            perClient: settings[.coordinatorClientInflightMax],
            rows: settings[.coordinatorRowsMax]
        )
        context = Context()
        var frontOptions = SocketOptions()
        // libzmq counts messages, and one may have megabytes: few in its queues, in both directions, bound what a
        // client can pile up there. Replies that find no room wait in the outbox, which is bounded in bytes.
        frontOptions.sendHighWater = 4
        frontOptions.receiveHighWater = 8
        frontOptions.maxMessageBytes = Int64(FrontLimits.requestBytesMax) + 64
        frontOptions.totalBytesMax = FrontLimits.requestBytesMax + FrontLimits.headerBytesMax + 4096
        let doors = try GuardedDoors(settings)
        frontOptions.curve = doors.front
        front = try Socket(context, .router, options: frontOptions)
        for endpoint in settings[.coordinatorFront] { try front.bind(endpoint) }
        var backOptions = SocketOptions()
        backOptions.sendHighWater = 10_000
        backOptions.receiveHighWater = 10_000
        backOptions.curve = doors.back
        back = try Socket(context, .router, options: backOptions)
        for endpoint in settings[.coordinatorBack] { try back.bind(endpoint) }
        if let problem = context.authenticationReport.problem { throw StartupFailure(problem) }

        control = StoreThread(name: "store-control", settings: database, loop: loop)
        writes = StoreThread(name: "store-writes", settings: database, loop: loop, waitingMax: Self.writesWaitingMax)
        changes = StoreThread(
            name: "store-changes",
            settings: database,
            loop: loop,
            waitingMax: Self.changesWaitingMax
        )
        reads = StoreThread(name: "store-reads", settings: database, loop: loop, waitingMax: 1024)
        operations = StoreThread(name: "store-ops", settings: database, loop: loop, waitingMax: 8)
        renameCollections()
    }

    /// Serves until it is told to stop.
    func serve() throws {
        loop.watch(front) { [self] in drain(front, frontReceived) }
        loop.watch(back) { [self] in drain(back, backReceived) }
        loop.watch(fileDescriptor: signals.fileDescriptor) { [self] in
            while let signal = signals.next() {
                if stopping { TerminationSignals.exitAtOnce(signal) }
                beginStop()
            }
        }
        every(100_000) { [self] in tick() }
        every(1_000_000) { [self] in leadershipTick() }
        every(500_000) { [self] in refreshCollections() }
        every(5_000_000) { [self] in
            flushOperations()
            // What a storm of large messages took goes back to the system.
            if running.isEmpty { ServiceProcess.returnFreeMemory() }
        }
        every(3_600_000_000) { [self] in
            // New days of the change log, its retention, and tables of dropped collections.
            if isLeader { operations.run(.maintenance, { try $0.maintain() }, then: { _ in }) }
        }
        leadershipTick()
        log.notice(
            "ready",
            metadata: [
                "front": "\(settings[.coordinatorFront].joined(separator: ","))",
                "back": "\(settings[.coordinatorBack].joined(separator: ","))",
                "incarnation": "\(incarnation)",
            ]
        )
        loop.run()
    }

    /// Time on the loop's clock.
    var now: UInt64 { EventLoop.nowMicroseconds() }

    private func drain(_ socket: Socket, _ handle: (ReceivedMessage) -> Void) {
        do {
            try socket.drain(upTo: 64, handle)
        } catch {
            log.error("receiving failed", metadata: ["reason": "\(error)"])
        }
    }

    private func every(_ microseconds: Int, _ job: @escaping () -> Void) {
        _ = loop.schedule(afterMicroseconds: microseconds) { [self] in
            job()
            every(microseconds, job)
        }
    }

    private func tick() {
        flushOutbox()
        for worker in registry.silent(for: UInt64(settings[.coordinatorDeadMilliseconds]) * 1000, now: now) {
            log.warning("worker lost: no sign of life", metadata: ["worker": "\(worker)"])
            workerLost(worker)
        }
        probeOwing()
        settleWaits()
        dropExpired()
        place()
    }

    private func dropExpired() {
        let time = now
        for worker in Array(waiting.keys) {
            let expired = waiting[worker, default: []].filter { $0.deadline <= time }
            guard !expired.isEmpty else { continue }
            waiting[worker]?.removeAll { $0.deadline <= time }
            for entry in expired { deliverFailure(entry.number, Self.expiredWaiting) }
        }
    }

    // MARK: Stop

    private func beginStop() {
        stopping = true
        log.notice("stopping", metadata: ["in_flight": "\(running.count)"])
        let until = now + UInt64(settings[.workerGraceSeconds]) * 1_000_000
        finishStop(until)
    }

    private func finishStop(_ until: UInt64) {
        flushOutbox()
        guard running.isEmpty && outbox.isEmpty || now >= until else {
            _ = loop.schedule(afterMicroseconds: 20_000) { [self] in finishStop(until) }
            return
        }
        flushOperations(isLast: true)
        finishStores(until: max(until, now + Self.cancelledMicroseconds))
    }

    /// Lets what waits for PostgreSQL end, beside the loop: it still reads signals, and PostgreSQL may hang.
    private func finishStores(until: UInt64) {
        isEnding = true
        if let term {
            control.run({ try $0.releaseLease(term: term) }, then: { _ in })
        }
        let stores = [control, writes, changes, operations]
        storesLeft = stores.count
        for store in stores { awaitEnd(of: store) }
        let patience = Int(until - min(until, now))
        _ = loop.schedule(afterMicroseconds: patience - Int(Self.cancelledMicroseconds)) {
            for store in stores { store.cancel() }
        }
        _ = loop.schedule(afterMicroseconds: patience) { [self] in
            guard storesLeft > 0 else { return }
            log.warning("the database does not answer: what waits for it is given up")
            storesLeft = 0
            close()
        }
    }

    private func awaitEnd(of store: StoreThread) {
        let isQueued = store.afterAll { [self] in
            guard storesLeft > 0 else { return }
            storesLeft -= 1
            if storesLeft == 0 { close() }
        }
        if !isQueued { _ = loop.schedule(afterMicroseconds: 20_000) { [self] in awaitEnd(of: store) } }
    }

    private func close() {
        // The last replies are in libzmq's queues; its I/O thread needs a moment, since nothing lingers after close.
        _ = loop.schedule(afterMicroseconds: 50_000) { [self] in
            front.close()
            back.close()
            loop.stop()
        }
    }
}
