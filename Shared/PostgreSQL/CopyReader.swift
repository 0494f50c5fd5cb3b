/// Splits a binary COPY stream into rows, however the server cut it into messages.
///
/// Rows that came whole are read in place; only a row that was cut is copied together.
public struct CopyReader {
    private var carry: [UInt8] = []
    private var isHeaderRead = false
    // Start and length of each column of the row at hand; length -1 is NULL.
    private var fields: [(start: Int, length: Int)]

    /// Reads rows of `columns` values.
    public init(columns: Int) {
        fields = [(start: Int, length: Int)](repeating: (0, 0), count: columns)
    }

    /// One row; valid only while the closure that was given it runs.
    public struct Row {
        let bytes: UnsafeRawBufferPointer
        let fields: UnsafeBufferPointer<(start: Int, length: Int)>

        /// Whether the value is NULL.
        @inline(__always)
        public func isNull(_ column: Int) -> Bool { fields[column].length < 0 }

        /// Bytes of the value; empty for NULL.
        @inline(__always)
        public func byteCount(_ column: Int) -> Int { max(0, fields[column].length) }

        /// An `integer`; 0 for a value of another width.
        @inline(__always)
        public func int32(_ column: Int) -> Int32 {
            guard fields[column].length == 4 else { return 0 }
            return Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: fields[column].start, as: Int32.self))
        }

        /// A `bigint`; 0 for a value of another width.
        @inline(__always)
        public func int64(_ column: Int) -> Int64 {
            guard fields[column].length == 8 else { return 0 }
            return Int64(bigEndian: bytes.loadUnaligned(fromByteOffset: fields[column].start, as: Int64.self))
        }

        /// A `text`; empty for NULL.
        public func text(_ column: Int) -> String {
            let start = fields[column].start
            return String(decoding: bytes[start..<(start + byteCount(column))], as: UTF8.self)
        }

        /// Copies a `bytea` to `target`, which has room for it.
        @inline(__always)
        public func copyBytes(_ column: Int, to target: UnsafeMutableRawBufferPointer) {
            let count = byteCount(column)
            guard count > 0 else { return }
            precondition(count <= target.count, "no room for the value")
            let start = fields[column].start
            target.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[start..<(start + count)]))
        }
    }

    /// Takes the next piece of the stream and hands out the rows that it completes.
    public mutating func consume(_ piece: UnsafeRawBufferPointer, _ row: (Row) throws -> Void) throws {
        if carry.isEmpty {
            let read = try rows(in: piece, row)
            if read < piece.count { carry.append(contentsOf: piece[read...]) }
            return
        }
        carry.append(contentsOf: piece)
        let whole = carry
        let read = try whole.withUnsafeBytes { try rows(in: $0, row) }
        carry = [UInt8](whole[read...])
    }

    private mutating func rows(in bytes: UnsafeRawBufferPointer, _ row: (Row) throws -> Void) throws -> Int {
        func word(_ offset: Int) -> Int {
            Int(Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Int32.self)))
        }
        var offset = 0
        if !isHeaderRead {
            guard bytes.count >= 19, bytes.count >= 19 + word(15) else { return 0 }
            offset = 19 + word(15)
            isHeaderRead = true
        }
        nextRow: while bytes.count - offset >= 2 {
            let count = Int16(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Int16.self))
            if count == -1 { return bytes.count }
            guard Int(count) == fields.count else {
                throw PostgreSQLError(message: "COPY gave \(count) columns, not \(fields.count)")
            }
            var end = offset + 2
            for column in 0..<fields.count {
                guard bytes.count - end >= 4 else { break nextRow }
                let length = word(end)
                fields[column] = (end + 4, length)
                end += 4 + max(0, length)
                guard end <= bytes.count else { break nextRow }
            }
            try fields.withUnsafeBufferPointer { try row(Row(bytes: bytes, fields: $0)) }
            offset = end
        }
        return offset
    }
}
