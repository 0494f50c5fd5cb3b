import FoundationEssentials
import Glibc
import PostgreSQL
import Testing

extension ClusterTests {
    @Suite("mrl up keeps a cluster running", .serialized, .timeLimit(.minutes(3)))
    struct Supervision {
        /// A cluster of `mrl up` in a home of its own.
        private final class Home {
            let folder: String
            let supervisor: ChildProcess

            init() throws {
                folder = try makePrivateFolder()
                // The user postgres must reach what is below.
                chmod(folder, 0o711)
                try "{}".write(toFile: folder + "/config.json", atomically: true, encoding: .utf8)
                supervisor = try ChildProcess(
                    "mrl",
                    executable: executable("mrl"),
                    arguments: [
                        "up", "--foreground", "--home", folder, "--encoders", "0", "--shortlists", "1",
                        "--config", folder + "/config.json",
                    ],
                    environment: baseEnvironment,
                    logPath: folder + "/supervisor.log"
                )
            }

            deinit {
                supervisor.signal(SIGTERM)
                _ = supervisor.waitForExit(seconds: 30)
                supervisor.kill()
                try? FileManager.default.removeItem(atPath: folder)
            }

            func read(_ name: String) -> String {
                (try? String(contentsOf: URL(filePath: folder + name), encoding: .utf8)) ?? ""
            }

            var postmaster: pid_t? {
                read("/postgres/data/postmaster.pid").split(separator: "\n").first.flatMap { pid_t($0) }
            }

            func connect() -> Connection? {
                guard let url = read("/run/database.url").split(separator: "\n").first else { return nil }
                return try? Connection(ConnectionSettings(url: String(url)))
            }

            /// What `mrl` prints, and its exit code.
            func mrl(_ arguments: [String], seconds: Double) throws -> (code: Int32?, output: String) {
                let path = "\(folder)/\(arguments[0]).log"
                try? FileManager.default.removeItem(atPath: path)
                let child = try ChildProcess(
                    "mrl",
                    executable: executable("mrl"),
                    arguments: arguments + ["--home", folder],
                    environment: baseEnvironment,
                    logPath: path
                )
                return (child.waitForExit(seconds: seconds), child.log)
            }

            func process(_ name: String) -> (pid: pid_t, phase: String)? {
                struct State: Decodable {
                    struct Process: Decodable {
                        var name: String
                        var pid: Int32
                        var phase: String
                    }
                    var processes: [Process]
                }
                let state = try? JSONDecoder().decode(State.self, from: Data(read("/run/supervisor.json").utf8))
                return state?.processes.first { $0.name == name }.map { ($0.pid, $0.phase) }
            }

            func waitUntilReady() throws {
                let isReady = poll(seconds: 40) { process("rerank-1")?.phase == "running" && connect() != nil }
                if !isReady { throw TestFailure("mrl up does not get ready: \(supervisor.log)") }
            }
        }

        @Test("a killed PostgreSQL comes back, however long what it left behind holds its memory")
        func databaseKilled() throws {
            let home = try Home()
            try home.waitUntilReady()
            let postmaster = try #require(home.postmaster)
            let checkpointer = try #require(
                try home.connect()?.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
                    .int32(0, 0)
            )
            // It cannot see that its parent is gone, and keeps the shared memory.
            _ = kill(checkpointer, SIGSTOP)
            _ = kill(postmaster, SIGKILL)
            pause(5)
            #expect(home.supervisor.isRunning)
            #expect(home.connect() == nil)
            _ = kill(checkpointer, SIGCONT)
            #expect(poll(seconds: 30) { home.connect() != nil }, "\(home.supervisor.log)")
            let (code, output) = try home.mrl(["up"], seconds: 30)
            #expect(code == 0, "\(output)")
        }

        @Test("a benchmark that is told to end takes its own cluster with it", arguments: [SIGTERM, SIGINT])
        func benchmarkEnded(by signal: Int32) throws {
            let parent = try makePrivateFolder()
            defer { try? FileManager.default.removeItem(atPath: parent) }
            chmod(parent, 0o711)
            let folder = parent + "/cluster"
            let child = try ChildProcess(
                "mrl",
                executable: executable("mrl"),
                arguments: ["benchmark", "memory", "--from", "1000000", "--to", "2000000", "--folder", folder],
                environment: baseEnvironment,
                logPath: parent + "/benchmark.log"
            )
            defer { child.kill() }
            let postmasterFile = folder + "/postgres/data/postmaster.pid"
            #expect(poll(seconds: 40) { child.log.contains("fill") }, "\(child.log)")
            let file = try String(contentsOf: URL(filePath: postmasterFile), encoding: .utf8)
            let postmaster = try #require(file.split(separator: "\n").first.flatMap { pid_t($0) })
            child.signal(signal)
            #expect(child.waitForExit(seconds: 30) == 128 + signal, "\(child.log)")
            #expect(!FileManager.default.fileExists(atPath: folder))
            #expect(poll(seconds: 10) { kill(postmaster, 0) != 0 })
        }

        @Test("mrl up starts again what was given up, also a coordinator")
        func givenUp() throws {
            let home = try Home()
            try home.waitUntilReady()
            let config = home.folder + "/config.json"
            try "no JSON".write(toFile: config, atomically: true, encoding: .utf8)
            let coordinator = try #require(home.process("coordinator"))
            _ = kill(coordinator.pid, SIGKILL)
            #expect(poll(seconds: 20) { home.process("coordinator")?.phase == "failed" }, "\(home.supervisor.log)")
            try "{}".write(toFile: config, atomically: true, encoding: .utf8)
            let (code, output) = try home.mrl(["up"], seconds: 30)
            #expect(code == 0, "\(output)")
            #expect(home.process("coordinator")?.phase == "running")
        }
    }
}
