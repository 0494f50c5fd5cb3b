/// What stands before the numbers of a NumPy file.
struct NumpyHeader {
    /// What a matrix holds.
    enum Element: String, Sendable, CaseIterable {
        case float64 = "<f8"
        case float32 = "<f4"
        case float16 = "<f2"
        case int32 = "<i4"

        /// Bytes of one.
        var bytes: Int {
            switch self {
            case .float64: 8
            case .float32, .int32: 4
            case .float16: 2
            }
        }
    }

    /// Why it is no matrix that we read.
    struct Refusal: Error {
        var reason: String
    }

    /// Bytes that tell how long the header is.
    static let preambleBytes = 12

    var rows: Int
    var columns: Int
    var element: Element
    /// Where the numbers begin.
    var start: Int

    /// Bytes of the whole file.
    var fileBytes: Int { start + rows * columns * element.bytes }

    static func text(rows: Int, columns: Int, element: Element) -> [UInt8] {
        var text = "{'descr': '\(element.rawValue)', 'fortran_order': False, 'shape': (\(rows), \(columns)), }"
        while (10 + text.utf8.count + 1) % 64 != 0 { text += " " }
        text += "\n"
        let length = text.utf8.count
        return [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(length & 0xFF), UInt8(length >> 8)] + Array(text.utf8)
    }

    /// Bytes of preamble and header together, as the first ``preambleBytes`` tell; nil where they are no NumPy file's.
    static func length(_ bytes: some RandomAccessCollection<UInt8>) -> Int? {
        let bytes = Array(bytes.prefix(preambleBytes))
        guard bytes.count == preambleBytes, bytes[0] == 0x93, bytes[1..<6].elementsEqual("NUMPY".utf8) else {
            return nil
        }
        let short = 10 + Int(bytes[8]) + Int(bytes[9]) << 8
        switch bytes[6] {
        case 1: return short
        case 2, 3: return short + 2 + Int(bytes[10]) << 16 + Int(bytes[11]) << 24
        default: return nil
        }
    }

    /// Reads the header.
    ///
    /// - Parameters:
    ///   - bytes: The beginning of a file, all of the header in it.
    ///   - fileBytes: Bytes of the file.
    /// - Throws: ``Refusal``.
    init(_ bytes: some RandomAccessCollection<UInt8>, fileBytes: Int) throws(Refusal) {
        guard let end = Self.length(bytes) else { throw Refusal(reason: "not a NumPy file") }
        guard end <= bytes.count else { throw Refusal(reason: "its header is cut short") }
        let version = bytes[bytes.index(bytes.startIndex, offsetBy: 6)]
        let text = String(decoding: bytes.prefix(end).dropFirst(version == 1 ? 10 : 12), as: UTF8.self)
        func value(_ key: String) -> Substring? {
            guard let found = text.firstRange(of: "'\(key)':") else { return nil }
            return text[found.upperBound...].drop { $0 == " " }
        }
        guard let kind = value("descr"), let order = value("fortran_order"), let shape = value("shape") else {
            throw Refusal(reason: "its header lacks descr, fortran_order or shape")
        }
        let name = kind.first == "'" ? String(kind.dropFirst().prefix { $0 != "'" }) : String(kind.prefix(20))
        guard let element = Element(rawValue: name) else {
            throw Refusal(
                reason: "its numbers are \(name); read are \(Element.allCases.map(\.rawValue).joined(separator: ", "))"
            )
        }
        guard order.hasPrefix("False") else { throw Refusal(reason: "it is in Fortran order; read is C order") }
        let sizes = shape.drop { $0 == "(" }.prefix { $0 != ")" }.split(separator: ",")
            .map { Int($0.filter { $0 != " " }) ?? -1 }
        guard sizes.count == 2, sizes.allSatisfy({ $0 >= 0 }) else {
            throw Refusal(reason: "its shape is (\(shape.drop { $0 == "(" }.prefix { $0 != ")" })); read are two axes")
        }
        let (numbers, overflows) = sizes[0].multipliedReportingOverflow(by: sizes[1])
        guard !overflows, numbers <= (fileBytes - end) / element.bytes else {
            throw Refusal(reason: "it is shorter than its \(sizes[0]) × \(sizes[1]) numbers")
        }
        (rows, columns, self.element, start) = (sizes[0], sizes[1], element, end)
    }
}
