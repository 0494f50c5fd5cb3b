import Encoding
import Testing
import VectorMath

@testable import Learning

@Suite("Classifier trainer")
struct ClassifierTrainerTests {
    private let labels = (0..<6).map { "class \($0)" }

    /// Six classes around centres in 12 dimensions, at unit length, with noise.
    private func examples(seed: UInt64, count: Int) -> Labelled<Matrix> {
        var centres = SeededGenerator(seed: 99)
        let middle = centres.normals(6 * 12, deviation: 1)
        var generator = SeededGenerator(seed: seed)
        let classes = (0..<count).map { _ in Int32.random(in: 0..<6, using: &generator) }
        var values: [Float] = []
        for label in classes {
            let noise = generator.normals(12, deviation: 0.4)
            values += (0..<12).map { middle[Int(label) * 12 + $0] + noise[$0] }
        }
        return Labelled(Matrix(values: values, columns: 12).unitRows, labels: classes)
    }

    private func settings() -> ClassifierSettings {
        var settings = ClassifierSettings(nesting: Nesting(sizes: [2, 4, 8])!)
        settings.run = RunSettings(epochs: 8, batch: 32, rate: LearningRate(peak: 0.02))
        return settings
    }

    private func train(
        _ settings: ClassifierSettings,
        monitor: TrainingMonitor = TrainingMonitor()
    ) throws -> TrainedClassifier {
        try ClassifierTrainer(settings).train(
            examples(seed: 1, count: 300),
            validation: examples(seed: 2, count: 90),
            labels: labels,
            monitor: monitor
        )
    }

    @Test("every method classifies unseen examples at its sizes", arguments: TrainingMethod.ofClassifiers)
    func methods(method: TrainingMethod) {
        let test = examples(seed: 3, count: 200)
        let models = method.classifiers(
            settings(),
            examples(seed: 1, count: 300),
            validation: examples(seed: 2, count: 90),
            labels: labels
        )
        #expect(models.sizes == [2, 4, 8])
        // The classes overlap a little; chance is 17 %.
        #expect(models.accuracy(on: test, size: 8) > 0.9)
        #expect(models.accuracy(on: test, size: 2) > (method == .matryoshka || method == .fixed ? 0.7 : 0.3))
        let vectors = models.vectors(of: test.input, size: 3)
        #expect(vectors.columns == 3)
        for row in 0..<vectors.rows {
            let square = vectors.values[row * 3..<row * 3 + 3].reduce(0) { $0 + $1 * $1 }
            #expect(abs(square - 1) < 1e-4)
        }
    }

    @Test("gives the same numbers for the same seed, and goes on from any checkpoint to the same bits")
    func resumes() throws {
        for technique in [Technique.matryoshka, .sequential, .nestedDropout(meanKept: 3)] {
            var settings = settings()
            settings.technique = technique
            settings.run.epochs = 3
            var files: [[UInt8]] = []
            var monitor = TrainingMonitor()
            monitor.checkpointSteps = 7
            monitor.checkpoint = { files.append($0.file) }
            let whole = try train(settings, monitor: monitor)
            #expect(try train(settings).classifier == whole.classifier)
            for file in [files[1], files[files.count / 2]] {
                var monitor = TrainingMonitor()
                monitor.resumed = try TrainingCheckpoint(file: file)
                let resumed = try train(settings, monitor: monitor)
                #expect(resumed.classifier == whole.classifier)
                #expect(resumed.history == whole.history)
            }
        }
    }

    @Test("learns with momentum too, and from labels that are smoothed")
    func momentum() throws {
        var settings = settings()
        settings.optimiser = Optimiser(rule: .sgd(momentum: 0.9))
        settings.run.rate = LearningRate(peak: 0.05, decay: .cosine)
        settings.smoothing = 0.1
        let history = try train(settings).history
        #expect(try #require(history.trainingLoss.last) < history.trainingLoss[0] * 0.7)
    }

