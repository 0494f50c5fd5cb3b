public import ArgumentParser
public import ServiceRuntime

extension Option where Value == String? {
    /// An option that sets a setting: flag and help are as the list of settings has them.
    public init(_ setting: Setting) {
        self.init(name: .customLong(String(setting.flag.dropFirst(2))), help: help(setting))
    }
}

/// The help of an option that sets `setting`: what it means, what else sets it, and its default.
public func help(_ setting: Setting) -> ArgumentHelp {
    var text = setting.meaning
    if case .text(oneOf: .some) = setting.kind { text += " One of \(setting.allowed)." }
    text += " " + setting.origins
    return ArgumentHelp(text, valueName: setting.valueName)
}

extension ArgumentHelp {
    /// The help of `--config`.
    public static let configurationFile = ArgumentHelp("JSON file with settings. (MRL_CONFIG)", valueName: "file")
}

extension Setting {
    /// What sets it beside an option, in brackets: `(MRL_LOG_LEVEL; default: info)`.
    public var origins: String {
        let variables = environment.joined(separator: ", ")
        return "(\(variables)\(defaultText.map { "; default: \($0)" } ?? ""))"
    }

    fileprivate var valueName: String {
        switch kind {
        case .text: "text"
        case .list: "a,b,…"
        case .integer: unit.isEmpty ? "n" : unit
        }
    }
}
