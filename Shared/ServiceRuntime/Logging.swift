import CPlatform
import Glibc
public import Logging

/// How log lines look.
public enum LogFormat: String, Sendable, CaseIterable {
    /// `2026-01-31T12:00:00.123Z info coordinator: ready epoch=7`
    case text
    /// One JSON object a line: `time`, `level`, `label`, `message`, then the metadata under `fields`.
    case json
}

/// Warns of environment variables that somebody took for settings.
public func warnOfUnknownVariables(_ log: Logger, in environment: [String: String] = ServiceProcess.environment) {
    for sentence in Settings.unknownVariables(in: environment) { log.warning("\(sentence)") }
}

/// Sends all logging of this process to standard error; call it once, before the first logger is made.
public func configureLogging(level: Logger.Level = .info, format: LogFormat = .text) {
    LoggingSystem.bootstrap { label in
        StandardErrorLog(label: label, logLevel: level, format: format, write: writeToStandardError)
    }
}

/// Writes each event as one line.
struct StandardErrorLog: LogHandler {
    let label: String
    var logLevel: Logger.Level
    let format: LogFormat
    let write: @Sendable (String) -> Void
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?

    init(label: String, logLevel: Logger.Level, format: LogFormat, write: @escaping @Sendable (String) -> Void) {
        self.label = label
        self.logLevel = logLevel
        self.format = format
        self.write = write
    }

    subscript(metadataKey key: String) -> Logger.MetadataValue? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var fields = metadata
        if let provided = metadataProvider?.get() { fields.merge(provided) { $1 } }
        if let own = event.metadata { fields.merge(own) { $1 } }
        if let error = event.error { fields["error"] = "\(error)" }
        let pairs = fields.map { (key: $0.key, value: "\($0.value)") }.sorted { $0.key < $1.key }
        write(line(time: timestamp(), level: event.level, message: "\(event.message)", pairs: pairs))
    }

    func line(time: String, level: Logger.Level, message: String, pairs: [(key: String, value: String)]) -> String {
        var line = ""
        switch format {
        case .text:
            line = "\(time) \(level.rawValue) \(label): "
            for scalar in message.unicodeScalars {
                line.unicodeScalars.append(scalar.properties.generalCategory == .control ? " " : scalar)
            }
            for (key, value) in pairs { line += " \(key)=\(needsQuotes(value) ? quoted(value) : value)" }
        case .json:
            line = "{\"time\":\"\(time)\",\"level\":\"\(level.rawValue)\",\"label\":\(quoted(label))"
            line += ",\"message\":\(quoted(message))"
            if !pairs.isEmpty {
                let fields = pairs.map { "\(quoted($0.key)):\(quoted($0.value))" }
                line += ",\"fields\":{\(fields.joined(separator: ","))}"
            }
            line += "}"
        }
        return line + "\n"
    }

    private func needsQuotes(_ value: String) -> Bool {
        value.isEmpty || value.utf8.contains { $0 <= 0x20 || $0 == 0x22 || $0 == 0x3D || $0 == 0x7F }
    }
}

/// The text as a JSON string.
func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": result += "\\\""
        case "\\": result += "\\\\"
        case "\n": result += "\\n"
        case "\r": result += "\\r"
        case "\t": result += "\\t"
        case _ where scalar.value < 0x20 || scalar.value == 0x7F:
            let digits = String(scalar.value, radix: 16)
            result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result + "\""
}

/// Now in UTC with milliseconds.
private func timestamp() -> String {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    var parts = tm()
    gmtime_r(&now.tv_sec, &parts)
    func padded(_ number: Int, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    let day =
        "\(padded(Int(parts.tm_year) + 1900, 4))-\(padded(Int(parts.tm_mon) + 1, 2))-\(padded(Int(parts.tm_mday), 2))"
    let clock = "\(padded(Int(parts.tm_hour), 2)):\(padded(Int(parts.tm_min), 2)):\(padded(Int(parts.tm_sec), 2))"
    return "\(day)T\(clock).\(padded(now.tv_nsec / 1_000_000, 3))Z"
}
