import CPlatform

/// One growing column of a table of rows: plain memory, aligned to a cache line, zero until it is written.
///
/// A column of some size has pages of its own: it grows and shrinks without a copy, room that nobody wrote to costs no
/// memory, and what is given back is the system's at once. A large one asks for huge pages: rows that are read here
/// and there would else wait for their addresses as long as for themselves.
package struct Column<Element: BitwiseCopyable>: ~Copyable {
    package private(set) var base: UnsafeMutablePointer<Element>
    package private(set) var capacity = 0
    private var memory = ColumnMemory(bytes: 0)

    package init() { base = memory.base.bindMemory(to: Element.self, capacity: 0) }

    deinit { memory.release() }

    package var byteCount: Int { capacity * MemoryLayout<Element>.stride }

    /// Keeps the first `count` elements in room for `newCapacity`; what follows them is zero.
    package mutating func resize(to newCapacity: Int, keeping count: Int) {
        precondition(count <= newCapacity && count <= capacity, "a column cannot keep more than it has")
        let stride = MemoryLayout<Element>.stride
        memory.resize(to: newCapacity * stride, keeping: count * stride)
        base = memory.base.bindMemory(to: Element.self, capacity: newCapacity)
        capacity = newCapacity
    }
}

/// Zeroed memory: of the heap where it is small, else whole pages.
private struct ColumnMemory {
    private static let page = 4096
    private static let hugePage = 1 << 21
    /// From here on pages of its own: less than a thirtieth is lost in the last one.
    private static let paged = 128 << 10
    /// From here on huge ones: less than a sixteenth is lost in the last one.
    private static let huge = 16 * hugePage

    private(set) var base: UnsafeMutableRawPointer
    private var size: Int

    init(bytes: Int) {
        size = Self.rounded(bytes)
        base = Self.obtain(size)
    }

    func release() {
        if size < Self.paged { base.deallocate() } else { platform_pages_release(base, size) }
    }

    /// What lies behind the kept bytes is zero afterwards.
    mutating func resize(to bytes: Int, keeping kept: Int) {
        let newSize = Self.rounded(bytes)
        if size >= Self.paged && newSize >= Self.paged {
            platform_pages_clear(base, kept, min(size, newSize))
            guard newSize != size else { return }
            guard let moved = platform_pages_resize(base, size, newSize, Self.alignment(newSize)) else {
                fatalError("no memory for a column of \(newSize) bytes")
            }
            base = moved
        } else {
            let moved = Self.obtain(newSize)
            moved.copyMemory(from: base, byteCount: kept)
            release()
            base = moved
        }
        size = newSize
    }

    private static func rounded(_ bytes: Int) -> Int {
        bytes < paged ? max(64, bytes) : (bytes + page - 1) / page * page
    }

    private static func alignment(_ size: Int) -> Int { size < huge ? page : hugePage }

    private static func obtain(_ size: Int) -> UnsafeMutableRawPointer {
        guard size >= paged else {
            let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 64)
            memory.initializeMemory(as: UInt8.self, repeating: 0, count: size)
            return memory
        }
        guard let memory = platform_pages_obtain(size, alignment(size)) else {
            fatalError("no memory for a column of \(size) bytes")
        }
        return memory
    }
}
