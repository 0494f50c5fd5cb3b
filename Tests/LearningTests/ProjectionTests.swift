import Encoding
import Testing
import VectorMath

@testable import Learning

@Suite("Projection")
struct ProjectionTests {
    /// Rows around (5, 0, 0) with spreads 0.1, 2 and 1.
    private func rows() -> Matrix {
        var generator = SeededGenerator(seed: 1)
        let noise = generator.normals(3 * 400, deviation: 1)
        let values = noise.enumerated().map { index, value in
            index % 3 == 0 ? 5 + 0.1 * value : (index % 3 == 1 ? 2 : 1) * value
        }
        return Matrix(values: values, columns: 3)
    }

    @Test("principal components take the mean off first, singular vectors do not")
    func components() throws {
        let rows = rows()
        let components = try #require(Projection.principalComponents(of: rows))
        let made = components.outputs(of: rows.values)
        var mean: [Float] = [0, 0, 0]
        var spread: [Float] = [0, 0, 0]
        for (index, value) in made.enumerated() {
            mean[index % 3] += value / 400
            spread[index % 3] += value * value / 400
        }
        #expect(mean.allSatisfy { abs($0) < 1e-3 })
        #expect(abs(spread[0] - 4) < 0.8 && abs(spread[1] - 1) < 0.3 && spread[2] < 0.05)
        let vectors = try #require(Projection.singularVectors(of: rows)).layers[0].weights
        #expect(abs(vectors[0]) > 0.99)
    }

    @Test("random maps are those of their seed, and a shuffle keeps all numbers")
    func random() {
        #expect(Projection.random(width: 8, seed: 1) == Projection.random(width: 8, seed: 1))
        #expect(Projection.random(width: 8, seed: 1) != Projection.random(width: 8, seed: 2))
        let values = (0..<8).map { Float($0) }
        #expect(Projection.shuffle(width: 8, seed: 3).outputs(of: values).sorted() == values)
    }

    @Test("a classifier by singular values gives the same logits whole, and the best of low rank cut")
    func singularValues() throws {
        // Rank 2: rows are sums of two directions.
        let weights: [Float] = [2, 0, 0, 0, 1, 0, 2, 1, 0, -2, 1, 0]
        let heads = try #require(
            ClassifierHeads(
                nesting: [3],
                labels: ["a", "b", "c", "d"],
                form: .separate,
                weights: [weights],
                biases: [[1, 2, 3, 4]]
            )
        )
        let whole = try #require(FeatureClassifier(adapter: nil, heads: heads, encoder: nil, training: nil))
        let found = try #require(whole.bySingularValues(sizes: [1, 2]))
        #expect(found.heads.nesting == [1, 2, 3])
        let vectors: [Float] = [0.5, -1, 2, 3, 1, 0]
        let expected = heads.logits(of: vectors, size: 3)
        for size in [2, 3] {
            let logits = found.heads.logits(of: found.features(of: vectors), size: size)
            for (found, expected) in zip(logits, expected) { #expect(abs(found - expected) < 1e-4) }
        }
        // The first direction is that of the largest column.
        let first = found.heads.logits(of: found.features(of: [1, 0, 0]), size: 1)
        #expect(abs(first[0] - 3) < 1e-4 && abs(first[3] - 2) < 1e-4)
        #expect(whole.bySingularValues(sizes: [4]) == nil)
    }
}
