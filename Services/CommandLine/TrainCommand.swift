import ArgumentParser
import CommandHelp
import Corpora
import Encoding
import Evaluation
import FoundationEssentials
import Glibc
import Learning
import Matryoshka
import VectorMath

/// Trains a static Matryoshka model on a corpus.
struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Train a static Matryoshka embedding model on a corpus's own (short, long) pairs.",
        discussion: helpDiscussion(
            """
            Builds a word-piece vocabulary, then trains a table of token vectors whose mean embeds a text: symmetric
            InfoNCE over renormalised prefixes, all sizes at once. Everything learnt sees 85 % of the sources only;
            5 % decide when to stop, 10 % are left for evaluation. Takes about half a minute on one core.
            """,
            examples: """
                mrl train --corpus debian.jsonl --output model
                mrl train --corpus debian.jsonl --output model --dimensions 512 --force
                """
        )
    )

    /// The part whose short texts are the queries of the measurement at the end.
    enum Measured: String, ExpressibleByArgument, CaseIterable {
        case validation, test, none
    }

    @Option(help: ArgumentHelp("JSON lines with name, source, section, short, long.", valueName: "FILE.jsonl"))
    var corpus: String
    @Option(help: ArgumentHelp("The model directory to make.", valueName: "DIR"))
    var output: String
    @Option(help: "Name of the model, for people; the directory's where left out.")
    var name: String?
    @Option(help: "Full size of the vectors, a multiple of 8.")
    var dimensions = 256
    @Option(help: "Sizes to train, ascending multiples of 8, the last one the full size (default: 8, 16, … doubling).")
    var nesting: String?
    @Option(help: "Passes over the pairs.")
    var epochs = 4
    @Option(help: "Pairs in a batch, a multiple of 8.")
    var batch = 512
    @Option(name: [.customLong("lr"), .customLong("learning-rate")], help: "Peak rate of Adam.")
    var learningRate: Float = 0.05
    @Option(help: "Factor of the cosines in the loss.")
    var scale: Float = 20
    @Option(help: "Standard deviation of the first token vectors.")
    var initialDeviation: Float = 0.2
    @Option(help: "Pieces of the vocabulary.")
    var vocabulary = 30_000
    @Option(help: "Tokens of a text that training sees.")
    var trainingTokens = 128
    @Option(help: "Tokens of a text that the model encodes.")
    var maximumTokens = 256
    @Option(help: "Start of the random numbers; the same gives the same model.")
    var seed: UInt64 = 1
    @Option(help: "Whose short texts are searched at the end, among all documents: validation, test or none.")
    var measure = Measured.validation
    @Flag(help: "Train again where a model is there already.")
    var force = false
    @Flag(help: "Print the record and the figures as JSON.")
    var json = false

    mutating func validate() throws {
        let sizes = try sizes()
        guard !sizes.isEmpty, sizes.last == dimensions, sizes.allSatisfy({ $0 > 0 && $0 % 8 == 0 }),
            zip(sizes, sizes.dropFirst()).allSatisfy({ $0 < $1 })
        else {
            throw ValidationError(
                "--nesting must list ascending multiples of 8 that end with --dimensions (\(dimensions)), "
                    + "for example 8,16,32,64,128,256"
            )
        }
        guard dimensions <= 4096 else { throw ValidationError("--dimensions must be 4096 or less") }
        guard (1...1000).contains(epochs) else { throw ValidationError("--epochs must be 1 to 1000") }
        guard batch > 0, batch % 8 == 0, batch <= 8192 else {
            throw ValidationError("--batch must be a multiple of 8, at most 8192")
        }
        guard learningRate > 0, learningRate.isFinite else { throw ValidationError("--lr must be above 0") }
        guard scale > 0, scale <= 80 else { throw ValidationError("--scale must be above 0, at most 80") }
        guard initialDeviation > 0, initialDeviation.isFinite else {
            throw ValidationError("--initial-deviation must be above 0")
        }
        guard (1000...1_000_000).contains(vocabulary) else {
            throw ValidationError("--vocabulary must be 1000 to 1000000")
        }
        guard trainingTokens > 0, maximumTokens > 0 else { throw ValidationError("token limits must be 1 or more") }
    }

    private func sizes() throws -> [Int] {
        guard let nesting else {
            var sizes = [dimensions]
            while sizes[0] % 16 == 0 { sizes.insert(sizes[0] / 2, at: 0) }
            return sizes
        }
        return try nesting.split(separator: ",").map { part in
            guard let size = Int(part) else { throw ValidationError("--nesting: \"\(part)\" is not a number") }
            return size
        }
    }

    func run() throws {
        if !force, ModelDirectory.exists(output) {
            Output.note("\(output) is there already (--force trains again)")
            return
        }
        BLAS.useOneThread()
        guard let bytes = FileManager.default.contents(atPath: corpus) else {
            throw CorpusError.unreadable(path: corpus)
        }
        let documents = try Corpus(lines: bytes, path: corpus)
        var costs = TrainingCosts()
        let clock = CPUClock()

        let pieces = try buildVocabulary(documents)
        costs.vocabularyCPUSeconds = clock.seconds
        Output.note("vocabulary: \(pieces.count) pieces, \(fixed(costs.vocabularyCPUSeconds, 1)) CPU seconds")

        guard let tokenizer = WordPieceTokenizer(vocabulary: Vocabulary(pieces: pieces)) else {
            preconditionFailure("a built vocabulary holds [UNK]")
        }
        let pairs = self.pairs(documents, .train, tokenizer)
        let validation = self.pairs(documents, .validation, tokenizer)
        guard pairs.count >= 8 else {
            throw ValidationError("\(corpus) has \(pairs.count) training pairs, at least 8 are needed")
        }
        guard let nesting = Nesting(sizes: try sizes()) else { preconditionFailure("validated sizes") }
        var settings = ContrastiveSettings(
            nesting: nesting,
            run: RunSettings(epochs: epochs, batch: batch, rate: LearningRate(peak: learningRate), seed: seed)
        )
        settings.scale = scale
        var line = TrainingLine()
        var monitor = TrainingMonitor()
        monitor.progress = { line.show($0) }
        let trained = try StaticTrainer(settings, initialDeviation: initialDeviation).train(
            pairs,
            validation: validation,
            tokenCount: pieces.count,
            monitor: monitor
        )
        line.finish()
        costs.trainingCPUSeconds = clock.seconds - costs.vocabularyCPUSeconds

        let record = TrainingRecord(
            method: "static table, symmetric InfoNCE over renormalised prefixes, lazy Adam",
            corpus: SHA256.hexadecimal([UInt8](bytes)),
            pairs: pairs.count,
            validationPairs: validation.count,
            epochs: epochs,
            batch: batch,
            learningRate: Double(learningRate),
            scale: Double(scale),
            tokensMax: trainingTokens,
            seed: seed,
            bestEpoch: trained.history.bestEpoch,
            trainingLoss: trained.history.trainingLoss,
            validationLoss: trained.history.validationLoss
        )
        let configuration = ModelConfiguration(
            name: name ?? URL(fileURLWithPath: output).lastPathComponent,
            dimensions: dimensions,
            nesting: nesting.sizes,
            maximumTokens: maximumTokens,
            training: record
        )
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        let costsText = String(decoding: try encoder.encode(costs), as: UTF8.self)
        let id = try ModelDirectory.write(
            to: output,
            configuration: configuration,
            pieces: pieces,
            table: trained.rows,
            // Beside the model, not part of its identity.
            extraFiles: ["costs.json": costsText + "\n"]
        )
        Output.note(
            "training: \(pairs.count) pairs, \(fixed(costs.trainingCPUSeconds, 1)) CPU seconds, "
                + "epoch \(trained.history.bestEpoch) kept"
        )
        var report = TrainingReport(id: id, directory: output, costs: costs, record: record)
        if measure != .none { try report.figures = figures(documents, nesting.sizes) }
        if json {
            Output.line(String(decoding: try encoder.encode(report), as: UTF8.self))
        } else {
            print(report)
        }
    }

    /// Counts words of training sources alone, each different text once.
    private func buildVocabulary(_ corpus: Corpus) throws -> [String] {
        var counts = WordCounts()
        var seen: Set<String> = []
        for index in corpus.described(in: .train) {
            let document = corpus.documents[index]
            counts.add(document.short)
            if seen.insert(document.long).inserted { counts.add(document.long) }
        }
        return VocabularyBuilder(size: vocabulary).pieces(for: counts)
    }

    private func pairs(_ corpus: Corpus, _ part: CorpusPart, _ tokenizer: WordPieceTokenizer) -> TrainingPairs {
        let isSkipped = StaticEncoder.skipped(tokenizer)
        func tokens(_ text: String) -> [Int32] {
            tokenizer.tokenize(text, limit: trainingTokens).filter { !isSkipped[Int($0)] }
        }
        var pairs = TrainingPairs()
        for index in corpus.described(in: part) {
            pairs.append(query: tokens(corpus.documents[index].short), document: tokens(corpus.documents[index].long))
        }
        return pairs
    }

    /// Known-item search of one part's short texts among all long ones.
    private func figures(_ corpus: Corpus, _ sizes: [Int]) throws -> TrainingReport.Figures? {
        let items = KnownItems(corpus, part: measure == .test ? .test : .validation)
        guard !items.queries.isEmpty else { return nil }
        let encoder = try loadStaticEncoder(directory: output)
        let clock = CPUClock()
        let vectors = encoder.encode(items.collection.map { corpus.documents[$0].long }, role: "document")
        let encoding = clock.seconds
        let queries = encoder.encode(items.queries.map { corpus.documents[$0].short }, role: "query")
        let collection = DenseCollection(vectors: vectors, dimensions: dimensions)
        var figures = TrainingReport.Figures(
            part: measure.rawValue,
            queries: items.queries.count,
            documents: items.collection.count,
            encodedPerCPUSecond: Int(Double(items.collection.count) / max(encoding, 1e-9))
        )
        for size in sizes {
            let ranks = collection.ranks(queries: queries, targets: items.targets, size: size)
            figures.rows.append(
                .init(
                    search: "\(size)",
                    reciprocalRank: Metrics.meanReciprocalRank(ranks, at: 10),
                    hitRate: Metrics.hitRate(ranks, at: 10)
                )
            )
        }
        if dimensions > 32, sizes.contains(where: { $0 <= 32 }) {
            let plan = Plan(stages: [Stage(dimensions: 32, keep: 400), Stage(dimensions: dimensions, keep: 10)])
            let ranks = collection.search(queries: queries, targets: items.targets, plan: plan.stages).map(\.rank)
            figures.rows.append(
                .init(
                    search: plan.description,
                    reciprocalRank: Metrics.meanReciprocalRank(ranks, at: 10),
                    hitRate: Metrics.hitRate(ranks, at: 10)
                )
            )
        }
        return figures
    }

    private func print(_ report: TrainingReport) {
        Output.line("model \(report.id.prefix(16)) in \(report.directory)")
        guard let figures = report.figures else { return }
        Output.line(
            "known-item search, \(figures.queries) short texts of the \(figures.part) part "
                + "among \(figures.documents) long ones, ties count against us:"
        )
        var table = Table(["dimensions or plan", "MRR@10 %", "found in 10 %"])
        for row in figures.rows {
            table.add([row.search, fixed(row.reciprocalRank * 100, 1), fixed(row.hitRate * 100, 1)])
        }
        Output.line(table.text)
    }
}

