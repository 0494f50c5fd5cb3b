/// A value that a statement refers to as `$1`, sent in binary.
public enum Parameter: Sendable {
    /// NULL; its type comes from the statement.
    case null
    case bool(Bool)
    case int32(Int32)
    case int64(Int64)
    case float64(Double)
    case text(String)
    /// NULL where nil.
    case optionalText(String?)
    case bytes([UInt8])
    /// Sent as jsonb; the text must be JSON. NULL where nil.
    case json(String?)
    /// A transaction id.
    case xid8(UInt64)
    case int32s([Int32])
    case int64s([Int64])
    case texts([String?])
    /// jsonb[].
    case jsons([String?])
    /// bytea[] of little-endian floats.
    case floatVectors([[Float]?])
    case xid8s([UInt64])

    private enum OID {
        static let bool: UInt32 = 16
        static let bytea: UInt32 = 17
        static let int8: UInt32 = 20
        static let int4: UInt32 = 23
        static let text: UInt32 = 25
        static let float8: UInt32 = 701
        static let jsonb: UInt32 = 3802
        static let xid8: UInt32 = 5069
    }

    /// Type for the server; 0 lets it choose.
    var typeOID: UInt32 {
        switch self {
        case .null: 0
        case .bool: OID.bool
        case .int32: OID.int4
        case .int64: OID.int8
        case .float64: OID.float8
        case .text, .optionalText: OID.text
        case .bytes: OID.bytea
        case .json: OID.jsonb
        case .xid8: OID.xid8
        case .int32s: 1007
        case .int64s: 1016
        case .texts: 1009
        case .jsons: 3807
        case .floatVectors: 1001
        case .xid8s: 271
        }
    }

    /// Binary form; nil for NULL.
    var encoded: [UInt8]? {
        switch self {
        case .null: nil
        case .bool(let value): [value ? 1 : 0]
        case .int32(let value): bigEndianBytes(value)
        case .int64(let value): bigEndianBytes(value)
        case .float64(let value): bigEndianBytes(value.bitPattern)
        case .text(let value): [UInt8](value.utf8)
        case .optionalText(let value): value.map { [UInt8]($0.utf8) }
        case .bytes(let value): value
        case .json(let value): value.map { [1] + $0.utf8 }
        case .xid8(let value): bigEndianBytes(value)
        case .int32s(let values):
            array(OID.int4, values, bytes: 4) { $0.append(bigEndian: $1) }
        case .int64s(let values):
            array(OID.int8, values, bytes: 8) { $0.append(bigEndian: $1) }
        case .xid8s(let values):
            array(OID.xid8, values, bytes: 8) { $0.append(bigEndian: $1) }
        case .texts(let values):
            array(OID.text, values, bytes: 16) { $0.append(contentsOf: $1.utf8) }
        case .jsons(let values):
            array(OID.jsonb, values, bytes: 64) {
                $0.append(1)
                $0.append(contentsOf: $1.utf8)
            }
        case .floatVectors(let values):
            array(OID.bytea, values, bytes: (values.lazy.compactMap { $0?.count }.first ?? 0) * 4) {
                $0.append(littleEndian: $1.span)
            }
        }
    }

    private func array<Element>(
        _ elementOID: UInt32,
        _ values: [Element?],
        bytes: Int,
        _ append: (inout [UInt8], Element) -> Void
    ) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(20 + values.count * (4 + bytes))
        out.append(bigEndian: Int32(values.isEmpty ? 0 : 1))
        out.append(bigEndian: Int32(values.contains { $0 == nil } ? 1 : 0))
        out.append(bigEndian: elementOID)
        if values.isEmpty { return out }
        out.append(bigEndian: Int32(values.count))
        out.append(bigEndian: Int32(1))
        for value in values {
            guard let value else {
                out.append(bigEndian: Int32(-1))
                continue
            }
            let start = out.count
            out.append(bigEndian: Int32(0))
            append(&out, value)
            out.setLength(at: start)
        }
        return out
    }
}

func bigEndianBytes(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { [UInt8]($0) }
}

extension [UInt8] {
    mutating func append(bigEndian value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
    }

    /// Appends floats as they are stored in the database; every machine that we build for is little-endian.
    mutating func append(littleEndian floats: Span<Float>) {
        floats.withUnsafeBytes { append(contentsOf: $0) }
    }

    /// Fills in the length that was left open at `start`.
    mutating func setLength(at start: Int) {
        let length = UInt32(count - start - 4)
        for byte in 0..<4 { self[start + byte] = UInt8(truncatingIfNeeded: length >> (24 - 8 * byte)) }
    }
}
