import Encoding
import Evaluation
import Learning
import VectorMath

/// How all classifiers of the study are trained, but for their method: for so many epochs, whatever a validation says.
enum IntentRecipe {
    /// Sizes of classifiers on vectors of the frozen encoder.
    static func sizes(width: Int) -> Nesting { .doubling(from: 8, to: width) }
    /// Those of MiniLM.
    static let frozenSizes = [8, 16, 32, 64, 128, 256, 384]
    /// Those of static models.
    static let staticSizes = [8, 16, 32, 64, 128, 256]

    static func settings(_ nesting: Nesting, seed: Int) -> ClassifierSettings {
        var settings = ClassifierSettings(nesting: nesting)
        settings.run.seed = UInt64(seed)
        return settings
    }

    static func staticSettings(seed: Int) -> ClassifierSettings {
        var settings = ClassifierSettings(nesting: .doubling(from: 8, to: 256))
        settings.run = RunSettings(epochs: 12, batch: 128, rate: LearningRate(peak: 0.05), seed: UInt64(seed))
        settings.optimiser = Optimiser()
        return settings
    }

    /// All that figures of classifiers on frozen vectors depend on, whatever seed and width.
    static let text = "last epoch kept, \(settings(.single(1), seed: 0))"
    /// The same of static models.
    static let staticText = "last epoch kept, \(staticSettings(seed: 0))"

    /// Looks on at the runs of a method.
    static func monitor(_ runs: Int, _ progress: @escaping (Double) -> Void) -> (Int) -> TrainingMonitor {
        { run in
            var monitor = TrainingMonitor()
            monitor.progress = { progress((Double(run) + Double($0.step) / Double(max(1, $0.steps))) / Double(runs)) }
            return monitor
        }
    }
}

extension SizedClassifiers {
    /// What one network says of examples, at each of its sizes.
    func predictions(on examples: Labelled<Matrix>) -> SizePredictions {
        let classifier = classifier(at: sizes[sizes.count - 1])
        let features = classifier.features(of: examples.input.values)
        let said = sizes.map { classifier.heads.predictions(of: features, size: $0) }
        return SizePredictions(
            sizes: sizes,
            truth: examples.labels.map(Int.init),
            labels: said.map { $0.map(\.label) },
            confidences: said.map { $0.map(\.confidence) }
        )
    }
}

/// One nested classifier on vectors of the frozen encoder: its accuracy, cascades, routing, groups of classes, and what
/// its vectors know of few examples.
struct NestedIntents: Experiment {
    /// MRL or MRL-E.
    let method: TrainingMethod

    init(_ method: TrainingMethod = .matryoshka) { self.method = method }

    var name: String { "clinc150-\(method.rawValue)" }
    var title: String { "CLINC150 on frozen vectors, \(method.rawValue.uppercased())" }
    let needs: [StudyData] = [.clinc150, .encoder]
    let isSeeded = true
    var recipe: String { "\(IntentRecipe.text), \(method), cascades, few shots" }
    var cost: Double { method == .matryoshka ? 35 : 20 }

    /// Examples of each class that means are taken of.
    static let shots = [1, 3, 5, 7, 9]
    /// Draws of them that are averaged.
    private static let draws = 5
    /// Sizes that no training sees.
    static let between = [12, 24, 48, 96, 192]

    func measure(_ library: StudyLibrary, seed: Int, progress: @escaping (Double) -> Void) throws -> Figures {
        let (texts, vectors) = (try library.intentTexts(), try library.intentVectorParts())
        let width = vectors.training.input.columns
        let settings = IntentRecipe.settings(IntentRecipe.sizes(width: width), seed: seed)
        var figures = Figures()
        let clock = ThreadClock()
        let trained = try method.classifiers(
            settings,
            vectors.training,
            validation: nil,
            labels: texts.labels,
            rigid: nil,
            monitor: IntentRecipe.monitor(1) { progress(0.6 * $0) }
        )
        figures["seconds an epoch"] = clock.seconds / Double(max(1, trained.histories[0].trainingLoss.count))
        let test = trained.predictions(on: vectors.test)
        for (place, size) in trained.sizes.enumerated() { figures["accuracy", size] = 100 * test.accuracy(place) }
        guard method == .matryoshka else { return figures }

        let held = trained.predictions(on: vectors.validation)
        for (name, cascade) in [
            ("greedy", CascadeCalibration.greedy(on: held)), ("global", CascadeCalibration.global(on: held)),
        ] {
            let outcome = cascade.outcome(on: test)
            figures["cascade \(name) accuracy"] = 100 * outcome.accuracy
            figures["cascade \(name) final"] = outcome.finalDimensions
            figures["cascade \(name) cumulative"] = outcome.cumulativeDimensions
        }
        let oracle = OracleRouting(test)
        figures["oracle accuracy"] = 100 * oracle.accuracy
        figures["oracle gain"] = 100 * oracle.gain
        figures["oracle dimensions"] = oracle.dimensions
        figures["vote accuracy"] = 100 * oracle.majorityAccuracy
        let domains = SuperclassAccuracy(test, groups: texts.domains)
        // As published, most classes are in no group: here those of every other domain.
        let half = SuperclassAccuracy(test, groups: texts.domains.map { $0.flatMap { $0 % 2 == 0 ? $0 : nil } })
        let disagreement = SizeDisagreement(test)
        for (place, size) in trained.sizes.enumerated() {
            figures["domain", size] = 100 * domains.grouped[place]
            figures["domain, half grouped", size] = 100 * half.grouped[place]
            figures["domain, half rejected", size] = 100 * half.withReject[place]
            figures["differs from full", size] = 100 * (disagreement.shares[place].last ?? 0)
        }
        for (trend, count) in ClassTrends(test, classes: texts.labels.count).counts {
            figures["trend \(trend.rawValue)"] = Double(count)
        }
        progress(0.7)
        measureNeighbours(trained, vectors, &figures)
        progress(0.85)
        measureFewShots(trained, vectors, seed: seed, &figures)
        return figures
    }

