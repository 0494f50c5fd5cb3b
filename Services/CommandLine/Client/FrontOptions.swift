import ArgumentParser
import FoundationEssentials
import ServiceRuntime
import ZeroMQ

/// Options of the commands that talk to a coordinator.
struct FrontOptions: ParsableArguments {
    @OptionGroup var home: HomeOption

    @Option(
        name: .customLong("front"),
        help: ArgumentHelp(
            "Endpoint of the coordinator, for example tcp://127.0.0.1:7400; default: the cluster in --home.",
            valueName: "endpoint"
        )
    )
    var endpoints: [String] = []

    @Option(help: ArgumentHelp("Configuration file (JSON).", valueName: "file"))
    var config: String?

    /// Connects as the settings say.
    func client() throws -> FrontClient {
        let settings = try clientSettings(home: try home.resolved(), endpoints: endpoints, config: config)
        return try FrontClient(endpoints: settings[.coordinatorFront], curve: try curve(settings))
    }

    private func curve(_ settings: Settings) throws -> CurveClientOptions? {
        guard let server = settings[.curveServerKey], let secret = settings[.curveSecretKeyFile] else { return nil }
        do {
            return CurveClientOptions(
                keys: try CurveKeyPair(secretKeyFile: secret),
                serverPublicKey: try CurveKeyPair.publicKey(textOrFile: server)
            )
        } catch {
            throw StartupFailure("\(error)")
        }
    }
}

/// Settings in which the run folder is the home's unless something else is named.
func clientSettings(home: Home, endpoints: [String] = [], config: String? = nil) throws -> Settings {
    var flags: [String: String] = [:]
    if !endpoints.isEmpty { flags["coordinator.front"] = endpoints.joined(separator: ",") }
    if let config { flags["config"] = config }
    let environment = ProcessInfo.processInfo.environment
    if (environment["MRL_RUN_DIRECTORY"] ?? "").isEmpty { flags["run.directory"] = home.run }
    return try Settings(flags: flags)
}
