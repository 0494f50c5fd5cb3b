import Glibc
import ServiceRuntime
import VectorFiles
import WireProtocol

/// A document as an import reads it.
struct ImportedDocument: Sendable {
    var id: String
    /// What is encoded and stored as the text; empty: nothing to encode.
    var text: String
    /// JSON text of an object.
    var payload: String?
}

extension ImportedDocument {
    /// What a store would refuse, as the end of a sentence; `key` is what the id is called.
    func problem(key: String) -> String? {
        if id.isEmpty { return "\(key) is empty" }
        for (name, text, limit) in [
            (key, id, FrontLimits.documentIDBytesMax), ("the text", text, FrontLimits.textBytesMax),
            ("payload", payload ?? "", FrontLimits.payloadBytesMax),
        ] where text.utf8.count > limit {
            return "\(name) has \(text.utf8.count) bytes; allowed: at most \(limit)"
        }
        return nil
    }
}

/// A line, or a row of another file, that is no document.
struct BadLine: Error {
    /// What is counted.
    var unit = "line"
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
    var sentence: String { "\(unit) \(number)\(id.map { ", id \"\($0.prefix(80))\"" } ?? ""): \(problem)" }
}

/// JSON lines: packages `{name, source, section, short, long}`, or generic `{"id", "text", "payload"}`.
struct DocumentFile {
    /// Fields that make up the text, in order; nil: `text`, or `short` and `long`.
    private let fields: [String]?
    /// Lines are ids and nothing else.
    private let isPlain: Bool
    private let path: String
    private let bytes: [UInt8]
    private var position = 0
    private var lineNumber = 0

    /// Reads the whole file: a corpus is small beside its vectors.
    ///
    /// With `allowsPlainIDs`, a file that does not begin with an object is one of ids, one a line.
    init(path: String, fields: [String]?, allowsPlainIDs: Bool = false) throws {
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
        isPlain = allowsPlainIDs && bytes.first { !Set(" \t\r\n".utf8).contains($0) } != UInt8(ascii: "{")
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

    /// Passes over so many lines that are not empty.
    mutating func skip(_ count: Int) {
        for _ in 0..<count { guard nextLine() != nil else { return } }
    }

    /// Lines from here to the end, without empty ones.
    var remainingLines: Int {
        var rest = self
        var count = 0
        while rest.nextLine() != nil { count += 1 }
        return count
    }

    private func lineEnds(in range: Range<Int>) -> Int {
        var count = 0
        for byte in bytes[range] where byte == UInt8(ascii: "\n") { count += 1 }
        return count
    }

    /// Tells this content and this choice of fields from others, so that an offset is not used for another file.
    var fingerprint: String {
        var hash = ContentHash()
        bytes.withUnsafeBytes { hash.add($0) }
        hash.add("\(bytes.count) \(fields?.joined(separator: ",") ?? "")")
        return "\(fileName(path)) \(hash.text)"
    }

    /// Takes the next line that is not empty; nil at the end.
    private mutating func nextLine() -> Range<Int>? {
        while position < bytes.count {
            let start = position
            var end = bytes.count
            bytes.withUnsafeBufferPointer { buffer in
                guard let found = memchr(buffer.baseAddress! + start, 0x0A, buffer.count - start) else { return }
                end = UnsafeRawPointer(found) - UnsafeRawPointer(buffer.baseAddress!)
            }
            position = min(end + 1, bytes.count)
            lineNumber += 1
            if start < end { return start..<end }
        }
        return nil
    }

    /// The next document; nil at the end.
    ///
    /// After an error it goes on with the line behind.
    mutating func next() throws(BadLine) -> ImportedDocument? {
        guard let range = nextLine() else { return nil }
        let line = Array(bytes[range])
        var id: String?
        do {
            return isPlain ? try plainDocument(line) : try document(line, id: &id)
        } catch {
            throw BadLine(number: lineNumber, id: id, problem: error.problem, content: line, offset: range.lowerBound)
        }
    }

    /// What is wrong with a line.
    private struct Refusal: Error {
        var problem: String
        init(_ problem: String) { self.problem = problem }
    }

    private func plainDocument(_ line: [UInt8]) throws(Refusal) -> ImportedDocument {
        // Written on another system, a line may end with a return.
        let text = line.last == UInt8(ascii: "\r") ? line.dropLast() : line[...]
        guard let id = String(validating: text, as: UTF8.self) else { throw Refusal("the id is no valid UTF-8") }
        if text.contains(0) { throw Refusal("the id contains the character U+0000, which cannot be stored") }
        let document = ImportedDocument(id: id, text: "")
        if let problem = document.problem(key: "id") { throw Refusal(problem) }
        return document
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
        if let problem = document.problem(key: key) { throw Refusal(problem) }
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
    var hasNull: Bool {
        switch self {
        case .string(let text): text.utf8.contains(0)
        case .array(let items): items.contains(where: \.hasNull)
        case .object(let members): members.contains { $0.key.utf8.contains(0) || $0.value.hasNull }
        default: false
        }
    }
}

/// The last part of a path.
func fileName(_ path: String) -> String { path.split(separator: "/").last.map(String.init) ?? path }
