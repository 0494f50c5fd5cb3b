/// Finds the nodes of one shard by id: open addressing over node numbers alone, whose ids the graph has, or positions
/// in lists that have the ids.
struct NodeDirectory {
    private static let empty = UInt32.max
    private var slots: [UInt32] = []
    private(set) var count = 0

    var byteCount: Int { slots.count * MemoryLayout<UInt32>.stride }
    /// Bytes of a row, at the load that a table has after it has grown.
    static let bytesPerRow = 9

    func node(of id: Int64, idOf: (UInt32) -> Int64) -> UInt32? {
        guard !slots.isEmpty, let slot = slot(of: id, idOf) else { return nil }
        return slots[slot]
    }

    /// Puts a node in, in the place of the one that its id had.
    mutating func insert(_ node: UInt32, id: Int64, idOf: (UInt32) -> Int64) {
        if (count + 1) * 4 > slots.count * 3 { grow(idOf) }
        if let slot = slot(of: id, idOf) {
            slots[slot] = node
            return
        }
        var slot = home(of: id)
        while slots[slot] != Self.empty { slot = (slot + 1) & (slots.count - 1) }
        slots[slot] = node
        count += 1
    }

    mutating func remove(id: Int64, idOf: (UInt32) -> Int64) -> UInt32? {
        guard !slots.isEmpty, var hole = slot(of: id, idOf) else { return nil }
        let removed = slots[hole]
        let mask = slots.count - 1
        // What follows moves up, so that no search stops at the hole too early.
        var next = (hole + 1) & mask
        while slots[next] != Self.empty {
            let wanted = home(of: idOf(slots[next]))
            if (next - wanted) & mask >= (next - hole) & mask {
                slots[hole] = slots[next]
                hole = next
            }
            next = (next + 1) & mask
        }
        slots[hole] = Self.empty
        count -= 1
        return removed
    }

    /// Where a node is found that is held, whatever is at its number now.
    func slot(holding node: UInt32, id: Int64) -> Int {
        var slot = home(of: id)
        while slots[slot] != node {
            precondition(slots[slot] != Self.empty, "a node that is held")
            slot = (slot + 1) & (slots.count - 1)
        }
        return slot
    }

    /// Another number for the node that is found at a slot; its id stays.
    mutating func replace(_ slot: Int, with node: UInt32) { slots[slot] = node }

    /// All nodes, in no order.
    var nodes: [UInt32] { slots.filter { $0 != Self.empty } }

    private func home(of id: Int64) -> Int { Int(truncatingIfNeeded: scrambled(id)) & (slots.count - 1) }

    private func slot(of id: Int64, _ idOf: (UInt32) -> Int64) -> Int? {
        var slot = home(of: id)
        while slots[slot] != Self.empty {
            if idOf(slots[slot]) == id { return slot }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    private mutating func grow(_ idOf: (UInt32) -> Int64) {
        let old = nodes
        slots = Array(repeating: Self.empty, count: max(16, slots.count * 2))
        for node in old {
            var slot = home(of: idOf(node))
            while slots[slot] != Self.empty { slot = (slot + 1) & (slots.count - 1) }
            slots[slot] = node
        }
    }
}

/// An id's bits, well mixed (the finaliser of SplitMix64).
func scrambled(_ id: Int64) -> UInt64 {
    var bits = UInt64(bitPattern: id) &+ 0x9E37_79B9_7F4A_7C15
    bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
    return bits ^ (bits >> 31)
}
