import ArgumentParser
import CommandHelp
import Corpora
import Encoding
import Evaluation
import FoundationEssentials
import Learning
import ServiceRuntime
import VectorMath

/// `mrl train adapter`.
struct TrainAdapterCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "adapter",
        abstract: "Make a Matryoshka model of any encoder: train an adapter on its frozen vectors, from pairs.",
        discussion: helpDiscussion(
            """
            The encoder (static, BERT, NomicBERT, or one of ours) stays as it is; a linear layer, one hidden layer or a
            residual stack behind it learns vectors whose every prefix is good. The directory that is made holds a copy
            of the encoder, or with --link-base a link to it, and is served as any model: texts in, adapted vectors
            out. Vectors can also come from files, row i of the queries with row i of the documents.
            """,
            examples: """
                mrl train adapter --corpus pairs.jsonl --model MiniLM --output adapted
                mrl train adapter --corpus debian.jsonl --model MiniLM \\
                  --output adapted --limit 5000 --shape hidden --cache ~/.cache/mrl
                mrl train adapter --query-vectors q.npy --document-vectors d.npy \\
                  --output map --nesting 64,256,1024
                """
        )
    )

    @Option(
        name: [.customLong("corpus"), .customLong("pairs")],
        help: ArgumentHelp("JSON lines of {\"query\", \"document\"}, or packages.", valueName: "FILE.jsonl")
    )
    var corpus: String?
    @Option(help: ArgumentHelp("The encoder whose vectors are adapted.", valueName: "DIR")) var model: String?
    @Option(help: ArgumentHelp("Vectors of queries instead of texts.", valueName: "FILE")) var queryVectors: String?
    @Option(help: ArgumentHelp("Vectors of documents, row by row.", valueName: "FILE")) var documentVectors: String?
    @OptionGroup var result: ResultOptions
    @Option(help: "How the sizes are taught: mrl, or a baseline; mrl-e, slimmable and mrl-2d learn from labels alone.")
    var method = TrainingMethod.matryoshka
    @OptionGroup(title: "The adapter") var shape: ShapeOptions
    @OptionGroup(title: "Sizes") var sizes: NestingOptions
    @OptionGroup(title: "The run") var schedule: RunOptions
    @Option(help: ArgumentHelp("Pairs that decide when to stop: a share, or a file.", valueName: "share|file"))
    var validation: ValidationChoice?
    @Option(help: ArgumentHelp("Learn from so many of the pairs, drawn at random.", valueName: "pairs"))
    var limit: Int?
    @Option(help: "Factor of the cosines in the loss.") var scale: Float = 20
    @Option(help: ArgumentHelp("Keep the encoder's vectors there, for the next run.", valueName: "DIR"))
    var cache: String?
    @Flag(help: "Refer to the encoder by a symbolic link instead of holding a copy.") var linkBase = false

    private static let defaults = RunOptions.Defaults(epochs: 6, batch: 256, rate: 1e-3)
    /// Queries and documents that the measurement at the end takes at most.
    private static let measuredMax = 2_000

    func validate() throws {
        try schedule.checkPairs(isTable: false)
        try method.checkPairs()
        if shape.shape == ShapeOptions.Shape.none {
            throw ValidationError("--shape none: an adapter is linear, hidden or residual")
        }
        guard scale > 0, scale <= 80 else { throw ValidationError("--scale must be above 0, at most 80") }
        if let limit, limit < 8 { throw ValidationError("--limit is \(limit), allowed are 8 or more") }
        guard (queryVectors == nil) == (documentVectors == nil) else {
            throw ValidationError("--query-vectors and --document-vectors go together")
        }
        guard (corpus == nil) != (queryVectors == nil) else {
            throw ValidationError("give --corpus, or --query-vectors and --document-vectors")
        }
        if corpus != nil, model == nil { throw ValidationError("--model says what encodes the texts of --corpus") }
        if queryVectors != nil, case .file? = validation {
            throw ValidationError("of vectors --validation is a share")
        }
        if linkBase, model == nil { throw ValidationError("--link-base goes with --model") }
    }

    /// What is learnt from.
    private struct Data {
        var training: FeaturePairs
        var validation: FeaturePairs
        var digest: String
    }

    func run() throws {
        let encoder = try model.map(frozenEncoder)
        if !result.force, ModelDirectory.exists(result.output) {
            Output.note("\(result.output) is there already (--force trains again)")
            return
        }
        if method != .fixed { try checkPlace(result.output) }
        var costs = TrainingCosts()
        let clock = CPUClock()
        let data = try encoder == nil || queryVectors != nil ? vectors(for: encoder) : encoded(by: encoder!)
        costs.preparationCPUSeconds = clock.seconds
        let width = data.training.queries.columns
        let nesting = try sizes.nesting(width: width)
        let shape = self.shape.adapter(self.shape.shape ?? .linear, dimensions: nesting.dimensions)
        guard data.training.count >= 8 else {
            throw StartupFailure("there are \(data.training.count) training pairs, at least 8 are needed")
        }
        let watch = try TrainingWatch(method.runs(sizes: nesting.sizes, probes: false), schedule)
        var settings = ContrastiveSettings(nesting: nesting, run: schedule.run(Self.defaults))
        settings.scale = scale
        settings.optimiser = schedule.optimiser(Self.defaults)
        let trained = try watch.training { () throws(CheckpointError) in
            try method.embeddings(
                settings,
                shape: shape,
                data.training,
                validation: data.validation,
                monitor: watch.monitor
            )
        }
        try TrainingWatch.check(trained.histories)
        costs.trainingCPUSeconds = watch.cpuSeconds
        var models: [TrainedModel] = []
        for (place, target) in method.targets(result.output, nesting).enumerated() {
            var record = TrainingRecord(
                method,
                objective: TrainingRecord.contrastive,
                nesting: nesting,
                run: settings.run,
                optimiser: settings.optimiser,
                history: trained.histories[place],
                data: data.digest
            )
            record.encoder = encoder?.model.id
            record.shape = "\(self.shape.shape ?? .linear)"
            record.pairs = data.training.count
            record.validationPairs = data.validation.count
            record.scale = Double(scale)
            // The layers were trained on unit vectors.
            guard let adapter = trained.adapter(at: target.nesting.dimensions)?.normalisingFirst else {
                preconditionFailure("adapters are trained")
            }
            let id = try ModelDirectory.write(
                to: target.directory,
                configuration: AdapterConfiguration(
                    name: result.name(target.suffix),
                    nesting: target.nesting.sizes,
                    base: encoder.map { .init($0.model) },
                    adapter: adapter,
                    training: record
                ),
                adapter: adapter,
                base: model,
                isLinked: linkBase,
                extraFiles: costs.file
            )
            models.append(TrainedModel(id: id, directory: target.directory, record: record))
        }
        watch.removeCheckpoints()
        Output.note(
            "training: \(grouped(data.training.count)) pairs, \(fixed(costs.trainingCPUSeconds, 1)) CPU seconds, epoch "
                + models.map { "\($0.record.bestEpoch)" }.joined(separator: ", ") + " kept"
        )
        let figures = figures(data.validation, trained)
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

    private func encoded(by encoder: any TextEncoder) throws -> Data {
        let source = try PairSource(corpus ?? "", validation: validation)
        let training = limited(source.training)
        // Validation need not be much larger than what is learnt from.
        let held = limited(source.validation)
        try source.check(count: training.count)
        let vectors = FrozenVectors(encoder: encoder, cache: cache)
        let all = training + held
        let queries = try vectors.encode(all.map(\.query), role: "query", label: "encoding queries").unitRows
        let documents = try vectors.encode(all.map(\.document), role: "document", label: "encoding documents").unitRows
        func pairs(_ rows: Range<Int>) -> FeaturePairs {
            FeaturePairs(queries: queries.selecting(rows), documents: documents.selecting(rows))
        }
        return Data(
            training: pairs(0..<training.count),
            validation: pairs(training.count..<all.count),
            digest: source.digest
        )
    }

    private func limited(_ pairs: [TextPair]) -> [TextPair] {
        guard let limit, limit < pairs.count else { return pairs }
        var generator = SeededGenerator(seed: schedule.seed)
        return pairs.indices.shuffled(using: &generator).prefix(limit).sorted().map { pairs[$0] }
    }

    private func vectors(for encoder: (any TextEncoder)?) throws -> Data {
        guard let queryVectors, let documentVectors else { preconditionFailure("validated") }
        let queries = try FrozenVectors.read(queryVectors).unitRows
        let documents = try FrozenVectors.read(documentVectors).unitRows
        guard queries.columns == documents.columns, queries.rows == documents.rows else {
            throw StartupFailure(
                "\(queryVectors) is \(queries.rows) × \(queries.columns), \(documentVectors) is "
                    + "\(documents.rows) × \(documents.columns): each query needs its document, of equal dimensions"
            )
        }
        if let model = encoder?.model, model.dimensions != queries.columns {
            throw StartupFailure(
                "the vectors have \(queries.columns) dimensions, the model \(model.name) makes \(model.dimensions)"
            )
        }
        var share = 0.05
        if case .share(let value)? = validation { share = value }
        var generator = SeededGenerator(seed: schedule.seed)
        var rows = (0..<queries.rows).shuffled(using: &generator)
        if let limit { rows = Array(rows.prefix(limit)) }
        let held = rows.prefix(Int(share * Double(rows.count))).sorted()
        let kept = rows.dropFirst(held.count).sorted()
        func pairs(_ rows: [Int]) -> FeaturePairs {
            FeaturePairs(queries: queries.selecting(rows), documents: documents.selecting(rows))
        }
        let bytes = try [queryVectors, documentVectors].flatMap { [UInt8](try trainingData($0)) }
        return Data(training: pairs(kept), validation: pairs(held), digest: SHA256.hexadecimal(bytes))
    }

    /// Known-item search of the validation pairs among their own documents, as the encoder has them and adapted.
    private func figures(_ pairs: FeaturePairs, _ trained: SizedEmbeddings) -> KnownItemFigures? {
        let count = min(pairs.queries.rows, Self.measuredMax)
        guard count > 1 else { return nil }
        let (queries, documents) = (pairs.queries.selecting(0..<count), pairs.documents.selecting(0..<count))
        var places: [ArraySlice<Float>: Int] = [:]
        var kept: [Int] = []
        let targets = (0..<count).map { row in
            let vector = documents.values[row * documents.columns..<(row + 1) * documents.columns]
            if let place = places[vector] { return place }
            places[vector] = kept.count
            kept.append(row)
            return kept.count - 1
        }
        let distinct = documents.selecting(kept)
        var figures = KnownItemFigures(part: "validation", queries: count, documents: kept.count)
        for size in trained.sizes {
            if size <= queries.columns {
                let raw = DenseCollection(vectors: distinct.prefixes(size).unitRows.values, dimensions: size)
                let own = queries.prefixes(size).unitRows.values
                figures.rows.append(
                    .init("\(size), encoder's own cut", raw.ranks(queries: own, targets: targets, size: size))
                )
            }
            let made = DenseCollection(vectors: trained.vectors(of: distinct, size: size).values, dimensions: size)
            let own = trained.vectors(of: queries, size: size).values
            figures.rows.append(.init("\(size), adapted", made.ranks(queries: own, targets: targets, size: size)))
        }
        return figures
    }
}

extension VectorAdapter {
    /// The same after bringing its input to unit length.
    fileprivate var normalisingFirst: VectorAdapter? { VectorAdapter(steps: [.normalise] + steps) }
}
