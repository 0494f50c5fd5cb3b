/// The pieces of a WordPiece vocabulary, found by their bytes without making strings.
///
/// The id of a piece is its line in `vocab.txt`. A piece written `##abc` continues a word.
public struct Vocabulary: Sendable {
    private struct Slot {
        var tag: UInt32
        var id: Int32
    }

    /// Pieces as they are written, by id.
    public let pieces: [String]
    /// Bytes of the longest piece, without `##`.
    let longestPiece: Int
    private let bytes: [UInt8]
    private let starts: [Int32]
    private let continues: [Bool]
    private let slots: [Slot]

    /// Makes a vocabulary; the first of equal pieces wins.
    public init(pieces: [String]) {
        self.pieces = pieces
        var bytes: [UInt8] = []
        var starts: [Int32] = [0]
        var continues: [Bool] = []
        var slotCount = 1024
        while slotCount < pieces.count * 2 { slotCount *= 2 }
        var slots = [Slot](repeating: Slot(tag: 0, id: -1), count: slotCount)
        var longest = 0
        for (id, piece) in pieces.enumerated() {
            let isContinuation = piece.utf8.count > 2 && piece.utf8.starts(with: "##".utf8)
            let content = Array(piece.utf8.dropFirst(isContinuation ? 2 : 0))
            bytes += content
            starts.append(Int32(bytes.count))
            continues.append(isContinuation)
            longest = max(longest, content.count)
            var hash = Self.seed(continues: isContinuation)
            for byte in content { hash = Self.extended(hash, by: byte) }
            let mixed = Self.mixed(hash)
            var slot = Int(truncatingIfNeeded: mixed) & (slotCount - 1)
            var isNew = true
            while slots[slot].id >= 0 {
                let other = Int(slots[slot].id)
                if continues[other] == isContinuation,
                    bytes[Int(starts[other])..<Int(starts[other + 1])] == content[...]
                {
                    isNew = false
                    break
                }
                slot = (slot + 1) & (slotCount - 1)
            }
            if isNew { slots[slot] = Slot(tag: UInt32(truncatingIfNeeded: mixed >> 32), id: Int32(id)) }
        }
        self.bytes = bytes
        self.starts = starts
        self.continues = continues
        self.slots = slots
        longestPiece = longest
    }

    /// Number of ids.
    public var count: Int { pieces.count }

    /// Id of a piece as it is written, with its `##`.
    public func id(of piece: String) -> Int32? {
        let isContinuation = piece.utf8.count > 2 && piece.utf8.starts(with: "##".utf8)
        let content = Array(piece.utf8.dropFirst(isContinuation ? 2 : 0))
        let hash = content.reduce(Self.seed(continues: isContinuation)) { Self.extended($0, by: $1) }
        return content.withUnsafeBufferPointer { find($0, continues: isContinuation, hash: hash) }
    }

    static func seed(continues: Bool) -> UInt64 { continues ? 0x9E37_79B9_7F4A_7C15 : 0xCBF2_9CE4_8422_2325 }

    static func extended(_ hash: UInt64, by byte: UInt8) -> UInt64 { (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }

    private static func mixed(_ hash: UInt64) -> UInt64 {
        let folded = (hash ^ hash >> 32) &* 0xD6E8_FEB8_6659_FD93
        return folded ^ folded >> 29
    }

    /// Finds the piece whose bytes, without `##`, hash to `hash`.
    func find(_ content: UnsafeBufferPointer<UInt8>, continues isContinuation: Bool, hash: UInt64) -> Int32? {
        let mixed = Self.mixed(hash)
        let tag = UInt32(truncatingIfNeeded: mixed >> 32)
        var slot = Int(truncatingIfNeeded: mixed) & (slots.count - 1)
        while true {
            let found = slots[slot]
            if found.id < 0 { return nil }
            if found.tag == tag, continues[Int(found.id)] == isContinuation {
                let start = Int(starts[Int(found.id)])
                if Int(starts[Int(found.id) + 1]) - start == content.count,
                    content.indices.allSatisfy({ bytes[start + $0] == content[$0] })
                {
                    return found.id
                }
            }
            slot = (slot + 1) & (slots.count - 1)
        }
    }
}