    /// Class of the nearest training example, at sizes that were trained and at others.
    private func measureNeighbours(_ trained: SizedClassifiers, _ vectors: IntentVectors, _ figures: inout Figures) {
        let full = trained.sizes[trained.sizes.count - 1]
        let collection = DenseCollection(
            vectors: trained.vectors(of: vectors.training.input, size: full).values,
            dimensions: full
        )
        let asked = trained.vectors(of: vectors.test.input, size: full).values
        for size in (trained.sizes + Self.between).sorted() where size <= full {
            let nearest = collection.nearest(queries: asked, size: size, keep: 1)
            let right = zip(nearest, vectors.test.labels).count { vectors.training.labels[$0[0].item] == $1 }
            figures["1-nn", size] = 100 * Double(right) / Double(max(1, vectors.test.labels.count))
        }
    }

    /// Class of the nearest mean of a few validation examples, which no size was trained on.
    private func measureFewShots(
        _ trained: SizedClassifiers,
        _ vectors: IntentVectors,
        seed: Int,
        _ figures: inout Figures
    ) {
        let full = trained.sizes[trained.sizes.count - 1]
        let shown = trained.vectors(of: vectors.validation.input, size: full)
        let asked = trained.vectors(of: vectors.test.input, size: full).values
        let labels = vectors.validation.labels.map(Int.init)
        var generator = SeededGenerator(seed: UInt64(seed))
        for shots in Self.shots {
            var right = [Int](repeating: 0, count: trained.sizes.count)
            for _ in 0..<Self.draws {
                let drawn = NearestClassMean.drawShots(shots, of: labels, using: &generator)
                let examples = shown.selecting(drawn).values
                for (place, size) in trained.sizes.enumerated() {
                    let means = NearestClassMean(
                        vectors: examples,
                        dimensions: full,
                        labels: drawn.map { labels[$0] },
                        size: size
                    )
                    right[place] += zip(means.labels(of: asked), vectors.test.labels).count { $0 == Int($1) }
                }
            }
            for (place, size) in trained.sizes.enumerated() {
                let total = Double(Self.draws * max(1, vectors.test.labels.count))
                figures["\(shots)-shot", size] = 100 * Double(right[place]) / total
            }
        }
    }
}

/// A classifier on frozen vectors for each size, and what becomes of the largest one.
struct RigidIntents: Experiment {
    let name = "clinc150-rigid"
    let title = "CLINC150 on frozen vectors, a classifier for each size"
    let needs: [StudyData] = [.clinc150, .encoder]
    let isSeeded = true
    var recipe: String { "\(IntentRecipe.text), ff, svd, truncation" }
    let cost = 50.0

