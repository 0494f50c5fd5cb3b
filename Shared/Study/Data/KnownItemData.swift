import Corpora
import Encoding
import Learning

/// Pairs that a static model is trained on.
enum KnownItemSet: Hashable {
    case debian, wordNet
    /// Pairs of both; the search is Debian's.
    case both
}

/// Texts to learn from, and a known-item search: each query is the short text of a document whose source no training saw.
struct KnownItemTexts {
    var training: [TextPair]
    var documents: [String]
    var queries: [String]
    /// Places in `documents`.
    var targets: [Int]
    /// A coarse label of each document that no training uses.
    var sections: [String]
    /// Places in `documents` of those that training may have seen.
    var trained: [Int]

    /// Sections of Debian that say how a package is built and not what it does.
    private static let leftOut: Set = ["localization", "metapackages", "tasks", "debug", "oldlibs", "introspection"]
    /// Sections with fewer sources are left out too.
    private static let sectionCountMin = 60
    /// Queries of WordNet, spread over the held-out synsets.
    private static let wordNetQueriesMax = 2_000

    /// Debian: searched is one package of each source; training sees all packages of its sources.
    init(debian corpus: Corpus) {
        var counts: [String: Int] = [:]
        for document in corpus.onePerSource().documents { counts[document.section, default: 0] += 1 }
        let kept = Corpus(
            documents: corpus.documents.filter { document in
                !Self.leftOut.contains(document.section) && counts[document.section, default: 0] >= Self.sectionCountMin
            }
        )
        self.init(pairs: kept, searched: kept.onePerSource(), queriesMax: nil)
    }

    /// WordNet: lemmas and example are short, the gloss is long.
    init(wordNet corpus: Corpus) { self.init(pairs: corpus, searched: corpus, queriesMax: Self.wordNetQueriesMax) }

    /// Pairs of one corpus and a search of another.
    init(pairs: Corpus, searched: Corpus, queriesMax: Int?) {
        training = pairs.described(in: .train).map { index in
            let document = pairs.documents[index]
            return TextPair(query: document.short, document: document.long, group: document.source)
        }
        let items = KnownItems(searched)
        let step = queriesMax.map { max(1, (items.queries.count + $0 - 1) / $0) } ?? 1
        let chosen = stride(from: 0, to: items.queries.count, by: step)
        documents = items.collection.map { searched.documents[$0].long }
        sections = items.collection.map { searched.documents[$0].section }
        queries = chosen.map { searched.documents[items.queries[$0]].short }
        targets = chosen.map { items.targets[$0] }
        trained = items.collection.indices.filter {
            CorpusPart(source: searched.documents[items.collection[$0]].source) == .train
        }
    }

    /// With the pairs of other texts to learn from as well.
    func joined(with other: KnownItemTexts) -> KnownItemTexts {
        var both = self
        both.training += other.training
        return both
    }
}

/// The same, cut into tokens of a vocabulary that was built from the training texts.
struct KnownItemData {
    let tokens: StudyTokens
    let pairs: TrainingPairs
    let documents: TokenRows
    let queries: TokenRows
    /// Terms of the documents and queries, for lexical search.
    let documentTerms: [[Int32]]
    let queryTerms: [[Int32]]
    let targets: [Int]
    /// A number for each section.
    let sections: [Int]
    /// Places of the documents that training may have seen, and of the others.
    let trained: [Int]
    let held: [Int]

    /// Tokens of a document that training sees, and that a search sees.
    static let (trainingTokens, searchTokens) = (64, 128)

    init(_ texts: KnownItemTexts) {
        let tokens = StudyTokens(learntFrom: texts.training.flatMap { [$0.query, $0.document] }, size: 30_000)
        var pairs = TrainingPairs()
        for pair in texts.training {
            pairs.append(
                query: tokens.ids(of: pair.query, limit: Self.trainingTokens),
                document: tokens.ids(of: pair.document, limit: Self.trainingTokens)
            )
        }
        self.tokens = tokens
        self.pairs = pairs
        documentTerms = texts.documents.map { tokens.ids(of: $0, limit: Self.searchTokens) }
        queryTerms = texts.queries.map { tokens.ids(of: $0, limit: Self.searchTokens) }
        documents = TokenRows(rows: documentTerms)
        queries = TokenRows(rows: queryTerms)
        targets = texts.targets
        let names = Dictionary(uniqueKeysWithValues: Set(texts.sections).sorted().enumerated().map { ($1, $0) })
        sections = texts.sections.map { names[$0] ?? 0 }
        trained = texts.trained
        let seen = Set(texts.trained)
        held = texts.documents.indices.filter { !seen.contains($0) }
    }
}

/// A word-piece vocabulary learnt from some texts.
struct StudyTokens {
    /// Pieces of the vocabulary.
    let count: Int
    private let tokenizer: WordPieceTokenizer
    private let isSkipped: [Bool]

    init(learntFrom texts: [String], size: Int) {
        var counts = WordCounts()
        var seen: Set<String> = []
        for text in texts where seen.insert(text).inserted { counts.add(text) }
        let pieces = VocabularyBuilder(size: size).pieces(for: counts)
        guard let tokenizer = WordPieceTokenizer(vocabulary: Vocabulary(pieces: pieces)) else {
            preconditionFailure("a built vocabulary holds [UNK]")
        }
        count = pieces.count
        self.tokenizer = tokenizer
        isSkipped = StaticEncoder.skipped(tokenizer)
    }

    /// Ids of a text's known tokens.
    func ids(of text: String, limit: Int) -> [Int32] {
        tokenizer.tokenize(text, limit: limit).filter { !isSkipped[Int($0)] }
    }
}

extension TokenRows {
    init(rows: some Sequence<[Int32]>) {
        self.init()
        for row in rows { append(row) }
    }
}
