private import CPostgreSQL

#if canImport(Glibc)
private import Glibc
#else
private import Musl
#endif

// Unchecked, because a connection is made on one thread and then handed to the one that uses it.

/// One connection to the server.
///
/// All calls block, none for ever: the server gives up at its statement timeout, and we give up a server that says
/// nothing. After an error with ``PostgreSQLError/isConnectionLost`` it is of no use.
///
/// libpq allows one thread at a time; the owner sees to it. Only ``canceller()`` is for other threads.
public final class Connection: @unchecked Sendable {
    private let handle: OpaquePointer
    private let settings: ConnectionSettings
    private var prepared: [String: (name: String, usedAt: Int)] = [:]
    private var preparedCount = 0
    private var preparedUses = 0
    private var isGivenUp = false
    private var isUnlimited = false

    /// Connects and sets the time limits.
    public init(_ settings: ConnectionSettings = ConnectionSettings()) throws(PostgreSQLError) {
        let keywords = settings.keywords
        // Freed below, after libpq has copied them.
        let names: [UnsafeMutablePointer<CChar>?] = keywords.map { strdup($0.0) } + [nil]
        let values: [UnsafeMutablePointer<CChar>?] = keywords.map { strdup($0.1) } + [nil]
        defer {
            for pointer in names + values { free(pointer) }
        }
        let opened = names.map { UnsafePointer($0) }.withUnsafeBufferPointer { names in
            values.map { UnsafePointer($0) }.withUnsafeBufferPointer { values in
                PQconnectdbParams(names.baseAddress, values.baseAddress, 1)
            }
        }
        guard let opened else { throw PostgreSQLError(message: "out of memory", isConnectionLost: true) }
        // A class that throws after its last property is set would be freed twice, so look first.
        guard PQstatus(opened) == CONNECTION_OK else {
            let error = refusal(by: opened)
            PQfinish(opened)
            throw error
        }
        PQsetNoticeProcessor(opened, { _, _ in }, nil)
        PQsetnonblocking(opened, 1)
        handle = opened
        self.settings = settings
        try run(
            script: """
                SET statement_timeout = \(settings.statementTimeoutMilliseconds);
                SET lock_timeout = \(settings.lockTimeoutMilliseconds);
                SET idle_in_transaction_session_timeout = '60s';
                """
        )
    }

    deinit { PQfinish(handle) }

    /// Whether it was not lost, as far as we know.
    public var isUsable: Bool { !isGivenUp && PQstatus(handle) == CONNECTION_OK }
    /// For poll(2), to wait for notifications.
    public var fileDescriptor: Int32 { PQsocket(handle) }
    /// Process id of the server's side.
    public var serverProcessID: Int32 { PQbackendPID(handle) }

    // MARK: - Statements

    /// Statements that stay prepared; each costs the server's process memory.
    public static let preparedMax = 64

    /// Runs one statement.
    ///
    /// - Parameters:
    ///   - sql: Refers to the parameters as `$1`, `$2`, …
    ///   - parameters: Sent in binary.
    ///   - isPrepared: Keep the statement prepared for the next time; for statements that run often with the same text.
    ///     Of more than ``preparedMax`` the server forgets those that were not used for longest.
    /// - Returns: Its rows.
    /// - Throws: What the server or libpq says.
    @discardableResult
    public func execute(
        _ sql: String,
        _ parameters: [Parameter] = [],
        isPrepared: Bool = false
    ) throws(PostgreSQLError) -> QueryResult {
        let types = parameters.map { Oid($0.typeOID) }
        let name = isPrepared ? try prepare(sql, types) : nil
        let encoded = parameters.map(\.encoded)
        // One block for all values keeps every pointer alive over the call.
        var block: [UInt8] = []
        block.reserveCapacity(encoded.reduce(0) { $0 + ($1?.count ?? 0) })
        for value in encoded { block.append(contentsOf: value ?? []) }
        let lengths = encoded.map { Int32($0?.count ?? 0) }
        let formats = [Int32](repeating: 1, count: encoded.count)
        let isSent = block.withUnsafeBytes { bytes in
            // An empty value must not be a null pointer, which means NULL.
            let empty: StaticString = ""
            let base = bytes.baseAddress ?? UnsafeRawPointer(empty.utf8Start)
            var offset = 0
            var values: [UnsafePointer<CChar>?] = []
            for value in encoded {
                values.append(value == nil ? nil : (base + offset).assumingMemoryBound(to: CChar.self))
                offset += value?.count ?? 0
            }
            return if let name {
                PQsendQueryPrepared(handle, name, Int32(values.count), values, lengths, formats, 1)
            } else {
                PQsendQueryParams(handle, sql, Int32(values.count), types, values, lengths, formats, 1)
            }
        }
        guard isSent == 1 else { throw failure(in: sql) }
        return try result(of: sql)
    }

