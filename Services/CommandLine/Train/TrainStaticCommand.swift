import ArgumentParser
import CommandHelp
import Corpora
import Encoding
import Evaluation
import FoundationEssentials
import Learning
import Matryoshka
import ServiceRuntime
import VectorMath

/// `mrl train static`.
struct TrainStaticCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "static",
        abstract: "Train a static Matryoshka model from pairs of texts alone.",
        discussion: helpDiscussion(
            """
            Builds a word-piece vocabulary, then trains a table of token vectors whose mean embeds a text: symmetric
            InfoNCE over renormalised prefixes, all sizes at once. A line is {"query", "document"} or a package with
            short and long; of packages everything learnt sees 85 % of the sources only, 5 % decide when to stop, 10 %
            are left for evaluation. Debian's descriptions take half a minute on one core. --method ff and the others
            make the baselines that nesting is measured by.
            """,
            examples: """
                mrl train static --corpus debian.jsonl --output model
                mrl train static --corpus pairs.jsonl --output model --dimensions 512
                mrl train static --corpus debian.jsonl --output ff --method ff
                """
        )
    )

    /// The part whose short texts are the queries of the measurement at the end.
    enum Measured: String, ExpressibleByArgument, CaseIterable {
        case validation, test, none
    }

    @Option(
        name: [.customLong("corpus"), .customLong("pairs")],
        help: ArgumentHelp("JSON lines of pairs.", valueName: "FILE.jsonl")
    )
    var corpus: String
    @OptionGroup var result: ResultOptions
    @Option(help: "How the sizes are taught: mrl, or a baseline; mrl-e, slimmable and mrl-2d learn from labels alone.")
    var method = TrainingMethod.matryoshka
    @OptionGroup(title: "Sizes") var sizes: NestingOptions
    @OptionGroup(title: "The run") var schedule: RunOptions
    @Option(help: ArgumentHelp("Pairs that decide when to stop: a share, or a file.", valueName: "share|file"))
    var validation: ValidationChoice?
    @Option(help: "Factor of the cosines in the loss.") var scale: Float = 20
    @Option(help: "Standard deviation of the first token vectors.") var initialDeviation: Float = 0.2
    @Option(help: "Pieces of the vocabulary.") var vocabulary = 30_000
    @Option(help: "Tokens of a text that training sees.") var trainingTokens = 128
    @Option(help: "Tokens of a text that the model encodes.") var maximumTokens = 256
    @Option(help: "Whose short texts are searched at the end, among all documents: validation, test or none.")
    var measure = Measured.validation

    // The loss on validation pairs rises while more of them are found: it tells of confidence, not of ranks.
    private static let defaults = RunOptions.Defaults(epochs: 4, batch: 512, rate: 0.05, patience: nil)

    func validate() throws {
        try schedule.checkPairs(isTable: true)
        try method.checkPairs()
        guard scale > 0, scale <= 80 else { throw ValidationError("--scale must be above 0, at most 80") }
        guard initialDeviation > 0, initialDeviation.isFinite else {
            throw ValidationError("--initial-deviation must be above 0")
        }
        guard (1000...1_000_000).contains(vocabulary) else {
            throw ValidationError("--vocabulary must be 1000 to 1000000")
        }
        guard trainingTokens > 0, maximumTokens > 0 else { throw ValidationError("token limits must be 1 or more") }
    }

    func run() throws {
        let nesting = try sizes.nesting(width: 256)
        let targets = method.targets(result.output, nesting)
        if !result.force, targets.allSatisfy({ ModelDirectory.exists($0.directory) }) {
            Output.note("\(result.output) is there already (--force trains again)")
            return
        }
        for target in targets { try checkPlace(target.directory) }
        let watch = try TrainingWatch(method.runs(sizes: nesting.sizes, probes: false), schedule)
        let source = try PairSource(corpus, validation: validation)
        var costs = TrainingCosts()
        let pieces = vocabulary(of: source.training, isPackages: source.packages != nil)
        costs.preparationCPUSeconds = watch.cpuSeconds
        Output.note("vocabulary: \(grouped(pieces.count)) pieces, \(fixed(costs.preparationCPUSeconds, 1)) CPU seconds")

        guard let tokenizer = WordPieceTokenizer(vocabulary: Vocabulary(pieces: pieces)) else {
            preconditionFailure("a built vocabulary holds [UNK]")
        }
        let pairs = tokens(source.training, tokenizer)
        let validation = tokens(source.validation, tokenizer)
        try source.check(count: pairs.count)
        var settings = ContrastiveSettings(nesting: nesting, run: schedule.run(Self.defaults))
        settings.scale = scale
        settings.optimiser = schedule.optimiser(Self.defaults)
        let trained = try watch.training { () throws(CheckpointError) in
            try method.embeddings(
                settings,
                pairs,
                validation: validation,
                tokenCount: pieces.count,
                initialDeviation: initialDeviation,
                monitor: watch.monitor
            )
        }
        try TrainingWatch.check(trained.histories)
        costs.trainingCPUSeconds = watch.cpuSeconds - costs.preparationCPUSeconds
        var models: [TrainedModel] = []
        for (place, target) in targets.enumerated() {
            var record = TrainingRecord(
                method,
                objective: TrainingRecord.contrastive,
                nesting: nesting,
                run: settings.run,
                optimiser: settings.optimiser,
                history: trained.histories[place],
                data: source.digest
            )
            record.pairs = pairs.count
            record.validationPairs = validation.count
            record.scale = Double(scale)
            record.tokensMax = trainingTokens
            let id = try write(trained, target, pieces, record, costs)
            models.append(TrainedModel(id: id, directory: target.directory, record: record))
        }
        watch.removeCheckpoints()
        Output.note(
            "training: \(grouped(pairs.count)) pairs, \(fixed(costs.trainingCPUSeconds, 1)) CPU seconds, epoch "
                + models.map { "\($0.record.bestEpoch)" }.joined(separator: ", ") + " kept"
        )
        let figures = try source.packages.flatMap { try knownItems($0, targets) }
        if result.json {
            Output.line(try jsonText(Report(models: models, costs: costs, figures: figures)))
        } else {
            for model in models { Output.line("model \(model.id.prefix(16)) in \(model.directory)") }
            if let figures { Output.line(figures.text) }
        }
    }

    private struct Report: Encodable {
        var models: [TrainedModel]
        var costs: TrainingCosts
        var figures: KnownItemFigures?
    }

    /// Counts words of training pairs alone, each different document once.
    private func vocabulary(of pairs: [TextPair], isPackages: Bool) -> [String] {
        var counts = WordCounts()
        var seen: Set<String> = []
        for pair in pairs {
            // Of packages each has a short text of its own.
            if isPackages || seen.insert("q" + pair.query).inserted { counts.add(pair.query) }
            if seen.insert(pair.document).inserted { counts.add(pair.document) }
        }
        return VocabularyBuilder(size: vocabulary).pieces(for: counts)
    }

    private func tokens(_ texts: [TextPair], _ tokenizer: WordPieceTokenizer) -> TrainingPairs {
        let isSkipped = StaticEncoder.skipped(tokenizer)
        func tokens(_ text: String) -> [Int32] {
            tokenizer.tokenize(text, limit: trainingTokens).filter { !isSkipped[Int($0)] }
        }
        var pairs = TrainingPairs()
        for pair in texts { pairs.append(query: tokens(pair.query), document: tokens(pair.document)) }
        return pairs
    }

    /// A static model; with a projection after it one that adapts a static model.
    private func write(
        _ trained: SizedEmbeddings,
        _ target: TrainingTarget,
        _ pieces: [String],
        _ record: TrainingRecord,
        _ costs: TrainingCosts
    ) throws -> String {
        guard let table = trained.table(at: target.nesting.dimensions) else {
            preconditionFailure("tables are trained")
        }
        let name = result.name(target.suffix)
        let projection = trained.adapter(at: target.nesting.dimensions)
        func writeTable(_ directory: String, nesting: [Int], training: TrainingRecord?) throws -> String {
            try ModelDirectory.write(
                to: directory,
                configuration: ModelConfiguration(
                    name: name,
                    dimensions: table.dimensions,
                    nesting: nesting,
                    maximumTokens: maximumTokens,
                    training: training
                ),
                pieces: pieces,
                table: table.rows,
                extraFiles: training == nil ? [:] : costs.file
            )
        }
        guard let projection else {
            return try writeTable(target.directory, nesting: target.nesting.sizes, training: record)
        }
        let rigid = target.directory + ".rigid"
        defer { try? FileManager.default.removeItem(atPath: rigid) }
        _ = try writeTable(rigid, nesting: [table.dimensions], training: nil)
        return try ModelDirectory.write(
            to: target.directory,
            configuration: AdapterConfiguration(
                name: name,
                nesting: target.nesting.sizes,
                base: .init(try frozenEncoder(rigid).model),
                adapter: projection,
                training: record
            ),
            adapter: projection,
            base: rigid,
            extraFiles: costs.file
        )
    }

    /// Known-item search of one part's short texts among all long ones.
    private func knownItems(_ corpus: Corpus, _ targets: [TrainingTarget]) throws -> KnownItemFigures? {
        guard measure != .none else { return nil }
        let items = KnownItems(corpus, part: measure == .test ? .test : .validation)
        guard !items.queries.isEmpty else { return nil }
        var figures = KnownItemFigures(
            part: measure.rawValue,
            queries: items.queries.count,
            documents: items.collection.count
        )
        for target in targets {
            let encoder = try frozenEncoder(target.directory)
            let dimensions = encoder.model.dimensions
            let vectors = encoder.encode(items.collection.map { corpus.documents[$0].long }, role: "document")
            let queries = encoder.encode(items.queries.map { corpus.documents[$0].short }, role: "query")
            let collection = DenseCollection(vectors: vectors, dimensions: dimensions)
            for size in target.nesting.sizes {
                figures.rows.append(
                    .init("\(size)", collection.ranks(queries: queries, targets: items.targets, size: size))
                )
            }
            if dimensions > 32, target.nesting.sizes.contains(where: { $0 <= 32 }) {
                let plan = Plan(stages: [Stage(dimensions: 32, keep: 400), Stage(dimensions: dimensions, keep: 10)])
                let found = collection.search(queries: queries, targets: items.targets, plan: plan.stages)
                figures.rows.append(.init(plan.description, found.map(\.rank)))
            }
        }
        return figures
    }
}

