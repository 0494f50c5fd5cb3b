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

/// `mrl train classifier`.
struct TrainClassifierCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "classifier",
        abstract: "Train softmax heads at every size, and the thresholds by which small ones decide.",
        discussion: helpDiscussion(
            """
            Learns from labelled texts: .jsonl with {"text", "label"}, .tsv with a label and a text, or .json with
            lists of [text, label] under train, val and test, as CLINC150 is published. Texts are encoded by --model,
            which stays as it is; without one a static model is trained with the heads, into model inside the output.
            Thresholds are learnt on the validation part and reported on the test part, without one on the other half
            of validation.
            Serve it with mrl up --model MODEL --set encoder.classifier=DIR, then mrl classify.
            """,
            examples: """
                mrl train classifier --texts data.json --model MiniLM --output intents
                mrl train classifier --texts train.tsv --validation val.tsv \\
                  --test test.tsv --model MiniLM --output intents --method mrl-e
                mrl train classifier --texts train.jsonl --output intents
                mrl train classifier --vectors x.npy --texts labels.txt --output heads
                """
        )
    )

    enum Rule: String, ExpressibleByArgument, CaseIterable {
        case greedy, global
    }

    @Option(help: ArgumentHelp("Labelled texts; beside --vectors their labels.", valueName: "FILE")) var texts: String
    @Option(help: ArgumentHelp("The frozen encoder.", valueName: "DIR")) var model: String?
    @Option(help: ArgumentHelp("Vectors of the texts, row by row, instead of encoding them.", valueName: "FILE"))
    var vectors: String?
    @OptionGroup var result: ResultOptions
    @Option(help: "How the sizes are taught: mrl, mrl-e, or a baseline.") var method = TrainingMethod.matryoshka
    @Option(help: "The rule whose thresholds are served: greedy (for each size its own) or global (one for all).")
    var cascade = Rule.greedy
    @OptionGroup(title: "The adapter under the heads") var shape: ShapeOptions
    @OptionGroup(title: "Sizes") var sizes: NestingOptions
    @OptionGroup(title: "The run") var schedule: RunOptions
    @Option(
        help: ArgumentHelp(
            "Texts that decide when to stop and the thresholds: a share, or a file (default: the file's own part, else 0.1).",
            valueName: "share|file"
        )
    )
    var validation: ValidationChoice?
    @Option(help: ArgumentHelp("Texts that are reported on.", valueName: "FILE")) var test: String?
    @Option(help: ArgumentHelp("Vectors of the validation file.", valueName: "FILE")) var validationVectors: String?
    @Option(help: ArgumentHelp("Vectors of the test file.", valueName: "FILE")) var testVectors: String?
    @Option(help: ArgumentHelp("Order of a .tsv file: label,text or text,label.", valueName: "names"))
    var columns = "label,text"
    @Option(help: "Share of the target that all labels divide among them, 0 to below 1.") var smoothing: Float = 0
    @Option(help: ArgumentHelp("Keep the encoder's vectors there, for the next run.", valueName: "DIR"))
    var cache: String?
    @Option(help: "Without --model: pieces of the vocabulary.") var vocabulary = 30_000
    @Option(help: "Without --model: tokens of a text that count.") var maximumTokens = 256

    private var isStatic: Bool { model == nil && vectors == nil }
    private var defaults: RunOptions.Defaults {
        RunOptions.Defaults(epochs: 12, batch: 128, rate: isStatic ? 0.05 : 2e-3, weightDecay: isStatic ? 0 : 0.01)
    }
    /// Those that one table and its heads can learn.
    private static let ofTables: [TrainingMethod] = [.matryoshka, .shared, .nestedDropout, .sequential]

    func validate() throws {
        guard (0..<1).contains(smoothing) else { throw ValidationError("--smoothing must be 0 to below 1") }
        guard ["label,text", "text,label"].contains(columns) else {
            throw ValidationError("--columns is \"\(columns)\", allowed are label,text and text,label")
        }
        if isStatic {
            try schedule.checkTable()
            guard Self.ofTables.contains(method) else {
                throw ValidationError(
                    "--method \(method.rawValue) needs frozen vectors (--model or --vectors); without them learn "
                        + Self.ofTables.map(\.rawValue).joined(separator: ", ")
                )
            }
            if shape.shape != nil { throw ValidationError("--shape goes with --model or --vectors") }
        }
        if vectors == nil, validationVectors != nil || testVectors != nil {
            throw ValidationError("--validation-vectors and --test-vectors go with --vectors")
        }
        if vectors != nil {
            if case .file? = validation, validationVectors == nil {
                throw ValidationError("beside --vectors a validation file needs --validation-vectors")
            }
            if test != nil, testVectors == nil {
                throw ValidationError("beside --vectors a test file needs --test-vectors")
            }
        }
        guard (1000...1_000_000).contains(vocabulary) else {
            throw ValidationError("--vocabulary must be 1000 to 1000000")
        }
        guard maximumTokens > 0 else { throw ValidationError("--maximum-tokens must be 1 or more") }
    }

    func run() throws {
        let encoder = try model.map(frozenEncoder)
        if !result.force, ClassifierDirectory.exists(result.output) {
            Output.note("\(result.output) is there already (--force trains again)")
            return
        }
        let data = try LabelledParts(
            texts,
            validation: validation,
            test: test,
            isTextFirst: columns == "text,label",
            mayLackTexts: vectors != nil
        )
        if isStatic { return try trainTable(data) }
        var costs = TrainingCosts()
        let clock = CPUClock()
        let features = try features(data, encoder)
        costs.preparationCPUSeconds = clock.seconds
        let width = features.training.input.columns
        var settings = try settings(width: width)
        settings.shape = shape.adapter(shape.shape ?? .linear, dimensions: settings.nesting.dimensions)
        if settings.shape == .none, settings.nesting.dimensions > width {
            throw ValidationError("--shape none: sizes go to \(settings.nesting.dimensions), vectors have \(width)")
        }
        if settings.shape == .none, [.nestedDropout, .sequential].contains(method) {
            throw ValidationError("--shape none: \(method.rawValue) teaches an adapter, and there is none")
        }
        let watch = try TrainingWatch(method.runs(sizes: settings.nesting.sizes, probes: true), schedule)
        let trained = try watch.training { () throws(CheckpointError) in
            try method.classifiers(
                settings,
                features.training,
                validation: features.validation,
                labels: data.labels,
                rigid: nil,
                monitor: watch.monitor
            )
        }
        try TrainingWatch.check(trained.histories)
        costs.trainingCPUSeconds = watch.cpuSeconds
        var report = ClassifierReport(labels: data.labels.count, costs: costs)
        // A size that has a network of its own has a directory of its own.
        let networks = Dictionary(grouping: trained.sizes) { trained.classifier(at: $0) }
            .map { (sizes: $0.value, classifier: $0.key) }.sorted { $0.sizes[0] < $1.sizes[0] }
        for (place, network) in networks.enumerated() {
            let history = trained.histories[method == .fixed ? place : trained.histories.count - 1]
            let heads = networks.count == 1 ? network.classifier : network.classifier.restricted(to: network.sizes)
            guard
                let classifier = FeatureClassifier(
                    adapter: heads.adapter,
                    heads: heads.heads,
                    encoder: encoder?.model.id,
                    training: record(settings, data, history, encoder?.model.id)
                )
            else { preconditionFailure("the same parts") }
            let suffix = networks.count == 1 ? "" : "/" + network.sizes.map(String.init).joined(separator: "-")
            try report.add(
                classifier,
                directory: result.output + suffix,
                sizes: network.sizes,
                rule: cascade,
                validation: features.validation,
                test: features.test,
                encoder: encoder?.model
            )
        }
        watch.removeCheckpoints()
        try show(report)
    }

    private func settings(width: Int) throws -> ClassifierSettings {
        var settings = ClassifierSettings(nesting: try sizes.nesting(width: width))
        settings.smoothing = smoothing
        settings.run = schedule.run(defaults)
        settings.optimiser = schedule.optimiser(defaults)
        return settings
    }

    private func record(
        _ settings: ClassifierSettings,
        _ data: LabelledParts,
        _ history: TrainingHistory,
        _ encoder: String?
    ) -> TrainingRecord {
        var record = TrainingRecord(
            method,
            objective: TrainingRecord.softmax,
            nesting: settings.nesting,
            run: settings.run,
            optimiser: settings.optimiser,
            history: history,
            data: data.digest
        )
        record.encoder = encoder
        if !isStatic { record.shape = "\(shape.shape ?? .linear)" }
        record.examples = data.training.count
        record.validationExamples = data.validation.count
        record.smoothing = Double(smoothing)
        return record
    }

    private func show(_ report: ClassifierReport) throws {
        if result.json { Output.line(try jsonText(report)) } else { Output.line(report.text) }
    }

    private func features(_ data: LabelledParts, _ encoder: (any TextEncoder)?) throws -> LabelledVectors {
        if let vectors {
            return try LabelledVectors(
                data,
                vectors: vectors,
                validation: validationVectors,
                test: testVectors,
                model: encoder?.model
            )
        }
        guard let encoder else { preconditionFailure("validated") }
        return try LabelledVectors(data, encodedBy: FrozenVectors(encoder: encoder, cache: cache))
    }

    // MARK: A table of its own

    private func trainTable(_ data: LabelledParts) throws {
        var settings = try settings(width: 256)
        settings.form = method == .shared ? .shared : .separate
        switch method {
        case .nestedDropout:
            settings.technique = .nestedDropout(meanKept: max(1, settings.nesting.dimensions / 4))
        case .sequential: settings.technique = .sequential
        default: settings.technique = .matryoshka
        }
        let watch = try TrainingWatch(["table and heads"], schedule)
        var costs = TrainingCosts()
        var counts = WordCounts()
        for text in data.training.texts { counts.add(text) }
        let pieces = VocabularyBuilder(size: vocabulary).pieces(for: counts)
        costs.preparationCPUSeconds = watch.cpuSeconds
        Output.note("vocabulary: \(grouped(pieces.count)) pieces")
        guard let tokenizer = WordPieceTokenizer(vocabulary: Vocabulary(pieces: pieces)) else {
            preconditionFailure("a built vocabulary holds [UNK]")
        }
        let isSkipped = StaticEncoder.skipped(tokenizer)
        func tokens(_ part: LabelledTexts) -> Labelled<TokenRows>? {
            var rows = TokenRows()
            var classes: [Int32] = []
            for (text, label) in zip(part.texts, data.classes(part)) {
                let ids = tokenizer.tokenize(text, limit: maximumTokens).filter { !isSkipped[Int($0)] }
                guard !ids.isEmpty else { continue }
                rows.append(ids)
                classes.append(label)
            }
            return classes.isEmpty ? nil : Labelled(rows, labels: classes)
        }
        guard let training = tokens(data.training) else { throw StartupFailure("\(texts) has no training text") }
        let trained = try watch.training { () throws(CheckpointError) in
            try StaticClassifierTrainer(settings).train(
                training,
                validation: tokens(data.validation),
                tokenCount: pieces.count,
                labels: data.labels,
                monitor: watch.monitor(0)
            )
        }
        try TrainingWatch.check([trained.table.history])
        costs.trainingCPUSeconds = watch.cpuSeconds - costs.preparationCPUSeconds
        var record = record(settings, data, trained.table.history, nil)
        record.tokensMax = maximumTokens
        let modelDirectory = result.output + "/model"
        try FileManager.default.createDirectory(atPath: result.output, withIntermediateDirectories: true)
        _ = try ModelDirectory.write(
            to: modelDirectory,
            configuration: ModelConfiguration(
                name: result.name(),
                dimensions: settings.nesting.dimensions,
                nesting: settings.nesting.sizes,
                maximumTokens: maximumTokens,
                training: record
            ),
            pieces: pieces,
            table: trained.table.rows,
            extraFiles: costs.file
        )
        let encoder = try frozenEncoder(modelDirectory)
        record.encoder = encoder.model.id
        func vectors(_ part: LabelledTexts) -> Labelled<Matrix>? {
            guard part.count > 0 else { return nil }
            let values = encoder.encode(part.texts, role: "query")
            return LabelledVectors.known(
                Matrix(values: values, columns: encoder.model.dimensions),
                data.classes(part),
                "texts"
            )
        }
        guard
            let classifier = FeatureClassifier(
                adapter: nil,
                heads: trained.heads,
                encoder: encoder.model.id,
                training: record
            )
        else { preconditionFailure("heads take what the table makes") }
        var report = ClassifierReport(labels: data.labels.count, costs: costs)
        report.model = modelDirectory
        try report.add(
            classifier,
            directory: result.output,
            sizes: settings.nesting.sizes,
            rule: cascade,
            validation: vectors(data.validation),
            test: vectors(data.test),
            encoder: encoder.model
        )
        watch.removeCheckpoints()
        try show(report)
    }
}