    /// Runs statements without parameters, in one transaction unless they say otherwise.
    public func run(script: String) throws(PostgreSQLError) {
        guard PQsendQuery(handle, script) == 1 else { throw failure(in: script) }
        _ = try result(of: script)
    }

    private func prepare(_ sql: String, _ types: [Oid]) throws(PostgreSQLError) -> String {
        preparedUses += 1
        if let known = prepared[sql] {
            prepared[sql]?.usedAt = preparedUses
            return known.name
        }
        if prepared.count >= Self.preparedMax, let oldest = prepared.min(by: { $0.value.usedAt < $1.value.usedAt }) {
            try run(script: "DEALLOCATE \(oldest.value.name)")
            prepared[oldest.key] = nil
        }
        preparedCount += 1
        let name = "s\(preparedCount)"
        guard PQsendPrepare(handle, name, sql, Int32(types.count), types) == 1 else { throw failure(in: sql) }
        _ = try result(of: sql)
        prepared[sql] = (name, preparedUses)
        return name
    }

    // MARK: - Transactions

    /// Runs `body` in a transaction, and rolls back if it throws; `mode` is for example `READ ONLY`.
    public func transaction<R>(_ mode: String = "", _ body: () throws -> R) throws -> R {
        try run(script: "BEGIN \(mode)")
        let value: R
        do {
            value = try body()
        } catch {
            // If this fails too, the connection is lost, and the server rolls back by itself.
            if isUsable { try? run(script: "ROLLBACK") }
            throw error
        }
        try run(script: "COMMIT")
        return value
    }

    /// Runs `body` without the statement timeout, here and on the server.
    public func withoutStatementTimeout<R>(_ body: () throws -> R) throws -> R {
        try run(script: "SET statement_timeout = 0")
        isUnlimited = true
        defer {
            isUnlimited = false
            if isUsable { try? run(script: "SET statement_timeout = \(settings.statementTimeoutMilliseconds)") }
        }
        return try body()
    }

    // MARK: - COPY

    /// Runs a `COPY … TO STDOUT (FORMAT binary)` and hands out its stream piece by piece.
    public func copyOut(_ sql: String, _ piece: (UnsafeRawBufferPointer) throws -> Void) throws {
        guard PQsendQuery(handle, sql) == 1 else { throw failure(in: sql) }
        try expect(PGRES_COPY_OUT, of: sql)
        while true {
            var buffer: UnsafeMutablePointer<CChar>?
            let count = PQgetCopyData(handle, &buffer, 1)
            if count > 0, let buffer {
                defer { PQfreemem(buffer) }
                do {
                    try piece(UnsafeRawBufferPointer(start: buffer, count: Int(count)))
                } catch {
                    abandonCopy()
                    throw error
                }
            } else if count == 0 {
                try waitForInput(sql)
            } else if count == -1 {
                break
            } else {
                throw failure(in: sql)
            }
        }
        _ = try result(of: sql)
    }

    /// Runs a `COPY … FROM STDIN (FORMAT binary)`; gives the number of rows that the server took.
    ///
    /// `body` gets a writer, and the closure to call after each row, which sends what has gathered.
    @discardableResult
    public func copyIn(
        _ sql: String,
        _ body: (inout CopyWriter, (inout CopyWriter) throws -> Void) throws -> Void
    ) throws -> Int {
        guard PQsendQuery(handle, sql) == 1 else { throw failure(in: sql) }
        try expect(PGRES_COPY_IN, of: sql)
        var writer = CopyWriter()
        do {
            try body(&writer) { writer in
                if writer.buffer.count >= 256 << 10 { try send(&writer, sql) }
            }
            writer.finish()
            try send(&writer, sql)
        } catch {
            if isUsable, PQputCopyEnd(handle, "given up") == 1 { _ = try? result(of: sql) }
            throw error
        }
        guard PQputCopyEnd(handle, nil) == 1 else { throw failure(in: sql) }
        return try result(of: sql).affectedRows
    }