/// Pairs to learn from, and those that decide when to stop.
struct PairSource {
    let training: [TextPair]
    let validation: [TextPair]
    /// The file as a corpus of packages, where it is one.
    let packages: Corpus?
    /// SHA-256 of all files.
    let digest: String
    private let path: String

    /// Reads pairs.
    ///
    /// - Parameters:
    ///   - path: JSON lines.
    ///   - choice: A share of them, or another file; what ``TextPairs/split(share:)`` says where nil.
    /// - Throws: ``StartupFailure``.
    init(_ path: String, validation choice: ValidationChoice?) throws {
        self.path = path
        var bytes = try trainingData(path)
        do {
            let pairs = try TextPairs(lines: bytes, path: path)
            var share: Double?
            var held: [TextPair]?
            switch choice {
            case .share(let value)?: share = value
            case .file(let file)?:
                let data = try trainingData(file)
                held = try TextPairs(lines: data, path: file).pairs
                share = 0
                bytes += data
            case nil: break
            }
            let parts = pairs.split(share: share)
            (training, validation) = (parts.training, held ?? parts.validation)
            packages = pairs.hasSources ? try? Corpus(lines: try trainingData(path), path: path) : nil
        } catch let error as TextFileError {
            throw StartupFailure("\(error)")
        }
        digest = SHA256.hexadecimal([UInt8](bytes))
    }

