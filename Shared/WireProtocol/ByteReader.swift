#if _endian(big)
#error("The wire is little-endian and columns are copied as they are in memory.")
#endif

/// Reads little-endian fields; every length is compared with what is there before anything is allocated.
struct ByteReader {
    private let bytes: [UInt8]
    private var offset = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var remaining: Int { bytes.count - offset }

    mutating func read<T: FixedWidthInteger & BitwiseCopyable>(_: T.Type) throws(BackDecodeError) -> T {
        try need(1, of: MemoryLayout<T>.size)
        defer { offset += MemoryLayout<T>.size }
        return bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: T.self) }
    }

    /// A `u32` that counts things of at least `size` bytes each, all of which must still be there.
    mutating func readCount(ofAtLeast size: Int) throws(BackDecodeError) -> Int {
        let count = Int(try read(UInt32.self))
        try need(count, of: size)
        return count
    }

    mutating func readInt() throws(BackDecodeError) -> Int { Int(try read(UInt32.self)) }

    /// A column; T is a plain number.
    mutating func readColumn<T: BitwiseCopyable>(_: T.Type, count: Int) throws(BackDecodeError) -> [T] {
        try need(count, of: MemoryLayout<T>.stride)
        let length = count * MemoryLayout<T>.stride
        defer { offset += length }
        return [T](unsafeUninitializedCapacity: count) { target, filled in
            bytes.withUnsafeBytes { source in
                UnsafeMutableRawBufferPointer(target)
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[offset..<offset + length]))
            }
            filled = count
        }
    }

    mutating func readText(count: Int) throws(BackDecodeError) -> String {
        try need(count, of: 1)
        defer { offset += count }
        let text = bytes.withUnsafeBufferPointer { all in
            String(strictUTF8: UnsafeBufferPointer(rebasing: all[offset..<offset + count]))
        }
        guard let text else { throw .badPayload("a text is no valid UTF-8") }
        return text
    }

    mutating func readZeros(_ count: Int) throws(BackDecodeError) {
        try need(count, of: 1)
        for index in offset..<offset + count where bytes[index] != 0 {
            throw .badPayload("a reserved byte is not 0")
        }
        offset += count
    }

    func finish() throws(BackDecodeError) {
        if remaining != 0 { throw .badPayload("\(remaining) bytes too many") }
    }

    func need(_ count: Int, of size: Int) throws(BackDecodeError) {
        let (length, overflow) = count.multipliedReportingOverflow(by: size)
        guard count >= 0, !overflow, length <= remaining else {
            throw .badPayload("\(count) × \(size) bytes are claimed and \(remaining) are there")
        }
    }
}

/// Writes little-endian fields.
struct ByteWriter {
    private(set) var bytes: [UInt8] = []

    init(reserving capacity: Int) { bytes.reserveCapacity(capacity) }

    mutating func write(_ value: some FixedWidthInteger & BitwiseCopyable) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func write(count: Int) { write(UInt32(count)) }

    mutating func writeColumn<T: BitwiseCopyable>(_ values: [T]) {
        values.withUnsafeBytes { bytes.append(contentsOf: $0) }
    }

    mutating func writeZeros(_ count: Int) { bytes.append(contentsOf: repeatElement(0, count: count)) }

    mutating func writeText(_ text: String) { bytes.append(contentsOf: text.utf8) }
}

extension String {
    /// The bytes as text; nil where they are no valid UTF-8.
    ///
    /// `String(validating:as:)` says the same, and looks up generic types for each text.
    init?(strictUTF8 bytes: UnsafeBufferPointer<UInt8>) {
        guard let text = try? UTF8Span(validating: bytes.span) else { return nil }
        self.init(copying: text)
    }
}
