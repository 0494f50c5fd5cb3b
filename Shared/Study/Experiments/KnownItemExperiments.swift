import Encoding
import Evaluation
import Learning
import Matryoshka
import VectorMath

extension KnownItemSet {
    /// Begins names of experiments.
    var name: String {
        switch self {
        case .debian: "debian"
        case .wordNet: "wordnet"
        case .both: "debian-wordnet"
        }
    }

    /// For people.
    var title: String {
        switch self {
        case .debian: "Debian"
        case .wordNet: "WordNet"
        case .both: "Debian and WordNet"
        }
    }

    /// What is read.
    var needs: [StudyData] {
        switch self {
        case .debian: [.debian]
        case .wordNet: [.wordNet]
        case .both: [.debian, .wordNet]
        }
    }

    /// Epochs that are enough.
    var epochs: Int { self == .debian ? 4 : 3 }
    /// Processor seconds of nested training at 256 dimensions with its measurements, for the time that is left.
    var cost: Double {
        switch self {
        case .debian: 35
        case .wordNet: 55
        case .both: 60
        }
    }
}

/// How all static models of the study are trained, but for their sizes.
enum StaticRecipe {
    /// Sizes that are trained and compared.
    static let sizes = [8, 16, 32, 64, 128, 256]

    static func settings(_ nesting: Nesting, epochs: Int, seed: Int) -> ContrastiveSettings {
        ContrastiveSettings(
            nesting: nesting,
            run: RunSettings(epochs: epochs, batch: 512, rate: LearningRate(peak: 0.05), seed: UInt64(seed))
        )
    }

    /// All that figures depend on, whatever the seed.
    static func text(_ nesting: Nesting, epochs: Int) -> String {
        let limits = "\(KnownItemData.trainingTokens), \(KnownItemData.searchTokens) tokens"
        return "static, \(limits), last epoch kept, \(settings(nesting, epochs: epochs, seed: 0))"
    }

    /// Trains by a method, and tells what each run cost.
    ///
    /// As in the paper every run takes all of its epochs: one that stopped where its own loss is least would compare
    /// runs of different lengths.
    ///
    /// - Returns: The models, and processor seconds for each epoch of each run.
    static func train(
        _ method: TrainingMethod,
        _ settings: ContrastiveSettings,
        _ data: KnownItemData,
        progress: @escaping (Double) -> Void
    ) throws(CheckpointError) -> (models: SizedEmbeddings, secondsPerEpoch: [Double]) {
        let runs = Double(method.runs(sizes: settings.nesting.sizes, probes: false).count)
        var clock = ThreadClock()
        var laps: [Double] = []
        let trained = try method.embeddings(
            settings,
            data.pairs,
            validation: TrainingPairs(),
            tokenCount: data.tokens.count,
            initialDeviation: 0.2
        ) { run in
            laps.append(clock.lap())
            var monitor = TrainingMonitor()
            monitor.progress = { progress((Double(run) + Double($0.step) / Double(max(1, $0.steps))) / runs) }
            return monitor
        }
        laps.append(clock.lap())
        // The first lap ends where the first run begins.
        let seconds = zip(laps.dropFirst(), trained.histories).map { $0 / Double(max(1, $1.trainingLoss.count)) }
        return (trained, seconds)
    }
}

/// A known-item search with vectors of full size.
struct KnownItemSearch {
    let collection: DenseCollection
    let queries: [Float]
    let targets: [Int]

    init(documents: Matrix, queries: Matrix, targets: [Int]) {
        collection = DenseCollection(vectors: documents.values, dimensions: documents.columns)
        self.queries = queries.values
        self.targets = targets
    }

    /// MRR@10 by so many dimensions, in percent.
    func reciprocalRank(_ size: Int) -> Double {
        100 * Metrics.meanReciprocalRank(collection.ranks(queries: queries, targets: targets, size: size), at: 10)
    }
}

/// How often the nearest document that training may have seen is of the section of one that it has not, in percent: a
/// relation that nobody trained.
func sectionAccuracy(_ documents: Matrix, _ data: KnownItemData, size: Int) -> Double {
    let nearest = DenseCollection(vectors: documents.selecting(data.trained).values, dimensions: documents.columns)
        .nearest(queries: documents.selecting(data.held).values, size: size, keep: 1)
    let right = zip(data.held, nearest).count { held, found in
        found.first.map { data.sections[data.trained[$0.item]] == data.sections[held] } ?? false
    }
    return 100 * Double(right) / Double(max(1, data.held.count))
}

/// One static model for several sizes, judged at each of 8 to 256 and at sizes between them.
struct NestedStatic: Experiment {
    let corpus: KnownItemSet
    /// Behind the set's name.
    let variant: String
    let nesting: Nesting

    /// Sizes half-way between those of ``StaticRecipe/sizes``, which no training sees.
    static let between = [12, 24, 48, 96, 192]

    /// The usual nesting, or another one.
    init(_ corpus: KnownItemSet, _ variant: String = "mrl", _ nesting: Nesting = .doubling(from: 8, to: 256)) {
        self.corpus = corpus
        self.variant = variant
        self.nesting = nesting
    }

