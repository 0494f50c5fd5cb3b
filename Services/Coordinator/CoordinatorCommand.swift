import ArgumentParser
import DocumentStore
import Glibc
import Logging
import PostgreSQL
import ServiceRuntime
import ZeroMQ

@main
struct CoordinatorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mrl-coordinator",
        abstract: "Takes searches and writes from clients, plans them, and fans them out to the workers.",
        discussion: """
            Every option is also a key of the configuration file and an environment variable (README, "Configuration").

            EXAMPLES
              mrl-coordinator --database-url postgresql:///matryoshka
              mrl-coordinator --coordinator-front ipc:///run/matryoshka/front.sock,tcp://127.0.0.1:7701
              mrl-coordinator --coordinator-back tcp://10.0.0.1:7702
                  with MRL_CURVE_SECRET_KEY_FILE and MRL_CURVE_BACK_ALLOW_LIST set
            """,
        version: "0.1.0"
    )

    @Option(help: "Configuration file (JSON).") var config: String?
    @Option(help: "PostgreSQL connection string; default DATABASE_URL or libpq's variables.") var databaseUrl: String?
    @Option(help: "Where clients connect; comma-separated endpoints.") var coordinatorFront: String?
    @Option(help: "Where workers connect; comma-separated endpoints.") var coordinatorBack: String?
    @Option(help: "Private folder for sockets.") var runDirectory: String?
    @Option(help: "Searches and writes under way before OVERLOADED.") var coordinatorInflightMax: Int?
    @Option(help: "The same for one client.") var coordinatorClientInflightMax: Int?
    @Option(help: "Rows that searches under way may ask for before OVERLOADED.") var coordinatorRowsMax: Int?
    @Option(help: "Silence after which a worker counts as dead, in ms.") var coordinatorDeadMs: Int?
    @Option(help: "Computing without progress after which a worker counts as hung, in ms.")
    var coordinatorHungMs: Int?
    @Option(help: "Interval of the workers' beats, in ms.") var coordinatorHeartbeatMs: Int?
    @Option(help: "Searches slower than this are recorded, in ms.") var slowSearchMs: Int?
    @Option(help: "Length of the leader lease, in seconds.") var coordinatorLeaseSeconds: Int?
    @Option(help: "Seconds that requests under way get after SIGTERM.") var workerGraceSeconds: Int?
    @Option(help: "File with this process's CURVE secret key (Z85).") var curveSecretKeyFile: String?
    @Option(help: "File with the public keys of admitted clients, one a line.") var curveFrontAllowList: String?
    @Option(help: "File with the public keys of admitted workers, one a line.") var curveBackAllowList: String?
    @Option(help: "trace, debug, info, notice, warning, error or critical.") var logLevel: String?
    @Option(help: "text or json.") var logFormat: String?

    func run() throws {
        runProcess {
            let settings = try Settings(flags: flags)
            configureLogging(
                level: Logger.Level(rawValue: settings[.logLevel]) ?? .info,
                format: LogFormat(rawValue: settings[.logFormat]) ?? .text
            )
            warnOfUnknownVariables(Logger(label: "coordinator"))
            _ = ServiceProcess.raiseOpenFileLimit()
            let signals = TerminationSignals()
            try RunDirectory.prepare(settings[.runDirectory])
            let service = try CoordinatorService(settings: settings, signals: signals)
            try service.serve()
            // Before the service goes: its threads may wait for a database that hangs.
            withExtendedLifetime(service) { exitCleanly() }
        }
    }

    private var flags: [String: String] {
        let given: [(String, String?)] = [
            ("config", config), ("database.url", databaseUrl), ("coordinator.front", coordinatorFront),
            ("coordinator.back", coordinatorBack), ("run.directory", runDirectory),
            ("coordinator.inflight_max", coordinatorInflightMax.map(String.init)),
            ("coordinator.client_inflight_max", coordinatorClientInflightMax.map(String.init)),
            ("coordinator.rows_max", coordinatorRowsMax.map(String.init)),
            ("coordinator.dead_ms", coordinatorDeadMs.map(String.init)),
            ("coordinator.hung_ms", coordinatorHungMs.map(String.init)),
            ("coordinator.heartbeat_ms", coordinatorHeartbeatMs.map(String.init)),
            ("slow_search_ms", slowSearchMs.map(String.init)),
            ("coordinator.lease_seconds", coordinatorLeaseSeconds.map(String.init)),
            ("worker.grace_seconds", workerGraceSeconds.map(String.init)),
            ("curve.secret_key_file", curveSecretKeyFile), ("curve.front_allow_list", curveFrontAllowList),
            ("curve.back_allow_list", curveBackAllowList),
            ("log.level", logLevel), ("log.format", logFormat),
        ]
        return Dictionary(uniqueKeysWithValues: given.compactMap { key, value in value.map { (key, $0) } })
    }
}
