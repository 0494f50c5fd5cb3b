public import DocumentStore
public import PostgreSQL
public import ServiceRuntime

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// A connection to the store that is made anew when it is lost, not more often than its backoff allows.
///
/// For one thread.
public final class StoreSession {
    private static let backoffMicroseconds: ClosedRange<UInt64> = 100_000...2_000_000

    private let settings: ConnectionSettings
    private var opened: (connection: Connection, store: Store)?
    private var backoff = backoffMicroseconds.lowerBound
    private var notBefore: UInt64 = 0

    /// Connects when first used.
    public init(_ settings: ConnectionSettings) { self.settings = settings }

    /// A connection was made and not lost since.
    public var isOpen: Bool { opened != nil }
    /// The connection, if there is one.
    public var connection: Connection? { opened?.connection }
    /// Microseconds until another attempt to connect is allowed; 0: now.
    public var pauseMicroseconds: UInt64 {
        let now = ServiceProcess.monotonicMicroseconds()
        return notBefore > now ? notBefore - now : 0
    }

    /// The store, connected where it was not.
    ///
    /// - Throws: `PostgreSQLError`, at once while the backoff runs.
    public func store() throws -> Store {
        if let opened, opened.connection.isUsable { return opened.store }
        opened = nil
        guard pauseMicroseconds == 0 else {
            throw PostgreSQLError(message: "the database was not reachable a moment ago", isConnectionLost: true)
        }
        do {
            let connection = try Connection(settings)
            let store = Store(connection)
            opened = (connection, store)
            backoff = Self.backoffMicroseconds.lowerBound
            return store
        } catch {
            // Jitter, so that the workers of a cluster do not come back all at once.
            notBefore = ServiceProcess.monotonicMicroseconds() + backoff + UInt64.random(in: 0...backoff / 4)
            backoff = min(backoff * 2, Self.backoffMicroseconds.upperBound)
            throw error
        }
    }

    /// Runs `body`; a connection that it loses is closed.
    public func use<R>(_ body: (Store) throws -> R) throws -> R {
        let store = try store()
        do {
            return try body(store)
        } catch {
            if opened?.connection.isUsable == false || postgreSQLError(error)?.isConnectionLost == true {
                opened = nil
            }
            throw error
        }
    }

    /// Gives the connection up.
    public func close() { opened = nil }

    /// Checks at the start of a process that the database is there and fits; waits up to 5 s for it.
    public static func check(_ settings: ConnectionSettings) throws(StartupFailure) {
        let giveUpAt = ServiceProcess.monotonicMicroseconds() + 5_000_000
        while true {
            do {
                try Store(Connection(settings)).checkSchema()
                return
            } catch let error as StoreError where error.isSchema {
                throw StartupFailure("\(error)")
            } catch {
                if postgreSQLError(error)?.mayPass == true, ServiceProcess.monotonicMicroseconds() < giveUpAt {
                    usleep(200_000)
                    continue
                }
                throw StartupFailure("cannot use the database: \(error)")
            }
        }
    }
}

extension PostgreSQLError {
    /// Starting up, shutting down, or nobody listens yet: worth another try within seconds.
    fileprivate var mayPass: Bool {
        if let sqlState { return ["57P01", "57P02", "57P03", "53300"].contains(sqlState) }
        // libpq gives no state for a failed connection, only words.
        return isConnectionLost
            && ["refused", "No such file", "starting up", "shutting down", "not yet accepting"]
                .contains { message.contains($0) }
    }
}

/// The server's error behind an error of the store.
func postgreSQLError(_ error: any Error) -> PostgreSQLError? {
    if case .database(let inner)? = error as? StoreError { return inner }
    return error as? PostgreSQLError
}

/// The tables of a collection are not there any more.
func isTableGone(_ error: any Error) -> Bool {
    if case .unknownCollection? = error as? StoreError { return true }
    return ["42P01", "3F000"].contains(postgreSQLError(error)?.sqlState)
}

extension StoreError {
    /// The schema does not fit this build; the sentence says what to do.
    fileprivate var isSchema: Bool { if case .schema = self { true } else { false } }
}