/// What a run cost on this machine.
private struct TrainingCosts: Encodable {
    var vocabularyCPUSeconds = 0.0
    var trainingCPUSeconds = 0.0

    enum CodingKeys: String, CodingKey {
        case vocabularyCPUSeconds = "vocabulary_cpu_seconds"
        case trainingCPUSeconds = "training_cpu_seconds"
    }
}

/// What `--json` prints.
private struct TrainingReport: Encodable {
    struct Row: Encodable {
        var search: String
        var reciprocalRank: Double
        var hitRate: Double

        enum CodingKeys: String, CodingKey {
            case search
            case reciprocalRank = "mrr_at_10"
            case hitRate = "recall_at_10"
        }
    }

    struct Figures: Encodable {
        var part: String
        var queries: Int
        var documents: Int
        var encodedPerCPUSecond: Int
        var rows: [Row] = []

        enum CodingKeys: String, CodingKey {
            case part, queries, documents, rows
            case encodedPerCPUSecond = "encoded_per_cpu_second"
        }
    }

    var id: String
    var directory: String
    var costs: TrainingCosts
    var record: TrainingRecord
    var figures: Figures?
}

/// Processor time of this process from a moment on.
private struct CPUClock {
    private let start = Self.now()

    var seconds: Double { Self.now() - start }

