import CPlatform
import FoundationEssentials
import Glibc

/// The settings of one process, all checked: from flags, then the environment, then a JSON file, then the defaults.
///
/// The file nests (`{"log": {"level": "debug"}}`) or spells names out (`{"log.level": "debug"}`). A name in it that
/// is no setting is an error, as is a value of the wrong type or out of range, wherever it comes from.
public struct Settings: Sendable {
    /// Where a value came from.
    public enum Source: Sendable, Hashable, CustomStringConvertible {
        /// A flag of the command line.
        case flag(String)
        /// An environment variable.
        case environment(String)
        /// The file at this path.
        case file(String)
        /// Nothing set it.
        case byDefault

        /// The source in words.
        public var description: String {
            switch self {
            case .flag(let name): "the flag \(name)"
            case .environment(let name): "the environment variable \(name)"
            case .file(let path): "the file \(path)"
            case .byDefault: "the default"
            }
        }
    }

    private enum Value: Sendable {
        case text(String)
        case integer(Int)
        case list([String])
    }

    private var values: [String: (value: Value, source: Source)] = [:]

    /// Resolves and checks every setting.
    ///
    /// - Parameters:
    ///   - flags: Values given on the command line by setting name; the name `config` stands for the file.
    ///   - environment: The variables of the process; `MRL_CONFIG` names the file unless `flags` does.
    /// - Throws: A sentence that names the setting, the value, its source and what is allowed.
    public init(
        flags: [String: String] = [:],
        environment: [String: String] = ServiceProcess.environment
    ) throws(StartupFailure) {
        let known = Dictionary(uniqueKeysWithValues: Setting.all.map { ($0.name, $0) })
        var flags = flags
        let path = flags.removeValue(forKey: "config") ?? environment["MRL_CONFIG"].flatMap { $0.isEmpty ? nil : $0 }
        if let unknown = flags.keys.sorted().first(where: { known[$0] == nil }) {
            throw StartupFailure("there is no setting \(unknown)")
        }
        let file = try path.map { path throws(StartupFailure) in try settingsFile(path, known: known) } ?? [:]

        for setting in Setting.all {
            if let text = flags[setting.name] {
                let source = Source.flag(setting.flag)
                values[setting.name] = (try Self.parse(.string(text), setting, source), source)
            } else if let variable = setting.environment.first(where: { !(environment[$0] ?? "").isEmpty }) {
                let source = Source.environment(variable)
                values[setting.name] = (try Self.parse(.string(environment[variable]!), setting, source), source)
            } else if let json = file[setting.name], let path {
                let source = Source.file(path)
                values[setting.name] = (try Self.parse(json, setting, source), source)
            } else if let text = setting.defaultText {
                values[setting.name] = (try Self.parse(.string(text), setting, .byDefault), .byDefault)
            }
        }

        let runName = SettingKey.runDirectory.setting.name
        if values[runName]?.source == .byDefault {
            values[runName] = (.text(RunDirectory.defaultPath(environment: environment)), .byDefault)
        }
        let run = self[.runDirectory]
        for name in [SettingKey.coordinatorFront.setting.name, SettingKey.coordinatorBack.setting.name] {
            guard let (value, source) = values[name], case .list(let endpoints) = value else { continue }
            values[name] = (.list(endpoints.map { $0.replacing("$RUN", with: run) }), source)
        }
        try checkBeats()
    }

    /// A single beat that is lost or late must not pass for death.
    private func checkBeats() throws(StartupFailure) {
        let dead = self[.coordinatorDeadMilliseconds]
        let beat = self[.coordinatorHeartbeatMilliseconds]
        guard dead < Self.beatsUntilDead * beat else { return }
        func shown(_ key: SettingKey<Int>) -> String {
            let source = source(of: key.setting)
            return "\(self[key]) " + (source == .byDefault ? "by default" : "in \(source)")
        }
        throw StartupFailure(
            "coordinator.dead_ms is \(shown(.coordinatorDeadMilliseconds)), but must be at least \(Self.beatsUntilDead) "
                + "times coordinator.heartbeat_ms, which is \(shown(.coordinatorHeartbeatMilliseconds)): "
                + "allowed are \(Self.beatsUntilDead * beat) ms and more"
        )
    }

    /// Beats that a worker must miss before it counts as dead.
    private static let beatsUntilDead = 3

    /// The value of a text setting that has a default.
    public subscript(key: SettingKey<String>) -> String {
        guard case .text(let text)? = values[key.setting.name]?.value else { wrongKind(key.setting) }
        return text
    }

    /// The value of a text setting, nil when nothing set it.
    public subscript(key: SettingKey<String?>) -> String? {
        guard let value = values[key.setting.name]?.value else { return nil }
        guard case .text(let text) = value else { wrongKind(key.setting) }
        return text
    }

    /// The value of a number.
    public subscript(key: SettingKey<Int>) -> Int {
        guard case .integer(let number)? = values[key.setting.name]?.value else { wrongKind(key.setting) }
        return number
    }

    /// The texts of a list.
    public subscript(key: SettingKey<[String]>) -> [String] {
        guard case .list(let texts)? = values[key.setting.name]?.value else { wrongKind(key.setting) }
        return texts
    }

