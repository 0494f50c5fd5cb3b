/// Known-item search: each query is a text about one document of the collection, which it should find.
///
/// The collection is every document with a long text. The queries are the short texts of one document for each source
/// of a held-out part, chosen by the name's hash.
public struct KnownItems: Sendable {
    /// Indices into the corpus of the collection's documents, ascending.
    public var collection: [Int]
    /// Indices into the corpus of the documents whose short texts are the queries, ascending.
    public var queries: [Int]
    /// For each query, the position in ``collection`` of the document it should find.
    public var targets: [Int]

    /// Makes the evaluation set of a part.
    public init(_ corpus: Corpus, part: CorpusPart = .test) {
        let documents = corpus.documents
        collection = documents.indices.filter { !documents[$0].long.isEmpty }
        var chosen: [String: (hash: UInt64, index: Int)] = [:]
        for index in corpus.described(in: part) {
            let hash = stableHash(documents[index].name)
            if let held = chosen[documents[index].source], held.hash <= hash { continue }
            chosen[documents[index].source] = (hash, index)
        }
        queries = chosen.values.map(\.index).sorted()
        var positions: [Int: Int] = [:]
        for (position, index) in collection.enumerated() { positions[index] = position }
        targets = queries.map { positions[$0]! }
    }
}
