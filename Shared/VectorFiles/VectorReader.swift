public import WireProtocol

/// Vectors in a file, one row after the other, from any row on; memory does not grow with the file.
public protocol VectorReader {
    /// All rows of the file.
    var rows: Int { get }
    /// Length of every vector; nil where each row has its own.
    var dimensions: Int? { get }
    /// Rows before the next one, those passed over included.
    var position: Int { get }

    /// Goes on at a row, counted from 0; beyond the end nothing follows.
    mutating func seek(to row: Int) throws(VectorFileError)

    /// The next row; nil at the end.
    ///
    /// After ``VectorFileError/row(_:)`` it goes on with the row behind; after any other error it is of no use.
    mutating func next() throws(VectorFileError) -> VectorFileRow?
}

/// A row of a file of vectors.
public struct VectorFileRow: Sendable, Hashable {
    /// As long as the file has it.
    public var vector: [Float]
    /// Nil where the file has none.
    public var id: String?
    /// Nil where the file has none.
    public var text: String?
    /// An object; nil where the file has none.
    public var payload: JSONValue?

    /// Makes a row.
    public init(vector: [Float], id: String? = nil, text: String? = nil, payload: JSONValue? = nil) {
        self.vector = vector
        self.id = id
        self.text = text
        self.payload = payload
    }
}

/// Names of columns (Parquet) or members (JSON lines); those that are nil are looked for under their usual names.
public struct VectorColumns: Sendable, Hashable {
    /// Default: `vector`, or else `embedding`.
    public var vector: String?
    /// Default: `id`, where there is one.
    public var id: String?
    /// Default: `text`, where there is one.
    public var text: String?
    /// Becomes an object of these; default: the object in `payload`, where there is one.
    public var payload: [String]?

    /// Makes a choice of columns.
    public init(vector: String? = nil, id: String? = nil, text: String? = nil, payload: [String]? = nil) {
        self.vector = vector
        self.id = id
        self.text = text
        self.payload = payload
    }

    static let vectorNames = ["vector", "embedding"]
}

/// Kinds of files that vectors are read from.
public enum VectorFormat: String, Sendable, CaseIterable {
    /// NumPy: a row-major matrix of little-endian float16, float32 or float64.
    case npy
    /// Each row an int32 with its length, then its float32, little-endian.
    case fvecs
    /// A column of lists of numbers; SNAPPY or no compression, no delta encodings.
    case parquet
    /// An object with an array of numbers a line.
    case jsonl

    /// The format that a path's ending names.
    public init?(path: String) {
        let ending = path.split(separator: ".").last?.lowercased() ?? ""
        self.init(rawValue: ["ndjson": "jsonl", "pq": "parquet"][ending] ?? ending)
    }

    /// Opens a file of this format.
    ///
    /// - Throws: ``VectorFileError`` where it is missing, damaged or uses what is not supported.
    public func reader(_ path: String, columns: VectorColumns = .init()) throws(VectorFileError) -> any VectorReader {
        switch self {
        case .npy: try NumpyVectors(path: path)
        case .fvecs: try FvecsVectors(path: path)
        case .parquet: try ParquetVectors(path: path, columns: columns)
        case .jsonl: try JSONLinesVectors(path: path, columns: columns)
        }
    }
}

/// Why a file of vectors, or a row of it, cannot be used.
public enum VectorFileError: Error, Sendable, Hashable, CustomStringConvertible {
    /// Missing, or not ours to read.
    case unreadable(path: String, reason: String)
    /// It does not hold what its format promises.
    case damaged(path: String, reason: String)
    /// It uses a part of its format that is not read here.
    case unsupported(path: String, reason: String)
    /// A column that was asked for is missing or of another kind.
    case badColumn(path: String, reason: String)
    /// One row; those behind it can be read.
    case row(VectorRowFault)

    /// One sentence.
    public var description: String {
        switch self {
        case .unreadable(let path, let reason): "cannot read \(path): \(reason)"
        case .damaged(let path, let reason): "\(path) is damaged: \(reason)"
        case .unsupported(let path, let reason): "\(path) cannot be read here: \(reason)"
        case .badColumn(let path, let reason): "\(path): \(reason)"
        case .row(let fault): "row \(fault.row): \(fault.problem)"
        }
    }
}

/// What is wrong with one row.
public struct VectorRowFault: Sendable, Hashable {
    /// From 1.
    public var row: Int
    /// The row's id, where it has one.
    public var id: String?
    /// Field and fault, as the end of a sentence.
    public var problem: String

    /// Makes a fault.
    public init(row: Int, id: String? = nil, problem: String) {
        self.row = row
        self.id = id
        self.problem = problem
    }
}
