import Glibc
import Testing

@testable import ServiceRuntime

@Suite("Settings")
final class SettingsTests {
    private let path: String
    private let home = ["HOME": "/home/x"]

    init() {
        var template = Array("/tmp/mrlsettings-XXXXXX".utf8CString)
        close(mkstemp(&template))
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        unlink(path)
    }

    private func resolve(
        flags: [String: String] = [:],
        environment: [String: String] = [:],
        file: String? = nil
    ) throws -> Settings {
        var flags = flags
        if let file {
            let descriptor = open(path, O_WRONLY | O_TRUNC)
            _ = file.withCString { write(descriptor, $0, strlen($0)) }
            close(descriptor)
            flags["config"] = path
        }
        return try Settings(flags: flags, environment: environment.merging(home) { old, _ in old })
    }

    private func refusal(
        flags: [String: String] = [:],
        environment: [String: String] = [:],
        file: String? = nil
    ) -> String? {
        do {
            _ = try resolve(flags: flags, environment: environment, file: file)
            return nil
        } catch let failure as StartupFailure {
            return failure.sentence
        } catch {
            return "unexpected: \(error)"
        }
    }

    @Test("flags come before the environment, it before the file, it before the default")
    func precedence() throws {
        let file = #"{"worker": {"threads": 4, "credit": 5}, "log.level": "debug"}"#
        let variables = ["MRL_WORKER_THREADS": "3", "MRL_WORKER_CREDIT": "6"]
        let settings = try resolve(flags: ["worker.threads": "2"], environment: variables, file: file)
        #expect(settings[.workerThreads] == 2)
        #expect(settings[.workerCredit] == 6)
        #expect(settings[.logLevel] == "debug")
        #expect(settings[.workerGraceSeconds] == 10)
        #expect(settings.source(of: SettingKey.workerThreads.setting) == .flag("--worker-threads"))
        #expect(settings.source(of: SettingKey.workerCredit.setting) == .environment("MRL_WORKER_CREDIT"))
        #expect(settings.source(of: SettingKey.logLevel.setting) == .file(path))
        #expect(settings.source(of: SettingKey.logFormat.setting) == .byDefault)
    }

