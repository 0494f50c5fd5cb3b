import FoundationEssentials
import Glibc
import PostgreSQL
import RetrievalTesting
import Testing

extension ClusterTests {
    @Suite("A database that demands a password", .serialized, .timeLimit(.minutes(2)))
    struct Password {
        private static let right = "rightsecret"
        private static let programs = ["mrl-coordinator", "mrl-shortlist", "mrl-rerank", "mrl"]

        /// The ways to give a password that the documentation names, each as environment variables.
        private static func ways(_ password: String, _ database: TestDatabase, folder: String) throws -> [[String:
            String]]
        {
            let bare = database.url.replacing(":\(right)@", with: "@")
            let file = "\(folder)/pgpass"
            try "*:*:*:*:\(password)\n".write(toFile: file, atomically: true, encoding: .utf8)
            chmod(file, 0o600)
            return [
                ["DATABASE_URL": database.url.replacing(":\(right)@", with: ":\(password)@")],
                ["DATABASE_URL": bare, "PGPASSWORD": password],
                ["DATABASE_URL": bare, "PGPASSFILE": file],
                [
                    "PGHOST": String(bare.split(separator: "=")[1]), "PGUSER": "postgres", "PGDATABASE": database.name,
                    "PGPASSFILE": file,
                ],
            ]
        }

        @Test("a wrong or missing password is one sentence that does not tell it; the right one serves, however given")
        func passwords() throws {
            let server = try PrivateCluster(password: Self.right)
            let database = try TestDatabase(on: server)
            defer { database.drop() }
            let folder = try makePrivateFolder()
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let none = ["DATABASE_URL": database.url.replacing(":\(Self.right)@", with: "@")]
            for program in Self.programs {
                let arguments = program == "mrl" ? ["migrate"] : []
                for way in try Self.ways("wrongsecret", database, folder: folder) + [none] {
                    let given = way.merging(["MRL_HOME": folder, "HOME": folder]) { $1 }
                    let (code, output) = try Misconfiguration.run(program, given, arguments)
                    #expect(code == 1, "\(program) \(way): \(output)")
                    #expect(output.split(separator: "\n").count == 1, "\(program) \(way): \(output)")
                    let words = ["password", "user \"postgres\"", "at \(server.folder)", "DATABASE_URL", "PGPASSFILE"]
                    for word in words { #expect(output.contains(word), "\(program) \(way): \(output)") }
                    #expect(output.contains(way == none ? "none is given" : "correct it"), "\(program): \(output)")
                    #expect(!output.contains("wrongsecret"), "\(program) \(way): \(output)")
                }
                for way in try Self.ways(Self.right, database, folder: folder) {
                    try Self.expectConnection(program, way, arguments, folder: folder)
                }
            }
        }

        private static func expectConnection(
            _ program: String,
            _ way: [String: String],
            _ arguments: [String],
            folder: String
        ) throws {
            let place = try makePrivateFolder()
            defer { try? FileManager.default.removeItem(atPath: place) }
            let child = try ChildProcess(
                program,
                executable: executable(program),
                arguments: arguments,
                environment: baseEnvironment.merging(way) { $1 }
                    .merging(["MRL_RUN_DIRECTORY": place, "MRL_HOME": folder, "HOME": folder]) { $1 },
                logPath: "\(place)/log"
            )
            defer { child.kill() }
            if program == "mrl" {
                #expect(child.waitForExit(seconds: 10) == 0, "\(way): \(child.log)")
                return
            }
            // What a process logs once it has passed the check of its database.
            let word = program == "mrl-coordinator" ? "ready" : "connecting"
            let isServing = poll(seconds: 10) { child.log.contains(word) || !child.isRunning }
            #expect(isServing && child.isRunning, "\(program) \(way): \(child.log)")
        }
    }
}
