import ServiceRuntime

/// Whether a write, or a change of a collection, goes to the database: settled once, between the thread that sends it and the loop that answers.
///
/// A write whose client has its answer already is not sent any more, so that "nothing was written" stays true.
final class WritePassage: @unchecked Sendable {
    // @unchecked: the fields are under the lock.
    private let lock = Lock()
    private var isBegun = false
    private var isClosed = false

    /// The database is about to be given the write; false where it must not be.
    func begin() -> Bool {
        lock.withLock {
            if !isClosed { isBegun = true }
            return isBegun
        }
    }

    /// The client gets its answer; true where the database has been given the write.
    func close() -> Bool {
        lock.withLock {
            isClosed = true
            return isBegun
        }
    }
}

/// The write was answered before the database could be given it.
struct WriteAbandoned: Error {}
