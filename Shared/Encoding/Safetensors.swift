public import FoundationEssentials

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

    /// Keys are tensors' names, but for `__metadata__`.
    private struct Header: Decodable {
        struct Name: CodingKey {
            var stringValue: String
            var intValue: Int? { nil }
            init(stringValue: String) { self.stringValue = stringValue }
            init?(intValue: Int) { nil }
        }
        static let metadataKey = "__metadata__"
        var entries: [String: Entry] = [:]
        var metadata: [String: String] = [:]
        init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: Name.self)
            for key in container.allKeys {
                if key.stringValue == Self.metadataKey {
                    metadata = try container.decode([String: String].self, forKey: key)
                } else {
                    entries[key.stringValue] = try container.decode(Entry.self, forKey: key)
                }
            }
        }
    }

    private let path: String
    private let bytes: Data
    private let dataStart: Int
    private let entries: [String: Entry]
    /// Texts beside the tensors, by name.
    public let metadata: [String: String]

    /// Reads the header; numbers are read on demand.
    ///
    /// - Parameters:
    ///   - bytes: The whole file.
    ///   - path: For messages.
    /// - Throws: ``ModelError/malformed(path:reason:)``.
    public init(_ bytes: Data, path: String) throws(ModelError) {
        guard bytes.count >= 8 else { throw .malformed(path: path, reason: "shorter than its header") }
        let length = bytes.prefix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard length <= UInt64(bytes.count - 8) else {
            throw .malformed(path: path, reason: "the header is longer than the file")
        }
        dataStart = 8 + Int(length)
        do {
            let header = try JSONDecoder().decode(Header.self, from: Data(bytes.dropFirst(8).prefix(Int(length))))
            (entries, metadata) = (header.entries, header.metadata)
        } catch {
            throw .malformed(path: path, reason: "the header is not safetensors JSON")
        }
        self.path = path
        self.bytes = bytes
    }

    /// Reads the header of a file that is in memory.
    ///
    /// - Throws: ``ModelError/malformed(path:reason:)``.
    public init(_ bytes: [UInt8], path: String) throws(ModelError) { try self.init(Data(bytes), path: path) }

    /// Names of the tensors, sorted.
    public var names: [String] { entries.keys.sorted() }

    func has(_ name: String) -> Bool { entries[name] != nil }

    /// A tensor of numbers as float32; F16 and BF16 widen to it without loss.
    ///
    /// - Throws: ``ModelError`` where there is none of that name and kind, or its numbers are cut off or not finite.
    public func floats(_ name: String) throws(ModelError) -> (shape: [Int], values: [Float]) {
        guard let entry = entries[name] else {
            throw .malformed(path: path, reason: "there is no tensor \"\(name)\", only \(names)")
        }
        guard let width = ["F32": 4, "F16": 2, "BF16": 2][entry.dtype] else {
            throw .unsupported(
                path: path,
                reason: "tensor \"\(name)\" is \(entry.dtype), this build reads F32, F16 and BF16"
            )
        }
        var count = 1
        for size in entry.shape {
            let (product, isTooLarge) = count.multipliedReportingOverflow(by: size)
            guard size >= 0, !isTooLarge, product <= bytes.count else {
                throw .malformed(path: path, reason: "tensor \"\(name)\" has an impossible shape")
            }
            count = product
        }
        guard entry.dataOffsets.count == 2, entry.dataOffsets[0] >= 0, entry.dataOffsets[1] >= entry.dataOffsets[0],
            entry.dataOffsets[1] <= bytes.count - dataStart,
            entry.dataOffsets[1] - entry.dataOffsets[0] == count * width
        else {
            throw .malformed(path: path, reason: "tensor \"\(name)\" does not lie within the file")
        }
        let start = dataStart + entry.dataOffsets[0]
        let values = [Float](unsafeUninitializedCapacity: count) { buffer, filled in
            bytes.withUnsafeBytes { raw in
                let source = UnsafeRawBufferPointer(rebasing: raw[start..<start + count * width])
                switch entry.dtype {
                case "F16":
                    for i in 0..<count { buffer[i] = Float(Float16(bitPattern: Self.half(source, i))) }
                case "BF16":
                    for i in 0..<count { buffer[i] = Float(bitPattern: UInt32(Self.half(source, i)) << 16) }
                default: UnsafeMutableRawBufferPointer(buffer).copyMemory(from: source)
                }
            }
            filled = count
        }
        guard values.allSatisfy(\.isFinite) else {
            throw .malformed(path: path, reason: "tensor \"\(name)\" holds numbers that are not finite")
        }
        return (entry.shape, values)
    }

    private static func half(_ source: UnsafeRawBufferPointer, _ index: Int) -> UInt16 {
        UInt16(littleEndian: source.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self))
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

    /// The bytes of a file with some float32 tensors, and texts beside them.
    public static func file(_ tensors: [Tensor], metadata: [String: String] = [:]) -> [UInt8] {
        var end = 0
        var entries = tensors.map { tensor in
            let sizes = tensor.shape.map(String.init).joined(separator: ",")
            let start = end
            end += tensor.values.count * 4
            return "\"\(tensor.name)\":{\"dtype\":\"F32\",\"shape\":[\(sizes)],\"data_offsets\":[\(start),\(end)]}"
        }
        if !metadata.isEmpty {
            let encoder = JSONEncoder()
            encoder.outputFormatting = .sortedKeys
            guard let json = try? encoder.encode(metadata) else { preconditionFailure("texts are JSON") }
            entries.insert("\"\(Header.metadataKey)\":\(String(decoding: json, as: UTF8.self))", at: 0)
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

/// All tensors of a model: `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
struct TensorFiles {
    private static let hint = "weights are read from model.safetensors or its shards"
    private let whole: Safetensors?
    private let shards: [String: Safetensors]
    /// For messages.
    let path: String

    /// Opens the files of a folder within the directory, which is empty or ends in a slash.
    init(_ files: inout ModelFiles, folder: String) throws(ModelError) {
        let name = folder + "model.safetensors"
        path = files.path(name)
        guard !files.exists(name), var index = try files.configuration(ifThere: name + ".index.json") else {
            whole = try Safetensors(try files.contents(name, hint: Self.hint), path: path)
            shards = [:]
            return
        }
        whole = nil
        var opened: [String: Safetensors] = [:]
        var shards: [String: Safetensors] = [:]
        for (tensor, file) in try index.texts("weight_map") {
            guard !file.isEmpty, !file.contains("/") else {
                throw .malformed(path: index.path, reason: "\"weight_map.\(tensor)\" is no file beside it")
            }
            if opened[file] == nil {
                let data = try files.contents(folder + file, hint: "\(index.path) lists it")
                opened[file] = try Safetensors(data, path: files.path(folder + file))
            }
            shards[tensor] = opened[file]
        }
        self.shards = shards
    }

    func has(_ name: String) -> Bool { whole?.has(name) ?? (shards[name] != nil) }

    /// Names of all tensors, sorted.
    var names: [String] { whole?.names ?? shards.keys.sorted() }

    /// A tensor of that shape; nil in `shape` stands for any size.
    func floats(_ name: String, _ shape: Int?...) throws(ModelError) -> (shape: [Int], values: [Float]) {
        guard let file = whole ?? shards[name] else {
            throw .malformed(path: path, reason: "no shard has the tensor \"\(name)\"")
        }
        let found = try file.floats(name)
        guard found.shape.count == shape.count, zip(found.shape, shape).allSatisfy({ $1 == nil || $0 == $1 }) else {
            throw .malformed(
                path: path,
                reason: "tensor \"\(name)\" is \(found.shape), the configuration asks for "
                    + "[\(shape.map { $0.map(String.init) ?? "any" }.joined(separator: ", "))]"
            )
        }
        return found
    }
}
