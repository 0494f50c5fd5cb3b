import Encoding
import Testing
import VectorMath

@testable import Learning

@Suite("Dense trunk")
struct DenseTrunkTests {
    private let width = 5
    private let layers = [
        DenseTrunk.Layer(inputs: 5, outputs: 8, activation: .relu),
        DenseTrunk.Layer(inputs: 8, outputs: 8, activation: .relu, isResidual: true),
        DenseTrunk.Layer(inputs: 8, outputs: 4),
    ]

    private func trunk() -> DenseTrunk {
        var generator = SeededGenerator(seed: 2)
        var trunk = DenseTrunk(width: width, layers: layers, capacity: 7)
        trunk.parameters.values = generator.normals(trunk.parameters.values.count, deviation: 0.5)
        return trunk
    }

    private func input() -> Matrix {
        var generator = SeededGenerator(seed: 3)
        return Matrix(values: generator.normals(9 * width, deviation: 1), columns: width)
    }

    /// A loss: fixed weights times the used numbers of the outputs of the last layer, and of the middle one.
    private func loss(_ trunk: inout DenseTrunk, share: Float) -> Double {
        trunk.forward([(input(), [4, 0, 8]), (input(), [1])], share: share)
        var sum = 0.0
        for row in 0..<4 {
            for d in 0..<Int(4 * share) { sum += Double(trunk.outputs[row * 4 + d]) * Double(row + 2 * d - 3) }
            for d in 0..<Int(8 * share) { sum += Double(trunk.outputs(ofLayer: 1)[row * 8 + d]) * Double(d - row) }
        }
        return sum
    }

    @Test("has the gradient of its layers, at every share of the units", arguments: [Float(1), 0.5, 0.25])
    func gradient(share: Float) {
        var trunk = trunk()
        _ = loss(&trunk, share: share)
        var (last, middle) = ([Float](repeating: 0, count: 28), [Float](repeating: 0, count: 56))
        for row in 0..<4 {
            for d in 0..<Int(4 * share) { last[row * 4 + d] = Float(row + 2 * d - 3) }
            for d in 0..<Int(8 * share) { middle[row * 8 + d] = Float(d - row) }
        }
        trunk.backward([(2, last), (1, middle)])
        let found = trunk.pendingGradients
        let step: Float = 1e-2
        for index in found.indices {
            var (up, down) = (trunk, trunk)
            up.parameters.values[index] += step
            down.parameters.values[index] -= step
            let expected = (loss(&up, share: share) - loss(&down, share: share)) / Double(2 * step)
            #expect(abs(Double(found[index]) - expected) < 2e-2 + 1e-3 * abs(expected), "parameter \(index)")
        }
    }

    @Test("makes what the adapter makes that it hands out, whole and in part")
    func adapter() throws {
        var trunk = trunk()
        let rows = input()
        trunk.forward([(rows, [0, 1, 2])])
        let whole = try #require(trunk.adapter(factor: 2)).outputs(of: rows.values[..<15].map { $0 / 2 })
        for (found, expected) in zip(trunk.outputs, whole) { #expect(abs(found - expected) < 1e-5) }
        trunk.forward([(rows, [0, 1, 2])], share: 0.5)
        let half = try #require(trunk.adapter(factor: 1, share: 0.5))
        #expect(half.outputs == 2)
        let part = half.outputs(of: Array(rows.values[..<15]))
        for row in 0..<3 {
            for d in 0..<2 { #expect(abs(trunk.outputs[row * 4 + d] - part[row * 2 + d]) < 1e-5) }
        }
    }

    @Test("lets the last layer alone learn after the first stage, and nothing when frozen")
    func stages() {
        var trunk = trunk()
        let before = trunk.parameters.values
        trunk.beginStage()
        _ = loss(&trunk, share: 1)
        trunk.backward([Float](repeating: 1, count: 28))
        trunk.step(Optimiser(), rate: 0.1)
        let lastLayer = 5 * 8 + 8 + 8 * 8 + 8
        #expect(trunk.parameters.values[..<lastLayer] == before[..<lastLayer])
        #expect(trunk.parameters.values[lastLayer...] != before[lastLayer...])
        trunk.freeze()
        #expect(!trunk.isTrainable)
    }

    @Test("passes vectors through where it has no layer")
    func empty() {
        var trunk = DenseTrunk(width: 5, capacity: 2)
        trunk.forward([(input(), [3, 1])])
        #expect(Array(trunk.outputs[..<5]) == Array(input().values[15..<20]))
        #expect(!trunk.isTrainable)
        #expect(trunk.adapter(factor: 1) == nil)
    }
}
