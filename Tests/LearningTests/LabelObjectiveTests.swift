import Encoding
import Testing
import VectorMath

@testable import Learning

/// Compared with finite differences: what a batch costs, through all that lies between the loss and a parameter.
@Suite("Losses of labelled batches")
struct LabelObjectiveTests {
    private let labels: [Int32] = [0, 2, 1, 2, 0, 1]
    private let nesting = Nesting(sizes: [2, 5, 8], weights: [2, 1, 0.5])!

    private func input() -> Matrix {
        var generator = SeededGenerator(seed: 3)
        return Matrix(values: generator.normals(6 * 5, deviation: 1), columns: 5)
    }

    private func trunk(_ layers: [DenseTrunk.Layer]) -> DenseTrunk {
        var generator = SeededGenerator(seed: 2)
        var trunk = DenseTrunk(width: 5, layers: layers, capacity: 6)
        trunk.parameters.values = generator.normals(trunk.parameters.values.count, deviation: 0.5)
        return trunk
    }

    private func head(_ nesting: Nesting, _ form: ClassifierHeads.Form = .separate) -> NestedSoftmax {
        var generator = SeededGenerator(seed: 4)
        var head = NestedSoftmax(nesting: nesting, form: form, classes: 3, capacity: 6, stride: 8)
        head.parameters.values = generator.normals(head.parameters.values.count, deviation: 0.5)
        return head
    }

    private static let stack = [
        DenseTrunk.Layer(inputs: 5, outputs: 8),
        DenseTrunk.Layer(inputs: 8, outputs: 8, activation: .relu, isResidual: true),
        DenseTrunk.Layer(inputs: 8, outputs: 8, activation: .relu, isResidual: true),
    ]

    /// A loss with the same draws every time.
    private func loss<Objective: LabelObjective>(_ objective: inout Objective) -> Double
    where Objective.Input == Matrix {
        var draws: SeededGenerator? = SeededGenerator(seed: 11)
        return objective.loss(input(), rows: Array(0..<6), labels: labels, draws: &draws)
    }

    private func check<Objective: LabelObjective>(
        _ objective: Objective,
        location: SourceLocation = #_sourceLocation,
        _ gradients: (Objective) -> [[Float]]
    ) where Objective.Input == Matrix {
        var run = objective
        _ = loss(&run)
        let step: Float = 1e-2
        for (part, found) in gradients(run).enumerated() {
            for index in found.indices {
                var (up, down) = (objective, objective)
                up.parameters[part].values[index] += step
                down.parameters[part].values[index] -= step
                let expected = (loss(&up) - loss(&down)) / Double(2 * step)
                #expect(
                    abs(Double(found[index]) - expected) < 2e-3 + 1e-2 * abs(expected),
                    "part \(part), parameter \(index)",
                    sourceLocation: location
                )
            }
        }
    }

    @Test("MRL and MRL-E have their gradient through an adapter", arguments: [ClassifierHeads.Form.separate, .shared])
    func nested(form: ClassifierHeads.Form) {
        let objective = NestedObjective(
            trunk: trunk([DenseTrunk.Layer(inputs: 5, outputs: 8)]),
            head: head(nesting, form),
            optimiser: Optimiser()
        )
        check(objective) { [$0.trunk.pendingGradients, $0.head.pendingGradients] }
    }

    @Test("vectors of a fixed length have theirs")
    func fixedLength() {
        var objective = NestedObjective(
            trunk: trunk([DenseTrunk.Layer(inputs: 5, outputs: 8)]),
            head: head(nesting),
            optimiser: Optimiser()
        )
        objective.fixesLength = true
        check(objective) { [$0.trunk.pendingGradients, $0.head.pendingGradients] }
    }

    @Test("nested dropout has that of what it kept")
    func dropout() {
        var objective = NestedObjective(
            trunk: trunk([DenseTrunk.Layer(inputs: 5, outputs: 8)]),
            head: head(.single(8)),
            optimiser: Optimiser()
        )
        objective.meanKept = 3
        check(objective) { [$0.trunk.pendingGradients, $0.head.pendingGradients] }
    }

    @Test("a slimmable network has the sum of its widths'")
    func slimmable() {
        let layers = [
            DenseTrunk.Layer(inputs: 5, outputs: 8, activation: .relu), DenseTrunk.Layer(inputs: 8, outputs: 8),
        ]
        let objective = SlimmableObjective(
            trunk: trunk(layers),
            head: head(Nesting(sizes: [2, 4, 6, 8])!, .shared),
            shares: [0.25, 0.5, 0.75, 1],
            optimiser: Optimiser()
        )
        check(objective) { [$0.trunk.pendingGradients, $0.head.pendingGradients] }
    }

    @Test("two layers with the nested loss have the sum of both")
    func layered() {
        let objective = LayeredObjective(
            trunk: trunk(Self.stack),
            head: head(nesting),
            temperature: 0.3,
            weight: 0,
            optimiser: Optimiser()
        )
        check(objective) { [$0.trunk.pendingGradients, $0.head.pendingGradients] }
    }

    @Test("the divergence of an earlier layer from the last is 0 where they agree, and has its gradient")
    func divergence() {
        let objective = LayeredObjective(
            trunk: trunk(Self.stack),
            head: head(nesting),
            temperature: 0.3,
            weight: 2,
            optimiser: Optimiser()
        )
        var generator = SeededGenerator(seed: 5)
        let (earlier, last) = (generator.normals(16, deviation: 0.3), generator.normals(16, deviation: 0.3))
        var gradients = [Float](repeating: 0, count: 16)
        #expect(abs(objective.divergence(last, last, rows: 2, adding: &gradients)) < 1e-6)
        #expect(gradients.allSatisfy { abs($0) < 1e-5 })
        gradients = [Float](repeating: 0, count: 16)
        #expect(objective.divergence(earlier, last, rows: 2, adding: &gradients) > 0)
        for index in earlier.indices {
            func at(_ step: Float) -> Double {
                var moved = earlier
                moved[index] += step
                var ignored = gradients
                return objective.divergence(moved, last, rows: 2, adding: &ignored)
            }
            let expected = (at(1e-2) - at(-1e-2)) / 2e-2
            #expect(abs(Double(gradients[index]) - expected) < 5e-3 + 1e-2 * abs(expected), "number \(index)")
        }
    }
}