    private func send(_ writer: inout CopyWriter, _ sql: String) throws(PostgreSQLError) {
        while true {
            let sent = writer.buffer.withUnsafeBytes {
                PQputCopyData(handle, $0.baseAddress?.assumingMemoryBound(to: CChar.self), Int32($0.count))
            }
            if sent < 0 { throw failure(in: sql) }
            try flush(sql)
            if sent == 1 { break }
        }
        writer.clear()
    }

    /// The rest of the stream is of no use; stopping the server is quicker than reading it.
    private func abandonCopy() {
        canceller().cancel()
        var buffer: UnsafeMutablePointer<CChar>?
        while true {
            let count = PQgetCopyData(handle, &buffer, 1)
            if count > 0 {
                PQfreemem(buffer)
            } else if count == 0 {
                do { try waitForInput("COPY") } catch { return }
            } else {
                break
            }
        }
        _ = try? result(of: "COPY")
    }

    // MARK: - Notifications

    /// A NOTIFY that arrived.
    public struct Notification: Sendable, Hashable {
        /// Channel.
        public var channel: String
        /// Payload; empty where none.
        public var payload: String
    }

    /// Starts to listen; `channel` is a plain name.
    public func listen(_ channel: String) throws(PostgreSQLError) { try run(script: "LISTEN \(channel)") }

    /// Takes what has arrived, without waiting.
    public func notifications() throws(PostgreSQLError) -> [Notification] {
        guard PQconsumeInput(handle) == 1 else { throw failure(in: "LISTEN") }
        var found: [Notification] = []
        while let notify = PQnotifies(handle) {
            found.append(
                Notification(
                    channel: String(cString: notify.pointee.relname),
                    payload: notify.pointee.extra.map { String(cString: $0) } ?? ""
                )
            )
            PQfreemem(notify)
        }
        return found
    }

    /// Waits for notifications, at most so long; empty when none came.
    public func notifications(waitingMilliseconds: Int) throws(PostgreSQLError) -> [Notification] {
        let found = try notifications()
        if !found.isEmpty { return found }
        var item = pollfd(fd: fileDescriptor, events: Int16(POLLIN), revents: 0)
        _ = poll(&item, 1, Int32(waitingMilliseconds))
        return try notifications()
    }

    // MARK: - Cancelling

    // Unchecked, because PQcancel is thread-safe and the object is not changed after it is made.

    /// Stops whatever the connection runs; may be used from any thread.
    public final class Canceller: @unchecked Sendable {
        private let handle: OpaquePointer?

        init(_ connection: OpaquePointer) { handle = PQgetCancel(connection) }
        deinit { PQfreeCancel(handle) }

        /// Asks the server to stop the statement; it then fails with 57014.
        public func cancel() {
            var text = [CChar](repeating: 0, count: 256)
            _ = PQcancel(handle, &text, 256)
        }
    }

    /// Makes what stops statements of this connection.
    public func canceller() -> Canceller { Canceller(handle) }

    // MARK: - Waiting

    /// Reads results until the statement is over; gives the last.
    private func result(of sql: String) throws(PostgreSQLError) -> QueryResult {
        var last: QueryResult?
        var error: PostgreSQLError?
        while let next = try nextResult(sql) {
            switch PQresultStatus(next) {
            case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY: last = QueryResult(next)
            case PGRES_COPY_OUT, PGRES_COPY_IN, PGRES_COPY_BOTH:
                PQclear(next)
                isGivenUp = true
                throw PostgreSQLError(message: "COPY in a place where none may be", statement: short(sql))
            default:
                if error == nil { error = failure(of: next, in: sql) }
                PQclear(next)
            }
        }
        if let error { throw error }
        guard let last else { throw failure(in: sql) }
        return last
    }

    private func expect(_ status: ExecStatusType, of sql: String) throws(PostgreSQLError) {
        guard let first = try nextResult(sql) else { throw failure(in: sql) }
        defer { PQclear(first) }
        guard PQresultStatus(first) == status else {
            let error = failure(of: first, in: sql)
            while let next = try nextResult(sql) { PQclear(next) }
            throw error
        }
    }

