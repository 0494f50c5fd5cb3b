import DocumentStore
import PostgreSQL
import ServiceRuntime
import ZeroMQ

/// One thread with one connection: the only place where this process waits for PostgreSQL.
///
/// Answers come back on the event loop. The connection is made anew when it was lost.
final class StoreThread: @unchecked Sendable {
    private let thread: SerialThread
    private let settings: ConnectionSettings
    private let loop: EventLoop
    private let lock = Lock()
    private var canceller: Connection.Canceller?
    // Used on the thread alone.
    private var store: Store?
    // Used on the loop alone.
    private var underWay: Set<Recurring> = []

    /// Jobs that come again by themselves.
    enum Recurring: Hashable {
        case lease
        case collections
        case placement
        case incarnations
        case reservedIncarnations
        case generation(UInt32)
        case lists(UInt32)
        case model(String)
        case operations
        case maintenance
    }

    init(name: String, settings: ConnectionSettings, loop: EventLoop, waitingMax: Int? = nil) {
        thread = SerialThread(name: name, limit: waitingMax)
        self.settings = settings
        self.loop = loop
    }

    /// Runs `job` on the thread and `then` on the loop.
    ///
    /// - Returns: False, and nothing runs, where too many jobs wait.
    @discardableResult
    func run<Value: Sendable>(
        _ job: @escaping @Sendable (Store) throws -> Value,
        then: @escaping @Sendable (Result<Value, any Error>) -> Void
    ) -> Bool {
        thread.async { [self] in
            let result = Result { try job(try usableStore()) }
            loop.enqueue { then(result) }
        }
    }

    /// Runs a job that comes again by itself, unless one of its kind waits or runs; called on the loop.
    ///
    /// - Returns: False where nothing runs. However long PostgreSQL takes, such jobs do not pile up.
    @discardableResult
    func run<Value: Sendable>(
        _ kind: Recurring,
        _ job: @escaping @Sendable (Store) throws -> Value,
        then: @escaping @Sendable (Result<Value, any Error>) -> Void
    ) -> Bool {
        guard underWay.insert(kind).inserted else { return false }
        let isTaken = run(job) { [self] result in
            underWay.remove(kind)
            then(result)
        }
        if !isTaken { underWay.remove(kind) }
        return isTaken
    }

    /// A job of this kind waits or runs; asked on the loop.
    func isUnderWay(_ kind: Recurring) -> Bool { underWay.contains(kind) }

    /// Jobs that wait, without the one that runs.
    var waitingCount: Int { thread.waitingCount }

    /// Calls `then` on the loop once all that waits now is done.
    ///
    /// - Returns: False, and nothing is called, where too many jobs wait.
    func afterAll(_ then: @escaping @Sendable () -> Void) -> Bool {
        thread.async { [loop] in loop.enqueue(then) }
    }

    /// Asks the server to stop the statement under way, without waiting for it: it may hang.
    func cancel() {
        guard let canceller = lock.withLock({ canceller }) else { return }
        _ = ServiceThread(name: "cancel") { canceller.cancel() }
    }

    private func usableStore() throws -> Store {
        if let store, store.connection.isUsable { return store }
        store = nil
        let fresh = Store(try Connection(settings))
        store = fresh
        lock.withLock { canceller = fresh.connection.canceller() }
        return fresh
    }
}

extension Error {
    /// The database could not be reached, as opposed to its having refused something.
    var isDatabaseAway: Bool {
        if let error = self as? StoreError { return error.isConnectionLost }
        if let error = self as? PostgreSQLError { return error.isConnectionLost || error.sqlState == nil }
        return false
    }
}
