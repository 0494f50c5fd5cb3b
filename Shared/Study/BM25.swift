import Glibc

/// Lexical ranking by Okapi BM25 (Robertson and Zaragoza 2009, §3.4), for comparison.
struct BM25 {
    private let postings: [Int32: [(document: Int, count: Int)]]
    private let lengths: [Int]
    private let meanLength: Double
    private let saturation: Double
    private let lengthShare: Double

    /// Indexes documents that are cut into terms.
    ///
    /// - Parameters:
    ///   - documents: Terms in any order, repeated as often as they occur.
    ///   - saturation: k₁: how fast the weight of a repeated term levels off.
    ///   - lengthShare: b, 0 to 1: how much long documents are held to account.
    init(_ documents: [[Int32]], saturation: Double = 1.2, lengthShare: Double = 0.75) {
        var postings: [Int32: [(document: Int, count: Int)]] = [:]
        for (document, terms) in documents.enumerated() {
            var counts: [Int32: Int] = [:]
            for term in terms { counts[term, default: 0] += 1 }
            for (term, count) in counts { postings[term, default: []].append((document, count)) }
        }
        self.postings = postings
        lengths = documents.map(\.count)
        meanLength = max(1, Double(lengths.reduce(0, +)) / Double(max(1, lengths.count)))
        self.saturation = saturation
        self.lengthShare = lengthShare
    }

    /// Scores of all documents for a query; each different term counts once.
    func scores(of query: [Int32]) -> [Float] {
        var scores = [Double](repeating: 0, count: lengths.count)
        // A set's order changes from run to run, and with it the last bits of the sums.
        for term in Set(query).sorted() {
            guard let found = postings[term] else { continue }
            let frequency = Double(found.count)
            let rarity = log(1 + (Double(lengths.count) - frequency + 0.5) / (frequency + 0.5))
            for (document, count) in found {
                let length = 1 - lengthShare + lengthShare * Double(lengths[document]) / meanLength
                scores[document] +=
                    rarity * Double(count) * (saturation + 1) / (Double(count) + saturation * length)
            }
        }
        return scores.map { Float($0) }
    }

    /// The best documents for a query, of equal scores the earlier one; those without a common term are left out.
    func ranking(of query: [Int32], keep: Int) -> [Int] {
        let scores = scores(of: query)
        return scores.indices.filter { scores[$0] > 0 }
            .sorted { (scores[$0], $1) > (scores[$1], $0) }
            .prefix(keep).map { $0 }
    }

    /// Rank of a document for a query from 1, every tie against it; nil where they share no term.
    func rank(of document: Int, for query: [Int32]) -> Int? {
        let scores = scores(of: query)
        guard scores[document] > 0 else { return nil }
        return scores.count { $0 >= scores[document] }
    }
}
