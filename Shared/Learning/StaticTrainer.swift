import Glibc
public import VectorMath

/// A trained table of token vectors.
public struct TrainedTable: Sendable {
    /// Row-major, tokens × dimensions.
    public var rows: [Float]
    /// Full size D.
    public var dimensions: Int
    /// What the run went through.
    public var history: TrainingHistory

    /// Unit vectors of some texts, one row each; zeros for a text without a token.
    public func vectors(of texts: TokenRows) -> Matrix {
        var sums = [Float](repeating: 0, count: texts.count * dimensions)
        sums.withUnsafeMutableBufferPointer { sums in
            rows.withUnsafeBufferPointer { rows in
                for text in 0..<texts.count {
                    for token in texts[text] {
                        let from = Int(token) * dimensions
                        for d in 0..<dimensions { sums[text * dimensions + d] += rows[from + d] }
                    }
                }
            }
        }
        return Matrix(values: sums, columns: dimensions).unitRows
    }
}

/// Trains the table of a static Matryoshka model on pairs of texts.
public struct StaticTrainer: Sendable {
    private let settings: ContrastiveSettings
    private let initialDeviation: Float

    /// Makes a trainer.
    ///
    /// - Parameters:
    ///   - settings: The optimiser is Adam; it moves a token's row only in steps that see the token.
    ///   - initialDeviation: Standard deviation of a token's first vector, for a token of mean rarity.
    public init(_ settings: ContrastiveSettings, initialDeviation: Float = 0.2) {
        precondition(settings.run.batch % NestedInfoNCE.pairsMultiple == 0, "a batch is a multiple of 8")
        self.settings = settings
        self.initialDeviation = initialDeviation
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
    ///   - validation: Decide which epoch's table is kept, and when the run ends, where the run has patience.
    ///   - tokenCount: Rows of the table.
    ///   - monitor: Looks on.
    /// - Returns: The table of the best epoch, and the losses of all.
    /// - Throws: ``CheckpointError``.
    public func train(
        _ pairs: TrainingPairs,
        validation: TrainingPairs,
        tokenCount: Int,
        monitor: TrainingMonitor = TrainingMonitor()
    ) throws(CheckpointError) -> TrainedTable {
        precondition(pairs.count >= NestedInfoNCE.pairsMultiple, "training needs at least 8 pairs")
        var generator = SeededGenerator(seed: settings.run.seed)
        let table = TokenTable(
            weights: Self.rarities(pairs.documents, tokenCount: tokenCount).map { $0 * initialDeviation },
            dimensions: settings.nesting.dimensions,
            using: &generator
        )
        var learner = PairLearner(
            table,
            .init(queries: pairs.queries, documents: pairs.documents, keys: pairs.keys),
            validation: .init(queries: validation.queries, documents: validation.documents, keys: validation.keys),
            settings
        )
        let data = [UInt64(tokenCount), pairs.keys.fingerprint, validation.keys.fingerprint]
        let task = "\(settings) \(initialDeviation) \(data)"
        let history = try settings.run(&learner, generator: &generator, task: task, monitor: monitor)
        return TrainedTable(rows: learner.trunk.rows, dimensions: table.dimensions, history: history)
    }
}
