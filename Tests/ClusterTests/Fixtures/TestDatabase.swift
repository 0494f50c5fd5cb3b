import DocumentStore
import FoundationEssentials
import Glibc
import PostgreSQL
import RetrievalTesting

/// A database on the test process's private server, with the schema of this build.
final class TestDatabase {
    let name: String
    let url: String

    init(isMigrated: Bool = true) throws {
        url = try PrivateCluster.shared().makeDatabase()
        name = String(url.split(separator: "/")[2].prefix { $0 != "?" })
        if isMigrated { try store().migrate() }
    }

    /// A new connection.
    func connection() throws -> Connection { try Connection(ConnectionSettings(url: url)) }

    /// A store on a new connection.
    func store() throws -> Store { try Store(connection()) }

    /// As another role.
    func url(as user: String) throws -> String { try PrivateCluster.shared().url(database: name, user: user) }

    /// Drops the database with whatever is still connected.
    func drop() {
        guard let server = try? PrivateCluster.shared() else { return }
        let settings = ConnectionSettings(url: server.url(database: "postgres"))
        try? Connection(settings).run(script: "DROP DATABASE IF EXISTS \(name) WITH (FORCE)")
    }

    // MARK: The server

    nonisolated(unsafe) private static var restarted: ChildProcess?  // one cluster test runs at a time

    private static func postmaster() throws -> pid_t? {
        let path = try PrivateCluster.shared().folder + "/data/postmaster.pid"
        guard let text = try? String(contentsOf: URL(filePath: path), encoding: .utf8) else { return nil }
        return text.split(separator: "\n").first.flatMap { pid_t($0) }
    }

    /// Fast shutdown.
    static func stopServer() throws {
        guard let pid = try postmaster() else { throw TestFailure("no server is running") }
        _ = kill(pid, SIGINT)
        if try !poll(seconds: 10, { try postmaster() == nil }) { throw TestFailure("the server did not stop") }
    }

    /// Starts the server that ``stopServer()`` stopped.
    static func startServer() throws {
        let folder = try PrivateCluster.shared().folder
        let root = "/usr/lib/postgresql"
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        let binary = "\(root)/\(versions.compactMap(Int.init).max() ?? 0)/bin/postgres"
        let arguments = ["-D", "\(folder)/data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        let isRoot = geteuid() == 0
        restarted = try ChildProcess(
            "postgres",
            executable: isRoot ? "/usr/bin/setpriv" : binary,
            // A change of user clears the signal that ends orphans; it is asked for again.
            arguments: isRoot
                ? [
                    "--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig", "INT", "--", binary,
                ] + arguments : arguments,
            environment: baseEnvironment,
            logPath: "\(folder)/restarted.log"
        )
        let url = try PrivateCluster.shared().url(database: "postgres")
        let isUp = poll(seconds: 10) { (try? Connection(ConnectionSettings(url: url))) != nil }
        if !isUp { throw TestFailure("the server did not start again: \(restarted?.log.suffix(500) ?? "")") }
    }
}
