/// A value of Thrift's compact protocol, in which Parquet writes what it tells about itself.
enum ThriftValue {
    case bool(Bool)
    case integer(Int64)
    case double(Double)
    case binary(ArraySlice<UInt8>)
    case list([ThriftValue])
    /// By field number.
    case structure([Int: ThriftValue])

    subscript(field: Int) -> ThriftValue? {
        guard case .structure(let fields) = self else { return nil }
        return fields[field]
    }

    var integer: Int? {
        guard case .integer(let value) = self else { return nil }
        return Int(value)
    }

    var bool: Bool? {
        guard case .bool(let value) = self else { return nil }
        return value
    }

    var text: String? {
        guard case .binary(let bytes) = self else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }

    var items: [ThriftValue] {
        guard case .list(let items) = self else { return [] }
        return items
    }
}

/// Reads one structure.
struct ThriftReader {
    /// The bytes end too early; more of them may help.
    struct Cut: Error {}
    /// What stands there is no Thrift, or nothing that Parquet would say.
    struct Nonsense: Error {}

    private static let depthMax = 24

    private let bytes: [UInt8]
    /// Next byte.
    private(set) var position = 0
    private var depth = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func structure() throws -> ThriftValue {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.depthMax else { throw Nonsense() }
        var fields: [Int: ThriftValue] = [:]
        var last = 0
        while true {
            let head = try byte()
            if head == 0 { return .structure(fields) }
            let step = Int(head >> 4)
            let field = step == 0 ? try zigzag() : Int64(last + step)
            guard (0...32_767).contains(field) else { throw Nonsense() }
            last = Int(field)
            fields[last] = try value(type: head & 15, inList: false)
        }
    }

    private mutating func value(type: UInt8, inList: Bool) throws -> ThriftValue {
        switch type {
        case 1, 2: return .bool(inList ? try byte() == 1 : type == 1)
        case 3: return .integer(Int64(Int8(bitPattern: try byte())))
        case 4, 5, 6: return .integer(try zigzag())
        case 7:
            let start = position
            try skip(8)
            return .double(numbers(Double.self, bytes[start..<start + 8])[0])
        case 8:
            let count = try length()
            let start = position
            try skip(count)
            return .binary(bytes[start..<start + count])
        case 9, 10:
            let head = try byte()
            let count = head >> 4 == 15 ? try length() : Int(head >> 4)
            // Every item takes a byte or more.
            guard count <= bytes.count - position else { throw Cut() }
            depth += 1
            defer { depth -= 1 }
            guard depth <= Self.depthMax else { throw Nonsense() }
            return .list(try (0..<count).map { _ in try value(type: head & 15, inList: true) })
        case 11:
            let count = try length()
            guard count > 0 else { return .list([]) }
            let types = try byte()
            guard count <= bytes.count - position else { throw Cut() }
            depth += 1
            defer { depth -= 1 }
            guard depth <= Self.depthMax else { throw Nonsense() }
            return .list(
                try (0..<count * 2).map { try value(type: $0 % 2 == 0 ? types >> 4 : types & 15, inList: true) }
            )
        case 12: return try structure()
        default: throw Nonsense()
        }
    }

    private mutating func byte() throws -> UInt8 {
        guard position < bytes.count else { throw Cut() }
        defer { position += 1 }
        return bytes[position]
    }

    private mutating func skip(_ count: Int) throws {
        guard count <= bytes.count - position else { throw Cut() }
        position += count
    }

    private mutating func length() throws -> Int {
        let value = try varint()
        guard value <= UInt64(Int32.max) else { throw Nonsense() }
        return Int(value)
    }

    private mutating func zigzag() throws -> Int64 {
        let value = try varint()
        return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
    }

    private mutating func varint() throws -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 70, by: 7) {
            let next = try byte()
            value |= UInt64(next & 0x7F) << shift
            if next < 0x80 { return value }
        }
        throw Nonsense()
    }
}