    private func nextResult(_ sql: String) throws(PostgreSQLError) -> OpaquePointer? {
        try flush(sql)
        while PQisBusy(handle) == 1 { try waitForInput(sql) }
        return PQgetResult(handle)
    }

    private func flush(_ sql: String) throws(PostgreSQLError) {
        while true {
            switch PQflush(handle) {
            case 0: return
            case 1:
                // Read as well: a server that waits for us to read would never take more.
                let ready = try wait(for: Int16(POLLIN | POLLOUT), sql)
                if ready & Int16(POLLIN) != 0, PQconsumeInput(handle) == 0 { throw failure(in: sql) }
            default: throw failure(in: sql)
            }
        }
    }

    private func waitForInput(_ sql: String) throws(PostgreSQLError) {
        _ = try wait(for: Int16(POLLIN), sql)
        guard PQconsumeInput(handle) == 1 else { throw failure(in: sql) }
    }

    private func wait(for events: Int16, _ sql: String) throws(PostgreSQLError) -> Int16 {
        let statementLimit = settings.statementTimeoutMilliseconds
        let limit: Int32 =
            statementLimit == 0 || isUnlimited ? -1 : Int32(statementLimit + settings.silenceTimeoutMilliseconds)
        while true {
            var item = pollfd(fd: fileDescriptor, events: events, revents: 0)
            let count = poll(&item, 1, limit)
            if count > 0 { return item.revents }
            if count < 0 && errno == EINTR { continue }
            isGivenUp = true
            throw PostgreSQLError(
                message: count == 0 ? "the server has said nothing for \(limit) ms" : "poll failed, errno \(errno)",
                isConnectionLost: true,
                statement: short(sql)
            )
        }
    }

    private func failure(in sql: String) -> PostgreSQLError {
        PostgreSQLError(
            message: oneLine(PQerrorMessage(handle)),
            isConnectionLost: PQstatus(handle) != CONNECTION_OK,
            statement: short(sql)
        )
    }

    private func failure(of result: OpaquePointer, in sql: String) -> PostgreSQLError {
        func field(_ code: Character) -> String? {
            PQresultErrorField(result, Int32(code.asciiValue ?? 0)).map { String(cString: $0) }
        }
        let state = field("C")
        let isLost =
            PQstatus(handle) != CONNECTION_OK || state?.hasPrefix("08") == true
            || ["57P01", "57P02", "57P03", "25P03"].contains(state)
        return PostgreSQLError(
            sqlState: state,
            message: field("M") ?? oneLine(PQresultErrorMessage(result)),
            detail: field("D"),
            isConnectionLost: isLost,
            statement: short(sql)
        )
    }
}

/// Why no connection was made; libpq's words name neither the user nor what to do about a password.
private func refusal(by connection: OpaquePointer) -> PostgreSQLError {
    let message = oneLine(PQerrorMessage(connection))
    let isMissing = message.contains("no password supplied")
    guard isMissing || message.contains("password authentication failed") else {
        return PostgreSQLError(message: message, isConnectionLost: true)
    }
    func text(_ value: UnsafePointer<CChar>?) -> String { value.map { String(cString: $0) } ?? "" }
    let host = text(PQhost(connection))
    let place = host.hasPrefix("/") ? host : "\(host):\(text(PQport(connection)))"
    return PostgreSQLError(
        sqlState: PostgreSQLError.passwordRefused,
        message: "the server at \(place) "
            + (isMissing
                ? "asks for a password of user \"\(text(PQuser(connection)))\", and none is given: put it"
                : "refuses user \"\(text(PQuser(connection)))\" with this password: correct it")
            + " in DATABASE_URL, PGPASSWORD or the file that PGPASSFILE names",
        isConnectionLost: true
    )
}

private func short(_ sql: String) -> String { String(sql.prefix(120)) }

private func oneLine(_ text: UnsafePointer<CChar>?) -> String {
    guard let text else { return "unknown error" }
    let lines = String(cString: text).split(separator: "\n").map { line in
        line.hasPrefix("\t") ? line.dropFirst() : line
    }
    return lines.isEmpty ? "unknown error" : lines.joined(separator: "; ")
}
