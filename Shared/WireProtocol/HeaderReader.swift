import Matryoshka

/// A parsed header whose keys are fetched with their checks; what no one asks for is an unknown key.
struct HeaderReader {
    let members: [JSONValue.Member]
    let type: FrontRequestType
    let buffers: [NamedBuffer]

    /// Keys that every request may have.
    private static let common: Set<String> = [
        "type", "id", "deadline_ms", "traceparent", "tracestate", "client", "buffers",
    ]

    init(header: [UInt8], buffers frames: [[UInt8]]) throws(FrontError) {
        guard header.count <= FrontLimits.headerBytesMax else {
            throw FrontError(
                .tooLarge,
                field: "header",
                "the header has \(header.count) bytes",
                allowed: "up to \(FrontLimits.headerBytesMax); larger things travel as buffers"
            )
        }
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue(parsing: header)
        } catch {
            throw FrontError(.badHeader, field: "header", "byte \(error.offset): \(error.message)")
        }
        guard case .object(let members) = value else {
            throw FrontError(.badHeader, field: "header", "the header is no JSON object")
        }
        self.members = members
        guard case .string(let name)? = value["type"] else {
            throw FrontError(.badHeader, field: "type", "a string is expected", allowed: Self.types)
        }
        guard let type = FrontRequestType(rawValue: name) else {
            throw FrontError(
                .unsupported,
                field: "type",
                "requests of type \(quoted(name)) are not served",
                allowed: Self.types
            )
        }
        self.type = type
        buffers = try Self.readBuffers(value["buffers"], frames)
    }

    private static let types = FrontRequestType.allCases.map(\.rawValue).joined(separator: ", ")

    subscript(key: String) -> JSONValue? {
        for member in members where member.key == key { return member.value }
        return nil
    }

    /// Refuses keys and buffers that this type of request does not have.
    func allow(_ keys: [String], buffers names: [String] = []) throws(FrontError) {
        for member in members where !Self.common.contains(member.key) && !keys.contains(member.key) {
            if member.key.hasPrefix("x-") { continue }
            throw FrontError(
                .badHeader,
                field: String(member.key.prefix(64)),
                "key \(quoted(member.key)) is unknown for \(type.rawValue)",
                allowed: (keys + Self.common.sorted()).joined(separator: ", ") + ", and keys that start with x-"
            )
        }
        for (index, buffer) in buffers.enumerated() where !names.contains(buffer.name) {
            throw FrontError(
                .badHeader,
                field: "buffers[\(index)].name",
                "buffer \(quoted(buffer.name)) is unknown for \(type.rawValue)",
                allowed: names.isEmpty ? "no buffers" : names.joined(separator: ", ")
            )
        }
    }

    func buffer(_ name: String, _ type: BufferType) throws(FrontError) -> NamedBuffer? {
        guard let index = buffers.firstIndex(where: { $0.name == name }) else { return nil }
        guard buffers[index].type == type else {
            throw FrontError(
                .badDtype,
                field: "buffers[\(index)].dtype",
                "\(name) are \(buffers[index].type.rawValue)",
                allowed: type.rawValue
            )
        }
        return buffers[index]
    }

    func string(_ key: String, bytesMax: Int = 256, mayBeEmpty: Bool = false) throws(FrontError) -> String? {
        guard let value = self[key], value != .null else { return nil }
        guard case .string(let text) = value else {
            throw FrontError(.badHeader, field: key, "a string is expected")
        }
        guard text.utf8.count <= bytesMax, mayBeEmpty || !text.isEmpty else {
            throw FrontError(
                .badHeader,
                field: key,
                "\(key) has \(text.utf8.count) bytes",
                allowed: "\(mayBeEmpty ? 0 : 1) to \(bytesMax) bytes"
            )
        }
        guard !text.utf8.contains(0) else { throw FrontError(.badHeader, field: key, "U+0000 is not allowed") }
        return text
    }

    func required(_ key: String, bytesMax: Int = 256) throws(FrontError) -> String {
        guard let text = try string(key, bytesMax: bytesMax) else {
            throw FrontError(.badHeader, field: key, "\(key) is missing", allowed: "a string")
        }
        return text
    }

    func bool(_ key: String) throws(FrontError) -> Bool? {
        guard let value = self[key], value != .null else { return nil }
        guard case .bool(let flag) = value else {
            throw FrontError(.badHeader, field: key, "true or false is expected", allowed: "true, false")
        }
        return flag
    }

    func integer(
        _ key: String,
        in range: ClosedRange<Int>,
        else code: FrontErrorCode = .badHeader
    ) throws(FrontError) -> Int? {
        guard let value = self[key], value != .null else { return nil }
        let allowed = "an integer from \(range.lowerBound) to \(range.upperBound)"
        // Integers beyond 64 bits parse as numbers; they are out of range, not of another type.
        if case .number(let number) = value, abs(number) > 1e18 {
            throw FrontError(code, field: key, "\(key) is out of range", allowed: allowed)
        }
        guard case .integer(let number) = value else {
            throw FrontError(.badHeader, field: key, "an integer is expected", allowed: allowed)
        }
        guard range.contains(Int(number)) else {
            throw FrontError(code, field: key, "\(key) is \(number)", allowed: allowed)
        }
        return Int(number)
    }

    func word<T: RawRepresentable<String> & CaseIterable>(_ key: String, _: T.Type) throws(FrontError) -> T? {
        guard let value = self[key], value != .null else { return nil }
        let allowed = T.allCases.map(\.rawValue).joined(separator: ", ")
        guard case .string(let text) = value else {
            throw FrontError(.badHeader, field: key, "a string is expected", allowed: allowed)
        }
        guard let word = T(rawValue: text) else {
            throw FrontError(.badHeader, field: key, "\(key) is \(quoted(text))", allowed: allowed)
        }
        return word
    }

    /// Strings that stand in the header under `key` or in a JSON-lines buffer of that name.
    func strings(_ key: String, bytesMax: Int, countMax: Int) throws(FrontError) -> [String]? {
        let buffer = try buffer(key, .jsonLines)
        let listed = self[key].flatMap { $0 == .null ? nil : $0 }
        var values: [String] = []
        if let buffer {
            guard listed == nil else {
                throw FrontError(.badHeader, field: key, "\(key) stand in the header and in a buffer")
            }
            let lines = buffer.lineRanges
            try check(count: lines.count, of: key, max: countMax)
            for (index, line) in lines.enumerated() {
                var parser = JSONParser(buffer.bytes, range: line)
                do throws(JSONError) {
                    guard case .string(let text) = try parser.parseText() else {
                        throw JSONError(offset: 0, message: "a string is expected")
                    }
                    values.append(text)
                } catch {
                    throw FrontError(.badHeader, field: "\(key)[\(index)]", "byte \(error.offset): \(error.message)")
                }
            }
        } else if let listed {
            guard case .array(let items) = listed else {
                throw FrontError(.badHeader, field: key, "a list of strings is expected")
            }
            try check(count: items.count, of: key, max: countMax)
            for (index, item) in items.enumerated() {
                guard case .string(let text) = item else {
                    throw FrontError(.badHeader, field: "\(key)[\(index)]", "a string is expected")
                }
                values.append(text)
            }
        } else {
            return nil
        }
        for (index, text) in values.enumerated() {
            try checkText(text, "\(key)[\(index)]", bytesMax: bytesMax)
        }
        return values
    }

    func check(count: Int, of key: String, max: Int) throws(FrontError) {
        if count == 0 { throw FrontError(.badHeader, field: key, "\(key) are empty", allowed: "1 to \(max)") }
        if count > max { throw FrontError(.tooLarge, field: key, "\(count) \(key)", allowed: "1 to \(max)") }
    }

    private static func readBuffers(
        _ value: JSONValue?,
        _ frames: [[UInt8]]
    ) throws(FrontError) -> [NamedBuffer] {
        var entries: [JSONValue] = []
        if let value, value != .null {
            guard case .array(let list) = value else {
                throw FrontError(.badHeader, field: "buffers", "a list is expected")
            }
            entries = list
        }
        guard frames.count <= FrontLimits.buffersMax else {
            throw FrontError(
                .badFrame,
                field: "buffers",
                "\(frames.count) buffers",
                allowed: "up to \(FrontLimits.buffersMax)"
            )
        }
        guard entries.count == frames.count else {
            throw FrontError(
                .badFrame,
                field: "buffers",
                "the header describes \(entries.count) buffers and \(frames.count) came"
            )
        }
        let bytes = frames.reduce(0) { $0 + $1.count }
        guard bytes <= FrontLimits.requestBytesMax else {
            throw FrontError(
                .tooLarge,
                field: "buffers",
                "the buffers have \(bytes) bytes",
                allowed: "up to \(FrontLimits.requestBytesMax)"
            )
        }
        var buffers: [NamedBuffer] = []
        for (index, entry) in entries.enumerated() {
            let buffer = try readBuffer(entry, frames[index], "buffers[\(index)]")
            if buffers.contains(where: { $0.name == buffer.name }) {
                throw FrontError(.badHeader, field: "buffers[\(index)].name", "\(quoted(buffer.name)) is repeated")
            }
            buffers.append(buffer)
        }
        return buffers
    }

    private static func readBuffer(
        _ entry: JSONValue,
        _ bytes: [UInt8],
        _ place: String
    ) throws(FrontError) -> NamedBuffer {
        guard case .object(let members) = entry else {
            throw FrontError(.badHeader, field: place, "an object is expected", allowed: "name, dtype, shape, nbytes")
        }
        for member in members where !["name", "dtype", "shape", "nbytes"].contains(member.key) {
            if member.key.hasPrefix("x-") { continue }
            throw FrontError(
                .badHeader,
                field: "\(place).\(member.key.prefix(64))",
                "key \(quoted(member.key)) is unknown",
                allowed: "name, dtype, shape, nbytes"
            )
        }
        guard case .string(let name)? = entry["name"] else {
            throw FrontError(.badHeader, field: "\(place).name", "a string is expected")
        }
        guard case .string(let dtype)? = entry["dtype"] else {
            throw FrontError(.badHeader, field: "\(place).dtype", "a string is expected", allowed: "f32, jsonl")
        }
        guard let type = BufferType(rawValue: dtype), type != .unsigned32 else {
            throw FrontError(
                .badDtype,
                field: "\(place).dtype",
                "dtype \(quoted(dtype)) is not served",
                allowed: "f32, jsonl"
            )
        }
        var shape: [Int]?
        if let value = entry["shape"], value != .null {
            guard case .array(let sizes) = value, sizes.count <= 2 else {
                throw FrontError(.badHeader, field: "\(place).shape", "one or two sizes are expected")
            }
            shape = []
            for size in sizes {
                guard case .integer(let size) = size, (0...Int64(UInt32.max)).contains(size) else {
                    throw FrontError(.badHeader, field: "\(place).shape", "sizes are integers from 0")
                }
                shape?.append(Int(size))
            }
        }
        if let value = entry["nbytes"], value != .integer(Int64(bytes.count)) {
            throw FrontError(.badFrame, field: "\(place).nbytes", "the buffer has \(bytes.count) bytes")
        }
        var buffer = NamedBuffer(name: name, type: type, shape: shape ?? [], bytes: bytes)
        if type == .jsonLines {
            let lines = buffer.lineCount
            if let shape, shape != [lines] {
                throw FrontError(
                    .badFrame,
                    field: "\(place).shape",
                    "the buffer has \(lines) lines",
                    allowed: "[lines]"
                )
            }
            guard lines <= FrontLimits.writeMax else {
                throw FrontError(.tooLarge, field: name, "\(lines) lines", allowed: "1 to \(FrontLimits.writeMax)")
            }
            return buffer
        }
        guard let shape, !shape.isEmpty else {
            throw FrontError(.badHeader, field: "\(place).shape", "a shape is expected", allowed: "[n, d] or [d]")
        }
        buffer.shape = shape.count == 1 ? [1, shape[0]] : shape
        // Both sizes are below 2^32, so the product fits; times 4 may not.
        let (length, overflow) = buffer.shape[0].multipliedReportingOverflow(by: buffer.shape[1] * type.width)
        guard !overflow, length == bytes.count else {
            throw FrontError(
                .badFrame,
                field: "\(place).shape",
                "shape \(shape) of \(dtype) does not fill the buffer's \(bytes.count) bytes"
            )
        }
        return buffer
    }
}

func checkText(_ text: String, _ place: String, bytesMax: Int) throws(FrontError) {
    guard !text.isEmpty, text.utf8.count <= bytesMax else {
        throw FrontError(
            text.isEmpty ? .badHeader : .tooLarge,
            field: place,
            "\(text.utf8.count) bytes",
            allowed: "1 to \(bytesMax) bytes of UTF-8"
        )
    }
    guard !text.utf8.contains(0) else { throw FrontError(.badHeader, field: place, "U+0000 is not allowed") }
}

/// A client's word in a message, cut short.
func quoted(_ text: String) -> String { "\"\(text.prefix(64))\"" }