    var name: String { "\(corpus.name)-\(variant)" }
    var title: String { "\(corpus.title), one nested model (\(variant))" }
    var needs: [StudyData] { corpus.needs }
    var isSeeded: Bool { true }
    var recipe: String { StaticRecipe.text(nesting, epochs: corpus.epochs) + ", MRR@10 and sections" }
    var cost: Double { corpus.cost }

    func measure(_ library: StudyLibrary, seed: Int, progress: @escaping (Double) -> Void) throws -> Figures {
        let data = try library.knownItems(corpus)
        var figures = Figures()
        let settings = StaticRecipe.settings(nesting, epochs: corpus.epochs, seed: seed)
        let (trained, seconds) = try StaticRecipe.train(.matryoshka, settings, data) { progress(0.8 * $0) }
        figures["seconds an epoch"] = seconds[0]
        let documents = trained.vectors(of: data.documents, size: nesting.dimensions)
        let queries = trained.vectors(of: data.queries, size: nesting.dimensions)
        let search = KnownItemSearch(documents: documents, queries: queries, targets: data.targets)
        for size in StaticRecipe.sizes { figures["mrr", size] = search.reciprocalRank(size) }
        if variant == "mrl" {
            for size in Self.between { figures["mrr", size] = search.reciprocalRank(size) }
            guard corpus == .debian else { return figures }
            for size in StaticRecipe.sizes { figures["section", size] = sectionAccuracy(documents, data, size: size) }
        }
        return figures
    }
}

/// A static model of its own for each size, and what becomes of the largest one when it is cut or turned.
struct RigidStatic: Experiment {
    let corpus: KnownItemSet

    private var nesting: Nesting { .doubling(from: 8, to: 256) }
    var name: String { "\(corpus.name)-rigid" }
    var title: String { "\(corpus.title), a model for each size" }
    var needs: [StudyData] { corpus.needs }
    var isSeeded: Bool { true }
    var recipe: String { StaticRecipe.text(nesting, epochs: corpus.epochs) + ", ff, svd, pca, truncation" }
    var cost: Double { 2 * corpus.cost }

    func measure(_ library: StudyLibrary, seed: Int, progress: @escaping (Double) -> Void) throws -> Figures {
        let data = try library.knownItems(corpus)
        var figures = Figures()
        let settings = StaticRecipe.settings(nesting, epochs: corpus.epochs, seed: seed)
        let (trained, seconds) = try StaticRecipe.train(.fixed, settings, data) { progress(0.7 * $0) }
        for (size, seconds) in zip(nesting.sizes, seconds) {
            figures["seconds an epoch", size] = seconds
            let search = KnownItemSearch(
                documents: trained.vectors(of: data.documents, size: size),
                queries: trained.vectors(of: data.queries, size: size),
                targets: data.targets
            )
            figures["ff", size] = search.reciprocalRank(size)
        }
        progress(0.8)
        let full = nesting.dimensions
        let seen = trained.vectors(of: data.pairs.documents, size: full)
        let documents = trained.vectors(of: data.documents, size: full)
        let queries = trained.vectors(of: data.queries, size: full)
        let maps: [(String, FeatureAdapter?)] = [
            ("truncation", nil), ("svd", Projection.singularVectors(of: seen)),
            ("pca", Projection.principalComponents(of: seen)),
        ]
        for (name, map) in maps {
            func mapped(_ vectors: Matrix) -> Matrix {
                map.map { Matrix(values: $0.outputs(of: vectors.values), columns: full) } ?? vectors
            }
            let turned = mapped(documents)
            let search = KnownItemSearch(documents: turned, queries: mapped(queries), targets: data.targets)
            for size in nesting.sizes {
                figures[name, size] = search.reciprocalRank(size)
                if corpus == .debian, name != "pca" {
                    figures["section-" + name, size] = sectionAccuracy(turned, data, size: size)
                }
            }
        }
        return figures
    }
}

/// Lexical search on the same known items, by the same word pieces.
struct LexicalKnownItems: Experiment {
    let corpus: KnownItemSet

    var name: String { "\(corpus.name)-bm25" }
    var title: String { "\(corpus.title), BM25" }
    var needs: [StudyData] { corpus.needs }
    var isSeeded: Bool { false }
    var recipe: String { "BM25, k 1.2, b 0.75, \(KnownItemData.searchTokens) tokens, MRR@10" }
    var cost: Double { 10 }

    func measure(_ library: StudyLibrary, seed: Int, progress: @escaping (Double) -> Void) throws -> Figures {
        let data = try library.knownItems(corpus)
        let index = BM25(data.documentTerms)
        var ranks: [Int?] = []
        for (query, target) in zip(data.queryTerms, data.targets) {
            ranks.append(index.rank(of: target, for: query))
            progress(Double(ranks.count) / Double(data.targets.count))
        }
        var figures = Figures()
        figures["mrr"] = 100 * Metrics.meanReciprocalRank(ranks, at: 10)
        figures["recall"] = 100 * Metrics.hitRate(ranks, at: 10)
        figures["documents"] = Double(data.documents.count)
        figures["queries"] = Double(data.targets.count)
        figures["pairs"] = Double(data.pairs.count)
        return figures
    }
}