    private static func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}

/// How far training is; a terminal's line rewrites itself, otherwise there is a line every five seconds.
private struct TrainingLine {
    private let started = ContinuousClock.now
    private var shown: ContinuousClock.Instant?

    mutating func show(_ progress: TrainingProgress) {
        let now = ContinuousClock.now
        let isLast = progress.step == progress.steps
        let pause: Duration = Output.isInteractive ? .milliseconds(100) : .seconds(5)
        if let shown, now - shown < pause, !isLast { return }
        shown = now
        let seconds = (now - started) / .seconds(1)
        let rate = Double(progress.step) / max(seconds, 1e-9)
        let share = Double(progress.step) / Double(max(1, progress.steps))
        let filled = Int(share * 24)
        let text =
            "training " + String(repeating: "█", count: filled) + String(repeating: "░", count: 24 - filled)
            + " \(Int(share * 100)) %  epoch \(progress.epoch)  step \(progress.step) of \(progress.steps)"
            + "  loss \(fixed(progress.loss, 3))  \(fixed(rate, 1)) steps/s"
            + "  \(durationText(Double(progress.steps - progress.step) / rate)) left"
        if Output.isInteractive { Output.redraw(text) } else { Output.note(text) }
    }

    /// Ends the terminal's line.
    func finish() {
        if Output.isInteractive { Output.note("") }
    }
}
