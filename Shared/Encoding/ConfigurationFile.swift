import WireProtocol

/// A JSON object that says how a model computes: each member is asked for, known not to matter, or refused.
///
/// A member that nobody asked for could change every vector, so ``finish()`` refuses it by name.
struct ConfigurationFile {
    /// For messages.
    let path: String
    private let members: JSONValue
    private var known: Set<String> = []

    init(_ bytes: [UInt8], path: String) throws(ModelError) {
        let value: JSONValue
        do {
            value = try JSONValue(parsing: bytes)
        } catch {
            throw .malformed(path: path, reason: "it is not JSON: \(error.message) at byte \(error.offset)")
        }
        try self.init(value, path: path)
    }

    /// An object within a file; `path` then names both.
    init(_ value: JSONValue, path: String) throws(ModelError) {
        guard case .object = value else { throw .malformed(path: path, reason: "it is not a JSON object") }
        members = value
        self.path = path
    }

    /// A member of any kind; nil where it is missing or null.
    mutating func value(_ key: String) -> JSONValue? {
        known.insert(key)
        guard let value = members[key], value != .null else { return nil }
        return value
    }

    mutating func integer(_ key: String, in range: ClosedRange<Int>) throws(ModelError) -> Int {
        guard let value = try integerIfThere(key, in: range) else {
            throw .malformed(path: path, reason: "\"\(key)\" is missing")
        }
        return value
    }

    mutating func integerIfThere(_ key: String, in range: ClosedRange<Int>) throws(ModelError) -> Int? {
        guard let value = value(key) else { return nil }
        var whole: Int?
        if case .integer(let number) = value { whole = Int(number) }
        if case .number(let number) = value { whole = Int(exactly: number) }
        guard let whole, range.contains(whole) else {
            throw .malformed(
                path: path,
                reason: "\"\(key)\" is \(Self.written(value)), allowed are \(range.lowerBound) to \(range.upperBound)"
            )
        }
        return whole
    }

    mutating func number(_ key: String, default fallback: Double) throws(ModelError) -> Double {
        switch value(key) {
        case nil: return fallback
        case .integer(let number): return Double(number)
        case .number(let number): return number
        case .some(let value):
            throw .malformed(path: path, reason: "\"\(key)\" is \(Self.written(value)), a number is expected")
        }
    }

    mutating func flag(_ key: String, default fallback: Bool) throws(ModelError) -> Bool {
        switch value(key) {
        case nil: return fallback
        case .bool(let flag): return flag
        case .some(let value):
            throw .malformed(path: path, reason: "\"\(key)\" is \(Self.written(value)), true or false is expected")
        }
    }

    mutating func text(_ key: String) throws(ModelError) -> String? {
        switch value(key) {
        case nil: return nil
        case .string(let text): return text
        case .some(let value):
            throw .malformed(path: path, reason: "\"\(key)\" is \(Self.written(value)), a text is expected")
        }
    }

    /// Sizes, in the order in which they are written.
    mutating func integers(_ key: String, in range: ClosedRange<Int>) throws(ModelError) -> [Int]? {
        guard let value = value(key) else { return nil }
        guard case .array(let values) = value else {
            throw .malformed(path: path, reason: "\"\(key)\" is \(Self.written(value)), a list of numbers is expected")
        }
        var numbers: [Int] = []
        for value in values {
            guard case .integer(let number) = value, range.contains(Int(number)) else {
                throw .malformed(
                    path: path,
                    reason: "\"\(key)\" holds \(Self.written(value)), allowed are \(range.lowerBound) to "
                        + "\(range.upperBound)"
                )
            }
            numbers.append(Int(number))
        }
        return numbers
    }

    /// Texts by key; empty where there are none.
    mutating func texts(_ key: String) throws(ModelError) -> [String: String] {
        guard let value = value(key) else { return [:] }
        guard case .object(let members) = value else {
            throw .malformed(path: path, reason: "\"\(key)\" is \(Self.written(value)), an object is expected")
        }
        var texts: [String: String] = [:]
        for member in members where member.value != .null {
            guard case .string(let text) = member.value else {
                throw .malformed(path: path, reason: "\"\(key).\(member.key)\" is no text")
            }
            texts[member.key] = text
        }
        return texts
    }

    /// Refuses a member that is there and none of `allowed`.
    mutating func require(_ key: String, _ allowed: JSONValue...) throws(ModelError) {
        guard let value = value(key), !allowed.contains(value) else { return }
        throw .unsupported(
            path: path,
            reason: "\"\(key)\" is \(Self.written(value)), this build runs "
                + allowed.map(Self.written).joined(separator: " or ")
        )
    }

    /// Members that change no vector, or whose meaning another member repeats.
    mutating func ignore(_ keys: [String]) { known.formUnion(keys) }

    /// Refuses members that nobody asked for, save those that say "nothing", "none" or "no".
    func finish() throws(ModelError) {
        guard case .object(let members) = members else { return }
        for member in members where !known.contains(member.key) {
            switch member.value {
            case .null, .bool(false), .integer(0), .number(0), .string(""), .array([]), .object([]): continue
            default:
                throw .unsupported(
                    path: path,
                    reason: "\"\(member.key)\" is \(Self.written(member.value)), and this build does not know what it "
                        + "means"
                )
            }
        }
    }

    /// A value as a file has it, in short.
    static func written(_ value: JSONValue) -> String {
        switch value {
        case .null: "null"
        case .bool(let flag): "\(flag)"
        case .integer(let number): "\(number)"
        case .number(let number): "\(number)"
        case .string(let text): "\"\(text.prefix(80))\""
        case .array(let values): values.count > 8 ? "a list" : "[\(values.map(written).joined(separator: ", "))]"
        case .object: "an object"
        }
    }
}
