private import CPostgreSQL

/// Rows that a statement gave, all columns in binary.
///
/// Readers trap on NULL or on a value of another width, for the statement is ours; `is NULL` has its own question.
public final class QueryResult {
    // Only libpq's functions look into it; freed once, here.
    private let handle: OpaquePointer

    /// Rows.
    public let rowCount: Int
    /// Columns.
    public let columnCount: Int
    /// Rows that an INSERT, UPDATE or DELETE touched.
    public let affectedRows: Int

    init(_ handle: OpaquePointer) {
        self.handle = handle
        rowCount = Int(PQntuples(handle))
        columnCount = Int(PQnfields(handle))
        affectedRows = PQcmdTuples(handle).map { Int(String(cString: $0)) ?? 0 } ?? 0
    }

    deinit { PQclear(handle) }

    /// Whether the value is NULL.
    public func isNull(_ row: Int, _ column: Int) -> Bool { PQgetisnull(handle, Int32(row), Int32(column)) == 1 }

    /// Lends the bytes of a value.
    public func withBytes<R>(_ row: Int, _ column: Int, _ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        precondition(row < rowCount && column < columnCount, "no such value in the result")
        let length = Int(PQgetlength(handle, Int32(row), Int32(column)))
        return try body(UnsafeRawBufferPointer(start: PQgetvalue(handle, Int32(row), Int32(column)), count: length))
    }

    private func integer<I: FixedWidthInteger>(_ row: Int, _ column: Int, as type: I.Type) -> I {
        withBytes(row, column) { bytes in
            precondition(bytes.count == MemoryLayout<I>.size, "column \(column) is not an integer of that width")
            return I(bigEndian: bytes.loadUnaligned(as: I.self))
        }
    }

    /// A `boolean`.
    public func bool(_ row: Int, _ column: Int) -> Bool { withBytes(row, column) { $0[0] != 0 } }
    /// An `integer`.
    public func int32(_ row: Int, _ column: Int) -> Int32 { integer(row, column, as: Int32.self) }
    /// A `bigint`.
    public func int64(_ row: Int, _ column: Int) -> Int64 { integer(row, column, as: Int64.self) }
    /// An `xid8`.
    public func xid8(_ row: Int, _ column: Int) -> UInt64 { integer(row, column, as: UInt64.self) }
    /// A `double precision`.
    public func float64(_ row: Int, _ column: Int) -> Double {
        Double(bitPattern: integer(row, column, as: UInt64.self))
    }
    /// A `text`, `name` or `json`.
    public func text(_ row: Int, _ column: Int) -> String {
        withBytes(row, column) { String(decoding: $0, as: UTF8.self) }
    }
    /// A `text`, or nil for NULL.
    public func optionalText(_ row: Int, _ column: Int) -> String? {
        isNull(row, column) ? nil : text(row, column)
    }
    /// A `bytea`.
    public func bytes(_ row: Int, _ column: Int) -> [UInt8] { withBytes(row, column) { [UInt8]($0) } }

    /// Appends a `bytea` of little-endian floats.
    public func appendFloats(_ row: Int, _ column: Int, to floats: inout [Float]) {
        withBytes(row, column) { bytes in
            precondition(bytes.count % 4 == 0, "column \(column) does not hold floats")
            floats.append(
                contentsOf: (0..<(bytes.count / 4)).lazy.map {
                    bytes.loadUnaligned(fromByteOffset: $0 * 4, as: Float.self)
                }
            )
        }
    }

    /// An `integer[]` of one dimension without NULLs; empty for NULL.
    public func int32s(_ row: Int, _ column: Int) -> [Int32] {
        elements(row, column) { Int32(bigEndian: $0.loadUnaligned(as: Int32.self)) }
    }

    /// A `text[]` of one dimension without NULLs; empty for NULL.
    public func texts(_ row: Int, _ column: Int) -> [String] {
        elements(row, column) { String(decoding: $0, as: UTF8.self) }
    }

    private func elements<E>(_ row: Int, _ column: Int, _ element: (UnsafeRawBufferPointer) -> E) -> [E] {
        if isNull(row, column) { return [] }
        return withBytes(row, column) { bytes in
            func word(_ offset: Int) -> Int {
                Int(Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Int32.self)))
            }
            guard word(0) > 0 else { return [] }
            precondition(word(0) == 1, "column \(column) is an array of several dimensions")
            var found: [E] = []
            var offset = 20
            for _ in 0..<word(12) {
                let length = word(offset)
                precondition(length >= 0, "column \(column) has a NULL element")
                found.append(element(UnsafeRawBufferPointer(rebasing: bytes[(offset + 4)..<(offset + 4 + length)])))
                offset += 4 + length
            }
            return found
        }
    }
}
