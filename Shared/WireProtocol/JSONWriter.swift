/// Writes compact JSON into bytes and sets the commas.
public struct JSONWriter {
    /// What has been written.
    public private(set) var bytes: [UInt8] = []
    private var needsComma = false

    /// Makes an empty writer.
    public init(reserving capacity: Int = 0) { bytes.reserveCapacity(capacity) }

    /// Opens an object.
    public mutating func beginObject() {
        startValue()
        bytes.append(0x7B)
        needsComma = false
    }

    /// Closes an object.
    public mutating func endObject() {
        bytes.append(0x7D)
        needsComma = true
    }

    /// Opens an array.
    public mutating func beginArray() {
        startValue()
        bytes.append(0x5B)
        needsComma = false
    }

    /// Closes an array.
    public mutating func endArray() {
        bytes.append(0x5D)
        needsComma = true
    }

    /// Writes a key; a value must follow.
    public mutating func key(_ key: String) {
        string(key)
        bytes.append(0x3A)
        needsComma = false
    }

    /// Writes null.
    public mutating func null() {
        startValue()
        ascii("null")
    }

    /// Writes a truth value.
    public mutating func bool(_ value: Bool) {
        startValue()
        ascii(value ? "true" : "false")
    }

    /// Writes an integer.
    public mutating func integer(_ value: Int64) {
        startValue()
        if value < 0 { bytes.append(0x2D) }
        var rest = value.magnitude
        let first = bytes.count
        repeat {
            bytes.append(0x30 + UInt8(rest % 10))
            rest /= 10
        } while rest != 0
        bytes[first...].reverse()
    }

    /// Writes the shortest text that reads as the same number; null where it is not finite.
    public mutating func number(_ value: Double) {
        startValue()
        append(value.isFinite ? value.description : "null")
    }

    /// Writes the shortest text that reads as the same float; null where it is not finite.
    public mutating func number(_ value: Float) {
        startValue()
        append(value.isFinite ? value.description : "null")
    }

    /// Writes a string with the escapes that JSON needs.
    public mutating func string(_ text: String) {
        startValue()
        bytes.append(0x22)
        let isPlain =
            text.utf8.withContiguousStorageIfAvailable { units in
                for unit in units where unit < 0x20 || unit == 0x22 || unit == 0x5C { return false }
                bytes.append(contentsOf: units)
                return true
            } ?? false
        if !isPlain { for unit in text.utf8 { escape(unit) } }
        bytes.append(0x22)
    }

    /// Writes a text that is JSON already.
    ///
    /// Line breaks can only be white space there and become blanks.
    public mutating func raw(_ json: String) {
        startValue()
        let first = bytes.count
        append(json)
        for index in first..<bytes.count where bytes[index] == 0x0A || bytes[index] == 0x0D { bytes[index] = 0x20 }
    }

    /// Writes any value.
    public mutating func value(_ value: JSONValue) {
        switch value {
        case .null: null()
        case .bool(let value): bool(value)
        case .integer(let value): integer(value)
        case .number(let value): number(value)
        case .string(let value): string(value)
        case .array(let values):
            beginArray()
            for each in values { self.value(each) }
            endArray()
        case .object(let members):
            beginObject()
            for member in members { self.member(member.key, member.value) }
            endObject()
        }
    }

    /// Writes a key with a value.
    public mutating func member(_ key: String, _ value: JSONValue) {
        self.key(key)
        self.value(value)
    }

    /// Writes a key with a string.
    public mutating func member(_ key: String, _ value: String) {
        self.key(key)
        string(value)
    }

    /// Writes a key with an integer.
    public mutating func member(_ key: String, _ value: some BinaryInteger) {
        self.key(key)
        integer(Int64(clamping: value))
    }

    /// Writes a key with a truth value.
    public mutating func member(_ key: String, _ value: Bool) {
        self.key(key)
        bool(value)
    }

    /// Ends a line of a JSON-lines buffer.
    public mutating func endLine() {
        bytes.append(0x0A)
        needsComma = false
    }

    private mutating func startValue() {
        if needsComma { bytes.append(0x2C) }
        needsComma = true
    }

    private mutating func append(_ text: String) {
        let isDone: Void? = text.utf8.withContiguousStorageIfAvailable { bytes.append(contentsOf: $0) }
        if isDone == nil { bytes.append(contentsOf: text.utf8) }
    }

    private mutating func ascii(_ text: StaticString) {
        bytes.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    private mutating func escape(_ unit: UInt8) {
        switch unit {
        case 0x22: ascii("\\\"")
        case 0x5C: ascii("\\\\")
        case 0x08: ascii("\\b")
        case 0x0C: ascii("\\f")
        case 0x0A: ascii("\\n")
        case 0x0D: ascii("\\r")
        case 0x09: ascii("\\t")
        case 0..<0x20:
            ascii("\\u00")
            bytes.append(unit < 0x10 ? 0x30 : 0x31)
            bytes.append(hexText[Int(unit & 15)])
        default: bytes.append(unit)
        }
    }
}

let hexText: [UInt8] = Array("0123456789abcdef".utf8)

extension JSONValue {
    /// The value as compact JSON.
    public var jsonBytes: [UInt8] {
        var writer = JSONWriter()
        writer.value(self)
        return writer.bytes
    }

    /// The value as compact JSON text.
    public var jsonText: String { String(decoding: jsonBytes, as: UTF8.self) }
}
