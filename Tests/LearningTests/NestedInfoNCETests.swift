import Foundation
import Testing

@testable import Learning

@Suite("Nested InfoNCE")
struct NestedInfoNCETests {
    /// The definition, in double precision and without any of the short cuts.
    private func plainLoss(_ queries: [Double], _ documents: [Double], nesting: [Int], scale: Double) -> Double {
        let dimensions = nesting.last!
        let n = queries.count / dimensions
        var total = 0.0
        for size in nesting {
            func unit(_ matrix: [Double], _ row: Int) -> [Double] {
                let prefix = matrix[row * dimensions..<row * dimensions + size]
                let norm = prefix.reduce(0) { $0 + $1 * $1 }.squareRoot()
                return prefix.map { norm == 0 ? 0 : $0 / norm }
            }
            let left = (0..<n).map { unit(queries, $0) }
            let right = (0..<n).map { unit(documents, $0) }
            let logits = left.map { a in right.map { b in scale * zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } } }
            for i in 0..<n {
                total += (log((0..<n).reduce(0) { $0 + exp(logits[i][$1]) }) - logits[i][i]) / Double(2 * n)
                total += (log((0..<n).reduce(0) { $0 + exp(logits[$1][i]) }) - logits[i][i]) / Double(2 * n)
            }
        }
        return total
    }

    private func batch(seed: UInt64, count: Int) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        return (0..<count).map { _ in generator.normalPair().0 }
    }

    @Test("has the loss and the gradient of its definition", arguments: [Float(1), 5, 20])
    func gradient(scale: Float) {
        let nesting = [8, 16, 24]
        let (queries, documents) = (batch(seed: 1, count: 16 * 24), batch(seed: 2, count: 16 * 24))
        var loss = NestedInfoNCE(nesting: nesting, scale: scale, rows: 16)
        var found: (queries: [Float], documents: [Float]) = ([], [])
        let value = loss.loss(queries: queries, documents: documents) { found = ($0, $1) }
        let wide = (queries.map(Double.init), documents.map(Double.init))
        func plain(_ queries: [Double], _ documents: [Double]) -> Double {
            plainLoss(queries, documents, nesting: nesting, scale: Double(scale))
        }
        #expect(abs(value - plain(wide.0, wide.1)) < 1e-4)
        #expect(loss.loss(queries: queries, documents: documents) == value)

        let step = 1e-5
        for index in stride(from: 0, to: 16 * 24, by: 7) {
            var (up, down) = (wide.0, wide.0)
            up[index] += step
            down[index] -= step
            let ofQuery = (plain(up, wide.1) - plain(down, wide.1)) / (2 * step)
            #expect(abs(Double(found.queries[index]) - ofQuery) < 2e-5 * Double(scale))
            (up, down) = (wide.1, wide.1)
            up[index] += step
            down[index] -= step
            let ofDocument = (plain(wide.0, up) - plain(wide.0, down)) / (2 * step)
            #expect(abs(Double(found.documents[index]) - ofDocument) < 2e-5 * Double(scale))
        }
    }

    @Test("stays finite with a zero vector, which gets no gradient")
    func zeros() {
        var queries = batch(seed: 3, count: 8 * 16)
        for d in 0..<16 { queries[d] = 0 }
        var loss = NestedInfoNCE(nesting: [8, 16], scale: 20, rows: 8)
        let value = loss.loss(queries: queries, documents: batch(seed: 4, count: 8 * 16)) { dQueries, dDocuments in
            #expect(dQueries[..<16].allSatisfy { $0 == 0 })
            let all = dQueries + dDocuments
            let bad = all.indices.filter { !all[$0].isFinite }
            #expect(bad.isEmpty)
        }
        #expect(value.isFinite)
    }

    @Test("has an exponential that is right to seven digits")
    func exponentials() {
        for index in 0..<1000 {
            let x = -Float(index) * 0.08
            let value = exponential(SIMD8(repeating: x))[3]
            #expect(abs(Double(value) / exp(Double(x)) - 1) < 4e-7)
        }
        #expect(exponential(SIMD8(repeating: -1000))[0] < 1e-37)
    }
}
