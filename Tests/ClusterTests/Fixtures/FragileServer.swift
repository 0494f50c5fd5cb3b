import FoundationEssentials
import Glibc
import PostgreSQL
import RetrievalTesting

/// A PostgreSQL server that a test stops, stalls and starts again; nobody else uses it.
final class FragileServer {
    let server: PrivateCluster
    private var restarted: ChildProcess?

    init() throws { server = try PrivateCluster() }

    private var postmaster: pid_t? {
        let path = server.folder + "/data/postmaster.pid"
        guard let text = try? String(contentsOf: URL(filePath: path), encoding: .utf8) else { return nil }
        return text.split(separator: "\n").first.flatMap { pid_t($0) }
    }

    /// Fast shutdown.
    func stop() throws {
        guard let pid = postmaster else { throw TestFailure("no server is running") }
        _ = kill(pid, SIGINT)
        if !poll(seconds: 10, { postmaster == nil }) { throw TestFailure("the server did not stop") }
    }

    /// Starts it after ``stop()``.
    func start() throws {
        let binary = server.binaries + "/postgres"
        let arguments = [
            "-D", server.folder + "/data", "-k", server.folder, "-c", "listen_addresses=", "-c", "fsync=off",
        ]
        let isRoot = geteuid() == 0
        restarted = try ChildProcess(
            "postgres",
            executable: isRoot ? "/usr/bin/setpriv" : binary,
            // A change of user clears the signal that ends orphans; it is asked for again.
            arguments: isRoot
                ? ["--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig", "INT", "--", binary]
                    + arguments
                : arguments,
            environment: baseEnvironment,
            logPath: server.folder + "/restarted.log"
        )
        let url = server.url(database: "postgres")
        let isUp = poll(seconds: 10) { (try? Connection(ConnectionSettings(url: url))) != nil }
        if !isUp { throw TestFailure("the server did not start again: \(restarted?.log.suffix(500) ?? "")") }
    }

    /// SIGSTOP or SIGCONT to all of its processes: connections stay, nothing answers.
    func signalAll(_ number: Int32) throws {
        guard let parent = postmaster else { throw TestFailure("no server is running") }
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        _ = kill(parent, number)
        for pid in names.compactMap({ pid_t($0) }) {
            guard let text = try? String(contentsOf: URL(filePath: "/proc/\(pid)/stat"), encoding: .utf8),
                let after = text.lastIndex(of: ")")
            else { continue }
            // "pid (name) state parent …"
            let fields = text[after...].split(separator: " ")
            if fields.count > 2, pid_t(fields[2]) == parent { _ = kill(pid, number) }
        }
    }
}