    /// Where the value of a setting came from.
    public func source(of setting: Setting) -> Source {
        values[setting.name]?.source ?? .byDefault
    }

    /// The value of a setting that this process cannot do without.
    public func required(_ key: SettingKey<String?>) throws(StartupFailure) -> String {
        if let text = self[key] { return text }
        let setting = key.setting
        throw StartupFailure(
            "\(setting.name) is not set: give \(setting.flag), \(setting.environment[0]) or \(setting.name) in the "
                + "configuration file"
        )
    }

    private func wrongKind(_ setting: Setting) -> Never {
        preconditionFailure("the key \(setting.name) does not fit its setting")
    }

    private static func parse(
        _ json: SettingJSON,
        _ setting: Setting,
        _ source: Source
    ) throws(StartupFailure) -> Value {
        func refused(_ shown: String, _ wanted: String) -> StartupFailure {
            StartupFailure("\(setting.name) is \(shown) in \(source), but must be \(wanted)")
        }
        switch (setting.kind, json) {
        case (.text(let choices), .string(let text)):
            if let choices, !choices.contains(text) {
                throw refused(quoted(text), "one of " + choices.joined(separator: ", "))
            }
            if text.isEmpty { throw refused("empty", "a text") }
            return .text(text)
        case (.integer(let range), .string), (.integer(let range), .integer):
            let unit = setting.unit.isEmpty ? "" : " (\(setting.unit))"
            let wanted = "a whole number from \(range.lowerBound) to \(range.upperBound)\(unit)"
            let number =
                switch json {
                case .integer(let number): number
                case .string(let text): integer(text, allowsSize: setting.unit == "bytes")
                default: Int?.none
                }
            guard let number, range.contains(number) else { throw refused(json.shown, wanted) }
            return .integer(number)
        case (.list, .string(let text)):
            let items = text.split(separator: ",").map { String($0.trimmingPrefix(while: { $0 == " " })) }
            if items.isEmpty { throw refused("empty", "a list of texts") }
            return .list(items)
        case (.list, .array(let items)):
            let texts = items.compactMap { if case .string(let text) = $0, !text.isEmpty { text } else { nil } }
            if texts.isEmpty || texts.count < items.count { throw refused(json.shown, "a list of texts") }
            return .list(texts)
        case (.text, _): throw refused(json.shown, "a text")
        case (.integer, _): throw refused(json.shown, "a whole number")
        case (.list, _): throw refused(json.shown, "a list of texts")
        }
    }

    private static func integer(_ text: String, allowsSize: Bool) -> Int? {
        if let number = Int(text) { return number }
        guard allowsSize else { return nil }
        for (suffix, shift) in [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)] where text.hasSuffix(suffix) {
            guard let number = Int(text.dropLast(3)) else { return nil }
            let (product, overflow) = number.multipliedReportingOverflow(by: 1 << shift)
            return overflow ? nil : product
        }
        return nil
    }
}

/// Just enough JSON for a settings file.
private enum SettingJSON: Decodable {
    case string(String)
    case integer(Int)
    case other(String)
    case array([SettingJSON])
    case object([String: SettingJSON])

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let text = try? container.decode(String.self) {
            self = .string(text)
        } else if let flag = try? container.decode(Bool.self) {
            self = .other(String(flag))
        } else if let number = try? container.decode(Int.self) {
            self = .integer(number)
        } else if let number = try? container.decode(Double.self) {
            self = .other(String(number))
        } else if let items = try? container.decode([SettingJSON].self) {
            self = .array(items)
        } else if let members = try? container.decode([String: SettingJSON].self) {
            self = .object(members)
        } else {
            self = .other("null")
        }
    }

    var shown: String {
        switch self {
        case .string(let text): quoted(text)
        case .integer(let number): String(number)
        case .other(let text): text
        case .array(let items): "[" + items.map(\.shown).joined(separator: ", ") + "]"
        case .object: "an object"
        }
    }

    /// Adds every member that is not an object under its dotted name.
    func flatten(under prefix: String, into flat: inout [String: SettingJSON]) {
        guard case .object(let members) = self else {
            flat[prefix] = self
            return
        }
        for (name, member) in members {
            member.flatten(under: prefix.isEmpty ? name : "\(prefix).\(name)", into: &flat)
        }
    }
}

private func settingsFile(_ path: String, known: [String: Setting]) throws(StartupFailure) -> [String: SettingJSON] {
    var bytes: UnsafeMutablePointer<UInt8>?
    let count = platform_read_file(path, 1 << 20, &bytes)
    guard count >= 0, let bytes else {
        throw StartupFailure("cannot read the configuration file \(path): \(String(cString: strerror(Int32(-count))))")
    }
    defer { free(bytes) }
    guard
        let json = try? JSONDecoder().decode(SettingJSON.self, from: Data(bytes: bytes, count: count)),
        case .object = json
    else {
        throw StartupFailure("the configuration file \(path) is not a JSON object")
    }
    var flat: [String: SettingJSON] = [:]
    json.flatten(under: "", into: &flat)
    if let unknown = flat.keys.sorted().first(where: { known[$0] == nil }) {
        throw StartupFailure("there is no setting \(unknown), but the configuration file \(path) has it")
    }
    return flat
}
