import DocumentStore
import FoundationEssentials
import Glibc
import PostgreSQL
import ServiceRuntime

/// A PostgreSQL cluster of the user's own: a data folder and a Unix socket below the home, no network.
struct PrivateDatabase {
    let home: Home
    /// Folder of the server's programs.
    let programs: String

    private static let port = 5432
    private static let owner = "matryoshka"
    private static let name = "matryoshka"

    var data: String { home.postgres + "/data" }
    var socket: String { home.postgres + "/socket" }
    /// Where clients find the database `named`.
    func url(database: String = name) -> String {
        var folder = ""
        for byte in socket.utf8 {
            let isPlain = (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
            if isPlain || byte == 0x2D || byte == 0x5F || byte == 0x2E {
                folder.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                let digits = String(byte, radix: 16, uppercase: true)
                folder += "%" + (digits.count == 1 ? "0" : "") + digits
            }
        }
        return "postgresql:///\(database)?host=\(folder)&user=\(Self.owner)"
    }

    /// - Throws: ``StartupFailure`` where the server is not installed or cannot reach the folder.
    init(home: Home) throws {
        self.home = home
        programs = try Self.findPrograms()
        guard socket.utf8.count + ".s.PGSQL.00000".utf8.count < 107 else {
            throw StartupFailure("the path \(socket) is too long for a Unix socket: choose a shorter --home")
        }
    }

    /// Newest installed version first: Debian keeps each in a folder of its own, outside of PATH.
    private static func findPrograms() throws -> String {
        let root = "/usr/lib/postgresql"
        let versions = ((try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []).compactMap(Int.init)
        let folders = versions.sorted(by: >).map { "\(root)/\($0)/bin" }
        guard let initdb = findProgram("initdb", in: folders) else {
            throw StartupFailure(
                "the PostgreSQL server is not installed: run deploy/install-packages, or set DATABASE_URL to use "
                    + "another server"
            )
        }
        return String(initdb.dropLast("/initdb".count))
    }

    /// PostgreSQL refuses to run as root, so root steps down to the user that Debian's package made.
    private func unprivileged(_ arguments: [String]) throws -> [String] {
        guard geteuid() == 0 else { return arguments }
        guard getpwnam("postgres") != nil else {
            throw StartupFailure("PostgreSQL does not run as root and there is no user postgres: make one")
        }
        guard let setpriv = findProgram("setpriv") else {
            throw StartupFailure("setpriv (package util-linux) is missing: PostgreSQL cannot be started by root")
        }
        return [setpriv, "--reuid=postgres", "--regid=postgres", "--init-groups"] + arguments
    }

    /// Makes the cluster where there is none yet.
    func initialise() throws {
        if exists(data + "/PG_VERSION") {
            try checkVersion()
            return
        }
        try makeDirectory(home.postgres, mode: 0o755)
        try makeDirectory(socket, mode: 0o700)
        if exists(data) {
            // What an interrupted initdb left: it never held anything.
            try? FileManager.default.removeItem(atPath: data)
        }
        if geteuid() == 0, let user = getpwnam("postgres") {
            for folder in [home.postgres, socket] {
                guard chown(folder, user.pointee.pw_uid, user.pointee.pw_gid) == 0 else {
                    throw StartupFailure("cannot give \(folder) to the user postgres: \(systemError())")
                }
            }
            let reach = Spawn(arguments: try unprivileged(["/usr/bin/test", "-w", socket]))
            guard (try? reach.run()) != nil else {
                throw StartupFailure(
                    "the user postgres cannot reach \(home.path): choose another --home, for example "
                        + "/var/lib/matryoshka"
                )
            }
        }
        let draft = data + ".new"
        try? FileManager.default.removeItem(atPath: draft)
        try Spawn(
            arguments: try unprivileged([
                programs + "/initdb", "--pgdata=\(draft)", "--username=\(Self.owner)", "--auth=trust",
                "--encoding=UTF8", "--locale=C", "--data-checksums",
            ]),
            log: home.logs + "/postgres.log"
        ).run()
        // A finished initdb is moved into place, so that a data folder that exists is complete.
        guard rename(draft, data) == 0 else { throw StartupFailure("cannot make \(data): \(systemError())") }
    }

    private func checkVersion() throws {
        let have = readFile(data + "/PG_VERSION")?.split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
        let parts = programs.split(separator: "/")
        guard parts.count > 1, let installed = Int(parts[parts.count - 2]), let needed = Int(have) else { return }
        if installed != needed {
            throw StartupFailure(
                "\(data) was made by PostgreSQL \(needed) and \(installed) is installed: run pg_upgrade first"
            )
        }
    }

    /// The server in the foreground, with settings for one machine that is shared with the workers.
    func serverArguments() throws -> [String] {
        let sharedMegabytes = min(1024, max(128, physicalMegabytes() / 8))
        let settings = [
            "listen_addresses=", "port=\(Self.port)", "unix_socket_directories=\(socket)",
            "unix_socket_permissions=0700", "shared_buffers=\(sharedMegabytes)MB", "max_connections=60",
            // One bulk write touches every partition of heads and its index.
            "max_locks_per_transaction=512", "max_wal_size=4GB", "checkpoint_timeout=15min",
            "checkpoint_completion_target=0.9", "synchronous_commit=on", "jit=off", "random_page_cost=1.1",
            "work_mem=16MB", "maintenance_work_mem=128MB", "log_min_messages=warning", "log_line_prefix=%m [%p] ",
        ]
        return try unprivileged([programs + "/postgres", "-D", data] + settings.flatMap { ["-c", $0] })
    }

    private func physicalMegabytes() -> Int {
        sysconf(Int32(_SC_PHYS_PAGES)) / 1024 * sysconf(Int32(_SC_PAGESIZE)) / 1024
    }

    /// Makes the database where there is none yet; the server accepts connections already.
    func createDatabase() throws {
        let connection = try Connection(ConnectionSettings(url: url(database: "postgres")))
        let found = try connection.execute("SELECT 1 FROM pg_database WHERE datname = '\(Self.name)'")
        if found.rowCount == 0 { _ = try connection.execute("CREATE DATABASE \(Self.name)") }
    }
}

/// The database that the environment names, or the one that the running supervisor uses.
enum DatabaseAddress {
    /// Variables of libpq that say which server is meant.
    private static let libpq = ["PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE", "PGPORT"]

    /// True where the user brings a server.
    static var isGiven: Bool {
        let environment = ProcessInfo.processInfo.environment
        return (["DATABASE_URL", "MRL_DATABASE_URL"] + libpq).contains { !(environment[$0] ?? "").isEmpty }
    }

    /// DATABASE_URL; nil leaves everything to libpq's own variables.
    static var url: String? {
        let environment = ProcessInfo.processInfo.environment
        return [environment["MRL_DATABASE_URL"], environment["DATABASE_URL"]].compactMap { $0 }.first { !$0.isEmpty }
    }

    /// Connects for a command that needs the database.
    ///
    /// - Throws: ``StartupFailure`` in one sentence.
    static func connect(_ home: Home) throws -> Connection {
        var address = url
        if !isGiven {
            guard let left = readFile(home.databaseURL) else {
                throw StartupFailure(
                    "no database: nothing runs in \(home.path) (mrl up), and DATABASE_URL is not set"
                )
            }
            address = left.split(whereSeparator: \.isNewline).first.map(String.init)
        }
        do {
            return try Connection(ConnectionSettings(url: address))
        } catch {
            throw StartupFailure("cannot connect to the database: \(error.message)")
        }
    }
}
