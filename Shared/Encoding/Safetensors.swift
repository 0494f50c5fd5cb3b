import FoundationEssentials

/// A safetensors file: a little-endian length, a JSON header, then raw numbers.
public struct Safetensors: Sendable {
    private struct Entry: Codable {
        var dtype: String
        var shape: [Int]
        var dataOffsets: [Int]

        enum CodingKeys: String, CodingKey {
            case dtype, shape
            case dataOffsets = "data_offsets"
        }
    }

    /// Keys are tensors' names; `__metadata__` is none.
    private struct Header: Decodable {
        struct Name: CodingKey {
            var stringValue: String
            var intValue: Int? { nil }
            init(stringValue: String) { self.stringValue = stringValue }
            init?(intValue: Int) { nil }
        }
        var entries: [String: Entry] = [:]
        init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: Name.self)
            for key in container.allKeys where key.stringValue != "__metadata__" {
                entries[key.stringValue] = try container.decode(Entry.self, forKey: key)
            }
        }
    }

    private let path: String
    private let bytes: [UInt8]
    private let dataStart: Int
    private let entries: [String: Entry]

    /// Reads the header; numbers are read on demand.
    ///
    /// - Parameters:
    ///   - bytes: The whole file.
    ///   - path: For messages.
    /// - Throws: ``ModelError/malformed(path:reason:)``.
    public init(_ bytes: [UInt8], path: String) throws(ModelError) {
        guard bytes.count >= 8 else { throw .malformed(path: path, reason: "shorter than its header") }
        let length = (0..<8).reduce(UInt64(0)) { $0 | UInt64(bytes[$1]) << (8 * UInt64($1)) }
        guard length <= UInt64(bytes.count - 8) else {
            throw .malformed(path: path, reason: "the header is longer than the file")
        }
        dataStart = 8 + Int(length)
        do {
            entries = try JSONDecoder().decode(Header.self, from: Data(bytes[8..<dataStart])).entries
        } catch {
            throw .malformed(path: path, reason: "the header is not safetensors JSON")
        }
        self.path = path
        self.bytes = bytes
    }

    /// Names of the tensors, sorted.
    public var names: [String] { entries.keys.sorted() }

    /// A float32 tensor.
    ///
    /// - Throws: ``ModelError`` where there is none of that name and kind, or its numbers are cut off.
    public func floats(_ name: String) throws(ModelError) -> (shape: [Int], values: [Float]) {
        guard let entry = entries[name] else {
            throw .malformed(path: path, reason: "there is no tensor \"\(name)\", only \(names)")
        }
        guard entry.dtype == "F32" else {
            throw .unsupported(path: path, reason: "tensor \"\(name)\" is \(entry.dtype), this build reads F32")
        }
        var count = 1
        for size in entry.shape {
            let (product, isTooLarge) = count.multipliedReportingOverflow(by: size)
            guard size >= 0, !isTooLarge, product <= bytes.count else {
                throw .malformed(path: path, reason: "tensor \"\(name)\" has an impossible shape")
            }
            count = product
        }
        guard entry.dataOffsets.count == 2, entry.dataOffsets[0] >= 0,
            entry.dataOffsets[1] <= bytes.count - dataStart,
            entry.dataOffsets[1] - entry.dataOffsets[0] == count * 4
        else {
            throw .malformed(path: path, reason: "tensor \"\(name)\" does not lie within the file")
        }
        let start = dataStart + entry.dataOffsets[0]
        let values = [Float](unsafeUninitializedCapacity: count) { buffer, filled in
            bytes.withUnsafeBytes { raw in
                UnsafeMutableRawBufferPointer(buffer).copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: raw[start..<start + count * 4])
                )
            }
            filled = count
        }
        return (entry.shape, values)
    }

    /// A float32 tensor to be written.
    public struct Tensor: Sendable {
        var name: String
        var shape: [Int]
        var values: [Float]

        /// Makes a tensor of `values`, row-major; `name` holds no quotes or backslashes.
        public init(name: String, shape: [Int], values: [Float]) {
            precondition(shape.reduce(1, *) == values.count, "the shape does not hold the values")
            self.name = name
            self.shape = shape
            self.values = values
        }
    }

    /// The bytes of a file with some float32 tensors.
    public static func file(_ tensors: [Tensor]) -> [UInt8] {
        var end = 0
        let entries = tensors.map { tensor in
            let sizes = tensor.shape.map(String.init).joined(separator: ",")
            let start = end
            end += tensor.values.count * 4
            return "\"\(tensor.name)\":{\"dtype\":\"F32\",\"shape\":[\(sizes)],\"data_offsets\":[\(start),\(end)]}"
        }
        var header = Array("{\(entries.joined(separator: ","))}".utf8)
        // Numbers begin at a multiple of eight.
        while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
        var file: [UInt8] = []
        file.reserveCapacity(8 + header.count + end)
        file += (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) }
        file += header
        for tensor in tensors { tensor.values.withUnsafeBytes { file += $0 } }
        return file
    }
}
