import FoundationEssentials
import Glibc
import PostgreSQL
import RetrievalTesting
import Testing

extension ClusterTests {
    @Suite("A misconfigured executable says so in one sentence", .serialized, .timeLimit(.minutes(1)))
    struct Misconfiguration {
        /// Starts it and waits for the end: its exit code and what it printed.
        static func run(
            _ program: String,
            _ environment: [String: String],
            _ arguments: [String] = [],
            seconds: Double = 8
        ) throws -> (code: Int32?, output: String) {
            let folder = try makePrivateFolder()
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let child = try ChildProcess(
                program,
                executable: executable(program),
                arguments: arguments,
                environment: baseEnvironment.merging(
                    [
                        "MRL_RUN_DIRECTORY": folder, "MRL_COORDINATOR_FRONT": "ipc://\(folder)/f.sock",
                        "MRL_COORDINATOR_BACK": "ipc://\(folder)/b.sock",
                    ]
                ) { $1 }.merging(environment) { $1 },
                logPath: "\(folder)/log"
            )
            let code = child.waitForExit(seconds: seconds)
            return (code, child.log)
        }

        static func expectSentence(
            _ program: String,
            _ environment: [String: String],
            mentions words: [String],
            location: SourceLocation = #_sourceLocation
        ) throws {
            let (code, output) = try run(program, environment)
            #expect(code != nil && code != 0, "\(program) exit \(code as Any): \(output)", sourceLocation: location)
            #expect(code.map { $0 < 128 } ?? false, "\(program) crashed: \(output)", sourceLocation: location)
            let lines = output.split(separator: "\n").filter { !$0.contains(" info ") && !$0.contains("INFO") }
            #expect(lines.count == 1, "\(program): \(output)", sourceLocation: location)
            for word in words {
                #expect(
                    output.lowercased().contains(word.lowercased()),
                    "\(program): \(output)",
                    sourceLocation: location
                )
            }
        }

        static let usingDatabase = ["mrl-coordinator", "mrl-shortlist", "mrl-rerank"]

        @Test("no database", arguments: usingDatabase)
        func noDatabase(program: String) throws {
            let nowhere = "postgresql://postgres@/nothing?host=/tmp/mrl-no-such-folder"
            try Self.expectSentence(program, ["DATABASE_URL": nowhere], mentions: ["database"])
        }

        @Test("unknown database and unknown role", arguments: usingDatabase)
        func unknownRole(program: String) throws {
            let database = try TestDatabase()
            defer { database.drop() }
            try Self.expectSentence(
                program,
                ["DATABASE_URL": database.url(as: "nobody_here")],
                mentions: ["nobody_here"]
            )
            let missing = try PrivateCluster.shared().url(database: "not_there")
            try Self.expectSentence(program, ["DATABASE_URL": missing], mentions: ["not_there"])
        }

        @Test("a schema that is missing or too new", arguments: usingDatabase)
        func schema(program: String) throws {
            let empty = try TestDatabase(isMigrated: false)
            defer { empty.drop() }
            try Self.expectSentence(program, ["DATABASE_URL": empty.url], mentions: ["schema", "migrate"])
            let database = try TestDatabase()
            defer { database.drop() }
            try database.connection().run(
                script: "INSERT INTO matryoshka.schema_version (version, name) VALUES (999, 'from the future')"
            )
            try Self.expectSentence(program, ["DATABASE_URL": database.url], mentions: ["schema", "999"])
        }

        @Test("a missing or broken model")
        func model() throws {
            try Self.expectSentence("mrl-encoder", [:], mentions: ["model"])
            try Self.expectSentence(
                "mrl-encoder",
                ["MRL_ENCODER_MODEL": "/tmp/mrl-no-model"],
                mentions: ["/tmp/mrl-no-model"]
            )
            let folder = try makePrivateFolder()
            defer { try? FileManager.default.removeItem(atPath: folder) }
            try TinyModel.write(to: "\(folder)/model")
            try Data([1, 2, 3]).write(to: URL(filePath: "\(folder)/model/model.safetensors"))
            try Self.expectSentence(
                "mrl-encoder",
                ["MRL_ENCODER_MODEL": "\(folder)/model"],
                mentions: ["model.safetensors"]
            )
        }

        @Test("a worker that finds no coordinator says so, with the endpoint and what to look at, and tries on")
        func nobodyThere() throws {
            let folder = try makePrivateFolder()
            defer { try? FileManager.default.removeItem(atPath: folder) }
            try TinyModel.write(to: "\(folder)/model")
            let child = try ChildProcess(
                "mrl-encoder",
                executable: executable("mrl-encoder"),
                environment: baseEnvironment.merging(
                    ["MRL_ENCODER_MODEL": "\(folder)/model", "MRL_RUN_DIRECTORY": folder]
                ) { $1 },
                logPath: "\(folder)/log"
            )
            defer { child.kill() }
            func warnings() -> [Substring] { child.log.split(separator: "\n").filter { $0.contains(" warning ") } }
            #expect(poll(seconds: 8) { !warnings().isEmpty }, "\(child.log)")
            pause(1)
            #expect(warnings().count == 1, "\(child.log)")
            for word in ["ipc://\(folder)/back.sock", "where no socket is", "3 s", "MRL_COORDINATOR_BACK"] {
                #expect(warnings().first?.contains(word) == true, "\(child.log)")
            }
            #expect(child.isRunning)
        }

