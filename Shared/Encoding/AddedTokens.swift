import WireProtocol

/// A token that is found in a text whole, whatever pieces its characters would be.
struct AddedToken: Sendable {
    var id: Int32
    var content: String
    /// Neither a letter nor a digit stands beside it.
    var isSingleWord: Bool
    /// Takes the blanks before it along.
    var takesLeft: Bool
    /// Takes the blanks after it along.
    var takesRight: Bool
    /// Is found in the normalised text, in normalised form.
    var isNormalised: Bool

    /// Found anywhere, in the text as it came, and taken without the spaces around it.
    var isPlain: Bool { !isSingleWord && !takesLeft && !takesRight && !isNormalised }

    static func read(_ value: JSONValue?, path: String) throws(ModelError) -> [AddedToken] {
        guard let value else { return [] }
        guard case .array(let items) = value else {
            throw .malformed(path: path, reason: "\"added_tokens\" is no list")
        }
        var tokens: [AddedToken] = []
        for item in items {
            guard case .string(let content) = item["content"], !content.isEmpty, case .integer(let id) = item["id"],
                (0..<Int64(Int32.max)).contains(id)
            else { throw .malformed(path: path, reason: "\"added_tokens\" holds a token without content or id") }
            tokens.append(
                AddedToken(
                    id: Int32(id),
                    content: content,
                    isSingleWord: item["single_word"] == .bool(true),
                    takesLeft: item["lstrip"] == .bool(true),
                    takesRight: item["rstrip"] == .bool(true),
                    isNormalised: item["normalized"] == .bool(true)
                )
            )
        }
        return tokens
    }
}

/// Finds added tokens, the first and then the longest first.
struct AddedTokenFinder: Sendable {
    enum Part: Equatable {
        case text(Range<Int>)
        case token(Int32)
    }

    private var tokens: [(bytes: [UInt8], token: AddedToken)]
    private var begins = [Bool](repeating: false, count: 256)

    init(_ tokens: [AddedToken], written: (String) -> String = { $0 }) {
        self.tokens = tokens.map { (Array(written($0.content).utf8), $0) }
            .filter { !$0.0.isEmpty }
            .sorted { $0.0.count > $1.0.count }
        for token in self.tokens { begins[Int(token.bytes[0])] = true }
    }

    /// The parts of a text of valid UTF-8, in order.
    func parts(of bytes: [UInt8]) -> [Part] {
        var parts: [Part] = []
        var (done, at) = (0, 0)
        while at < bytes.count {
            guard begins[Int(bytes[at])], let found = tokens.first(where: { bytes[at...].starts(with: $0.bytes) })
            else {
                at += 1
                continue
            }
            var (start, end) = (at, at + found.bytes.count)
            at = end
            let token = found.token
            if token.isSingleWord,
                Self.last(of: bytes[..<start]).map(Self.isWord) ?? false
                    || Self.first(of: bytes[end...]).map(Self.isWord) ?? false
            {
                continue
            }
            if token.takesLeft {
                while start > done, let scalar = Self.last(of: bytes[done..<start]), scalar.properties.isWhitespace {
                    start -= UTF8.width(scalar)
                }
            }
            if token.takesRight {
                while let scalar = Self.first(of: bytes[end...]), scalar.properties.isWhitespace {
                    end += UTF8.width(scalar)
                }
            }
            if done < start { parts.append(.text(done..<start)) }
            parts.append(.token(token.id))
            done = end
            at = max(at, end)
        }
        if done < bytes.count { parts.append(.text(done..<bytes.count)) }
        return parts
    }

    private static func first(of bytes: ArraySlice<UInt8>) -> Unicode.Scalar? {
        String(decoding: bytes.prefix(4), as: UTF8.self).unicodeScalars.first
    }

    private static func last(of bytes: ArraySlice<UInt8>) -> Unicode.Scalar? {
        let start = bytes.lastIndex { $0 & 0xC0 != 0x80 } ?? bytes.startIndex
        return String(decoding: bytes[start...], as: UTF8.self).unicodeScalars.last
    }

    private static func isWord(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.properties.isAlphabetic || scalar.properties.isJoinControl { return true }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: return true
        default: return false
        }
    }
}
