/// Why a text is no JSON, and where.
public struct JSONError: Error, Sendable, Hashable {
    /// Byte at fault, counted from the start of the parsed range.
    public var offset: Int
    /// What is wrong there.
    public var message: String

    /// Makes an error.
    public init(offset: Int, message: String) {
        self.offset = offset
        self.message = message
    }
}

extension JSONValue {
    /// Parses one JSON text (RFC 8259), strictly.
    ///
    /// Valid UTF-8, no repeated keys, no lone surrogates, at most ``JSONParser/depthMax`` levels. An integer that does not fit becomes a number.
    public init(parsing bytes: [UInt8]) throws(JSONError) {
        var parser = JSONParser(bytes)
        self = try parser.parseText()
    }
}

/// A strict JSON parser over a range of bytes.
public struct JSONParser {
    /// Levels of arrays and objects.
    public static let depthMax = 64

    let bytes: [UInt8]
    let start: Int
    let end: Int
    /// Next byte.
    var position: Int
    /// A string had the escape `\u0000`, which PostgreSQL cannot store.
    var sawNUL = false
    private var depth = 0

    /// Makes a parser of the whole of `bytes`.
    public init(_ bytes: [UInt8]) { self.init(bytes, range: 0..<bytes.count) }

    init(_ bytes: [UInt8], range: Range<Int>) {
        precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count, "range beyond the bytes")
        self.bytes = bytes
        start = range.lowerBound
        end = range.upperBound
        position = range.lowerBound
    }

    /// Parses the range as one value with nothing but white space around it.
    public mutating func parseText() throws(JSONError) -> JSONValue {
        skipSpace()
        let value = try parseValue()
        try finish()
        return value
    }

    /// Nothing but white space may be left.
    mutating func finish() throws(JSONError) {
        skipSpace()
        if position != end { throw failure("text goes on after the value") }
    }

    /// Parses an object and hands each key to `member`, which must take the value from the parser.
    mutating func parseMembers(
        _ member: (_ key: String, _ parser: inout JSONParser) throws(JSONError) -> Void
    ) throws(JSONError) {
        try open(0x7B, "an object is expected")
        skipSpace()
        if take(0x7D) { return close() }
        while true {
            guard position < end, bytes[position] == 0x22 else { throw failure("a key in quotes is expected") }
            let key = try parseString()
            skipSpace()
            guard take(0x3A) else { throw failure("':' is expected after a key") }
            skipSpace()
            try member(key, &self)
            skipSpace()
            if take(0x2C) {
                skipSpace()
            } else if take(0x7D) {
                return close()
            } else {
                throw failure(position == end ? "object is not closed" : "',' or '}' is expected")
            }
        }
    }

    mutating func parseValue() throws(JSONError) -> JSONValue {
        guard position < end else { throw failure("a value is expected") }
        switch bytes[position] {
        case 0x7B: return .object(try parseObject())
        case 0x5B: return .array(try parseArray())
        case 0x22: return .string(try parseString())
        case 0x74:
            try word("true")
            return .bool(true)
        case 0x66:
            try word("false")
            return .bool(false)
        case 0x6E:
            try word("null")
            return .null
        default: return try parseNumber()
        }
    }

    private mutating func parseObject() throws(JSONError) -> [JSONValue.Member] {
        var members: [JSONValue.Member] = []
        var seen: Set<[UInt8]> = []
        try parseMembers { (key, parser) throws(JSONError) in
            // Swift's == is canonical equivalence; keys are the same only if their bytes are.
            let isRepeated: Bool
            if members.count < 16 {
                isRepeated = members.contains { $0.key.utf8.elementsEqual(key.utf8) }
            } else {
                if seen.isEmpty { seen = Set(members.map { Array($0.key.utf8) }) }
                isRepeated = !seen.insert(Array(key.utf8)).inserted
            }
            if isRepeated {
                throw parser.failure("key \"\(key.prefix(64))\" is repeated")
            }
            members.append(.init(key, try parser.parseValue()))
        }
        return members
    }

    private mutating func parseArray() throws(JSONError) -> [JSONValue] {
        try open(0x5B, "an array is expected")
        var values: [JSONValue] = []
        skipSpace()
        if take(0x5D) {
            close()
            return values
        }
        while true {
            values.append(try parseValue())
            skipSpace()
            if take(0x2C) {
                skipSpace()
            } else if take(0x5D) {
                close()
                return values
            } else {
                throw failure(position == end ? "array is not closed" : "',' or ']' is expected")
            }
        }
    }

    mutating func parseString() throws(JSONError) -> String {
        position += 1
        let first = position
        while position < end {
            let byte = bytes[position]
            if byte == 0x22 {
                let text = try string(first..<position)
                position += 1
                return text
            }
            if byte == 0x5C { return try parseEscapedString(from: first) }
            if byte < 0x20 { throw failure("control character in a string") }
            position += 1
        }
        throw failure("string is not closed")
    }

    private mutating func parseEscapedString(from first: Int) throws(JSONError) -> String {
        var text = [UInt8](bytes[first..<position])
        while position < end {
            let byte = bytes[position]
            position += 1
            switch byte {
            case 0x22:
                guard let string = text.withUnsafeBufferPointer(String.init(strictUTF8:)) else {
                    throw JSONError(offset: first - start, message: "string is no valid UTF-8")
                }
                return string
            case 0x5C:
                guard position < end else { throw failure("string is not closed") }
                let escape = bytes[position]
                position += 1
                switch escape {
                case 0x22, 0x5C, 0x2F: text.append(escape)
                case 0x62: text.append(0x08)
                case 0x66: text.append(0x0C)
                case 0x6E: text.append(0x0A)
                case 0x72: text.append(0x0D)
                case 0x74: text.append(0x09)
                case 0x75: text.append(contentsOf: UTF8.encode(try parseScalar())!)
                default:
                    position -= 1
                    throw failure("unknown escape")
                }
            case 0..<0x20:
                position -= 1
                throw failure("control character in a string")
            default: text.append(byte)
            }
        }
        throw failure("string is not closed")
    }

    /// The scalar of a `\uXXXX`, whose `\u` is taken, with its second half where it is a pair.
    private mutating func parseScalar() throws(JSONError) -> Unicode.Scalar {
        let at = position - 2
        let high = try parseHex()
        if high == 0 { sawNUL = true }
        if let scalar = Unicode.Scalar(high) { return scalar }
        if high < 0xDC00, position + 1 < end, bytes[position] == 0x5C, bytes[position + 1] == 0x75 {
            position += 2
            let low = try parseHex()
            if (0xDC00...0xDFFF).contains(low) {
                return Unicode.Scalar(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))!
            }
        }
        throw JSONError(offset: at - start, message: "lone surrogate")
    }

    private mutating func parseHex() throws(JSONError) -> UInt32 {
        guard end - position >= 4 else { throw failure("four hex digits are expected") }
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let digit = hexDigit(bytes[position]) else { throw failure("four hex digits are expected") }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }

    private mutating func parseNumber() throws(JSONError) -> JSONValue {
        let first = position
        let isNegative = take(0x2D)
        let digits = position
        var magnitude: UInt64 = 0
        while position < end, let digit = decimalDigit(bytes[position]) {
            // 18 digits cannot overflow; longer ones take the slow way.
            if position - digits < 18 { magnitude = magnitude &* 10 &+ UInt64(digit) }
            position += 1
        }
        let count = position - digits
        guard count > 0 else { throw failure(isNegative ? "a digit is expected" : "a value is expected") }
        if count > 1, bytes[digits] == 0x30 {
            throw JSONError(offset: first - start, message: "number starts with 0")
        }
        var isInteger = true
        if take(0x2E) {
            isInteger = false
            try skipDigits()
        }
        if position < end, bytes[position] | 0x20 == 0x65 {
            isInteger = false
            position += 1
            if !take(0x2B) { _ = take(0x2D) }
            try skipDigits()
        }
        if isInteger {
            if isNegative && magnitude == 0 && count == 1 { return .number(-0.0) }
            if count <= 18 { return .integer(isNegative ? -Int64(magnitude) : Int64(magnitude)) }
            if let value = Int64(try string(first..<position)) { return .integer(value) }
        }
        guard position - first <= 400, let value = Double(try string(first..<position)), value.isFinite else {
            throw JSONError(offset: first - start, message: "number is out of range")
        }
        return .number(value)
    }

    private mutating func skipDigits() throws(JSONError) {
        guard position < end, decimalDigit(bytes[position]) != nil else { throw failure("a digit is expected") }
        while position < end, decimalDigit(bytes[position]) != nil { position += 1 }
    }

    private mutating func word(_ word: StaticString) throws(JSONError) {
        let count = word.utf8CodeUnitCount
        guard end - position >= count else { throw failure("a value is expected") }
        for index in 0..<count where bytes[position + index] != word.utf8Start[index] {
            throw failure("a value is expected")
        }
        position += count
    }

    private mutating func open(_ bracket: UInt8, _ message: String) throws(JSONError) {
        guard take(bracket) else { throw failure(message) }
        depth += 1
        if depth > Self.depthMax { throw failure("more than \(Self.depthMax) levels") }
    }

    private mutating func close() { depth -= 1 }

    mutating func skipSpace() {
        while position < end {
            switch bytes[position] {
            case 0x20, 0x0A, 0x0D, 0x09: position += 1
            default: return
            }
        }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard position < end, bytes[position] == byte else { return false }
        position += 1
        return true
    }

    /// The bytes of `range` as text.
    func string(_ range: Range<Int>) throws(JSONError) -> String {
        let text = bytes.withUnsafeBufferPointer { all in
            String(strictUTF8: UnsafeBufferPointer(rebasing: all[range]))
        }
        guard let text else { throw JSONError(offset: range.lowerBound - start, message: "string is no valid UTF-8") }
        return text
    }

    func failure(_ message: String) -> JSONError { JSONError(offset: position - start, message: message) }
}

private func decimalDigit(_ byte: UInt8) -> UInt8? {
    let digit = byte &- 0x30
    return digit < 10 ? digit : nil
}

func hexDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x41...0x46: byte - 0x37
    case 0x61...0x66: byte - 0x57
    default: nil
    }
}
