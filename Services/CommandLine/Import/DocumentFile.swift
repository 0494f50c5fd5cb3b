import Glibc
import ServiceRuntime
import WireProtocol

/// A document as an import reads it.
struct ImportedDocument: Sendable {
    var id: String
    /// What is encoded and stored as the text; empty: nothing to encode.
    var text: String
    /// JSON text of an object.
    var payload: String?
}

/// A line that is no document.
struct BadLine: Error {
    /// From 1.
    var number: Int
    /// The document's id, where the line has one.
    var id: String?
    /// What is wrong, as the end of a sentence.
    var problem: String
    /// The line as it stands.
    var content: [UInt8]
    /// Where it begins.
    var offset: Int

    /// The line and what is wrong with it.
    var sentence: String { "line \(number)\(id.map { ", id \"\($0.prefix(80))\"" } ?? ""): \(problem)" }
}

/// JSON lines: packages `{name, source, section, short, long}`, or generic `{"id", "text", "payload"}`.
struct DocumentFile {
    /// Fields that make up the text, in order; nil: `text`, or `short` and `long`.
    private let fields: [String]?
    private let path: String
    private let bytes: [UInt8]
    private var position = 0
    private var lineNumber = 0

    /// Reads the whole file: a corpus is small beside its vectors.
    init(path: String, fields: [String]?) throws {
        self.path = path
        self.fields = fields
        guard let file = fopen(path, "re") else { throw StartupFailure("cannot read \(path): \(systemError())") }
        defer { fclose(file) }
        var status = stat()
        guard fstat(fileno(file), &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw StartupFailure("cannot read \(path): it is not a regular file")
        }
        bytes = [UInt8](unsafeUninitializedCapacity: max(0, status.st_size)) { buffer, count in
            count = buffer.isEmpty ? 0 : fread(buffer.baseAddress, 1, buffer.count, file)
        }
    }

    /// Bytes of the file.
    var size: Int { bytes.count }
    /// Where the next line begins.
    var offset: Int { position }

    /// Goes on where an earlier import stopped.
    mutating func seek(to offset: Int) {
        position = min(max(0, offset), bytes.count)
        lineNumber = lineEnds(in: 0..<position)
    }

    /// Lines from here to the end.
    var remainingLines: Int {
        let count = lineEnds(in: position..<bytes.count)
        return bytes.last == UInt8(ascii: "\n") || position == bytes.count ? count : count + 1
    }

    private func lineEnds(in range: Range<Int>) -> Int {
        var count = 0
        for byte in bytes[range] where byte == UInt8(ascii: "\n") { count += 1 }
        return count
    }

    /// Tells this content and this choice of fields from others, so that an offset is not used for another file.
    var fingerprint: String {
        // FNV-1a over words: an edit anywhere makes another file of it.
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        func mix(_ word: UInt64) { hash = (hash ^ word) &* 0x0000_0100_0000_01B3 }
        bytes.withUnsafeBytes { buffer in
            let words = buffer.count / 8
            for word in 0..<words { mix(buffer.loadUnaligned(fromByteOffset: word * 8, as: UInt64.self)) }
            for byte in buffer[(words * 8)...] { mix(UInt64(byte)) }
        }
        for byte in "\(bytes.count) \(fields?.joined(separator: ",") ?? "")".utf8 { mix(UInt64(byte)) }
        let name = path.split(separator: "/").last ?? "documents"
        return "\(name) \(String(hash, radix: 16))"
    }

    /// The next document; nil at the end.
    ///
    /// After an error it goes on with the line behind.
    mutating func next() throws(BadLine) -> ImportedDocument? {
        while position < bytes.count {
            let start = position
            var end = bytes.count
            bytes.withUnsafeBufferPointer { buffer in
                guard let found = memchr(buffer.baseAddress! + start, 0x0A, buffer.count - start) else { return }
                end = UnsafeRawPointer(found) - UnsafeRawPointer(buffer.baseAddress!)
            }
            position = min(end + 1, bytes.count)
            lineNumber += 1
            if start == end { continue }
            let line = Array(bytes[start..<end])
            var id: String?
            do {
                return try document(line, id: &id)
            } catch {
                throw BadLine(number: lineNumber, id: id, problem: error.problem, content: line, offset: start)
            }
        }
        return nil
    }

    /// What is wrong with a line.
    private struct Refusal: Error {
        var problem: String
        init(_ problem: String) { self.problem = problem }
    }

    private func document(_ line: [UInt8], id: inout String?) throws(Refusal) -> ImportedDocument {
        let json: JSONValue
        do {
            json = try JSONValue(parsing: line)
        } catch {
            throw Refusal("no JSON, at byte \(error.offset): \(error.message)")
        }
        guard case .object(let members) = json else { throw Refusal("it is no JSON object") }
        let isPackage = json["id"] == nil
        let key = isPackage ? "name" : "id"
        switch json[key] {
        case .string(let value)?: id = value
        case nil: throw Refusal("it has neither the text id nor the text name")
        default: throw Refusal("\(key) is no text")
        }
        if let member = members.first(where: \.value.hasNull) {
            throw Refusal("\(member.key) contains the character U+0000, which cannot be stored")
        }
        let document = ImportedDocument(
            id: id ?? "",
            text: try joined(json, fields ?? (isPackage ? ["short", "long"] : ["text"])),
            payload: isPackage ? packagePayload(json) : try payload(json)
        )
        try check(document, key: key)
        return document
    }

    private func payload(_ json: JSONValue) throws(Refusal) -> String? {
        guard let payload = json["payload"], payload != .null else { return nil }
        guard case .object = payload else { throw Refusal("payload is no JSON object") }
        return payload.jsonText
    }

    private func packagePayload(_ json: JSONValue) -> String {
        var payload = JSONWriter(reserving: 256)
        payload.beginObject()
        for key in ["source", "section", "short"] {
            if case .string(let value)? = json[key] { payload.member(key, value) }
        }
        payload.endObject()
        return String(decoding: payload.bytes, as: UTF8.self)
    }

    private func check(_ document: ImportedDocument, key: String) throws(Refusal) {
        if document.id.isEmpty { throw Refusal("\(key) is empty") }
        for (name, text, limit) in [
            (key, document.id, FrontLimits.documentIDBytesMax), ("the text", document.text, FrontLimits.textBytesMax),
            ("payload", document.payload ?? "", FrontLimits.payloadBytesMax),
        ] {
            guard text.utf8.count <= limit else {
                throw Refusal("\(name) has \(text.utf8.count) bytes; allowed: at most \(limit)")
            }
        }
    }

    private func joined(_ json: JSONValue, _ fields: [String]) throws(Refusal) -> String {
        var parts: [String] = []
        for field in fields {
            switch json[field] {
            case nil, .null?: break
            case .string(let text)?: if !text.isEmpty { parts.append(text) }
            case .integer(let number)?: parts.append(String(number))
            default: throw Refusal("\(field) is no text")
            }
        }
        return parts.joined(separator: "\n")
    }
}

extension JSONValue {
    /// A text or a name in it contains U+0000, which PostgreSQL stores in no text.
    fileprivate var hasNull: Bool {
        switch self {
        case .string(let text): text.utf8.contains(0)
        case .array(let items): items.contains(where: \.hasNull)
        case .object(let members): members.contains { $0.key.utf8.contains(0) || $0.value.hasNull }
        default: false
        }
    }
}
