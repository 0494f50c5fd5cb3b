/// Builds rows of PostgreSQL's binary COPY format.
public struct CopyWriter {
    private(set) var buffer: [UInt8]

    init() {
        buffer = [UInt8]("PGCOPY\n".utf8) + [0xFF, 0x0D, 0x0A, 0x00]
        buffer.append(contentsOf: [UInt8](repeating: 0, count: 8))
        buffer.reserveCapacity(1 << 20)
    }

    mutating func clear() { buffer.removeAll(keepingCapacity: true) }

    mutating func finish() { buffer.append(bigEndian: Int16(-1)) }

    /// Starts a row of `columns` values.
    public mutating func beginRow(columns: Int) { buffer.append(bigEndian: Int16(columns)) }

    /// Appends NULL.
    public mutating func appendNull() { buffer.append(bigEndian: Int32(-1)) }

    /// Appends an integer of the column's own width.
    public mutating func append<I: FixedWidthInteger>(_ value: I) {
        buffer.append(bigEndian: Int32(MemoryLayout<I>.size))
        buffer.append(bigEndian: value)
    }

    /// Appends a `text`; NULL for nil.
    public mutating func append(text: String?) {
        guard let text else { return appendNull() }
        let start = buffer.count
        buffer.append(bigEndian: Int32(0))
        buffer.append(contentsOf: text.utf8)
        buffer.setLength(at: start)
    }

    /// Appends a `jsonb` from its text; NULL for nil.
    public mutating func append(json: String?) {
        guard let json else { return appendNull() }
        let start = buffer.count
        buffer.append(bigEndian: Int32(0))
        buffer.append(1)
        buffer.append(contentsOf: json.utf8)
        buffer.setLength(at: start)
    }

    /// Appends a `bytea` of little-endian floats.
    public mutating func append(floats: Span<Float>) {
        buffer.append(bigEndian: Int32(floats.count * 4))
        buffer.append(littleEndian: floats)
    }
}
