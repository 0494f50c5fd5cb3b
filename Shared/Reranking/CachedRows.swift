import VectorMath

/// Some rows of one shard, within its share of a ``VectorCache``: those that were asked for lately.
///
/// Ids and versions are in memory, about 21 bytes a row; vectors and external ids in the file. The row that gives way
/// to another is found by a clock: a hand goes round and takes the first row that was not used since it came by last.
final class CachedRows {
    private static let firstSlots = 16
    /// Room for an external id in front of each vector: one byte of length, and its text.
    ///
    /// Longer ones are in memory.
    private static let nameBytes = 64

    private let cache: VectorCache
    private let rowBytes: Int
    private let dimensions: Int
    private let file: MappedFile?
    private var slotCount = 0
    /// Slots below it were in use at least once.
    private var touchedCount = 0
    private var free: [UInt32] = []
    private var hand = 0
    private var ids = Column<Int64>()
    private var versionColumn = Column<UInt32>()
    /// 0: empty, 1: there, 2: there, and used since the hand came by.
    private var marks = Column<UInt8>()
    /// Open addressing: slot + 1 by id, 0 where nothing is; at least twice as long as there are slots.
    private var places = Column<UInt32>()
    private var longNames: [UInt32: String] = [:]
    private(set) var count = 0

    init(dimensions: Int, stride: Int, cache: VectorCache) {
        self.dimensions = dimensions
        self.cache = cache
        rowBytes = Self.nameBytes + stride * 4
        file = cache.byteLimit < rowBytes ? nil : MappedFile(in: cache.directory)
        cache.join()
    }

    deinit {
        cache.release(slotCount * rowBytes)
        cache.leave()
    }

    var residentBytes: Int {
        ids.byteCount + versionColumn.byteCount + marks.byteCount + places.byteCount + 4 * free.capacity
            + longNames.reduce(0) { $0 + 64 + $1.value.utf8.count }
    }

    /// The slot of a row that is here, which counts as used.
    @inline(__always)
    func slot(of id: Int64) -> Int? {
        guard count > 0 else { return nil }
        var place = home(of: id)
        while places.base[place] != 0 {
            let slot = Int(places.base[place]) - 1
            if ids.base[slot] == id {
                marks.base[slot] = 2
                return slot
            }
            place = (place + 1) & (places.capacity - 1)
        }
        return nil
    }

    func version(_ slot: Int) -> UInt32 { versionColumn.base[slot] }

    func vector(_ slot: Int) -> UnsafePointer<Float> { UnsafePointer(floats(slot)) }

    func name(_ slot: Int) -> String {
        let bytes = UnsafeRawBufferPointer(start: row(slot), count: Self.nameBytes)
        if bytes[0] == .max { return longNames[UInt32(slot)] ?? "" }
        return String(decoding: bytes[1..<1 + Int(bytes[0])], as: UTF8.self)
    }

    /// Writes a row over the one that is here of its id; nothing happens where there is none, or a newer one.
    func update(id: Int64, version: UInt32, vector: Span<Float>, name: String) {
        guard let slot = slot(of: id), versionColumn.base[slot] <= version else { return }
        write(slot, version, vector, name)
    }

    /// Takes a row in, in the place of another where there is no room.
    func admit(id: Int64, version: UInt32, vector: Span<Float>, name: String) {
        if let slot = slot(of: id) {
            if versionColumn.base[slot] <= version { write(slot, version, vector, name) }
            return
        }
        fitShare()
        guard let slot = takeSlot() else { return }
        ids.base[slot] = id
        marks.base[slot] = 1
        insert(slot)
        count += 1
        write(slot, version, vector, name)
    }

    func remove(id: Int64) {
        guard let slot = slot(of: id) else { return }
        empty(slot)
        free.append(UInt32(slot))
    }

    func removeAll() {
        _ = resize(to: 0)
    }

    /// Gives back what exceeds the share, which gets smaller when more shards share.
    func fitShare() {
        let allowed = cache.share / rowBytes
        if slotCount > allowed { _ = resize(to: allowed) }
    }

    // MARK: - Slots

    private func row(_ slot: Int) -> UnsafeMutableRawPointer { file!.base! + slot * rowBytes }

