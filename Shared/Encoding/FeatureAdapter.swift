import VectorMath

/// Dense layers on top of a frozen encoder's vectors: one for a linear adapter, two for one with a hidden layer.
public struct FeatureAdapter: Sendable, Hashable {
    /// What is applied to each number that a layer makes.
    public enum Activation: String, Sendable, Hashable, Codable {
        case none, relu
    }

    /// y = activation(W · x + b), and x added to it where the layer is residual.
    public struct Layer: Sendable, Hashable {
        /// Width of x.
        public let inputs: Int
        /// Width of y.
        public let outputs: Int
        /// W, outputs × inputs, row-major.
        public let weights: [Float]
        /// b, one for each output.
        public let bias: [Float]
        /// Applied to W · x + b.
        public let activation: Activation
        /// Whether x is added; inputs and outputs are then as many.
        public let isResidual: Bool

        /// Makes a layer; nil where the sizes contradict each other.
        public init?(
            inputs: Int,
            outputs: Int,
            weights: [Float],
            bias: [Float],
            activation: Activation = .none,
            isResidual: Bool = false
        ) {
            guard inputs > 0, outputs > 0, weights.count == inputs * outputs, bias.count == outputs,
                !isResidual || inputs == outputs
            else { return nil }
            self.inputs = inputs
            self.outputs = outputs
            self.weights = weights
            self.bias = bias
            self.activation = activation
            self.isResidual = isResidual
        }

        func outputs(of rows: [Float]) -> [Float] {
            let count = rows.count / inputs
            var result = [Float](repeating: 0, count: count * outputs)
            var span = result.mutableSpan
            BLAS.sgemm(
                transposeB: true,
                rows: count,
                columns: outputs,
                inner: inputs,
                rows.span,
                weights.span,
                &span
            )
            result.withUnsafeMutableBufferPointer { result in
                for row in 0..<count {
                    for j in 0..<outputs {
                        var value = result[row * outputs + j] + bias[j]
                        if activation == .relu { value = max(0, value) }
                        result[row * outputs + j] = isResidual ? value + rows[row * inputs + j] : value
                    }
                }
            }
            return result
        }
    }

    /// In the order in which they are applied.
    public let layers: [Layer]

    /// Makes an adapter; nil where there is no layer, or one does not take what the one before it makes.
    public init?(layers: [Layer]) {
        guard !layers.isEmpty, zip(layers, layers.dropFirst()).allSatisfy({ $0.outputs == $1.inputs }) else {
            return nil
        }
        self.layers = layers
    }

    /// Makes a linear adapter without a bias from outputs × inputs numbers, row-major; nil where they are not so many.
    public init?(matrix: [Float], inputs: Int, outputs: Int) {
        guard
            let layer = Layer(
                inputs: inputs,
                outputs: outputs,
                weights: matrix,
                bias: [Float](repeating: 0, count: max(0, outputs))
            )
        else { return nil }
        self.init(layers: [layer])
    }

    /// Width of the vectors that it takes.
    public var inputs: Int { layers[0].inputs }
    /// Width of the vectors that it makes.
    public var outputs: Int { layers[layers.count - 1].outputs }

    /// What it makes of some vectors, not normalised.
    ///
    /// - Parameters:
    ///   - rows: Row-major, ``inputs`` floats each.
    ///   - layerCount: Layers to apply, 1 or more; all where nil.
    /// - Returns: Row-major, as wide as the last applied layer.
    public func outputs(of rows: [Float], layerCount: Int? = nil) -> [Float] {
        precondition(rows.count % inputs == 0, "vectors of \(inputs) numbers")
        return layers.prefix(layerCount ?? layers.count).reduce(rows) { $1.outputs(of: $0) }
    }
}
