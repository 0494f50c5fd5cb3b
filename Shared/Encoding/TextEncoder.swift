/// Turns text into vectors of one model.
public protocol TextEncoder: Sendable {
    /// Which model it is.
    var model: ModelDescription { get }

    /// Encodes texts into unit vectors (of another length only where the model was published for dot products).
    ///
    /// - Parameters:
    ///   - texts: Any texts.
    ///   - role: `query` or `document`; a model may have a prompt for each.
    ///   - onBatch: Called whenever some of the texts are done, so that long work can be told from a hung thread.
    /// - Returns: Row-major, one row of `model.dimensions` each; a row of zeros for a text with no known token.
    func encode(_ texts: [String], role: String, onBatch: () -> Void) -> [Float]
}

extension TextEncoder {
    /// Encodes texts without telling of progress.
    public func encode(_ texts: [String], role: String) -> [Float] { encode(texts, role: role, onBatch: {}) }
}

/// What others need to know of a model.
public struct ModelDescription: Sendable, Hashable {
    /// Hash of the model's directory.
    public var id: String
    /// For people.
    public var name: String
    /// Full size D.
    public var dimensions: Int
    /// Smallest size that it was trained for; D where it is not Matryoshka.
    public var smallestDimensions: Int
    /// Sizes that it was trained for, ascending, the last one D.
    public var nesting: [Int]

    /// Makes a description.
    public init(id: String, name: String, dimensions: Int, smallestDimensions: Int, nesting: [Int]) {
        self.id = id
        self.name = name
        self.dimensions = dimensions
        self.smallestDimensions = smallestDimensions
        self.nesting = nesting
    }
}

/// Why a model directory does not load.
///
/// The sentence says what to change.
public enum ModelError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The directory or one of its files is not there or not readable.
    case missing(path: String, hint: String)
    /// A file is there but is not what it should be.
    case malformed(path: String, reason: String)
    /// A well-formed model of a kind that this build does not run.
    case unsupported(path: String, reason: String)

    /// One sentence.
    public var description: String {
        switch self {
        case .missing(let path, let hint): "\(path) is missing or unreadable: \(hint)"
        case .malformed(let path, let reason): "\(path) is malformed: \(reason)"
        case .unsupported(let path, let reason): "\(path) is not supported: \(reason)"
        }
    }
}