    func measure(_ library: StudyLibrary, seed: Int, progress: @escaping (Double) -> Void) throws -> Figures {
        let (texts, vectors) = (try library.intentTexts(), try library.intentVectorParts())
        let width = vectors.training.input.columns
        let settings = IntentRecipe.settings(IntentRecipe.sizes(width: width), seed: seed)
        let sizes = settings.nesting.sizes
        var figures = Figures()
        var clock = ThreadClock()
        var laps: [Double] = []
        let monitor = IntentRecipe.monitor(sizes.count) { progress(0.75 * $0) }
        let rigid = try TrainingMethod.fixed.classifiers(
            settings,
            vectors.training,
            validation: nil,
            labels: texts.labels,
            rigid: nil
        ) { run in
            laps.append(clock.lap())
            return monitor(run)
        }
        laps.append(clock.lap())
        for (place, size) in sizes.enumerated() {
            figures["ff", size] = 100 * rigid.accuracy(on: vectors.test, size: size)
            figures["seconds an epoch", size] =
                laps[place + 1] / Double(max(1, rigid.histories[place].trainingLoss.count))
        }
        for (number, method) in [TrainingMethod.singularValues, .truncation].enumerated() {
            let made = try method.classifiers(
                settings,
                vectors.training,
                validation: nil,
                labels: texts.labels,
                rigid: rigid.classifier(at: width),
                monitor: IntentRecipe.monitor(1) { progress(0.75 + 0.12 * (Double(number) + $0)) }
            )
            for size in sizes { figures[method.rawValue, size] = 100 * made.accuracy(on: vectors.test, size: size) }
        }
        return figures
    }
}

/// Heads alone on the frozen vectors, and a nested adapter with a hidden layer under them.
struct FineTuning: Experiment {
    let name = "clinc150-finetuning"
    let title = "CLINC150 on frozen vectors, heads alone and a hidden layer"
    let needs: [StudyData] = [.clinc150, .encoder]
    let isSeeded = true
    var recipe: String { "\(IntentRecipe.text), heads alone, a hidden layer of twice the width" }
    let cost = 45.0

    func measure(_ library: StudyLibrary, seed: Int, progress: @escaping (Double) -> Void) throws -> Figures {
        let (texts, vectors) = (try library.intentTexts(), try library.intentVectorParts())
        let width = vectors.training.input.columns
        var figures = Figures()
        for (number, shape) in [AdapterShape.none, .hidden(units: 2 * width)].enumerated() {
            var settings = IntentRecipe.settings(IntentRecipe.sizes(width: width), seed: seed)
            settings.shape = shape
            let trained = try TrainingMethod.matryoshka.classifiers(
                settings,
                vectors.training,
                validation: nil,
                labels: texts.labels,
                rigid: nil,
                monitor: IntentRecipe.monitor(1) { progress((Double(number) + $0) / 2) }
            )
            for size in trained.sizes {
                figures[shape == .none ? "heads alone" : "hidden layer", size] =
                    100 * trained.accuracy(on: vectors.test, size: size)
            }
        }
        return figures
    }
}

/// Classifiers that learn a table of token vectors from CLINC150 alone: nested, with one matrix, and one for each size.
struct StaticIntents: Experiment {
    let name = "clinc150-static"
    let title = "CLINC150 from scratch"
    let needs: [StudyData] = [.clinc150]
    let isSeeded = true
    var recipe: String { "\(IntentRecipe.staticText), mrl, mrl-e, ff" }
    let cost = 90.0

    private static let tokensMax = 64

    func measure(_ library: StudyLibrary, seed: Int, progress: @escaping (Double) -> Void) throws -> Figures {
        let texts = try library.intentTexts()
        let tokens = StudyTokens(learntFrom: texts.training.texts, size: 30_000)
        func labelled(_ part: IntentTexts.Part) -> Labelled<TokenRows> {
            Labelled(
                TokenRows(rows: part.texts.map { tokens.ids(of: $0, limit: Self.tokensMax) }),
                labels: part.classes
            )
        }
        let (training, test) = (labelled(texts.training), labelled(texts.test))
        let settings = IntentRecipe.staticSettings(seed: seed)
        let sizes = settings.nesting.sizes
        var figures = Figures()
        let runs = sizes.count + 2
        func accuracies(_ settings: ClassifierSettings, run: Int) throws -> [Double] {
            let trained = try StaticClassifierTrainer(settings).train(
                training,
                validation: nil,
                tokenCount: tokens.count,
                labels: texts.labels,
                monitor: IntentRecipe.monitor(runs, progress)(run)
            )
            let features = trained.table.vectors(of: test.input).values
            return settings.nesting.sizes.map { size in
                let said = trained.heads.predictions(of: features, size: size)
                return 100 * Double(zip(said, test.labels).count { $0.label == Int($1) }) / Double(test.labels.count)
            }
        }
        for (run, form) in [ClassifierHeads.Form.separate, .shared].enumerated() {
            var settings = settings
            settings.form = form
            for (size, accuracy) in zip(sizes, try accuracies(settings, run: run)) {
                figures[form.rawValue, size] = accuracy
            }
        }
        for (place, size) in sizes.enumerated() {
            figures["ff", size] = try accuracies(settings.fixed(at: size), run: place + 2)[0]
        }
        return figures
    }
}
