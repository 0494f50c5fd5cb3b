/// Texts as rows of token ids, one after the other.
public struct TokenRows: Sendable {
    private(set) var ids: [Int32] = []
    private(set) var starts: [Int] = [0]

    /// Starts with no text.
    public init() {}

    /// Number of texts.
    public var count: Int { starts.count - 1 }

    /// Adds a text.
    public mutating func append(_ tokens: some Sequence<Int32>) {
        ids += tokens
        starts.append(ids.count)
    }

    /// The ids of one text.
    subscript(row: Int) -> ArraySlice<Int32> { ids[starts[row]..<starts[row + 1]] }
}

/// What training sees: queries, the document that each should find, and which documents are the same.
public struct TrainingPairs: Sendable {
    /// Ids of the queries.
    public var queries = TokenRows()
    /// Ids of the documents; row i belongs to query i.
    public var documents = TokenRows()
    private(set) var keys = PairKeys()

    /// Starts with no pair.
    public init() {}

    /// Number of pairs.
    public var count: Int { keys.count }

    /// Adds a pair; one without a known token on either side teaches nothing and is left out.
    public mutating func append(query: [Int32], document: [Int32]) {
        guard !query.isEmpty, !document.isEmpty else { return }
        queries.append(query)
        documents.append(document)
        keys.append(row: keys.count, query: query.fingerprint, document: document.fingerprint)
    }
}

extension [Int32] {
    /// The same in every run, unlike `hashValue`.
    var fingerprint: UInt64 {
        reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64(UInt32(bitPattern: $1))) &* 0x0000_0100_0000_01B3 }
    }
}
