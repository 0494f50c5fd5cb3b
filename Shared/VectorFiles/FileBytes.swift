#if canImport(Glibc)
import Glibc
#endif

/// A regular file, read piece by piece: a file that shrinks meanwhile is an error, where a mapping would be a signal.
final class FileBytes {
    let path: String
    /// Bytes, when it was opened.
    let size: Int
    private let descriptor: Int32

    init(path: String) throws(VectorFileError) {
        self.path = path
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .unreadable(path: path, reason: String(cString: strerror(errno))) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw .unreadable(path: path, reason: "it is not a regular file")
        }
        size = Int(status.st_size)
    }

    deinit { close(descriptor) }

    /// Exactly `count` bytes from `offset` on.
    func read(at offset: Int, count: Int) throws(VectorFileError) -> [UInt8] {
        guard offset >= 0, count >= 0, offset <= size, count <= size - offset else {
            throw .damaged(path: path, reason: "it ends at byte \(size), before byte \(offset) + \(count)")
        }
        var failure: VectorFileError?
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            filled = 0
            while filled < count {
                let got = pread(descriptor, buffer.baseAddress! + filled, count - filled, off_t(offset + filled))
                if got < 0, errno == EINTR { continue }
                guard got > 0 else {
                    let reason = got == 0 ? "it was cut short meanwhile" : String(cString: strerror(errno))
                    failure = .unreadable(path: path, reason: reason)
                    return
                }
                filled += got
            }
        }
        if let failure { throw failure }
        return bytes
    }
}

/// Tells contents apart (FNV-1a over words), fast enough for a file of vectors; no protection against malice.
public struct ContentHash: Sendable {
    private var hash: UInt64 = 0xCBF2_9CE4_8422_2325

    /// Of nothing yet.
    public init() {}

    /// Adds bytes; pieces that are added one by one must be multiples of 8 bytes, but for the last.
    public mutating func add(_ bytes: UnsafeRawBufferPointer) {
        let words = bytes.count / 8
        for word in 0..<words { mix(bytes.loadUnaligned(fromByteOffset: word * 8, as: UInt64.self)) }
        for byte in bytes[(words * 8)...] { mix(UInt64(byte)) }
    }

    /// Adds a text.
    public mutating func add(_ text: String) { for byte in text.utf8 { mix(UInt64(byte)) } }

    /// Adds the contents of a file.
    public mutating func add(contentsOf path: String) throws(VectorFileError) {
        let file = try FileBytes(path: path)
        for start in stride(from: 0, to: file.size, by: 1 << 20) {
            let bytes = try file.read(at: start, count: min(1 << 20, file.size - start))
            bytes.withUnsafeBytes { add($0) }
        }
        add(String(file.size))
    }

    /// In hex.
    public var text: String { String(hash, radix: 16) }

    private mutating func mix(_ word: UInt64) { hash = (hash ^ word) &* 0x0000_0100_0000_01B3 }
}

/// Copies little-endian numbers out of bytes that may stand anywhere.
func numbers<Number>(_ type: Number.Type, _ bytes: ArraySlice<UInt8>) -> [Number] where Number: BitwiseCopyable {
    let count = bytes.count / MemoryLayout<Number>.size
    return [Number](unsafeUninitializedCapacity: count) { out, filled in
        bytes.withUnsafeBytes { source in
            if count > 0 {
                UnsafeMutableRawPointer(out.baseAddress!).copyMemory(
                    from: source.baseAddress!,
                    byteCount: count * MemoryLayout<Number>.size
                )
            }
        }
        filled = count
    }
}
