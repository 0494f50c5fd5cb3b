/// What went wrong between us and the server.
public struct PostgreSQLError: Error, Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible {
    /// Five characters; nil where the error did not come from the server.
    public var sqlState: String?
    /// The server's or libpq's first line.
    public var message: String
    /// The server's DETAIL; nil where none.
    public var detail: String?
    /// The connection is of no use any more: make another one and start again.
    public var isConnectionLost: Bool
    /// Start of the statement; not part of ``description``, for it may hold what users typed.
    public var statement: String?

    /// Makes an error.
    public init(
        sqlState: String? = nil,
        message: String,
        detail: String? = nil,
        isConnectionLost: Bool = false,
        statement: String? = nil
    ) {
        self.sqlState = sqlState
        self.message = message
        self.detail = detail
        self.isConnectionLost = isConnectionLost
        self.statement = statement
    }

    /// The state of a connection that was refused for its password, or for want of one.
    static let passwordRefused = "28P01"

    /// Nothing helps but another password.
    public var isPasswordRefused: Bool { sqlState == Self.passwordRefused }

    /// The server has no room on its disk; the statement has changed nothing.
    public var isDiskFull: Bool { sqlState == "53100" }

    /// The same statement may succeed when tried again.
    ///
    /// Deadlock, serialisation, lock or statement timeout, lost connection, and a server that lacks disk, memory or
    /// connections or cannot read or write its files.
    public var isRetryable: Bool {
        if isConnectionLost { return true }
        return switch sqlState {
        case "40001", "40P01", "55P03", "57014", "53000", "53100", "53200", "53300", "58030": true
        default: false
        }
    }

    /// The message alone.
    public var description: String { message }

    /// With everything that may help who looks for the cause.
    public var debugDescription: String {
        var text = "PostgreSQL error \(sqlState ?? "-"): \(message)"
        if let detail { text += " (\(detail))" }
        if let statement { text += " in: \(statement)" }
        return text
    }
}
