/// WordNet's `data.*` files (wndb(5)), read into a corpus: a synset's words with its examples are the short text, its
/// definition the long one.
public struct WordNetData: Sendable {
    private var documents: [CorpusDocument] = []

    /// Starts with nothing.
    public init() {}

    /// Synsets so far.
    public var count: Int { documents.count }

    /// Adds a file.
    ///
    /// - Parameters:
    ///   - bytes: Its content.
    ///   - part: noun, verb, adj or adv; offsets are unique within one file alone.
    /// - Returns: How many lines were no synsets.
    @discardableResult
    public mutating func add(_ bytes: [UInt8], part: String) -> Int {
        var refused = 0
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            // The licence stands above the data, indented.
            if line.first == UInt8(ascii: " ") { continue }
            guard let document = Self.document(String(decoding: line, as: UTF8.self), part) else {
                refused += 1
                continue
            }
            documents.append(document)
        }
        return refused
    }

    /// All synsets, in the order of their files.
    public func corpus() -> Corpus { Corpus(documents: documents) }

    /// `offset lexfile type count word lex_id … | gloss`.
    private static func document(_ line: String, _ part: String) -> CorpusDocument? {
        guard let bar = line.firstRange(of: " | ") else { return nil }
        let fields = line[..<bar.lowerBound].split(separator: " ")
        guard fields.count > 4, let words = Int(fields[3], radix: 16), fields.count >= 4 + 2 * words else { return nil }
        let lemmas = (0..<words).map { number in
            // `galore(ip)`: adjectives carry their place in a sentence.
            String(fields[4 + 2 * number].prefix { $0 != "(" }.map { $0 == "_" ? " " : $0 })
        }
        var gloss = line[bar.upperBound...]
        while gloss.last?.isWhitespace == true { gloss.removeLast() }
        var short = lemmas.joined(separator: ", ")
        var definition = gloss
        if let example = gloss.firstRange(of: "; \"") {
            definition = gloss[..<example.lowerBound]
            short += ": " + gloss[example.upperBound...].filter { $0 != "\"" }
        }
        let name = "wordnet-\(part)-\(fields[0])"
        return CorpusDocument(
            name: name,
            source: name,
            section: "wordnet-\(part)-\(fields[1])",
            short: short,
            long: String(definition)
        )
    }
}
