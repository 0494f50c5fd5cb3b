import Foundation

/// What the BERT normaliser makes of characters: clean, space out ideographs, decompose, strip marks, lower.
///
/// The order of these steps matters and lower-casing goes character by character, so that a final sigma has no rule.
enum ScalarRules {
    /// How a normalised character acts when words are split.
    enum Class: UInt8 {
        /// Vanishes and joins its neighbours.
        case dropped
        /// Ends a word.
        case space
        /// Is a word of its own.
        case alone
        /// Belongs to a word.
        case letter
    }

    /// Of each ASCII byte.
    static let asciiClasses: [Class] = (0..<128).map { byte in
        switch UInt8(byte) {
        case 9, 10, 13, 32: .space
        case 0..<32, 127: .dropped
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "a")...UInt8(ascii: "z"):
            .letter
        // Symbols such as `$+<=>^` count as punctuation here, and only here.
        default: .alone
        }
    }

    /// ``asciiActions`` of a byte that vanishes.
    static let dropped: UInt8 = 0
    /// ``asciiActions`` of a byte that ends a word.
    static let space: UInt8 = 1
    /// ``asciiActions`` of a byte that is a word.
    static let alone: UInt8 = 2
    /// From here on ``asciiActions`` holds the lower-cased byte itself.
    static let firstLetter: UInt8 = 3

    /// What to do with each ASCII byte.
    static let asciiActions: [UInt8] = asciiClasses.enumerated().map { byte, kind in
        switch kind {
        case .dropped: dropped
        case .space: space
        case .alone: alone
        case .letter: (65...90).contains(byte) ? UInt8(byte + 32) : UInt8(byte)
        }
    }

    /// Characters of the scripts that Debian descriptions use, worked out once.
    private static let table: [[(Unicode.Scalar, Class)]] = (0x80..<0x530).map {
        Unicode.Scalar($0).map(derived) ?? []
    }

    /// What stands in place of a character beyond ASCII, in order.
    static func normalised(_ scalar: Unicode.Scalar) -> [(Unicode.Scalar, Class)] {
        let index = Int(scalar.value) - 0x80
        return index < table.count ? table[index] : derived(scalar)
    }

    /// Canonical order of what decomposes to several characters needs no care: the marks that it would move are
    /// stripped.
    private static func derived(_ scalar: Unicode.Scalar) -> [(Unicode.Scalar, Class)] {
        if scalar.properties.isWhitespace && !isOther(scalar) { return [(" ", .space)] }
        if isOther(scalar) || scalar == "\u{FFFD}" { return [] }
        if isIdeograph(scalar) { return decomposed(scalar).map { ($0, .alone) } }
        return decomposed(scalar).map { ($0, classOf($0)) }
    }

    private static func decomposed(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
        String(Character(scalar)).decomposedStringWithCanonicalMapping.unicodeScalars
            .filter { $0.properties.generalCategory != .nonspacingMark }
            .flatMap { Array($0.properties.lowercaseMapping.unicodeScalars) }
    }

    private static func classOf(_ scalar: Unicode.Scalar) -> Class {
        if scalar.isASCII { return asciiClasses[Int(scalar.value)] }
        if scalar.properties.isWhitespace { return .space }
        switch scalar.properties.generalCategory {
        case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation,
            .finalPunctuation, .otherPunctuation:
            return .alone
        default: return .letter
        }
    }

    /// What is dropped; characters without a meaning yet are not.
    static func isOther(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse: true
        default: false
        }
    }

    static func isIdeograph(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F,
            0x2B920...0x2CEAF, 0xF900...0xFAFF, 0x2F800...0x2FA1F:
            true
        default: false
        }
    }
}
