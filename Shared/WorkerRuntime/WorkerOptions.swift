public import ArgumentParser
import CommandHelp
import ServiceRuntime

/// The options of every worker: each sets the setting of its name.
public struct WorkerOptions: ParsableArguments {
    @Option(help: .configurationFile) var config: String?
    @Option(SettingKey.coordinatorBack.setting) var coordinatorBack: String?
    @Option(SettingKey.runDirectory.setting) var runDirectory: String?
    @Option(SettingKey.workerThreads.setting) var workerThreads: String?
    @Option(SettingKey.workerCPUs.setting) var workerCpus: String?
    @Option(SettingKey.workerCredit.setting) var workerCredit: String?
    @Option(SettingKey.workerGraceSeconds.setting) var workerGraceSeconds: String?
    @Option(SettingKey.curveSecretKeyFile.setting) var curveSecretKeyFile: String?
    @Option(SettingKey.curveServerKey.setting) var curveServerKey: String?
    @Option(SettingKey.logLevel.setting) var logLevel: String?
    @Option(SettingKey.logFormat.setting) var logFormat: String?

    /// Options as their defaults.
    public init() {}

    /// Values by setting name.
    public var flags: [String: String] {
        [
            "config": config,
            SettingKey.coordinatorBack.setting.name: coordinatorBack,
            SettingKey.runDirectory.setting.name: runDirectory,
            SettingKey.workerThreads.setting.name: workerThreads,
            SettingKey.workerCPUs.setting.name: workerCpus,
            SettingKey.workerCredit.setting.name: workerCredit,
            SettingKey.workerGraceSeconds.setting.name: workerGraceSeconds,
            SettingKey.curveSecretKeyFile.setting.name: curveSecretKeyFile,
            SettingKey.curveServerKey.setting.name: curveServerKey,
            SettingKey.logLevel.setting.name: logLevel,
            SettingKey.logFormat.setting.name: logFormat,
        ].compactMapValues { $0 }
    }
}

/// The options of workers that hold rows.
public struct HoldingOptions: ParsableArguments {
    @Option(SettingKey.databaseURL.setting) var databaseURL: String?
    @Option(SettingKey.workerCapacityBytes.setting) var workerCapacityBytes: String?
    @Option(SettingKey.storePollMilliseconds.setting) var storePollMilliseconds: String?

    /// Options as their defaults.
    public init() {}

    /// Values by setting name.
    public var flags: [String: String] {
        [
            SettingKey.databaseURL.setting.name: databaseURL,
            SettingKey.workerCapacityBytes.setting.name: workerCapacityBytes,
            SettingKey.storePollMilliseconds.setting.name: storePollMilliseconds,
        ].compactMapValues { $0 }
    }
}
