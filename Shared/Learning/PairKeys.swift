/// Which pairs there are, and which of them have the same query or document.
struct PairKeys: Sendable {
    private var pairs: [(row: Int, query: UInt64, document: UInt64)] = []

    /// Number of pairs.
    var count: Int { pairs.count }

    /// A number that two different sets of pairs do not share, but by chance.
    var fingerprint: UInt64 {
        pairs.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ $1.query &+ $1.document &* 31) &* 0x0000_0100_0000_01B3 }
    }

    /// Adds the pair of a row, with what tells its query and its document from others.
    mutating func append(row: Int, query: UInt64, document: UInt64) { pairs.append((row, query, document)) }

    /// Rows of the pairs in batches of `size`, in random order, none with the same query or document twice.
    ///
    /// Each would be a wrong negative of the other. What does not fill a batch at the end is left out.
    func batches(of size: Int, using generator: inout SeededGenerator) -> [[Int]] {
        var waiting: [Int] = []
        var order = Array(0..<count).shuffled(using: &generator)[...]
        var batches: [[Int]] = []
        while waiting.count + order.count >= size {
            var batch: [Int] = []
            var (seenQueries, seenDocuments) = (Set<UInt64>(), Set<UInt64>())
            func take(_ index: Int) -> Bool {
                let pair = pairs[index]
                guard !seenQueries.contains(pair.query), !seenDocuments.contains(pair.document) else { return false }
                seenQueries.insert(pair.query)
                seenDocuments.insert(pair.document)
                batch.append(pair.row)
                return true
            }
            var left: [Int] = []
            for index in waiting where batch.count == size || !take(index) { left.append(index) }
            while batch.count < size, let index = order.popFirst() {
                if !take(index) { left.append(index) }
            }
            waiting = left
            guard batch.count == size else { break }
            batches.append(batch)
        }
        return batches
    }
}
