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

/// JSON lines: packages `{name, source, section, short, long}`, or generic `{"id", "text", "payload"}`.
struct DocumentFile {
    /// Fields that make up the text, in order; nil: `text`, or `short` and `long`.
    private let fields: [String]?
    private let path: String
    private let bytes: [UInt8]
    private var position: Int
    private var lineNumber = 0

    /// Reads the whole file: a corpus is small beside its vectors.
    init(path: String, fields: [String]?) throws {
        self.path = path
        self.fields = fields
        guard let file = fopen(path, "re") else { throw StartupFailure("cannot read \(path): \(systemError())") }
        defer { fclose(file) }
        fseek(file, 0, SEEK_END)
        let size = ftell(file)
        rewind(file)
        bytes = [UInt8](unsafeUninitializedCapacity: max(0, size)) { buffer, count in
            count = fread(buffer.baseAddress, 1, buffer.count, file)
        }
        position = 0
    }

    /// Bytes of the file.
    var size: Int { bytes.count }
    /// Where the next line begins.
    var offset: Int { position }

    /// Goes on where an earlier import stopped.
    mutating func seek(to offset: Int) { position = min(max(0, offset), bytes.count) }

    /// Lines from here to the end.
    var remainingLines: Int {
        var count = 0
        for byte in bytes[position...] where byte == UInt8(ascii: "\n") { count += 1 }
        return bytes.last == UInt8(ascii: "\n") || position == bytes.count ? count : count + 1
    }

    /// Tells this content and this choice of fields from others, so that an offset is not used for another file.
    var fingerprint: String {
        // FNV-1a over everything: a line that changed in the middle makes another file.
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        func mix(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        bytes.withUnsafeBufferPointer { for byte in $0 { mix(byte) } }
        for byte in "\(bytes.count) \(fields?.joined(separator: ",") ?? "")".utf8 { mix(byte) }
        let name = path.split(separator: "/").last ?? "documents"
        return "\(name) \(String(hash, radix: 16))"
    }

    /// The next document; nil at the end.
    ///
    /// - Throws: ``StartupFailure`` naming the line.
    mutating func next() throws -> ImportedDocument? {
        while position < bytes.count {
            var end = position
            bytes.withUnsafeBufferPointer { buffer in
                let found = memchr(buffer.baseAddress! + position, 0x0A, buffer.count - position)
                end = found.map { UnsafeRawPointer($0) - UnsafeRawPointer(buffer.baseAddress!) } ?? buffer.count
            }
            let line = position..<end
            position = min(end + 1, bytes.count)
            lineNumber += 1
            if line.isEmpty { continue }
            return try document(Array(bytes[line]))
        }
        return nil
    }

    private func document(_ line: [UInt8]) throws -> ImportedDocument {
        let json: JSONValue
        do {
            json = try JSONValue(parsing: line)
        } catch {
            throw StartupFailure("\(path) line \(place): byte \(error.offset): \(error.message)")
        }
        if case .string(let id)? = json["id"] {
            let text = fields.map { joined(json, $0) } ?? json["text"].text
            var payload: String?
            if let body = json["payload"], case .object = body { payload = body.jsonText }
            return ImportedDocument(id: id, text: text, payload: payload)
        }
        guard case .string(let name)? = json["name"] else {
            throw StartupFailure("\(path) line \(place) has neither the text id nor the text name")
        }
        var payload = JSONWriter(reserving: 256)
        payload.beginObject()
        for key in ["source", "section", "short"] {
            if case .string(let value)? = json[key] { payload.member(key, value) }
        }
        payload.endObject()
        return ImportedDocument(
            id: name,
            text: joined(json, fields ?? ["short", "long"]),
            payload: String(decoding: payload.bytes, as: UTF8.self)
        )
    }

    private func joined(_ json: JSONValue, _ fields: [String]) -> String {
        fields.map { json[$0].text }.filter { !$0.isEmpty }.joined(separator: "\n")
    }

    private var place: String { lineNumber == 0 ? "1" : "\(lineNumber)" }
}
