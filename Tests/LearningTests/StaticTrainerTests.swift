import Testing
import VectorMath

@testable import Learning

@Suite("Static trainer")
struct StaticTrainerTests {
    /// Forty topics, each with four words of its own among common ones; queries and documents share a topic.
    private func pairs(seed: UInt64, count: Int) -> TrainingPairs {
        var generator = SeededGenerator(seed: seed)
        var pairs = TrainingPairs()
        for _ in 0..<count {
            let topic = Int32.random(in: 0..<40, using: &generator)
            func word() -> Int32 { 20 + topic * 4 + Int32.random(in: 0..<4, using: &generator) }
            func common() -> Int32 { Int32.random(in: 0..<20, using: &generator) }
            pairs.append(
                query: [word(), common(), word()],
                document: [common(), word(), common(), word(), word(), common()]
            )
        }
        return pairs
    }

    private func settings(seed: UInt64 = 1, sizes: [Int] = [8, 16]) -> ContrastiveSettings {
        ContrastiveSettings(
            nesting: Nesting(sizes: sizes)!,
            run: RunSettings(epochs: 4, batch: 32, rate: LearningRate(peak: 0.05), seed: seed)
        )
    }

    private func train(
        _ settings: ContrastiveSettings,
        count: Int = 300,
        monitor: TrainingMonitor = TrainingMonitor()
    ) throws -> TrainedTable {
        try StaticTrainer(settings).train(
            pairs(seed: 1, count: count),
            validation: pairs(seed: 2, count: 100),
            tokenCount: 180,
            monitor: monitor
        )
    }

    @Test("lowers the loss, on pairs that it has not seen too, for sizes that are no whole lanes")
    func learns() throws {
        let result = try train(settings(sizes: [3, 17]), count: 800)
        let history = result.history
        #expect(history.trainingLoss.last! < history.trainingLoss[0] * 0.8)
        #expect(history.validationLoss.min()! < history.validationLoss[0])
        #expect(history.validationLoss[history.bestEpoch - 1] == history.validationLoss.min())
        #expect(result.rows.count == 180 * 17)
        #expect(result.rows.allSatisfy { $0.isFinite })
    }

    @Test("gives the same table for the same seed, another for another")
    func reproducible() throws {
        func rows(_ seed: UInt64) throws -> [Float] { try train(settings(seed: seed)).rows }
        #expect(try rows(1) == rows(1))
        #expect(try rows(1) != rows(2))
    }

    @Test(
        "goes on from any checkpoint to the same bits",
        arguments: [Technique.matryoshka, .sequential, .nestedDropout(meanKept: 4)]
    )
    func resumes(technique: Technique) throws {
        var settings = settings(sizes: [4, 8, 16])
        settings.technique = technique
        var files: [[UInt8]] = []
        var monitor = TrainingMonitor()
        monitor.checkpointSteps = 5
        monitor.checkpoint = { files.append($0.file) }
        let whole = try train(settings, monitor: monitor)
        #expect(files.count > 8)
        for file in files {
            var monitor = TrainingMonitor()
            monitor.resumed = try TrainingCheckpoint(file: file)
            let resumed = try train(settings, monitor: monitor)
            #expect(resumed.rows == whole.rows)
            #expect(resumed.history == whole.history)
        }
    }

    @Test("refuses a checkpoint of other settings or other pairs, and a file that is none")
    func refuses() throws {
        var made: [TrainingCheckpoint] = []
        var monitor = TrainingMonitor()
        monitor.checkpointSteps = 100
        monitor.checkpoint = { made.append($0) }
        _ = try train(settings(), monitor: monitor)
        var resumed = TrainingMonitor()
        resumed.resumed = made[0]
        #expect(throws: CheckpointError.otherTask) { try train(settings(seed: 2), monitor: resumed) }
        #expect(throws: CheckpointError.otherTask) { try train(settings(), count: 301, monitor: resumed) }
        let file = made[0].file
        #expect(throws: CheckpointError.self) { try TrainingCheckpoint(file: Array(file.dropLast(400))) }
        #expect(throws: CheckpointError.self) { try TrainingCheckpoint(file: []) }
    }

