import Glibc

/// What a training run is made of.
public struct TrainingSettings: Sendable, Hashable {
    /// Sizes M, ascending; the last one is the full size.
    ///
    /// Each is a multiple of 8.
    public var nesting = [8, 16, 32, 64, 128, 256]
    /// Passes over the pairs.
    public var epochs = 4
    /// Pairs in a batch, a multiple of 8.
    public var batch = 512
    /// Peak rate of Adam: reached after a tenth of the steps, then falling to zero in a line.
    public var learningRate: Float = 0.05
    /// Factor of the cosines.
    public var scale: Float = 20
    /// Standard deviation of a token's first vector, for a token of mean rarity.
    public var initialDeviation: Float = 0.2
    /// Start of the random numbers.
    public var seed: UInt64 = 1

    /// The settings of the published experiments.
    public init() {}
}

/// How far a run is.
public struct TrainingProgress: Sendable {
    /// Steps done.
    public var step: Int
    /// Steps of the run.
    public var steps: Int
    /// Epoch under way, from 1.
    public var epoch: Int
    /// Loss of the last batches, smoothed.
    public var loss: Double
}

/// A trained table.
public struct TrainedTable: Sendable {
    /// Row-major, tokens × dimensions.
    public var rows: [Float]
    /// Epoch whose table was kept, from 1.
    public var bestEpoch: Int
    /// Mean training loss of each epoch that ran.
    public var trainingLoss: [Double]
    /// Validation loss after each epoch that ran; empty without validation pairs.
    public var validationLoss: [Double]
}

/// Trains the table of a static Matryoshka model on pairs of texts.
public struct StaticTrainer: Sendable {
    private let settings: TrainingSettings

    /// Makes a trainer.
    public init(_ settings: TrainingSettings) {
        precondition(settings.nesting.allSatisfy { $0 % 8 == 0 && $0 > 0 }, "sizes are multiples of 8")
        precondition(settings.batch % NestedInfoNCE.rowsMultiple == 0, "a batch is a multiple of 8")
        self.settings = settings
    }

    /// Rarity of each token among the documents, 1 on average over the tokens in use.
    ///
    /// A rare word says more of a text than a common one, and so begins with more weight in the mean.
    static func rarities(_ documents: TokenRows, tokenCount: Int) -> [Float] {
        var frequencies = [Int](repeating: 0, count: tokenCount)
        for row in 0..<documents.count { for token in Set(documents[row]) { frequencies[Int(token)] += 1 } }
        let total = Double(documents.count + 1)
        let rarities = frequencies.map { -log(Double($0 + 1) / total) + 0.1 }
        let used = zip(rarities, frequencies).filter { $0.1 > 0 }.map(\.0)
        let mean = used.isEmpty ? 1 : used.reduce(0, +) / Double(used.count)
        return rarities.map { Float($0 / mean) }
    }

    /// Trains; equal settings and pairs give equal tables on one machine.
    ///
    /// - Parameters:
    ///   - pairs: For training, at least 8.
    ///   - validation: Decide which epoch's table is kept, and end the run when two epochs bring no gain.
    ///   - tokenCount: Rows of the table.
    ///   - progress: Called after every step.
    /// - Returns: The table of the best epoch, and the losses of all.
    public func train(
        _ pairs: TrainingPairs,
        validation: TrainingPairs,
        tokenCount: Int,
        progress: (TrainingProgress) -> Void = { _ in }
    ) -> TrainedTable {
        precondition(pairs.count >= NestedInfoNCE.rowsMultiple, "training needs at least 8 pairs")
        var generator = SeededGenerator(seed: settings.seed)
        var table = TokenTable(
            weights: Self.rarities(pairs.documents, tokenCount: tokenCount).map { $0 * settings.initialDeviation },
            dimensions: settings.nesting[settings.nesting.count - 1],
            using: &generator
        )
        let size = Self.batchSize(pairs, settings.batch)
        var loss = NestedInfoNCE(nesting: settings.nesting, scale: settings.scale, rows: size)
        let validationBatches = Self.validationBatches(validation, settings)
        var result = TrainedTable(rows: [], bestEpoch: 0, trainingLoss: [], validationLoss: [])
        let stepsPerEpoch = pairs.count / size
        let steps = stepsPerEpoch * settings.epochs
        var (step, smoothed) = (0, 0.0)
        for epoch in 1...max(1, settings.epochs) {
            let batches = pairs.batches(of: size, using: &generator)
            var sum = 0.0
            for batch in batches {
                let queries = table.means(pairs.queries, batch)
                let documents = table.means(pairs.documents, batch)
                let value = loss.loss(queries: queries, documents: documents) { dQueries, dDocuments in
                    table.collect(dQueries, pairs.queries, batch)
                    table.collect(dDocuments, pairs.documents, batch)
                }
                table.step(rate: rate(step, of: steps))
                step += 1
                sum += value
                smoothed = step == 1 ? value : smoothed * 0.9 + value * 0.1
                progress(TrainingProgress(step: step, steps: steps, epoch: epoch, loss: smoothed))
            }
            result.trainingLoss.append(sum / Double(max(1, batches.count)))
            guard let validationLoss = Self.mean(validation, validationBatches, table, settings) else {
                (result.rows, result.bestEpoch) = (table.rows, epoch)
                continue
            }
            result.validationLoss.append(validationLoss)
            if result.validationLoss.min() == validationLoss { (result.rows, result.bestEpoch) = (table.rows, epoch) }
            // One rise may be chance; a second epoch in a row without a gain is not.
            if epoch - result.bestEpoch >= 2 { break }
        }
        return result
    }

    private func rate(_ step: Int, of steps: Int) -> Float {
        let warmUp = max(1, steps / 10)
        if step < warmUp { return settings.learningRate * Float(step + 1) / Float(warmUp) }
        return settings.learningRate * Float(max(0, steps - step)) / Float(max(1, steps - warmUp))
    }

    private static func batchSize(_ pairs: TrainingPairs, _ wanted: Int) -> Int {
        min(wanted, pairs.count / NestedInfoNCE.rowsMultiple * NestedInfoNCE.rowsMultiple)
    }

    /// The same batches after every epoch.
    private static func validationBatches(_ pairs: TrainingPairs, _ settings: TrainingSettings) -> [[Int]] {
        guard pairs.count >= NestedInfoNCE.rowsMultiple else { return [] }
        var generator = SeededGenerator(seed: 0)
        return pairs.batches(of: batchSize(pairs, settings.batch), using: &generator)
    }

    private static func mean(
        _ pairs: TrainingPairs,
        _ batches: [[Int]],
        _ table: TokenTable,
        _ settings: TrainingSettings
    ) -> Double? {
        guard let size = batches.first?.count else { return nil }
        var loss = NestedInfoNCE(nesting: settings.nesting, scale: settings.scale, rows: size)
        let sum = batches.reduce(0.0) { sum, batch in
            sum
                + loss.loss(
                    queries: table.means(pairs.queries, batch),
                    documents: table.means(pairs.documents, batch)
                )
        }
        return sum / Double(batches.count)
    }
}
