import Encoding
import Foundation
import Testing

@testable import Learning

@Suite("Nested softmax")
struct NestedSoftmaxTests {
    private let classes = 5
    private let labels: [Int32] = [0, 3, 4, 1, 1, 2]
    private let stride = 11

    /// The definition, in double precision: parameters as the heads lay them out.
    private func plainLoss(
        _ parameters: [Double],
        _ vectors: [Double],
        _ nesting: Nesting,
        _ form: ClassifierHeads.Form,
        smoothing: Double
    ) -> Double {
        var total = 0.0
        var start = 0
        for (size, weight) in zip(nesting.sizes, nesting.weights) {
            let width = form == .separate ? size : nesting.dimensions
            let bias = start + width * classes
            for (row, label) in labels.enumerated() {
                let logits = (0..<classes).map { c in
                    parameters[bias + c]
                        + (0..<size).reduce(0) { $0 + parameters[start + c * width + $1] * vectors[row * stride + $1] }
                }
                let logSum = log(logits.reduce(0) { $0 + exp($1) })
                for c in 0..<classes {
                    let target = (c == Int(label) ? 1 - smoothing : 0) + smoothing / Double(classes)
                    total += Double(weight) * target * (logSum - logits[c]) / Double(labels.count)
                }
            }
            if form == .separate { start = bias + classes }
        }
        return total
    }

    @Test(
        "has the loss and the gradients of its definition",
        arguments: [ClassifierHeads.Form.separate, .shared],
        [Float(0), 0.1]
    )
    func gradient(form: ClassifierHeads.Form, smoothing: Float) throws {
        let nesting = try #require(Nesting(sizes: [2, 5, 9], weights: [2, 1, 0.5]))
        var generator = SeededGenerator(seed: 4)
        let vectors = generator.normals(labels.count * stride, deviation: 1)
        var head = NestedSoftmax(
            nesting: nesting,
            form: form,
            classes: classes,
            smoothing: smoothing,
            capacity: 8,
            stride: stride
        )
        head.parameters.values = generator.normals(head.parameters.values.count, deviation: 1)
        let value = head.loss(vectors.span, labels: labels, differentiates: true)
        let wide = (parameters: head.parameters.values.map(Double.init), vectors: vectors.map(Double.init))
        func plain(_ parameters: [Double], _ vectors: [Double]) -> Double {
            plainLoss(parameters, vectors, nesting, form, smoothing: Double(smoothing))
        }
        #expect(abs(value - plain(wide.parameters, wide.vectors)) < 1e-5)
        #expect(head.loss(vectors.span, labels: labels, differentiates: false) == value)

        let step = 1e-5
        for index in wide.parameters.indices {
            var (up, down) = (wide.parameters, wide.parameters)
            up[index] += step
            down[index] -= step
            let expected = (plain(up, wide.vectors) - plain(down, wide.vectors)) / (2 * step)
            #expect(abs(Double(head.pendingGradients[index]) - expected) < 2e-5, "parameter \(index)")
        }
        for index in wide.vectors.indices {
            var (up, down) = (wide.vectors, wide.vectors)
            up[index] += step
            down[index] -= step
            let expected = (plain(wide.parameters, up) - plain(wide.parameters, down)) / (2 * step)
            #expect(abs(Double(head.gradients[index]) - expected) < 2e-5, "number \(index)")
        }
    }

    @Test(
        "counts the active sizes alone, and gives nothing to the others' heads",
        arguments: [ClassifierHeads.Form.separate, .shared]
    )
    func active(form: ClassifierHeads.Form) throws {
        var generator = SeededGenerator(seed: 5)
        let vectors = generator.normals(labels.count * stride, deviation: 1)
        func head(_ sizes: [Int]) throws -> NestedSoftmax {
            NestedSoftmax(
                nesting: try #require(Nesting(sizes: sizes)),
                form: form,
                classes: classes,
                capacity: 6,
                stride: stride
            )
        }
        var (all, some) = (try head([2, 5, 9, 11]), try head([5, 9]))
        let found = all.loss(vectors.span, labels: labels, active: 1..<3, differentiates: true)
        #expect(abs(found - some.loss(vectors.span, labels: labels, differentiates: true)) < 1e-6)
        // Heads of zeros give the logarithm of the number of classes.
        #expect(abs(found - 2 * log(5)) < 1e-5)
        if form == .separate {
            #expect(all.pendingGradients[..<15].allSatisfy { $0 == 0 })
            #expect(Array(all.pendingGradients[15..<95]) == some.pendingGradients)
        }
    }

    @Test("adds up gradients until a step, which spends them")
    func accumulation() {
        var generator = SeededGenerator(seed: 6)
        let vectors = generator.normals(labels.count * stride, deviation: 1)
        var head = NestedSoftmax(
            nesting: .single(stride),
            form: .separate,
            classes: classes,
            capacity: 6,
            stride: stride
        )
        _ = head.loss(vectors.span, labels: labels, differentiates: true)
        let once = head.pendingGradients
        _ = head.loss(vectors.span, labels: labels, differentiates: true)
        for (twice, once) in zip(head.pendingGradients, once) { #expect(abs(twice - 2 * once) < 1e-6) }
        head.step(Optimiser(), rate: 0.1)
        #expect(head.pendingGradients.allSatisfy { $0 == 0 })
        #expect(head.parameters.values.contains { $0 != 0 })
    }

    @Test("hands out heads that give the logits it learnt")
    func handedOut() throws {
        var generator = SeededGenerator(seed: 7)
        let vectors = generator.normals(6 * stride, deviation: 1)
        for form in [ClassifierHeads.Form.separate, .shared] {
            var head = NestedSoftmax(
                nesting: try #require(Nesting(sizes: [3, 11])),
                form: form,
                classes: classes,
                capacity: 6,
                stride: stride
            )
            head.parameters.values = generator.normals(head.parameters.values.count, deviation: 1)
            let heads = head.heads(labels: ["a", "b", "c", "d", "e"], factor: 2)
            let halves = vectors.map { $0 / 2 }
            let value = head.loss(vectors.span, labels: labels, differentiates: false)
            var expected = 0.0
            for size in [3, 11] {
                let probabilities = heads.probabilities(of: halves, size: size)
                for (row, label) in labels.enumerated() {
                    expected -= log(Double(probabilities[row * classes + Int(label)])) / 6
                }
            }
            #expect(abs(value - expected) < 1e-4)
        }
    }
}
