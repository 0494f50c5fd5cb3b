import Foundation
import Synchronization

/// A PostgreSQL server of the test process's own: made in a temporary folder, reached by unix socket, gone with the
/// process however it ends.
public final class PrivateCluster: Sendable {
    /// Why there is no server.
    public struct Failure: Error, CustomStringConvertible {
        /// One sentence.
        public let description: String
    }

    /// Folder of data and socket.
    public let folder: String
    /// Superuser's name.
    public let user = "postgres"
    /// What the superuser needs to connect; nil: nothing.
    public let password: String?
    /// Folder of the server's programs.
    public let binaries: String
    private let databases = Atomic<Int>(0)

    private static let made = Result { try PrivateCluster() }

    /// The server of this process; the first call makes it.
    public static func shared() throws -> PrivateCluster { try made.get() }

    /// Makes an empty database and gives its URL.
    public func makeDatabase() throws -> String {
        let name = "t_\(databases.add(1, ordering: .relaxed).newValue)"
        try Self.run(
            "\(binaries)/createdb",
            ["--host", folder, "--username", user, "--encoding", "UTF8", "--template", "template0", name],
            password: password
        )
        return url(database: name)
    }

    /// URL of a database, for another user than the superuser if wanted.
    public func url(database: String, user: String? = nil) -> String {
        let secret = user == nil ? password.map { ":" + $0 } ?? "" : ""
        return "postgresql://\(user ?? self.user)\(secret)@/\(database)?host=\(folder)"
    }

    /// Starts a server of its own, for tests that stop it; the others share one.
    ///
    /// With a password of letters and digits for the superuser nobody gets in without one (scram-sha-256).
    public init(password: String? = nil) throws {
        self.password = password
        let root = "/usr/lib/postgresql"
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        guard let newest = versions.compactMap(Int.init).max() else {
            throw Failure(description: "no PostgreSQL server in \(root)")
        }
        binaries = "\(root)/\(newest)/bin"
        var template = Array("/tmp/mrl-pg-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure(description: "mkdtemp failed, errno \(errno)") }
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)

        // The server refuses to run as root.
        var prefix: [String] = []
        if geteuid() == 0 {
            guard let owner = getpwnam("postgres") else { throw Failure(description: "there is no user postgres") }
            chown(folder, owner.pointee.pw_uid, owner.pointee.pw_gid)
            prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        }
        var initdb = [
            "\(binaries)/initdb", "--pgdata", "\(folder)/data", "--username", user, "--encoding", "UTF8",
            "--locale", "C.UTF-8", "--no-sync", "--auth", password == nil ? "trust" : "scram-sha-256",
        ]
        if let password {
            try password.write(toFile: "\(folder)/password", atomically: false, encoding: .utf8)
            initdb += ["--pwfile", "\(folder)/password"]
        }
        try Self.run("/usr/bin/env", prefix + initdb)

        // The shell reads a pipe whose other end only this process holds: when the process dies, in whatever way, the
        // shell reads the end, stops the server and removes the folder. Signals for the terminal's group must not end
        // the shell before that.
        let guardian = """
            trap : INT TERM HUP
            "$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c full_page_writes=off \
                -c shared_buffers=128MB -c max_connections=100 -c max_wal_size=2GB >"$2/log" 2>&1 </dev/null &
            p=$!
            cat >/dev/null
            kill -INT $p
            wait $p
            rm -rf "$2"
            """
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw Failure(description: "pipe failed, errno \(errno)") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        let server = Process()
        server.executableURL = URL(filePath: "/usr/bin/env")
        server.arguments = prefix + ["sh", "-c", guardian, "sh", binaries, folder]
        server.currentDirectoryURL = URL(filePath: "/")
        server.standardInput = FileHandle(fileDescriptor: ends[0], closeOnDealloc: true)
        server.standardOutput = FileHandle.nullDevice
        server.standardError = FileHandle.nullDevice
        try server.run()

        for _ in 0..<200 {
            if (try? Self.run("\(binaries)/pg_isready", ["--quiet", "--host", folder])) != nil { return }
            usleep(50_000)
        }
        close(ends[1])
        let log = (try? String(contentsOfFile: "\(folder)/log", encoding: .utf8)) ?? ""
        throw Failure(description: "the private server did not start: \(log.suffix(500))")
    }

    private static func run(_ path: String, _ arguments: [String], password: String? = nil) throws {
        let process = Process()
        if let password {
            process.environment = ProcessInfo.processInfo.environment.merging(["PGPASSWORD": password]) { $1 }
        }
        process.executableURL = URL(filePath: path)
        process.arguments = arguments
        process.currentDirectoryURL = URL(filePath: "/")
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        let errors = Pipe()
        process.standardError = errors
        try process.run()
        let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failure(description: "\(path) ended with \(process.terminationStatus): \(text)")
        }
    }
}
