import ArgumentParser
import CommandHelp
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
        discussion: helpDiscussion(
            """
            Every option is also a key of the configuration file and an environment variable (README, "Configuration").
            """,
            examples: """
                mrl-coordinator --database-url postgresql:///matryoshka
                mrl-coordinator --coordinator-front tcp://127.0.0.1:7701
                mrl-coordinator --coordinator-back tcp://10.0.0.1:7702
                    with MRL_CURVE_SECRET_KEY_FILE and MRL_CURVE_BACK_ALLOW_LIST set
                """
        ),
        version: "0.1.0"
    )

    @Option(help: .configurationFile) var config: String?
    @Option(SettingKey.databaseURL.setting) var databaseURL: String?
    @Option(SettingKey.coordinatorFront.setting) var coordinatorFront: String?
    @Option(SettingKey.coordinatorBack.setting) var coordinatorBack: String?
    @Option(SettingKey.runDirectory.setting) var runDirectory: String?
    @Option(SettingKey.coordinatorInflightMax.setting) var coordinatorInflightMax: String?
    @Option(SettingKey.coordinatorClientInflightMax.setting) var coordinatorClientInflightMax: String?
    @Option(SettingKey.coordinatorRowsMax.setting) var coordinatorRowsMax: String?
    @Option(SettingKey.coordinatorDeadMilliseconds.setting) var coordinatorDeadMilliseconds: String?
    @Option(SettingKey.coordinatorHungMilliseconds.setting) var coordinatorHungMilliseconds: String?
    @Option(SettingKey.coordinatorHeartbeatMilliseconds.setting) var coordinatorHeartbeatMilliseconds: String?
    @Option(SettingKey.slowSearchMilliseconds.setting) var slowSearchMilliseconds: String?
    @Option(SettingKey.coordinatorLeaseSeconds.setting) var coordinatorLeaseSeconds: String?
    @Option(SettingKey.workerGraceSeconds.setting) var workerGraceSeconds: String?
    @Option(SettingKey.curveSecretKeyFile.setting) var curveSecretKeyFile: String?
    @Option(SettingKey.curveFrontAllowList.setting) var curveFrontAllowList: String?
    @Option(SettingKey.curveBackAllowList.setting) var curveBackAllowList: String?
    @Option(SettingKey.logLevel.setting) var logLevel: String?
    @Option(SettingKey.logFormat.setting) var logFormat: String?

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
        [
            "config": config,
            SettingKey.databaseURL.setting.name: databaseURL,
            SettingKey.coordinatorFront.setting.name: coordinatorFront,
            SettingKey.coordinatorBack.setting.name: coordinatorBack,
            SettingKey.runDirectory.setting.name: runDirectory,
            SettingKey.coordinatorInflightMax.setting.name: coordinatorInflightMax,
            SettingKey.coordinatorClientInflightMax.setting.name: coordinatorClientInflightMax,
            SettingKey.coordinatorRowsMax.setting.name: coordinatorRowsMax,
            SettingKey.coordinatorDeadMilliseconds.setting.name: coordinatorDeadMilliseconds,
            SettingKey.coordinatorHungMilliseconds.setting.name: coordinatorHungMilliseconds,
            SettingKey.coordinatorHeartbeatMilliseconds.setting.name: coordinatorHeartbeatMilliseconds,
            SettingKey.slowSearchMilliseconds.setting.name: slowSearchMilliseconds,
            SettingKey.coordinatorLeaseSeconds.setting.name: coordinatorLeaseSeconds,
            SettingKey.workerGraceSeconds.setting.name: workerGraceSeconds,
            SettingKey.curveSecretKeyFile.setting.name: curveSecretKeyFile,
            SettingKey.curveFrontAllowList.setting.name: curveFrontAllowList,
            SettingKey.curveBackAllowList.setting.name: curveBackAllowList,
            SettingKey.logLevel.setting.name: logLevel,
            SettingKey.logFormat.setting.name: logFormat,
        ].compactMapValues { $0 }
    }
}
