import Encoding
import VectorMath

/// Dense layers over frozen vectors, under training; without a layer the vectors themselves.
///
/// Layer i makes activation(W · x + b), and adds x where it is residual. The first `share` of a layer's units is a
/// narrower network of its own (slimmable networks, Yu et al. 2019): it takes the first rows and columns of W alone.
struct DenseTrunk: Trunk {
    struct Layer {
        var inputs: Int
        var outputs: Int
        var activation = FeatureAdapter.Activation.none
        var isResidual = false
        /// Where W (outputs × inputs) begins among the parameters; b follows it.
        fileprivate(set) var start = 0

        fileprivate var biasStart: Int { start + inputs * outputs }
        fileprivate var end: Int { biasStart + outputs }
    }

    let layers: [Layer]
    private let inputWidth: Int
    var parameters: Parameters
    private var pending: [Float]
    private var isFrozen = false
    private var trainsLastAlone = false
    /// Vectors of the last forward pass, and the share of units that it used.
    private var rows = 0
    private var share: Float = 1
    private var inputs: [Float]
    private var activations: [[Float]]
    /// What a residual layer adds to its input.
    private var additions: [[Float]]
    /// dLoss/dOutput of each layer.
    private var deltas: [[Float]]

    /// Makes layers of zeros over vectors of `width` numbers, with room for `capacity` of them.
    init(width: Int, layers: [Layer] = [], capacity: Int) {
        inputWidth = width
        var end = 0
        self.layers = layers.map { layer in
            var layer = layer
            layer.start = end
            end = layer.end
            return layer
        }
        let widths = [width] + layers.map(\.outputs)
        precondition(zip(widths, layers).allSatisfy { $0 == $1.inputs }, "a layer takes what the one before it makes")
        precondition(layers.allSatisfy { !$0.isResidual || $0.inputs == $0.outputs }, "residual layers keep the width")
        parameters = Parameters([Float](repeating: 0, count: end))
        pending = parameters.values
        func buffers(_ width: (Layer) -> Int) -> [[Float]] {
            layers.map { [Float](repeating: 0, count: capacity * width($0)) }
        }
        inputs = [Float](repeating: 0, count: capacity * width)
        activations = buffers(\.outputs)
        additions = buffers { $0.isResidual && $0.activation == .relu ? $0.outputs : 0 }
        deltas = buffers(\.outputs)
    }

    var dimensions: Int { layers.last?.outputs ?? inputWidth }
    var stride: Int { dimensions }
    var isTrainable: Bool { !layers.isEmpty && !isFrozen }
    var outputs: [Float] { activations.last ?? inputs }

    /// The vectors that a layer made in the last forward pass.
    func outputs(ofLayer layer: Int) -> [Float] { activations[layer] }

    /// The layers learn no more.
    mutating func freeze() { isFrozen = true }

    /// Sets a layer's matrix, outputs × inputs.
    mutating func setMatrix(_ matrix: [Float], ofLayer layer: Int) {
        let layer = layers[layer]
        precondition(matrix.count == layer.inputs * layer.outputs, "the layer's shape")
        parameters.values.replaceSubrange(layer.start..<layer.biasStart, with: matrix)
    }

    /// The layers as they are, for inputs that are to be multiplied by `factor` first; nil without a layer.
    func adapter(factor: Float, share: Float = 1) -> FeatureAdapter? {
        FeatureAdapter(
            layers: layers.enumerated().compactMap { index, layer in
                let columns = used(layer.inputs, share: index == 0 ? 1 : share)
                let rows = used(layer.outputs, share: share)
                var weights: [Float] = []
                for row in 0..<rows {
                    let start = layer.start + row * layer.inputs
                    weights += parameters.values[start..<start + columns].lazy.map { index == 0 ? $0 * factor : $0 }
                }
                return FeatureAdapter.Layer(
                    inputs: columns,
                    outputs: rows,
                    weights: weights,
                    bias: Array(parameters.values[layer.biasStart..<layer.biasStart + rows]),
                    activation: layer.activation,
                    isResidual: layer.isResidual
                )
            }
        )
    }

    /// Numbers of the vector that a share of the units makes.
    func width(of share: Float) -> Int { used(dimensions, share: share) }

    private func used(_ width: Int, share: Float) -> Int { max(1, Int(Float(width) * share)) }

    mutating func forward(_ parts: [(input: Matrix, rows: [Int])]) { forward(parts, share: 1) }

    /// Runs the first `share` of each layer's units.
    mutating func forward(_ parts: [(input: Matrix, rows: [Int])], share: Float) {
        self.share = share
        rows = 0
        let width = inputWidth
        inputs.withUnsafeMutableBufferPointer { inputs in
            for (input, selected) in parts {
                precondition(input.columns == width, "vectors of \(width) numbers")
                input.values.withUnsafeBufferPointer { values in
                    for row in selected {
                        inputs.baseAddress!.advanced(by: rows * width)
                            .update(from: values.baseAddress! + row * width, count: width)
                        rows += 1
                    }
                }
            }
        }
        for index in layers.indices { run(index) }
    }

