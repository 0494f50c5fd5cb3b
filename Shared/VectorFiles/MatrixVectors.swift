/// The rows of a NumPy file.
struct NumpyVectors: VectorReader {
    let rows: Int
    private let header: NumpyHeader
    private let file: FileBytes
    private(set) var position = 0
    /// Rows from ``heldFrom`` on.
    private var held: [Float] = []
    private var heldFrom = 0

    var dimensions: Int? { header.columns }

    init(path: String) throws(VectorFileError) {
        file = try FileBytes(path: path)
        let preamble = try file.read(at: 0, count: min(file.size, NumpyHeader.preambleBytes))
        let length = min(file.size, NumpyHeader.length(preamble) ?? 0)
        do {
            header = try NumpyHeader(length == 0 ? preamble : file.read(at: 0, count: length), fileBytes: file.size)
        } catch let error as NumpyHeader.Refusal {
            throw .unsupported(path: path, reason: error.reason)
        } catch let error as VectorFileError {
            throw error
        } catch {
            preconditionFailure("no other error is thrown there")
        }
        guard header.element != .int32 else {
            throw .unsupported(path: path, reason: "its numbers are <i4; read as vectors are <f2, <f4, <f8")
        }
        guard header.columns > 0 else { throw .unsupported(path: path, reason: "its rows have no numbers") }
        rows = header.rows
    }

    mutating func seek(to row: Int) { position = min(max(0, row), rows) }

    mutating func next() throws(VectorFileError) -> VectorFileRow? {
        guard position < rows else { return nil }
        let width = header.columns
        if !(heldFrom..<heldFrom + held.count / width).contains(position) { try hold() }
        let start = (position - heldFrom) * width
        position += 1
        return VectorFileRow(vector: Array(held[start..<start + width]))
    }

    /// Reads about a mebibyte of rows.
    private mutating func hold() throws(VectorFileError) {
        let rowBytes = header.columns * header.element.bytes
        let count = min(rows - position, max(1, (1 << 20) / rowBytes))
        let bytes = try file.read(at: header.start + position * rowBytes, count: count * rowBytes)[...]
        held =
            switch header.element {
            case .float64: numbers(Double.self, bytes).map { Float($0) }
            case .float16: numbers(Float16.self, bytes).map { Float($0) }
            case .float32, .int32: numbers(Float.self, bytes)
            }
        heldFrom = position
    }
}

/// The rows of an `.fvecs` file; the first row's length is that of all.
struct FvecsVectors: VectorReader {
    let rows: Int
    private let width: Int
    private let file: FileBytes
    private(set) var position = 0
    private var held: [UInt8] = []
    private var heldFrom = 0

    var dimensions: Int? { width }
    private var rowBytes: Int { 4 + 4 * width }

    init(path: String) throws(VectorFileError) {
        file = try FileBytes(path: path)
        guard file.size >= 4 else { throw .damaged(path: path, reason: "it is shorter than a row's length") }
        width = Int(numbers(Int32.self, try file.read(at: 0, count: 4)[...])[0])
        guard width > 0, width <= (file.size - 4) / 4 else {
            throw .damaged(path: path, reason: "its first row says that it has \(width) numbers")
        }
        guard file.size % (4 + 4 * width) == 0 else {
            throw .damaged(
                path: path,
                reason:
                    "\(file.size) bytes are no whole number of rows of \(width) float32, \(4 + 4 * width) bytes each"
            )
        }
        rows = file.size / (4 + 4 * width)
    }

    mutating func seek(to row: Int) { position = min(max(0, row), rows) }

    mutating func next() throws(VectorFileError) -> VectorFileRow? {
        guard position < rows else { return nil }
        if !(heldFrom..<heldFrom + held.count / rowBytes).contains(position) {
            let count = min(rows - position, max(1, (1 << 20) / rowBytes))
            held = try file.read(at: position * rowBytes, count: count * rowBytes)
            heldFrom = position
        }
        let start = (position - heldFrom) * rowBytes
        let length = numbers(Int32.self, held[start..<start + 4])[0]
        guard length == width else {
            throw .damaged(
                path: file.path,
                reason: "row \(position + 1) says that it has \(length) numbers, the first has \(width)"
            )
        }
        position += 1
        return VectorFileRow(vector: numbers(Float.self, held[start + 4..<start + rowBytes]))
    }
}
