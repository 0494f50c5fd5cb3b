#if canImport(Glibc)
import Glibc
#endif

/// One growing column of a table of rows: plain memory, aligned to a cache line.
///
/// A large one asks for huge pages: rows that are read here and there would else wait for their addresses as long as
/// for themselves.
package struct Column<Element: BitwiseCopyable>: ~Copyable {
    package private(set) var base: UnsafeMutablePointer<Element>
    package private(set) var capacity = 0

    package init() { base = Self.allocate(0) }

    deinit { UnsafeMutableRawPointer(base).deallocate() }

    package var byteCount: Int { capacity * MemoryLayout<Element>.stride }

    /// Moves the first `count` elements to room for `newCapacity`; what follows them is `filler`.
    package mutating func resize(to newCapacity: Int, keeping count: Int, filler: Element) {
        precondition(count <= newCapacity && count <= capacity, "a column cannot keep more than it has")
        guard newCapacity != capacity else { return }
        let moved = Self.allocate(newCapacity)
        moved.initialize(from: base, count: count)
        (moved + count).initialize(repeating: filler, count: newCapacity - count)
        UnsafeMutableRawPointer(base).deallocate()
        base = moved
        capacity = newCapacity
    }

    private static func allocate(_ count: Int) -> UnsafeMutablePointer<Element> {
        let bytes = max(64, count * MemoryLayout<Element>.stride)
        // Less than a sixteenth is lost in the last page.
        let isLarge = bytes >= 16 * hugePage
        let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: isLarge ? hugePage : 64)
        #if canImport(Glibc)
        if isLarge { madvise(memory, bytes, Int32(MADV_HUGEPAGE)) }
        #endif
        return memory.bindMemory(to: Element.self, capacity: count)
    }
}

private let hugePage = 1 << 21