    @Test("stops when validation brings no gain, and keeps the best epoch")
    func stops() throws {
        var settings = settings()
        settings.run = RunSettings(epochs: 60, batch: 8, rate: LearningRate(peak: 0.3, decay: .none))
        let history = try train(settings).history
        #expect(history.validationLoss.count < 60)
        #expect(history.validationLoss.count == history.bestEpoch + 2)
        #expect(history.validationLoss[history.bestEpoch - 1] == history.validationLoss.min())
    }

    @Test("without patience runs all epochs and keeps the last, whatever validation says")
    func impatient() throws {
        var settings = settings()
        settings.run = RunSettings(
            epochs: 12,
            batch: 8,
            rate: LearningRate(peak: 0.3, decay: .none),
            patience: nil
        )
        let history = try train(settings).history
        #expect(history.validationLoss.count == 12)
        #expect(history.bestEpoch == 12)
    }

    @Test("trains a stack whose earlier layers classify too")
    func layered() throws {
        var settings = settings()
        settings.shape = .residual(blocks: 2)
        settings.technique = .layered
        let trained = try train(settings).classifier
        let test = examples(seed: 3, count: 200)
        for layers in 1...3 {
            let features = try #require(trained.adapter).outputs(of: test.input.values, layerCount: layers)
            let found = trained.heads.predictions(of: features, size: 8).map(\.label)
            #expect(zip(found, test.labels).count { $0 == Int($1) } > 170, "\(layers) layers")
        }
    }

    @Test("trains narrower networks of a slimmable one")
    func slimmable() throws {
        var settings = settings()
        settings.shape = .hidden(units: 16)
        settings.technique = .slimmable
        let trained = try train(settings)
        #expect(trained.narrower.map(\.heads.dimensions) == [2, 4, 6, 8])
        let test = examples(seed: 3, count: 200)
        for network in trained.narrower.dropFirst() {
            let found = network.heads.predictions(
                of: network.features(of: test.input.values),
                size: network.heads.dimensions
            )
            #expect(zip(found, test.labels).count { $0.label == Int($1) } > 150)
        }
    }

    @Test("says which settings contradict each other")
    func contradictions() {
        var settings = settings()
        #expect(settings.contradiction(width: 12) == nil)
        settings.shape = .none
        #expect(settings.contradiction(width: 12) == nil)
        #expect(settings.contradiction(width: 6)?.contains("6 dimensions") == true)
        settings.technique = .sequential
        #expect(settings.contradiction(width: 12) != nil)
        settings.shape = .linear
        #expect(settings.contradiction(width: 12) == nil)
        settings.form = .shared
        #expect(settings.contradiction(width: 12) != nil)
        settings.technique = .layered
        #expect(settings.contradiction(width: 12)?.contains("residual") == true)
        settings.technique = .slimmable
        #expect(settings.contradiction(width: 12)?.contains("hidden") == true)
    }

    @Test("learns a table and heads together from labelled texts")
    func texts() throws {
        /// Words 6·topic … 6·topic+5 belong to a topic, the last twelve to none.
        func texts(seed: UInt64, count: Int) -> Labelled<TokenRows> {
            var generator = SeededGenerator(seed: seed)
            var rows = TokenRows()
            var classes: [Int32] = []
            for _ in 0..<count {
                let topic = Int32.random(in: 0..<6, using: &generator)
                classes.append(topic)
                rows.append(
                    (0..<5).map { word in
                        word < 2
                            ? 6 * topic + Int32.random(in: 0..<6, using: &generator)
                            : Int32.random(in: 36..<48, using: &generator)
                    }
                )
            }
            return Labelled(rows, labels: classes)
        }
        var settings = settings()
        settings.run.rate = LearningRate(peak: 0.05)
        let trained = try StaticClassifierTrainer(settings).train(
            texts(seed: 1, count: 400),
            validation: texts(seed: 2, count: 100),
            tokenCount: 48,
            labels: labels
        )
        let test = texts(seed: 3, count: 200)
        let found = trained.heads.predictions(of: trained.table.vectors(of: test.input).values, size: 8)
        #expect(zip(found, test.labels).count { $0.label == Int($1) } > 180)
    }
}
