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
    private var keys: [(query: Int, document: Int)] = []

    /// Starts with no pair.
    public init() {}

    /// Number of pairs.
    public var count: Int { keys.count }

    /// Adds a pair; one without a known token on either side teaches nothing and is left out.
    public mutating func append(query: [Int32], document: [Int32]) {
        guard !query.isEmpty, !document.isEmpty else { return }
        queries.append(query)
        documents.append(document)
        keys.append((query.hashed, document.hashed))
    }

    /// Batches of `size` pairs in random order, none with the same query or document twice.
    ///
    /// Each would be a wrong negative of the other. What does not fill a batch at the end is left out.
    func batches(of size: Int, using generator: inout SeededGenerator) -> [[Int]] {
        var waiting: [Int] = []
        var order = Array(0..<count).shuffled(using: &generator)[...]
        var batches: [[Int]] = []
        while waiting.count + order.count >= size {
            var batch: [Int] = []
            var (seenQueries, seenDocuments) = (Set<Int>(), Set<Int>())
            func take(_ pair: Int) -> Bool {
                guard !seenQueries.contains(keys[pair].query), !seenDocuments.contains(keys[pair].document) else {
                    return false
                }
                seenQueries.insert(keys[pair].query)
                seenDocuments.insert(keys[pair].document)
                batch.append(pair)
                return true
            }
            var left: [Int] = []
            for pair in waiting where batch.count == size || !take(pair) { left.append(pair) }
            while batch.count < size, let pair = order.popFirst() {
                if !take(pair) { left.append(pair) }
            }
            waiting = left
            guard batch.count == size else { break }
            batches.append(batch)
        }
        return batches
    }
}

extension [Int32] {
    /// The same in every run, unlike `hashValue`.
    fileprivate var hashed: Int {
        Int(
            truncatingIfNeeded: reduce(UInt64(0xCBF2_9CE4_8422_2325)) {
                ($0 ^ UInt64(UInt32(bitPattern: $1))) &* 0x0000_0100_0000_01B3
            }
        )
    }
}
