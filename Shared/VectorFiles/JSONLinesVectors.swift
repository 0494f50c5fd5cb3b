import WireProtocol

/// Objects with a vector each, one a line.
struct JSONLinesVectors: VectorReader {
    /// Longer lines are refused: 65,535 numbers of 24 characters, a text and a payload fit.
    private static let lineBytesMax = 8 << 20
    private static let pieceBytes = 1 << 20

    let rows: Int
    let dimensions: Int? = nil
    private let columns: VectorColumns
    private let file: FileBytes
    private(set) var position = 0
    /// Bytes of the file from ``heldFrom`` on; the next line begins at `place` in it.
    private var held: [UInt8] = []
    private var heldFrom = 0
    private var place = 0

    init(path: String, columns: VectorColumns) throws(VectorFileError) {
        file = try FileBytes(path: path)
        self.columns = columns
        var lines = 0
        var last: UInt8 = 0x0A
        for start in stride(from: 0, to: file.size, by: Self.pieceBytes) {
            let bytes = try file.read(at: start, count: min(Self.pieceBytes, file.size - start))
            for byte in bytes where byte == 0x0A { lines += 1 }
            last = bytes[bytes.count - 1]
        }
        rows = last == 0x0A ? lines : lines + 1
    }

    mutating func seek(to row: Int) throws(VectorFileError) {
        (held, heldFrom, place, position) = ([], 0, 0, 0)
        while position < min(row, rows), try line() != nil {}
    }

    mutating func next() throws(VectorFileError) -> VectorFileRow? {
        guard let line = try line() else { return nil }
        var id: String?
        do {
            return try row(line, &id)
        } catch {
            throw .row(VectorRowFault(row: position, id: id, problem: error.problem))
        }
    }

    /// The bytes of the next line; nil at the end.
    private mutating func line() throws(VectorFileError) -> [UInt8]? {
        var searched = place
        while true {
            if let end = held[searched...].firstIndex(of: 0x0A) {
                defer { place = end + 1 }
                position += 1
                return Array(held[place..<end])
            }
            searched = held.count - place
            held.removeFirst(place)
            heldFrom += place
            place = 0
            let next = heldFrom + held.count
            if next == file.size {
                guard !held.isEmpty else { return nil }
                position += 1
                defer {
                    held = []
                    heldFrom = file.size
                }
                return held
            }
            guard held.count < Self.lineBytesMax else {
                throw .unsupported(
                    path: file.path,
                    reason: "line \(position + 1) is longer than \(Self.lineBytesMax) bytes"
                )
            }
            held += try file.read(at: next, count: min(Self.pieceBytes, file.size - next))
        }
    }

    private struct Refusal: Error {
        var problem: String
        init(_ problem: String) { self.problem = problem }
    }

    private func row(_ line: [UInt8], _ id: inout String?) throws(Refusal) -> VectorFileRow {
        let json: JSONValue
        do {
            json = try JSONValue(parsing: line)
        } catch {
            throw Refusal("no JSON, at byte \(error.offset): \(error.message)")
        }
        guard case .object = json else { throw Refusal("it is no JSON object") }
        switch json[columns.id ?? "id"] {
        case .string(let text)?: id = text
        case .integer(let number)?: id = String(number)
        case nil, .null?: if let name = columns.id { throw Refusal("it has no \(name)") }
        default: throw Refusal("\(columns.id ?? "id") is neither a text nor an integer")
        }
        let names = columns.vector.map { [$0] } ?? VectorColumns.vectorNames
        guard let name = names.first(where: { json[$0] != nil }), case .array(let items)? = json[name] else {
            throw Refusal("it has no array \(names.joined(separator: " or "))")
        }
        var vector: [Float] = []
        vector.reserveCapacity(items.count)
        for (place, item) in items.enumerated() {
            switch item {
            case .integer(let number): vector.append(Float(number))
            case .number(let number): vector.append(Float(number))
            default: throw Refusal("\(name)[\(place)] is no number")
            }
        }
        return VectorFileRow(vector: vector, id: id, text: try text(json), payload: try payload(json))
    }

    private func text(_ json: JSONValue) throws(Refusal) -> String? {
        switch json[columns.text ?? "text"] {
        case nil, .null?: return nil
        case .string(let text)?: return text
        default: throw Refusal("\(columns.text ?? "text") is no text")
        }
    }

    private func payload(_ json: JSONValue) throws(Refusal) -> JSONValue? {
        if let names = columns.payload {
            return .object(names.compactMap { name in json[name].map { .init(name, $0) } })
        }
        switch json["payload"] {
        case nil, .null?: return nil
        case .object(let members)?: return .object(members)
        default: throw Refusal("payload is no JSON object")
        }
    }
}
