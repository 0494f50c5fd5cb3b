import Synchronization

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// Disk for the rows of shards that are not held whole, and for the bounds of those that are.
///
/// A folder, and a limit of bytes, which the shards that hold some rows share evenly.
///
/// Each has a file of its own that is unlinked as soon as it is open. Nothing of it outlives the process, however that
/// ends, so no row of another server, collection or time is ever found in one.
public final class VectorCache: Sendable {
    /// Where the files are.
    public let directory: String
    /// Bytes of all files together, at most.
    public let byteLimit: Int
    private let shardCount = Atomic<Int>(0)
    private let bytes = Atomic<Int>(0)

    /// Opens no file yet.
    ///
    /// - Parameters:
    ///   - directory: On a disk that is fast enough to read rows from; must be writable.
    ///   - byteLimit: Bytes of all files together; 0 keeps no row.
    public init(directory: String, byteLimit: Int) {
        self.directory = directory
        self.byteLimit = max(0, byteLimit)
    }

    /// Bytes of all files.
    public var byteCount: Int { bytes.load(ordering: .relaxed) }

    /// What each shard may take.
    var share: Int { byteLimit / max(1, shardCount.load(ordering: .relaxed)) }

    func join() { shardCount.add(1, ordering: .relaxed) }
    func leave() { shardCount.subtract(1, ordering: .relaxed) }

    /// Takes bytes from the bound; false where they are not left.
    func reserve(_ count: Int) -> Bool {
        if bytes.add(count, ordering: .relaxed).newValue <= byteLimit { return true }
        release(count)
        return false
    }

    func release(_ count: Int) { bytes.subtract(count, ordering: .relaxed) }
}

/// A file without a name, mapped whole.
final class MappedFile {
    private let descriptor: Int32
    private let isReadInOrder: Bool
    private(set) var byteCount = 0
    private(set) var base: UnsafeMutableRawPointer?

    /// Nil where none can be made.
    init?(in directory: String, isReadInOrder: Bool = false) {
        self.isReadInOrder = isReadInOrder
        var path = Array("\(directory)/mrl-rerank-XXXXXX".utf8CString)
        let opened = mkstemp(&path)
        guard opened >= 0 else { return nil }
        unlink(path)
        _ = fcntl(opened, F_SETFD, FD_CLOEXEC)
        descriptor = opened
    }

    deinit {
        unmap()
        close(descriptor)
    }

    private func unmap() {
        if let base { munmap(base, byteCount) }
        base = nil
        byteCount = 0
    }

    /// Gives the file another size and maps it anew; false, and all is as before, where the disk has no room.
    func resize(to newCount: Int) -> Bool {
        // Blocks are taken beforehand: a full disk would otherwise show as SIGBUS when a row is written.
        if newCount > byteCount, posix_fallocate(descriptor, off_t(byteCount), off_t(newCount - byteCount)) != 0 {
            ftruncate(descriptor, off_t(byteCount))
            return false
        }
        var mapped: UnsafeMutableRawPointer?
        if newCount > 0 {
            mapped = mmap(nil, newCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
            guard let found = mapped, found != MAP_FAILED else { return false }
            // Otherwise rows are read one by one in no order.
            if !isReadInOrder { madvise(found, newCount, MADV_RANDOM) }
        }
        unmap()
        base = mapped
        byteCount = newCount
        ftruncate(descriptor, off_t(newCount))
        return true
    }
}