    private mutating func run(_ index: Int) {
        let layer = layers[index]
        let source = index == 0 ? inputs : activations[index - 1]
        let (width, count) = (used(layer.outputs, share: share), rows)
        // Taken out, so that it is written in place.
        var result = activations[index]
        activations[index] = []
        result.withUnsafeMutableBufferPointer { result in
            parameters.values.withUnsafeBufferPointer { values in
                for row in 0..<count {
                    result.baseAddress!.advanced(by: row * layer.outputs)
                        .update(from: values.baseAddress! + layer.biasStart, count: width)
                }
            }
        }
        var out = result.mutableSpan
        BLAS.sgemm(
            transposeB: true,
            rows: count,
            columns: width,
            inner: used(layer.inputs, share: index == 0 ? 1 : share),
            source.span,
            strideA: layer.inputs,
            parameters.values.span.extracting(layer.start...),
            strideB: layer.inputs,
            beta: 1,
            &out,
            strideC: layer.outputs
        )
        if layer.activation == .relu {
            result.withUnsafeMutableBufferPointer { result in
                for i in 0..<count * layer.outputs { result[i] = max(0, result[i]) }
            }
        }
        if layer.isResidual {
            if layer.activation == .relu {
                additions[index].replaceSubrange(..<(count * layer.outputs), with: result[..<(count * layer.outputs)])
            }
            result.withUnsafeMutableBufferPointer { result in
                source.withUnsafeBufferPointer { source in
                    for i in 0..<count * layer.outputs { result[i] += source[i] }
                }
            }
        }
        activations[index] = result
    }

    mutating func backward(_ gradients: [Float]) { backward([(layers.count - 1, gradients)]) }

    /// Takes dLoss/dOutput of some layers.
    mutating func backward(_ gradients: [(layer: Int, values: [Float])]) {
        guard isTrainable, let top = gradients.map(\.layer).max() else { return }
        for index in 0...top {
            deltas[index].withUnsafeMutableBufferPointer { delta in
                delta.update(repeating: 0)
                for (layer, values) in gradients where layer == index {
                    for i in 0..<rows * layers[index].outputs { delta[i] += values[i] }
                }
            }
        }
        for index in (0...top).reversed() {
            if trainsLastAlone, index < layers.count - 1 { return }
            pullBack(index)
        }
    }

    private mutating func pullBack(_ index: Int) {
        let layer = layers[index]
        let source = index == 0 ? inputs : activations[index - 1]
        let (width, columns) = (
            used(layer.outputs, share: share), used(layer.inputs, share: index == 0 ? 1 : share)
        )
        let rows = rows
        var delta = deltas[index]
        deltas[index] = []
        if index > 0, layer.isResidual {
            deltas[index - 1].withUnsafeMutableBufferPointer { lower in
                for i in 0..<rows * layer.outputs { lower[i] += delta[i] }
            }
        }
        if layer.activation == .relu {
            let made = layer.isResidual ? additions[index] : activations[index]
            delta.withUnsafeMutableBufferPointer { delta in
                made.withUnsafeBufferPointer { made in
                    for i in 0..<rows * layer.outputs where made[i] <= 0 { delta[i] = 0 }
                }
            }
        }
        var ofMatrix = pending.mutableSpan
        BLAS.sgemm(
            transposeA: true,
            rows: width,
            columns: columns,
            inner: rows,
            delta.span,
            strideA: layer.outputs,
            source.span,
            strideB: layer.inputs,
            beta: 1,
            &ofMatrix,
            startC: layer.start,
            strideC: layer.inputs
        )
        pending.withUnsafeMutableBufferPointer { pending in
            delta.withUnsafeBufferPointer { delta in
                for row in 0..<rows {
                    for j in 0..<width { pending[layer.biasStart + j] += delta[row * layer.outputs + j] }
                }
            }
        }
        if index > 0, !trainsLastAlone {
            var lower = deltas[index - 1]
            deltas[index - 1] = []
            var out = lower.mutableSpan
            BLAS.sgemm(
                rows: rows,
                columns: columns,
                inner: width,
                delta.span,
                strideA: layer.outputs,
                parameters.values.span.extracting(layer.start...),
                strideB: layer.inputs,
                beta: 1,
                &out,
                strideC: layer.inputs
            )
            deltas[index - 1] = lower
        }
        deltas[index] = delta
    }

    mutating func step(_ optimiser: Optimiser, rate: Float) {
        guard isTrainable else { return }
        optimiser.step(&parameters, gradients: &pending, rate: rate)
    }

    mutating func beginStage() {
        trainsLastAlone = true
        parameters.forget()
    }

    /// dLoss/dParameters since the last step, in the parameters' order.
    var pendingGradients: [Float] { pending }
}
