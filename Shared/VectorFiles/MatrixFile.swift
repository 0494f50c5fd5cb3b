#if canImport(Glibc)
import Glibc
#endif

/// A matrix in a NumPy file (`.npy`, row-major, little-endian), mapped into memory.
///
/// Numbers go to and from other programs this way, larger than memory if need be.
public final class MatrixFile: Sendable {
    /// What a matrix holds.
    public enum Element: String, Sendable {
        case float32 = "<f4"
        case float16 = "<f2"
        case int32 = "<i4"

        /// Bytes of one.
        public var bytes: Int { stored.bytes }

        var stored: NumpyHeader.Element {
            switch self {
            case .float32: .float32
            case .float16: .float16
            case .int32: .int32
            }
        }
    }

    /// Rows of the matrix.
    public let rows: Int
    /// Numbers in a row.
    public let columns: Int
    /// What they are.
    public let element: Element
    // Written by `create` alone, before anyone else has it.
    nonisolated(unsafe) private let mapping: UnsafeMutableRawPointer
    private let mappedBytes: Int
    private let start: Int

    private init(rows: Int, columns: Int, element: Element, mapping: UnsafeMutableRawPointer, mapped: Int, start: Int) {
        self.rows = rows
        self.columns = columns
        self.element = element
        self.mapping = mapping
        mappedBytes = mapped
        self.start = start
    }

    deinit { munmap(mapping, mappedBytes) }

    /// Maps a file to read it.
    ///
    /// - Throws: ``MatrixFileError``.
    public static func open(_ path: String) throws(MatrixFileError) -> MatrixFile {
        let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .unreadable(path: path, reason: String(cString: strerror(errno))) }
        defer { close(descriptor) }
        let length = Int(lseek(descriptor, 0, SEEK_END))
        guard length > 10, let mapping = mmap(nil, length, PROT_READ, MAP_SHARED, descriptor, 0), mapping != MAP_FAILED
        else { throw .unreadable(path: path, reason: "not a NumPy file") }
        let bytes = UnsafeRawBufferPointer(start: mapping, count: length)
        let header: NumpyHeader
        do {
            header = try NumpyHeader(bytes, fileBytes: length)
        } catch {
            munmap(mapping, length)
            throw .unreadable(path: path, reason: error.reason)
        }
        guard let element = Element(rawValue: header.element.rawValue) else {
            munmap(mapping, length)
            throw .unreadable(
                path: path,
                reason: "its numbers are \(header.element.rawValue); mapped are <f4, <f2, <i4"
            )
        }
        return MatrixFile(
            rows: header.rows,
            columns: header.columns,
            element: element,
            mapping: mapping,
            mapped: length,
            start: header.start
        )
    }

    /// Makes a file and lends its numbers, all 0, to be filled; it appears under its name when it is complete.
    ///
    /// - Throws: ``MatrixFileError``, or what `fill` throws.
    public static func create(
        _ path: String,
        rows: Int,
        columns: Int,
        element: Element,
        _ fill: (UnsafeMutableRawPointer) throws -> Void
    ) throws {
        let draft = "\(path).\(getpid())"
        func failure() -> MatrixFileError { .unwritable(path: path, reason: String(cString: strerror(errno))) }
        let header = NumpyHeader.text(rows: rows, columns: columns, element: element.stored)
        let length = header.count + rows * columns * element.bytes
        let descriptor = Glibc.open(draft, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw failure() }
        defer {
            close(descriptor)
            unlink(draft)
        }
        // Real blocks now: a full disk is an error here and a signal in a mapping.
        errno = posix_fallocate(descriptor, 0, off_t(length))
        guard errno == 0,
            let mapping = mmap(nil, length, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), mapping != MAP_FAILED
        else { throw failure() }
        defer { munmap(mapping, length) }
        mapping.copyMemory(from: header, byteCount: header.count)
        try fill(mapping + header.count)
        guard rename(draft, path) == 0 else { throw failure() }
    }

    /// Lends rows as they are stored.
    public func withFloats<R>(_ range: Range<Int>, _ body: (UnsafeBufferPointer<Float>) throws -> R) rethrows -> R {
        precondition(0 <= range.lowerBound && range.upperBound <= rows, "rows of the matrix")
        let place = mapping + start + range.lowerBound * columns * element.bytes
        let count = range.count * columns
        if element == .float32 {
            return try body(UnsafeBufferPointer(start: place.assumingMemoryBound(to: Float.self), count: count))
        }
        return try floats(at: place, count).withUnsafeBufferPointer(body)
    }

    private func floats(at place: UnsafeMutableRawPointer, _ count: Int) -> [Float] {
        precondition(element == .float16, "a matrix of floats")
        #if arch(x86_64) && os(macOS)
        preconditionFailure("this platform has no Float16")
        #else
        let halves = UnsafeBufferPointer(start: place.assumingMemoryBound(to: Float16.self), count: count)
        return halves.map { Float($0) }
        #endif
    }

    /// Copies rows.
    public func floats(_ range: Range<Int>) -> [Float] { withFloats(range) { [Float]($0) } }

    /// Copies a row of a matrix of integers.
    public func integers(_ row: Int) -> [Int] {
        precondition(element == .int32 && row >= 0 && row < rows, "a row of integers")
        let place = (mapping + start).assumingMemoryBound(to: Int32.self) + row * columns
        return (0..<columns).map { Int(place[$0]) }
    }
}

/// Why a matrix file cannot be used.
public enum MatrixFileError: Error, Sendable, Hashable, CustomStringConvertible {
    /// It is missing, or something else than a matrix that we read.
    case unreadable(path: String, reason: String)
    /// It cannot be made there.
    case unwritable(path: String, reason: String)

    /// One sentence.
    public var description: String {
        switch self {
        case .unreadable(let path, let reason): "cannot read \(path): \(reason)"
        case .unwritable(let path, let reason): "cannot write \(path): \(reason)"
        }
    }
}
