import Encoding
import Testing
import VectorMath

@testable import Learning

@Suite("Runs of a method")
struct TrainingRunTests {
    private func pairs(seed: UInt64, count: Int) -> FeaturePairs {
        var generator = SeededGenerator(seed: seed)
        let queries = generator.normals(count * 12, deviation: 1)
        let documents = zip(queries, generator.normals(count * 12, deviation: 0.5)).map { $0 + $1 }
        return FeaturePairs(
            queries: Matrix(values: queries, columns: 12).unitRows,
            documents: Matrix(values: documents, columns: 12).unitRows
        )
    }

    private func settings() -> ContrastiveSettings {
        ContrastiveSettings(
            nesting: Nesting(sizes: [2, 4, 8])!,
            run: RunSettings(epochs: 4, batch: 32, rate: LearningRate(peak: 0.03))
        )
    }

    private func train(
        _ method: TrainingMethod,
        _ monitor: (Int) -> TrainingMonitor
    ) throws -> SizedEmbeddings {
        try method.embeddings(
            settings(),
            shape: .linear,
            pairs(seed: 1, count: 120),
            validation: pairs(seed: 2, count: 32),
            monitor: monitor
        )
    }

    @Test("each has its name and its history, and goes on from its own checkpoint to the same bits")
    func resumed() throws {
        let names = TrainingMethod.fixed.runs(sizes: [2, 4, 8], probes: false)
        #expect(names == ["2 dimensions", "4 dimensions", "8 dimensions"])
        var files: [[[UInt8]]] = [[], [], []]
        var wholeSteps = [0, 0, 0]
        let whole = try train(.fixed) { run in
            var monitor = TrainingMonitor()
            monitor.progress = { _ in wholeSteps[run] += 1 }
            monitor.checkpointSteps = 2
            monitor.checkpoint = { files[run].append($0.file) }
            return monitor
        }
        #expect(whole.histories.count == 3)
        // Cut short in the second run: the first is over, the third has not begun.
        let held = [files[0].last, files[1][1], nil]
        var steps = [0, 0, 0]
        let resumed = try train(.fixed) { run in
            var monitor = TrainingMonitor()
            monitor.resumed = held[run].flatMap { try? TrainingCheckpoint(file: $0) }
            monitor.progress = { _ in steps[run] += 1 }
            return monitor
        }
        #expect(steps == [0, wholeSteps[1] - (try TrainingCheckpoint(file: files[1][1])).stepsDone, wholeSteps[2]])
        let test = pairs(seed: 3, count: 9).queries
        for size in [2, 4, 8] {
            #expect(resumed.vectors(of: test, size: size) == whole.vectors(of: test, size: size))
        }
        #expect(resumed.histories == whole.histories)
    }

    @Test("what a method hands out to be served makes its vectors", arguments: TrainingMethod.ofPairs)
    func handedOut(method: TrainingMethod) throws {
        let trained = try train(method) { _ in TrainingMonitor() }
        let test = pairs(seed: 3, count: 9).queries
        for size in [4, 8] {
            let adapter = try #require(trained.adapter(at: size))
            let made = Matrix(values: adapter.vectors(of: test.values), columns: adapter.outputs)
            for (found, expected) in zip(
                made.prefixes(size).unitRows.values,
                trained.vectors(of: test, size: size).values
            ) { #expect(abs(found - expected) < 1e-5) }
        }
    }

    @Test("heads that are fitted afterwards tell of their progress as such")
    func probe() throws {
        var settings = ClassifierSettings(nesting: Nesting(sizes: [2, 4])!)
        settings.run = RunSettings(epochs: 2, batch: 16, rate: LearningRate(peak: 0.02))
        let input = pairs(seed: 1, count: 64).queries
        let examples = Labelled(input, labels: (0..<64).map { Int32($0 % 2) })
        var seen: [Bool] = []
        _ = try TrainingMethod.nestedDropout.classifiers(
            settings,
            examples,
            validation: nil,
            labels: ["a", "b"],
            rigid: nil
        ) { _ in
            var monitor = TrainingMonitor()
            monitor.progress = { seen.append($0.isProbe) }
            return monitor
        }
        #expect(seen == [Bool](repeating: false, count: 8) + [Bool](repeating: true, count: 8))
        #expect(TrainingMethod.truncation.runs(sizes: [2, 4], probes: true) == ["rigid model", "heads"])
    }

    @Test("weights of frozen numbers do not decay in sequential training")
    func frozen() throws {
        var settings = settings()
        settings.technique = .sequential
        settings.optimiser.weightDecay = 0.5
        let pairs = pairs(seed: 1, count: 64)
        let none = FeaturePairs(queries: pairs.queries.selecting([]), documents: pairs.documents.selecting([]))
        var generator = SeededGenerator(seed: 1)
        let trunk = AdapterShape.linear.trunk(over: pairs.documents, dimensions: 8, capacity: 64, using: &generator)
        var learner = PairLearner(
            trunk,
            .init(queries: pairs.queries, documents: pairs.documents, keys: pairs.keys),
            validation: .init(queries: none.queries, documents: none.documents, keys: none.keys),
            settings
        )
        learner.active = 0..<2
        learner.beginStage()
        let before = learner.trunk.parameters.values
        _ = learner.step(learner.batches(of: 32, using: &generator)[0], rate: 0.1, draws: &generator)
        #expect(learner.trunk.parameters.values[4 * 12..<8 * 12] == before[4 * 12..<8 * 12])
        #expect(learner.trunk.parameters.values[..<(4 * 12)] != before[..<(4 * 12)])
    }
}
