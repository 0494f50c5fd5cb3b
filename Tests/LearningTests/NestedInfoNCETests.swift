import Foundation
import Testing

@testable import Learning

@Suite("Nested InfoNCE")
struct NestedInfoNCETests {
    struct Case: Sendable {
        var scale: Float
        var sizes: [Int]
        var weights: [Float]
    }

    /// The definition, in double precision and without any of the short cuts.
    private func plainLoss(_ vectors: [Double], stride: Int, nesting: Nesting, scale: Double) -> Double {
        let n = vectors.count / stride / 2
        var total = 0.0
        for (size, weight) in zip(nesting.sizes, nesting.weights) {
            func unit(_ row: Int) -> [Double] {
                let prefix = vectors[row * stride..<row * stride + size]
                let norm = prefix.reduce(0) { $0 + $1 * $1 }.squareRoot()
                return prefix.map { norm == 0 ? 0 : $0 / norm }
            }
            let (left, right) = ((0..<n).map(unit), (n..<2 * n).map(unit))
            let logits = left.map { a in right.map { b in scale * zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } } }
            var loss = 0.0
            for i in 0..<n {
                loss += (log((0..<n).reduce(0) { $0 + exp(logits[i][$1]) }) - logits[i][i]) / Double(2 * n)
                loss += (log((0..<n).reduce(0) { $0 + exp(logits[$1][i]) }) - logits[i][i]) / Double(2 * n)
            }
            total += Double(weight) * loss
        }
        return total
    }

    private func batch(seed: UInt64, count: Int) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        return generator.normals(count, deviation: 1)
    }

    @Test(
        "has the loss and the gradient of its definition, for any sizes and weights",
        arguments: [
            Case(scale: 1, sizes: [8, 16, 24], weights: [1, 1, 1]),
            Case(scale: 5, sizes: [3, 4, 19], weights: [2, 1.5, 1]),
            Case(scale: 20, sizes: [24], weights: [0.5]),
        ]
    )
    func gradient(of example: Case) throws {
        let scale = example.scale
        let nesting = try #require(Nesting(sizes: example.sizes, weights: example.weights))
        let stride = 24
        let vectors = batch(seed: 1, count: 32 * stride)
        var loss = NestedInfoNCE(nesting: nesting, scale: scale, pairs: 16, stride: stride)
        let value = loss.loss(vectors.span, differentiates: true)
        let wide = vectors.map(Double.init)
        func plain(_ vectors: [Double]) -> Double {
            plainLoss(vectors, stride: stride, nesting: nesting, scale: Double(scale))
        }
        #expect(abs(value - plain(wide)) < 1e-4)
        #expect(loss.loss(vectors.span, differentiates: false) == value)

        let step = 1e-5
        for index in Swift.stride(from: 0, to: vectors.count, by: 7) {
            var (up, down) = (wide, wide)
            up[index] += step
            down[index] -= step
            let expected = (plain(up) - plain(down)) / (2 * step)
            #expect(abs(Double(loss.gradients[index]) - expected) < 2e-5 * Double(scale), "number \(index)")
        }
    }

    @Test("counts the active sizes alone")
    func active() throws {
        let vectors = batch(seed: 5, count: 16 * 24)
        let nesting = try #require(Nesting(sizes: [4, 8, 16, 24]))
        var all = NestedInfoNCE(nesting: nesting, scale: 10, pairs: 8, stride: 24)
        var two = NestedInfoNCE(nesting: try #require(Nesting(sizes: [8, 16])), scale: 10, pairs: 8, stride: 24)
        let (some, other) = (
            all.loss(vectors.span, active: 1..<3, differentiates: true), two.loss(vectors.span, differentiates: true)
        )
        #expect(abs(some - other) < 1e-5)
        for (found, expected) in zip(all.gradients, two.gradients) { #expect(abs(found - expected) < 1e-5) }
        for row in 0..<16 { #expect(all.gradients[row * 24 + 16..<(row + 1) * 24].allSatisfy { $0 == 0 }) }
    }

    @Test("does not change when a vector is scaled")
    func scaled() throws {
        var vectors = batch(seed: 6, count: 16 * 16)
        var loss = NestedInfoNCE(nesting: .doubling(from: 4, to: 16), scale: 20, pairs: 8, stride: 16)
        let before = loss.loss(vectors.span, differentiates: false)
        for d in 0..<16 { vectors[3 * 16 + d] *= 7 }
        #expect(abs(loss.loss(vectors.span, differentiates: false) - before) < 1e-4)
    }

    @Test("stays finite with a zero vector, which gets no gradient")
    func zeros() {
        var vectors = batch(seed: 3, count: 16 * 16)
        for d in 0..<16 { vectors[d] = 0 }
        var loss = NestedInfoNCE(nesting: .doubling(from: 8, to: 16), scale: 20, pairs: 8, stride: 16)
        #expect(loss.loss(vectors.span, differentiates: true).isFinite)
        #expect(loss.gradients[..<16].allSatisfy { $0 == 0 })
        #expect(loss.gradients.allSatisfy { $0.isFinite })
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