/// Labelled texts of the parts of a training, with their labels as numbers.
struct LabelledParts {
    let training: LabelledTexts
    let validation: LabelledTexts
    let test: LabelledTexts
    /// Sorted names of the classes.
    let labels: [String]
    /// Places in the first file, of what is trained on and of what it gave for validation.
    let trainingPlaces: [Int]
    let validationPlaces: [Int]
    /// SHA-256 of all files.
    let digest: String
    private let numbers: [String: Int32]

    /// Reads the parts.
    ///
    /// - Throws: ``StartupFailure``, also where a part has a label that the training texts do not have.
    init(
        _ path: String,
        validation choice: ValidationChoice?,
        test testPath: String?,
        isTextFirst: Bool,
        mayLackTexts: Bool
    ) throws {
        var bytes: [UInt8] = []
        func read(_ path: String) throws -> LabelledFile {
            let data = try trainingData(path)
            bytes += data
            do {
                return try LabelledFile(data, path: path, isTextFirst: isTextFirst)
            } catch {
                throw StartupFailure("\(error)")
            }
        }
        let file = try read(path)
        if !file.ignoredParts.isEmpty {
            Output.note("\(path): its parts \(file.ignoredParts.joined(separator: ", ")) are not used")
        }
        var held = file.validation
        var share = held == nil ? 0.1 : 0
        switch choice {
        case .share(let value)?: (held, share) = (nil, value)
        case .file(let other)?: (held, share) = (try read(other).training, 0)
        case nil: break
        }
        let split = file.training.split(share: share)
        (trainingPlaces, validationPlaces) = split
        training = file.training.selecting(split.training)
        validation = held ?? file.training.selecting(split.validation)
        test = try testPath.map { try read($0).training } ?? file.test ?? LabelledTexts()
        digest = SHA256.hexadecimal(bytes)
        let names = Set(training.labels).sorted()
        labels = names
        guard labels.count >= 2 else {
            throw StartupFailure("\(path) has \(labels.count) label to train on, at least 2 are needed")
        }
        numbers = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($1, Int32($0)) })
        for (part, name) in [(validation, "validation"), (test, "test")] {
            if let label = part.labels.first(where: { numbers[$0] == nil }) {
                throw StartupFailure("a \(name) text has the label \"\(label)\", which no training text has")
            }
        }
        if !mayLackTexts, training.texts.contains("") {
            throw StartupFailure("\(path) has labels without texts: their vectors are named by --vectors")
        }
        if validation.count < 2 {
            throw StartupFailure("thresholds need validation texts, there are \(validation.count)")
        }
    }

    /// Numbers of a part's labels.
    func classes(_ part: LabelledTexts) -> [Int32] { part.labels.map { numbers[$0]! } }
}

extension FeatureClassifier {
    /// The heads of some sizes alone; the adapter makes no more than the largest of them.
    fileprivate func restricted(to sizes: [Int]) -> FeatureClassifier {
        guard heads.form == .separate, sizes != heads.nesting, sizes.last == heads.dimensions else { return self }
        let places = sizes.map { heads.nesting.firstIndex(of: $0)! }
        guard
            let some = ClassifierHeads(
                nesting: sizes,
                labels: heads.labels,
                form: .separate,
                weights: places.map { heads.weights[$0] },
                biases: places.map { heads.biases[$0] }
            ), let classifier = FeatureClassifier(adapter: adapter, heads: some, encoder: encoder, training: training)
        else { preconditionFailure("some of the heads are heads") }
        return classifier
    }
}
