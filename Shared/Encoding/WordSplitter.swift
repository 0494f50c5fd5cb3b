/// Splits text into the normalised words that word pieces are cut from.
///
/// Works on bytes, character by character, so that plain ASCII costs a table look-up and no string is made.
public struct WordSplitter: Sendable {
    /// Written like this in a text, these stand for themselves and are not normalised.
    public static let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    private static let specialBytes = specials.map { Array($0.utf8) }

    private var word: [UInt8] = []
    private var characters = 0

    /// Makes a splitter; it can be used for many texts and keeps its buffer.
    public init() { word.reserveCapacity(256) }

    /// Calls back for each part of a text in order, until a callback answers false.
    ///
    /// - Parameters:
    ///   - text: Any text.
    ///   - onWord: Gets the normalised UTF-8 of a word and its number of characters.
    ///   - onSpecial: Gets an index into ``specials``.
    public mutating func split(
        _ text: String,
        onWord: (_ word: UnsafeBufferPointer<UInt8>, _ characters: Int) -> Bool,
        onSpecial: (_ index: Int) -> Bool = { _ in true }
    ) {
        var text = text
        word.removeAll(keepingCapacity: true)
        characters = 0
        text.withUTF8 { bytes in
            ScalarRules.asciiActions.withUnsafeBufferPointer { actions in
                scan(bytes, actions, onWord, onSpecial)
            }
        }
    }

    private mutating func scan(
        _ bytes: UnsafeBufferPointer<UInt8>,
        _ actions: UnsafeBufferPointer<UInt8>,
        _ onWord: (UnsafeBufferPointer<UInt8>, Int) -> Bool,
        _ onSpecial: (Int) -> Bool
    ) {
        var at = 0
        while at < bytes.count {
            let byte = bytes[at]
            if byte < 0x80 {
                let action = actions[Int(byte)]
                if action >= ScalarRules.firstLetter {
                    word.append(action)
                    characters += 1
                    at += 1
                    continue
                }
                if byte == UInt8(ascii: "["), let index = Self.special(in: bytes, at: at) {
                    guard flush(onWord), onSpecial(index) else { return }
                    at += Self.specialBytes[index].count
                    continue
                }
                at += 1
                if action == ScalarRules.dropped { continue }
                guard flush(onWord) else { return }
                if action == ScalarRules.alone {
                    word.append(byte)
                    characters = 1
                    guard flush(onWord) else { return }
                }
                continue
            }
            let (scalar, length) = Self.decode(bytes, at: at)
            at += length
            for (part, kind) in ScalarRules.normalised(scalar) {
                if kind == .dropped { continue }
                if kind != .letter { guard flush(onWord) else { return } }
                if kind == .space { continue }
                word.append(contentsOf: UTF8.encode(part)!)
                characters += 1
                if kind == .alone { guard flush(onWord) else { return } }
            }
        }
        _ = flush(onWord)
    }

    private mutating func flush(_ onWord: (UnsafeBufferPointer<UInt8>, Int) -> Bool) -> Bool {
        if word.isEmpty { return true }
        defer {
            word.removeAll(keepingCapacity: true)
            characters = 0
        }
        return word.withUnsafeBufferPointer { onWord($0, characters) }
    }

    private static func special(in bytes: UnsafeBufferPointer<UInt8>, at: Int) -> Int? {
        specialBytes.firstIndex { name in
            at + name.count <= bytes.count && name.indices.allSatisfy { bytes[at + $0] == name[$0] }
        }
    }

    /// One character of valid UTF-8 beyond ASCII.
    private static func decode(_ bytes: UnsafeBufferPointer<UInt8>, at: Int) -> (Unicode.Scalar, length: Int) {
        func tail(_ offset: Int) -> UInt32 { UInt32(bytes[at + offset] & 0x3F) }
        let first = UInt32(bytes[at])
        let (value, length): (UInt32, Int) =
            switch first {
            case ..<0xE0: ((first & 0x1F) << 6 | tail(1), 2)
            case ..<0xF0: ((first & 0x0F) << 12 | tail(1) << 6 | tail(2), 3)
            default: ((first & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4)
            }
        return (Unicode.Scalar(value) ?? "\u{FFFD}", length)
    }
}