    /// Refuses what is too little to learn from.
    func check(count: Int) throws {
        guard count >= 8 else { throw StartupFailure("\(path) has \(count) training pairs, at least 8 are needed") }
        if validation.isEmpty { Output.note("no validation pairs: all epochs run, and the last one is kept") }
    }
}

/// A directory that a training makes.
struct TrainingTarget {
    var directory: String
    /// Of the name.
    var suffix: String
    var nesting: Nesting
}

/// Refuses a place where a model would take the room of something else, before anything is trained.
func checkPlace(_ directory: String) throws {
    if let obstacle = ModelDirectory.obstacle(to: directory) { throw StartupFailure("--output: \(obstacle)") }
}

extension TrainingMethod {
    /// One directory, or one for each size where each has a model of its own.
    func targets(_ directory: String, _ nesting: Nesting) -> [TrainingTarget] {
        guard self == .fixed, nesting.sizes.count > 1 else {
            return [TrainingTarget(directory: directory, suffix: "", nesting: nesting)]
        }
        return nesting.sizes.map {
            TrainingTarget(directory: "\(directory)/\($0)", suffix: "-\($0)", nesting: .single($0))
        }
    }

    /// Refuses methods that need labels.
    func checkPairs() throws {
        guard Self.ofPairs.contains(self) else {
            throw ValidationError(
                "--method \(rawValue) learns from labels; from pairs learn "
                    + Self.ofPairs.map(\.rawValue).joined(separator: ", ")
            )
        }
    }
}
