import Foundation

/// SentencePiece's compiled normalisation rules (`precompiled_charsmap`), applied as the `tokenizers` package does.
///
/// The data are the length of a double-array trie in bytes, its 32-bit units (darts-clone), and replacements that end
/// in zero bytes; what the trie finds are offsets of replacements. All numbers are little-endian.
struct CharacterMap: Sendable, Equatable {
    /// A longer cluster is replaced character by character.
    private static let clusterBytesMax = 5

    private let units: [UInt32]
    private let replacements: [UInt8]

    /// Reads base64; nil where it is no such map.
    init?(base64: String) {
        guard let data = Data(base64Encoded: base64).map({ [UInt8]($0) }), data.count > 4 else { return nil }
        func unit(_ at: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(data[at + $1]) << (8 * $1) } }
        let size = Int(unit(0))
        guard size > 0, size % 4 == 0, 4 + size <= data.count else { return nil }
        units = stride(from: 4, to: 4 + size, by: 4).map(unit)
        replacements = Array(data[(4 + size)...])
        guard String(validating: replacements, as: UTF8.self) != nil else { return nil }
    }

    /// The text with its rules applied.
    func apply(_ text: String) -> String {
        var out: [UInt8] = []
        out.reserveCapacity(text.utf8.count + 16)
        for cluster in text {
            let bytes = Array(cluster.utf8)
            if bytes.count <= Self.clusterBytesMax, let found = replacement(of: bytes[...]) {
                out += found
                continue
            }
            var start = 0
            for scalar in cluster.unicodeScalars {
                let end = start + UTF8.width(scalar)
                out += replacement(of: bytes[start..<end]) ?? bytes[start..<end]
                start = end
            }
        }
        return String(decoding: out, as: UTF8.self)
    }

    /// What the shortest rule that begins `key` puts in place of all of it.
    private func replacement(of key: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        var at = Self.offset(units[0])
        for byte in key {
            guard byte != 0 else { return nil }
            at ^= Int(byte)
            guard at < units.count, units[at] & 0x8000_00FF == UInt32(byte) else { return nil }
            let unit = units[at]
            at ^= Self.offset(unit)
            if unit >> 8 & 1 == 1 {
                guard at < units.count else { return nil }
                let start = Int(units[at] & 0x7FFF_FFFF)
                guard start <= replacements.count else { return nil }
                return replacements[start...].prefix { $0 != 0 }
            }
        }
        return nil
    }

    private static func offset(_ unit: UInt32) -> Int { Int(unit >> 10) << Int((unit & 1 << 9) >> 6) }
}
