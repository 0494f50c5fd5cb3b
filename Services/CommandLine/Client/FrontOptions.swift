import ArgumentParser
import CommandHelp
import FoundationEssentials
import ServiceRuntime
import ZeroMQ

/// Options of the commands that talk to a coordinator.
struct FrontOptions: ParsableArguments {
    @OptionGroup var home: HomeOption

    @Option(
        name: .customLong("front"),
        help: ArgumentHelp(
            "Endpoint of a coordinator, for example tcp://127.0.0.1:7400; repeat it for several, of which another takes "
                + "over from one that goes silent. "
                + "(\(SettingKey.coordinatorFront.setting.environment[0]); default: the cluster in --home)",
            valueName: "endpoint"
        )
    )
    var endpoints: [String] = []

    @Option(help: .configurationFile)
    var config: String?

    /// Connects as the settings say.
    func client() throws -> FrontClient {
        try FrontClient(try clientSettings(home: try home.resolved(), endpoints: endpoints, config: config))
    }
}

extension FrontClient {
    /// Connects as the settings say.
    convenience init(_ settings: Settings) throws {
        var curve: CurveClientOptions?
        if let server = settings[.curveServerKey] {
            do {
                curve = CurveClientOptions(
                    keys: try CurveKeyPair(secretKeyFile: try settings.required(.curveSecretKeyFile)),
                    serverPublicKey: try CurveKeyPair.publicKey(textOrFile: server)
                )
            } catch let error as ZeroMQError {
                throw StartupFailure("\(error)")
            }
        }
        try self.init(endpoints: settings[.coordinatorFront], curve: curve)
    }
}

/// Settings in which the run folder is the home's, and the endpoints are its coordinators', unless something else is named.
func clientSettings(home: Home, endpoints: [String] = [], config: String? = nil) throws -> Settings {
    let front = SettingKey.coordinatorFront.setting
    var flags: [String: String] = [:]
    if !endpoints.isEmpty { flags[front.name] = endpoints.joined(separator: ",") }
    if let config { flags["config"] = config }
    let environment = ProcessInfo.processInfo.environment
    if (environment["MRL_RUN_DIRECTORY"] ?? "").isEmpty { flags["run.directory"] = home.run }
    let settings = try Settings(flags: flags)
    let coordinators = WantedCluster.read(home)?.size.coordinators ?? 1
    guard coordinators > 1, settings.source(of: front) == .byDefault, settings[.runDirectory] == home.run else {
        return settings
    }
    flags[front.name] = (1...coordinators).map { "ipc://" + home.front($0) }.joined(separator: ",")
    return try Settings(flags: flags)
}