    @Test("the environment can name the file, and empty variables count as unset")
    func fileFromEnvironment() throws {
        _ = try resolve(file: #"{"worker": {"threads": 4}}"#)
        let settings = try resolve(environment: ["MRL_CONFIG": path, "MRL_WORKER_THREADS": ""])
        #expect(settings[.workerThreads] == 4)
    }

    @Test("database.url listens to its own variable before DATABASE_URL")
    func databaseURL() throws {
        #expect(try resolve()[.databaseURL] == nil)
        #expect(try resolve(environment: ["DATABASE_URL": "a"])[.databaseURL] == "a")
        #expect(try resolve(environment: ["DATABASE_URL": "a", "MRL_DATABASE_URL": "b"])[.databaseURL] == "b")
    }

    @Test("endpoints default to ipc in the run directory, wherever that was set")
    func endpoints() throws {
        let settings = try resolve(flags: ["run.directory": "/r"])
        #expect(settings[.coordinatorFront] == ["ipc:///r/front.sock"])
        #expect(settings[.coordinatorBack] == ["ipc:///r/back.sock"])
        let other = try resolve(
            environment: ["MRL_COORDINATOR_BACK": "tcp://127.0.0.1:7001, ipc://$RUN/b"],
            file: #"{"coordinator": {"front": ["tcp://127.0.0.1:7000"]}, "run": {"directory": "/f"}}"#
        )
        #expect(other[.coordinatorFront] == ["tcp://127.0.0.1:7000"])
        #expect(other[.coordinatorBack] == ["tcp://127.0.0.1:7001", "ipc:///f/b"])
    }

    @Test("sizes may be written with their unit")
    func sizes() throws {
        #expect(try resolve()[.workerCapacityBytes] == 2 << 30)
        #expect(try resolve(flags: ["worker.capacity_bytes": "512MiB"])[.workerCapacityBytes] == 512 << 20)
        #expect(try resolve(file: #"{"worker.capacity_bytes": 4194304}"#)[.workerCapacityBytes] == 4 << 20)
        #expect(refusal(flags: ["worker.capacity_bytes": "9999999999GiB"]) != nil)
        #expect(refusal(flags: ["worker.threads": "1KiB"]) != nil)
    }

    @Test("an unknown name in the file is an error that names it")
    func unknownKey() {
        let sentence = "there is no setting worker.thread, but the configuration file \(path) has it"
        #expect(refusal(file: #"{"worker": {"thread": 4}}"#) == sentence)
        #expect(refusal(flags: ["worker.thread": "1"]) == "there is no setting worker.thread")
    }

    @Test("a value that is not allowed is an error that names setting, value, source and what is allowed")
    func notAllowed() {
        #expect(
            refusal(environment: ["MRL_WORKER_THREADS": "0"])
                == "worker.threads is \"0\" in the environment variable MRL_WORKER_THREADS, "
                + "but must be a whole number from 1 to 256 (threads)"
        )
        #expect(
            refusal(flags: ["log.level": "loud"])
                == "log.level is \"loud\" in the flag --log-level, "
                + "but must be one of trace, debug, info, notice, warning, error, critical"
        )
        #expect(
            refusal(file: #"{"worker": {"threads": "two"}}"#)
                == "worker.threads is \"two\" in the file \(path), but must be a whole number from 1 to 256 (threads)"
        )
    }

    @Test(
        "a value of the wrong type in the file is an error",
        arguments: [
            #"{"worker": {"threads": 1.5}}"#, #"{"worker": {"threads": true}}"#, #"{"worker": {"threads": null}}"#,
            #"{"worker": {"threads": [1]}}"#, #"{"log": {"level": 1}}"#, #"{"coordinator": {"front": []}}"#,
            #"{"coordinator": {"front": ["a", 1]}}"#, #"{"coordinator": {"front": 1}}"#, #"{"database": {"url": ""}}"#,
        ]
    )
    func wrongType(file: String) {
        #expect(refusal(file: file)?.contains("in the file \(path), but must be") == true)
    }

    @Test("a file that is missing or no JSON object is an error that names it", arguments: ["[]", "{", "1", ""])
    func brokenFile(content: String) {
        #expect(refusal(file: content) == "the configuration file \(path) is not a JSON object")
        #expect(
            refusal(flags: ["config": "/nowhere/x.json"])
                == "cannot read the configuration file /nowhere/x.json: No such file or directory"
        )
    }

    @Test("silence that counts as death is at least three beats")
    func beats() throws {
        #expect(
            refusal(flags: ["coordinator.dead_ms": "1000"])
                == "coordinator.dead_ms is 1000 in the flag --coordinator-dead-ms, but must be at least 3 times "
                + "coordinator.heartbeat_ms, which is 500 by default: allowed are 1500 ms and more"
        )
        #expect(
            refusal(environment: ["MRL_COORDINATOR_HEARTBEAT_MS": "1001"])?.contains("allowed are 3003 ms and more")
                == true
        )
        #expect(refusal(environment: ["MRL_COORDINATOR_HEARTBEAT_MS": "1000"]) == nil)
    }

    @Test("a variable that looks like a setting and is none is told, with the one that may be meant")
    func unknownVariables() {
        func told(_ names: String...) -> [String] {
            Settings.unknownVariables(in: Dictionary(uniqueKeysWithValues: names.map { ($0, "1") }))
        }
        #expect(
            told("MRL_WORKER_THREAD", "MRL_COORDINATER_FRONT", "MRL_SOMETHING_ELSE_ALTOGETHER") == [
                "the environment variable MRL_COORDINATER_FRONT is no setting and has no effect: is "
                    + "MRL_COORDINATOR_FRONT meant?",
                "the environment variable MRL_SOMETHING_ELSE_ALTOGETHER is no setting and has no effect: `mrl settings` "
                    + "lists those that there are",
                "the environment variable MRL_WORKER_THREAD is no setting and has no effect: is MRL_WORKER_THREADS meant?",
            ]
        )
        #expect(told("MRL_HOME", "MRL_CONFIG", "MRL_WORKER_THREADS", "DATABASE_URL", "PATH") == [])
        // A service that is called mrl-front, or mrl.
        #expect(
            told(
                "MRL_FRONT_SERVICE_HOST",
                "MRL_FRONT_SERVICE_PORT",
                "MRL_FRONT_SERVICE_PORT_CLIENTS",
                "MRL_FRONT_PORT",
                "MRL_FRONT_PORT_7701_TCP",
                "MRL_FRONT_PORT_7701_TCP_PROTO",
                "MRL_FRONT_PORT_7701_TCP_PORT",
                "MRL_FRONT_PORT_7701_TCP_ADDR",
                "MRL_PORT",
                "MRL_PORT_7701_UDP_ADDR"
            ) == []
        )
    }

    @Test("a setting that must be given tells the ways to give it")
    func required() throws {
        let settings = try resolve()
        let failure = #expect(throws: StartupFailure.self) { try settings.required(.encoderModel) }
        #expect(failure?.sentence.contains("--encoder-model, MRL_ENCODER_MODEL or encoder.model") == true)
    }

    @Test("the table documents every setting, each by a name of its own")
    func table() {
        let table = Setting.markdownTable()
        #expect(table.split(separator: "\n").count == Setting.all.count + 2)
        #expect(Set(Setting.all.map(\.name)).count == Setting.all.count)
        #expect(Set(Setting.all.flatMap(\.environment)).count == Setting.all.flatMap(\.environment).count)
        #expect(table.contains("| `database.url` | `MRL_DATABASE_URL`, `DATABASE_URL` | text | none | any |"))
    }

    @Test("the run directory follows the user")
    func runDirectory() {
        let environment = ["XDG_RUNTIME_DIR": "/run/user/1", "HOME": "/home/x"]
        #expect(RunDirectory.defaultPath(environment: environment, isRoot: false) == "/run/user/1/matryoshka")
        #expect(
            RunDirectory.defaultPath(environment: ["HOME": "/home/x"], isRoot: false)
                == "/home/x/.local/share/matryoshka/run"
        )
        #expect(RunDirectory.defaultPath(environment: environment, isRoot: true) == "/var/lib/matryoshka/run")
    }
}