        @Test("an endpoint that is taken")
        func portTaken() throws {
            let database = try TestDatabase()
            defer { database.drop() }
            let (listener, port) = try listenSomewhere()
            defer { close(listener) }
            for key in ["MRL_COORDINATOR_FRONT", "MRL_COORDINATOR_BACK"] {
                try Self.expectSentence(
                    "mrl-coordinator",
                    ["DATABASE_URL": database.url, key: "tcp://127.0.0.1:\(port)"],
                    mentions: ["\(port)"]
                )
            }
        }

        @Test("without keys nothing binds or connects beyond loopback and ipc")
        func insecure() throws {
            let database = try TestDatabase()
            defer { database.drop() }
            for endpoint in ["tcp://0.0.0.0:21007", "tcp://*:21007"] {
                for key in ["MRL_COORDINATOR_FRONT", "MRL_COORDINATOR_BACK"] {
                    try Self.expectSentence(
                        "mrl-coordinator",
                        ["DATABASE_URL": database.url, key: endpoint],
                        mentions: [endpoint]
                    )
                }
            }
            for program in ["mrl-shortlist", "mrl-rerank"] {
                try Self.expectSentence(
                    program,
                    ["DATABASE_URL": database.url, "MRL_COORDINATOR_BACK": "tcp://192.0.2.7:21007"],
                    mentions: ["192.0.2.7"]
                )
            }
        }

        @Test("a socket that others reach needs its own allow-list, which must be readable and not the other's")
        func allowLists() throws {
            let database = try TestDatabase()
            defer { database.drop() }
            let keys = try Keyring()
            var settings = keys.coordinatorSettings
            settings["DATABASE_URL"] = database.url
            for (list, endpoint) in [
                ("curve.front_allow_list", "MRL_COORDINATOR_FRONT"), ("curve.back_allow_list", "MRL_COORDINATOR_BACK"),
            ] {
                let variable = "MRL_" + list.uppercased().replacing(".", with: "_")
                var open = settings
                open[variable] = ""
                open[endpoint] = "tcp://0.0.0.0:21007"
                try Self.expectSentence("mrl-coordinator", open, mentions: [list, "tcp://0.0.0.0:21007"])
                open[variable] = "\(keys.folder)/missing"
                try Self.expectSentence("mrl-coordinator", open, mentions: ["\(keys.folder)/missing"])
            }
            var same = settings
            same["MRL_CURVE_BACK_ALLOW_LIST"] = same["MRL_CURVE_FRONT_ALLOW_LIST"]
            try Self.expectSentence("mrl-coordinator", same, mentions: ["front_allow_list", "back_allow_list"])
            var none = settings
            none["MRL_CURVE_FRONT_ALLOW_LIST"] = ""
            none["MRL_CURVE_BACK_ALLOW_LIST"] = ""
            try Self.expectSentence("mrl-coordinator", none, mentions: ["front_allow_list", "back_allow_list"])
            settings["MRL_CURVE_SECRET_KEY_FILE"] = ""
            try Self.expectSentence("mrl-coordinator", settings, mentions: ["curve.secret_key_file"])
        }

        @Test("silence that counts as death before three beats could come")
        func impatient() throws {
            for (key, value) in [("MRL_COORDINATOR_DEAD_MS", "1499"), ("MRL_COORDINATOR_HEARTBEAT_MS", "1001")] {
                try Self.expectSentence(
                    "mrl-coordinator",
                    [key: value],
                    mentions: ["coordinator.dead_ms", "at least 3 times", "coordinator.heartbeat_ms", "allowed are"]
                )
            }
        }

        @Test("a misspelt variable is warned of, and what Kubernetes sets is not", arguments: usingDatabase)
        func misspelt(program: String) throws {
            let (code, output) = try Self.run(
                program,
                [
                    "DATABASE_URL": "postgresql://postgres@/nothing?host=/tmp/mrl-no-such-folder",
                    "MRL_SLOW_SEARCH": "5", "MRL_FRONT_SERVICE_HOST": "10.0.0.1",
                    "MRL_FRONT_PORT_7701_TCP": "tcp://10.0.0.1:7701",
                ]
            )
            #expect(code == 1)
            let warnings = output.split(separator: "\n").filter { $0.contains(" warning ") }
            #expect(warnings.count == 1, "\(output)")
            #expect(warnings.first?.contains("MRL_SLOW_SEARCH is no setting") == true)
            #expect(warnings.first?.contains("MRL_SLOW_SEARCH_MS") == true)
        }

        @Test("values out of range, and flags that do not exist", arguments: usingDatabase + ["mrl-encoder"])
        func values(program: String) throws {
            try Self.expectSentence(program, ["MRL_LOG_LEVEL": "loud"], mentions: ["log"])
            let (code, _) = try Self.run(program, [:], ["--no-such-flag"])
            #expect(code != nil && code != 0)
            let (help, text) = try Self.run(program, [:], ["--help"])
            #expect(help == 0)
            #expect(text.contains("USAGE") && text.uppercased().contains("EXAMPLE"))
        }
    }
}
