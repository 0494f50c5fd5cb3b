public import ArgumentParser
public import ServiceRuntime

/// The options of every worker: each sets the setting of its name.
public struct WorkerOptions: ParsableArguments {
    @Option(name: .customLong("config"), help: "JSON file with settings; MRL_CONFIG names it too.")
    var config: String?
    @Option(help: help(SettingKey.coordinatorBack.setting))
    var coordinatorBack: String?
    @Option(help: help(SettingKey.runDirectory.setting))
    var runDirectory: String?
    @Option(help: help(SettingKey.workerThreads.setting))
    var workerThreads: String?
    @Option(help: help(SettingKey.workerCredit.setting))
    var workerCredit: String?
    @Option(help: help(SettingKey.workerGraceSeconds.setting))
    var workerGraceSeconds: String?
    @Option(help: help(SettingKey.curveSecretKeyFile.setting))
    var curveSecretKeyFile: String?
    @Option(help: help(SettingKey.curveServerKey.setting))
    var curveServerKey: String?
    @Option(help: help(SettingKey.logLevel.setting))
    var logLevel: String?
    @Option(help: help(SettingKey.logFormat.setting))
    var logFormat: String?

    /// Options as their defaults.
    public init() {}

    /// Values by setting name.
    public var flags: [String: String] {
        [
            "config": config,
            SettingKey.coordinatorBack.setting.name: coordinatorBack,
            SettingKey.runDirectory.setting.name: runDirectory,
            SettingKey.workerThreads.setting.name: workerThreads,
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
    @Option(name: .customLong("database-url"), help: help(SettingKey.databaseURL.setting))
    var databaseURL: String?
    @Option(help: help(SettingKey.workerCapacityBytes.setting))
    var workerCapacityBytes: String?
    @Option(name: .customLong("store-poll-ms"), help: help(SettingKey.storePollMilliseconds.setting))
    var storePollMilliseconds: String?

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

/// The help of the option that sets `setting`.
public func help(_ setting: Setting) -> ArgumentHelp {
    var text = setting.meaning
    text += " (\(setting.environment.joined(separator: ", "))"
    if let byDefault = setting.defaultText { text += "; default: \(byDefault)" }
    text += ")"
    return ArgumentHelp(stringLiteral: text)
}
