public import VectorMath

/// Pairs of vectors of a frozen encoder: a query and the document that it should find.
public struct FeaturePairs: Sendable {
    /// One row for each query.
    public let queries: Matrix
    /// Row i belongs to query i.
    public let documents: Matrix
    let keys: PairKeys

    /// Makes pairs of rows; a pair with a vector of zeros teaches nothing and is left out of training.
    public init(queries: Matrix, documents: Matrix) {
        precondition(
            queries.rows == documents.rows && queries.columns == documents.columns,
            "a document for each query, of its width"
        )
        self.queries = queries
        self.documents = documents
        var keys = PairKeys()
        for row in 0..<queries.rows {
            guard let query = Self.fingerprint(queries, row), let document = Self.fingerprint(documents, row) else {
                continue
            }
            keys.append(row: row, query: query, document: document)
        }
        self.keys = keys
    }

    /// Pairs without a vector of zeros.
    public var count: Int { keys.count }

    private static func fingerprint(_ matrix: Matrix, _ row: Int) -> UInt64? {
        let values = matrix.values[row * matrix.columns..<(row + 1) * matrix.columns]
        guard values.contains(where: { $0 != 0 }) else { return nil }
        return values.map { Int32(bitPattern: $0.bitPattern) }.fingerprint
    }
}

/// What labelled examples are kept in.
public protocol ExampleRows: Sendable {
    /// Number of examples.
    var exampleCount: Int { get }
    /// A number that two different sets do not share, but by chance.
    var fingerprint: UInt64 { get }
}

extension Matrix: ExampleRows {
    /// Number of rows.
    public var exampleCount: Int { rows }
    /// Over the bits of all values.
    public var fingerprint: UInt64 { values.map { Int32(bitPattern: $0.bitPattern) }.fingerprint }
}

extension TokenRows: ExampleRows {
    /// Number of texts.
    public var exampleCount: Int { count }
    /// Over all ids.
    public var fingerprint: UInt64 { ids.fingerprint }
}

/// Examples, and the class of each.
public struct Labelled<Input: ExampleRows>: Sendable {
    /// The examples.
    public let input: Input
    /// Classes from 0, one for each example.
    public let labels: [Int32]

    /// Makes labelled examples.
    public init(_ input: Input, labels: [Int32]) {
        precondition(labels.count == input.exampleCount, "a label for each example")
        precondition(labels.allSatisfy { $0 >= 0 }, "labels count from 0")
        self.input = input
        self.labels = labels
    }
}
