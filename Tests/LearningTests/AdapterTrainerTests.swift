import Encoding
import Testing
import VectorMath

@testable import Learning

@Suite("Adapter trainer")
struct AdapterTrainerTests {
    /// Queries and documents share four hidden numbers, spread over 12, and differ in noise in other directions.
    private func pairs(seed: UInt64, count: Int) -> FeaturePairs {
        var fixed = SeededGenerator(seed: 77)
        let spread = fixed.normals(12 * 12, deviation: 1)
        var generator = SeededGenerator(seed: seed)
        var (queries, documents): ([Float], [Float]) = ([], [])
        func mixed(_ hidden: [Float]) -> [Float] {
            (0..<12).map { d in (0..<12).reduce(0) { $0 + spread[d * 12 + $1] * hidden[$1] } }
        }
        for _ in 0..<count {
            let shared = generator.normals(4, deviation: 0.5)
            queries += mixed(shared + generator.normals(8, deviation: 1))
            documents += mixed(shared + generator.normals(8, deviation: 1))
        }
        return FeaturePairs(
            queries: Matrix(values: queries, columns: 12).unitRows,
            documents: Matrix(values: documents, columns: 12).unitRows
        )
    }

    private func settings() -> ContrastiveSettings {
        ContrastiveSettings(
            nesting: Nesting(sizes: [2, 4, 8])!,
            run: RunSettings(epochs: 10, batch: 64, rate: LearningRate(peak: 0.03))
        )
    }

    /// Share of queries whose own document is the nearest.
    private func found(_ queries: Matrix, _ documents: Matrix) -> Double {
        let width = queries.columns
        let hits = (0..<queries.rows).count { query in
            func score(_ row: Int) -> Float {
                (0..<width).reduce(0) { $0 + queries.values[query * width + $1] * documents.values[row * width + $1] }
            }
            return (0..<documents.rows).allSatisfy { $0 == query || score($0) < score(query) }
        }
        return Double(hits) / Double(queries.rows)
    }

    @Test(
        "every method makes unit vectors of every size, and those that train find more than none",
        arguments: TrainingMethod.ofPairs
    )
    func methods(method: TrainingMethod) {
        let test = pairs(seed: 3, count: 60)
        let models = method.embeddings(settings(), pairs(seed: 1, count: 600), validation: pairs(seed: 2, count: 64))
        #expect(models.sizes == [2, 4, 8])
        for size in [2, 3, 8] {
            let vectors = models.vectors(of: test.queries, size: size)
            #expect(vectors.columns == size)
            #expect(abs(vectors.values[..<size].reduce(0) { $0 + $1 * $1 } - 1) < 1e-4)
        }
        // These two give up some of the full size for the small ones.
        if method == .nestedDropout || method == .sequential { return }
        let raw = found(test.queries, test.documents)
        let made = found(models.vectors(of: test.queries, size: 8), models.vectors(of: test.documents, size: 8))
        #expect(made > raw + 0.15, "\(raw) before, \(made) after")
    }

    @Test(
        "lowers the loss by every technique",
        arguments: [Technique.matryoshka, .nestedDropout(meanKept: 4), .sequential]
    )
    func techniques(technique: Technique) throws {
        var settings = settings()
        settings.technique = technique
        let history = try AdapterTrainer(settings).train(pairs(seed: 1, count: 600)).history
        #expect(try #require(history.trainingLoss.last) < history.trainingLoss[0] * 0.97)
    }

    @Test("learns with a hidden layer, and the same from the same seed")
    func hidden() throws {
        let trainer = AdapterTrainer(settings(), shape: .hidden(units: 24))
        let trained = try trainer.train(pairs(seed: 1, count: 600))
        #expect(trained.adapter.layers.count == 2)
        #expect(try #require(trained.history.trainingLoss.last) < trained.history.trainingLoss[0])
        #expect(try trainer.train(pairs(seed: 1, count: 600)).adapter == trained.adapter)
    }

    @Test("leaves out pairs with a vector of zeros")
    func zeros() {
        let some = pairs(seed: 1, count: 9)
        let queries = Matrix(values: [Float](repeating: 0, count: 12) + some.queries.values.dropFirst(12), columns: 12)
        #expect(FeaturePairs(queries: queries, documents: some.documents).count == 8)
    }

    @Test("runs static models through every method too", arguments: TrainingMethod.ofPairs)
    func tables(method: TrainingMethod) {
        var generator = SeededGenerator(seed: 5)
        var pairs = TrainingPairs()
        for _ in 0..<200 {
            let topic = Int32.random(in: 0..<20, using: &generator)
            pairs.append(query: [topic, 20 + topic % 3], document: [topic, 23 + topic % 2])
        }
        var texts = TokenRows()
        texts.append([3, 23])
        let models = method.embeddings(settings(), pairs, validation: TrainingPairs(), tokenCount: 25)
        #expect(models.vectors(of: texts, size: 4).values.count == 4)
    }
}
