/// The pieces of a vocabulary by their bytes: one walk over a text finds all pieces that begin at a place.
struct PieceTrie: Sendable {
    private static let root: Int32 = 0

    /// A node and a byte in one number, plus one; 0 where the slot is free.
    private var keys: [UInt64]
    private var children: [Int32]
    /// By node: the piece that ends there, or -1.
    private var ids: [Int32] = [-1]

    /// Makes a trie; of equal pieces the last one counts.
    init(_ pieces: [[UInt8]]) {
        var slots = 64
        let nodes = Self.nodeCount(pieces)
        while slots < 2 * nodes { slots *= 2 }
        keys = Array(repeating: 0, count: slots)
        children = Array(repeating: 0, count: slots)
        ids.reserveCapacity(nodes)
        for (id, piece) in pieces.enumerated() where !piece.isEmpty {
            var node = Self.root
            for byte in piece { node = extend(node, by: byte) }
            ids[Int(node)] = Int32(id)
        }
    }

    /// Distinct beginnings of all pieces: each adds, in order, what it does not share with the one before it.
    private static func nodeCount(_ pieces: [[UInt8]]) -> Int {
        var (count, last): (Int, [UInt8]) = (1, [])
        for piece in pieces.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            count += piece.count - zip(piece, last).prefix { $0 == $1 }.count
            last = piece
        }
        return count
    }

    private mutating func extend(_ node: Int32, by byte: UInt8) -> Int32 {
        let (slot, isThere) = find(node, byte)
        if isThere { return children[slot] }
        let child = Int32(ids.count)
        ids.append(-1)
        keys[slot] = Self.key(node, byte)
        children[slot] = child
        return child
    }

    private static func key(_ node: Int32, _ byte: UInt8) -> UInt64 {
        UInt64(UInt32(bitPattern: node)) << 8 + UInt64(byte) + 1
    }

    /// Where the child is, or would be.
    private func find(_ node: Int32, _ byte: UInt8) -> (slot: Int, isThere: Bool) {
        let key = Self.key(node, byte)
        let mixed = key &* 0x9E37_79B9_7F4A_7C15
        var slot = Int(truncatingIfNeeded: mixed >> 24) & (keys.count - 1)
        while keys[slot] != 0 {
            if keys[slot] == key { return (slot, true) }
            slot = (slot + 1) & (keys.count - 1)
        }
        return (slot, false)
    }

    /// Calls back for every piece that begins at `start`, the shortest first, with where it ends.
    func forEachPiece(in bytes: Span<UInt8>, at start: Int, _ body: (_ end: Int, _ id: Int32) -> Void) {
        var node = Self.root
        for at in start..<bytes.count {
            let (slot, isThere) = find(node, bytes[at])
            guard isThere else { return }
            node = children[slot]
            if ids[Int(node)] >= 0 { body(at + 1, ids[Int(node)]) }
        }
    }

    /// Id of the piece that these bytes are.
    func id(of bytes: Span<UInt8>) -> Int32? {
        var node = Self.root
        for at in 0..<bytes.count {
            let (slot, isThere) = find(node, bytes[at])
            guard isThere else { return nil }
            node = children[slot]
        }
        return ids[Int(node)] >= 0 ? ids[Int(node)] : nil
    }
}