    private func floats(_ slot: Int) -> UnsafeMutablePointer<Float> {
        (row(slot) + Self.nameBytes).assumingMemoryBound(to: Float.self)
    }

    private func write(_ slot: Int, _ version: UInt32, _ vector: Span<Float>, _ name: String) {
        versionColumn.base[slot] = version
        vector.withUnsafeBufferPointer { floats(slot).update(from: $0.baseAddress!, count: dimensions) }
        let bytes = UnsafeMutableRawBufferPointer(start: row(slot), count: Self.nameBytes)
        let length = name.utf8.count
        if bytes[0] == .max { longNames[UInt32(slot)] = nil }
        if length < Self.nameBytes {
            bytes[0] = UInt8(length)
            for (offset, byte) in name.utf8.enumerated() { bytes[1 + offset] = byte }
        } else {
            bytes[0] = .max
            longNames[UInt32(slot)] = name
        }
    }

    private func takeSlot() -> Int? {
        if let slot = free.popLast() { return Int(slot) }
        if touchedCount == slotCount, !grow() {
            guard slotCount > 0 else { return nil }
            while marks.base[hand] == 2 {
                marks.base[hand] = 1
                hand = hand + 1 == slotCount ? 0 : hand + 1
            }
            let slot = hand
            hand = hand + 1 == slotCount ? 0 : hand + 1
            empty(slot)
            return slot
        }
        touchedCount += 1
        return touchedCount - 1
    }

    private func empty(_ slot: Int) {
        take(out: slot)
        if row(slot).load(as: UInt8.self) == .max { longNames[UInt32(slot)] = nil }
        row(slot).storeBytes(of: 0, as: UInt8.self)
        marks.base[slot] = 0
        count -= 1
    }

    private func grow() -> Bool {
        let allowed = cache.share / rowBytes
        guard slotCount < allowed else { return false }
        return resize(to: min(allowed, max(Self.firstSlots, slotCount * 2)))
    }

    private func resize(to newCount: Int) -> Bool {
        guard let file else { return false }
        if newCount > slotCount {
            let more = (newCount - slotCount) * rowBytes
            guard cache.reserve(more) else { return false }
            guard file.resize(to: newCount * rowBytes) else {
                cache.release(more)
                return false
            }
        } else {
            for slot in newCount..<max(newCount, touchedCount) where marks.base[slot] != 0 { empty(slot) }
            guard file.resize(to: newCount * rowBytes) else { return false }
            cache.release((slotCount - newCount) * rowBytes)
            free.removeAll { $0 >= newCount }
            touchedCount = min(touchedCount, newCount)
        }
        ids.resize(to: newCount, keeping: touchedCount)
        versionColumn.resize(to: newCount, keeping: touchedCount)
        marks.resize(to: newCount, keeping: touchedCount)
        slotCount = newCount
        hand = 0
        fillPlaces()
        return true
    }

    // MARK: - Places

    private func home(of id: Int64) -> Int {
        let mixed = UInt64(bitPattern: id) &* 0x9E37_79B9_7F4A_7C15
        return Int(truncatingIfNeeded: mixed >> 32) & (places.capacity - 1)
    }

    private func fillPlaces() {
        var length = 1
        while length < slotCount * 2 { length *= 2 }
        places = Column()
        places.resize(to: length, keeping: 0)
        for slot in 0..<touchedCount where marks.base[slot] != 0 { insert(slot) }
    }

    private func insert(_ slot: Int) {
        var place = home(of: ids.base[slot])
        while places.base[place] != 0 { place = (place + 1) & (places.capacity - 1) }
        places.base[place] = UInt32(slot + 1)
    }

    /// Takes a slot's entry out, and moves those behind it up, so that none is cut off from its home.
    private func take(out slot: Int) {
        let mask = places.capacity - 1
        var hole = home(of: ids.base[slot])
        while places.base[hole] != UInt32(slot + 1) { hole = (hole + 1) & mask }
        var next = hole
        while true {
            next = (next + 1) & mask
            let entry = places.base[next]
            if entry == 0 { break }
            let home = home(of: ids.base[Int(entry) - 1])
            // It may move where its home does not lie behind the hole.
            if (next - home) & mask >= (next - hole) & mask {
                places.base[hole] = entry
                hole = next
            }
        }
        places.base[hole] = 0
    }
}