    @Test("tells how far it is")
    func progress() throws {
        var seen: [Int] = []
        var total = 0
        var monitor = TrainingMonitor()
        monitor.progress = {
            seen.append($0.step)
            total = $0.steps
        }
        _ = try train(settings(), monitor: monitor)
        #expect(seen == Array(1...seen.count))
        #expect(total == 36)
        #expect(seen.count <= total)
    }

    @Test("leaves what lies behind a size alone in its later stages")
    func sequential() throws {
        var generator = SeededGenerator(seed: 1)
        let table = TokenTable(weights: [Float](repeating: 0.2, count: 180), dimensions: 16, using: &generator)
        let pairs = pairs(seed: 1, count: 64)
        var settings = settings(sizes: [4, 8, 16])
        settings.technique = .sequential
        let empty = TrainingPairs()
        var learner = PairLearner(
            table,
            .init(queries: pairs.queries, documents: pairs.documents, keys: pairs.keys),
            validation: .init(queries: empty.queries, documents: empty.documents, keys: empty.keys),
            settings
        )
        let batch = learner.batches(of: 32, using: &generator)[0]
        _ = learner.step(batch, rate: 0.1, draws: &generator)
        learner.active = 0..<2
        learner.beginStage()
        let before = learner.trunk.rows
        _ = learner.step(batch, rate: 0.1, draws: &generator)
        for row in 0..<180 {
            #expect(learner.trunk.rows[row * 16 + 8..<row * 16 + 16] == before[row * 16 + 8..<row * 16 + 16])
        }
        #expect(learner.trunk.rows != before)
    }

    @Test("embeds a text as the mean of its tokens at unit length, zeros for none")
    func vectors() throws {
        let table = TrainedTable(rows: [3, 0, 0, 4, 1, 1], dimensions: 2, history: TrainingHistory())
        var texts = TokenRows()
        texts.append([0, 1])
        texts.append([])
        let vectors = table.vectors(of: texts).values
        #expect(abs(vectors[0] - 0.6) < 1e-6 && abs(vectors[1] - 0.8) < 1e-6)
        #expect(vectors[2] == 0 && vectors[3] == 0)
    }

    @Test("puts no query and no document into a batch twice, and each pair into one batch at most")
    func batches() {
        var pairs = TrainingPairs()
        for index in Int32(0)..<100 { pairs.append(query: [index], document: [1000 + index / 2]) }
        for _ in 0..<20 { pairs.append(query: [7], document: [5]) }
        pairs.append(query: [], document: [5])
        #expect(pairs.count == 120)
        var generator = SeededGenerator(seed: 1)
        let batches = pairs.keys.batches(of: 16, using: &generator)
        #expect(batches.count >= 5)
        for batch in batches {
            #expect(batch.count == 16)
            #expect(Set(batch.map { Array(pairs.queries[$0]) }).count == 16)
            #expect(Set(batch.map { Array(pairs.documents[$0]) }).count == 16)
        }
        let used = batches.joined()
        #expect(Set(used).count == used.count)
    }

    @Test("leaves rows of tokens that no text holds as they were drawn")
    func lazy() {
        var generator = SeededGenerator(seed: 1)
        var table = TokenTable(weights: [1, 1, 1], dimensions: 8, using: &generator)
        let before = table.rows
        var texts = TokenRows()
        texts.append([0, 0, 2])
        table.forward([(texts, [0])])
        table.backward([Float](repeating: 3, count: 8))
        table.step(Optimiser(), rate: 0.5)
        #expect(table.rows[8..<16] == before[8..<16])
        // The first step of Adam is the rate against the gradient's sign, however large it is.
        for d in [0, 7, 16, 23] { #expect(abs(before[d] - table.rows[d] - 0.5) < 1e-4) }
    }
}
