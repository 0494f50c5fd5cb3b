import Testing

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

    private func settings(seed: UInt64 = 1) -> TrainingSettings {
        var settings = TrainingSettings()
        settings.nesting = [8, 16]
        settings.batch = 32
        settings.epochs = 4
        settings.seed = seed
        return settings
    }

    @Test("lowers the loss, on pairs that it has not seen too")
    func learns() {
        let pairs = pairs(seed: 1, count: 800)
        let result = StaticTrainer(settings()).train(
            pairs,
            validation: self.pairs(seed: 2, count: 200),
            tokenCount: 180
        )
        #expect(result.trainingLoss.last! < result.trainingLoss[0] * 0.8)
        #expect(result.validationLoss.min()! < result.validationLoss[0])
        #expect(result.validationLoss[result.bestEpoch - 1] == result.validationLoss.min())
        #expect(result.rows.count == 180 * 16)
        #expect(result.rows.allSatisfy { $0.isFinite })
    }

    @Test("gives the same table for the same seed, another for another")
    func reproducible() {
        let pairs = pairs(seed: 1, count: 300)
        let validation = self.pairs(seed: 2, count: 100)
        func rows(_ seed: UInt64) -> [Float] {
            StaticTrainer(settings(seed: seed)).train(pairs, validation: validation, tokenCount: 180).rows
        }
        #expect(rows(1) == rows(1))
        #expect(rows(1) != rows(2))
    }

    @Test("tells how far it is")
    func progress() {
        var seen: [Int] = []
        var total = 0
        _ = StaticTrainer(settings()).train(
            pairs(seed: 1, count: 300),
            validation: TrainingPairs(),
            tokenCount: 180,
            progress: {
                seen.append($0.step)
                total = $0.steps
            }
        )
        #expect(seen == Array(1...seen.count))
        #expect(total == 36)
        #expect(seen.count <= total)
    }

    @Test("puts no query and no document into a batch twice, and each pair into one batch at most")
    func batches() {
        var pairs = TrainingPairs()
        for index in Int32(0)..<100 { pairs.append(query: [index], document: [1000 + index / 2]) }
        for _ in 0..<20 { pairs.append(query: [7], document: [5]) }
        pairs.append(query: [], document: [5])
        #expect(pairs.count == 120)
        var generator = SeededGenerator(seed: 1)
        let batches = pairs.batches(of: 16, using: &generator)
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
        table.collect([Float](repeating: 3, count: 8), texts, [0])
        table.step(rate: 0.5)
        #expect(table.rows[8..<16] == before[8..<16])
        // The first step of Adam is the rate against the gradient's sign, however large it is.
        for d in [0, 7, 16, 23] { #expect(abs(before[d] - table.rows[d] - 0.5) < 1e-4) }
    }
}
