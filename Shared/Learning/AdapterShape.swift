import Encoding
import VectorMath

/// What is trained on top of frozen vectors.
public enum AdapterShape: Sendable, Hashable {
    /// Nothing: the vectors stay as they are.
    case none
    /// One matrix, which starts as the vectors' principal axes; and a bias.
    case linear
    /// A hidden layer of rectified units, and a linear one.
    case hidden(units: Int)
    /// A linear layer, and residual blocks of rectified units behind it.
    case residual(blocks: Int)

    /// Draws the layers at their start.
    ///
    /// - Parameters:
    ///   - vectors: What they will see, for principal axes.
    ///   - dimensions: Width of what they make.
    ///   - capacity: Vectors at a time, at most.
    ///   - generator: The source of what is drawn.
    /// - Returns: The layers.
    func trunk(
        over vectors: Matrix,
        dimensions: Int,
        capacity: Int,
        using generator: inout SeededGenerator
    ) -> DenseTrunk {
        let width = vectors.columns
        let linear = DenseTrunk.Layer(inputs: width, outputs: dimensions)
        switch self {
        case .none:
            precondition(width == dimensions, "vectors without an adapter keep their width")
            return DenseTrunk(width: width, capacity: capacity)
        case .linear:
            var trunk = DenseTrunk(width: width, layers: [linear], capacity: capacity)
            trunk.setMatrix(Self.start(vectors, dimensions, using: &generator), ofLayer: 0)
            return trunk
        case .hidden(let units):
            let layers = [
                DenseTrunk.Layer(inputs: width, outputs: units, activation: .relu),
                DenseTrunk.Layer(inputs: units, outputs: dimensions),
            ]
            var trunk = DenseTrunk(width: width, layers: layers, capacity: capacity)
            // He et al. 2015: rectified units lose half of the variance.
            let deviations = ((2 / Float(width)).squareRoot(), (2 / Float(units)).squareRoot())
            trunk.setMatrix(generator.normals(width * units, deviation: deviations.0), ofLayer: 0)
            trunk.setMatrix(generator.normals(units * dimensions, deviation: deviations.1), ofLayer: 1)
            return trunk
        case .residual(let blocks):
            let block = DenseTrunk.Layer(
                inputs: dimensions,
                outputs: dimensions,
                activation: .relu,
                isResidual: true
            )
            var trunk = DenseTrunk(
                width: width,
                layers: [linear] + repeatElement(block, count: blocks),
                capacity: capacity
            )
            trunk.setMatrix(Self.start(vectors, dimensions, using: &generator), ofLayer: 0)
            // Small, so that each block begins near the identity.
            for layer in 1..<blocks + 1 {
                let deviation = 0.1 / Float(dimensions).squareRoot()
                trunk.setMatrix(generator.normals(dimensions * dimensions, deviation: deviation), ofLayer: layer)
            }
            return trunk
        }
    }

    private static func start(_ vectors: Matrix, _ dimensions: Int, using generator: inout SeededGenerator) -> [Float] {
        if dimensions <= vectors.columns, let found = principalAxes(of: vectors.values.span, width: vectors.columns) {
            return Array(found.axes[..<(dimensions * vectors.columns)])
        }
        let deviation = 1 / Float(vectors.columns).squareRoot()
        return generator.normals(vectors.columns * dimensions, deviation: deviation)
    }
}

/// Vectors brought to numbers of about 1, whatever their width: what learns on them then needs one rate.
struct ScaledVectors {
    /// What the vectors were multiplied with; whoever learns folds it into their weights.
    let factor: Float

    /// Finds the factor for some vectors.
    init(fitting vectors: Matrix) {
        var squares = 0.0
        for value in vectors.values { squares += Double(value) * Double(value) }
        factor = squares > 0 ? Float((Double(vectors.values.count) / squares).squareRoot()) : 1
    }

    func scaled(_ vectors: Matrix) -> Matrix {
        Matrix(values: vectors.values.map { $0 * factor }, columns: vectors.columns)
    }
}
