public import Encoding
public import VectorMath

/// Linear maps that order or shrink vectors without a loss to train on: what nesting is measured against.
///
/// Each is fitted to training vectors alone; queries and documents go through the same map, are cut, and then
/// normalised.
public enum Projection {
    /// The singular vectors of some vectors as they are: the i-th number made is along the i-th.
    ///
    /// - Returns: As many dimensions as the vectors have; nil where these are all zero.
    public static func singularVectors(of vectors: Matrix) -> FeatureAdapter? {
        principalAxes(of: vectors.values.span, width: vectors.columns, scalesRows: false)
            .flatMap { FeatureAdapter(matrix: $0.axes, inputs: vectors.columns, outputs: vectors.columns) }
    }

    /// The principal components of some vectors, whose mean is taken off first.
    ///
    /// - Returns: As many dimensions as the vectors have; nil where these are all equal.
    public static func principalComponents(of vectors: Matrix) -> FeatureAdapter? {
        let width = vectors.columns
        var sums = [Double](repeating: 0, count: width)
        for (index, value) in vectors.values.enumerated() { sums[index % width] += Double(value) }
        let mean = sums.map { Float($0 / Double(max(1, vectors.rows))) }
        let centred = vectors.values.enumerated().map { $1 - mean[$0 % width] }
        guard let axes = principalAxes(of: centred.span, width: width, scalesRows: false)?.axes else { return nil }
        let bias = (0..<width).map { axis in
            -(0..<width).reduce(Float(0)) { $0 + axes[axis * width + $1] * mean[$1] }
        }
        return FeatureAdapter.Layer(inputs: width, outputs: width, weights: axes, bias: bias)
            .flatMap { FeatureAdapter(layers: [$0]) }
    }

    /// A Gaussian random matrix (Johnson and Lindenstrauss).
    public static func random(width: Int, seed: UInt64) -> FeatureAdapter {
        var generator = SeededGenerator(seed: seed)
        let matrix = generator.normals(width * width, deviation: 1 / Float(width).squareRoot())
        return adapter(matrix, width)
    }

    /// The vectors' own numbers in random order.
    public static func shuffle(width: Int, seed: UInt64) -> FeatureAdapter {
        var generator = SeededGenerator(seed: seed)
        var matrix = [Float](repeating: 0, count: width * width)
        for (row, column) in (0..<width).shuffled(using: &generator).enumerated() { matrix[row * width + column] = 1 }
        return adapter(matrix, width)
    }

    private static func adapter(_ matrix: [Float], _ width: Int) -> FeatureAdapter {
        guard let adapter = FeatureAdapter(matrix: matrix, inputs: width, outputs: width) else {
            preconditionFailure("vectors of 1 number or more")
        }
        return adapter
    }
}

extension FeatureClassifier {
    /// A classifier of one size, its matrix by singular values: cut after k dimensions, it is the best of rank k.
    ///
    /// - Parameter sizes: Ascending, up to the size that it has.
    /// - Returns: One whose features are along the matrix's right singular vectors; nil where the heads are not of one
    ///   size, or `sizes` are not legal.
    public func bySingularValues(sizes: [Int]) -> FeatureClassifier? {
        let width = heads.dimensions
        let matrix = heads.weights[0]
        guard heads.nesting.count == 1, sizes.last.map({ $0 <= width }) ?? false,
            let axes = principalAxes(of: matrix.span, width: width, scalesRows: false)?.axes,
            let rotation = FeatureAdapter(matrix: axes, inputs: width, outputs: width),
            let composed = FeatureAdapter(layers: (adapter?.layers ?? []) + rotation.layers)
        else { return nil }
        // U·S = W·V: what is left of a class's row along each axis.
        let rows = Matrix(values: rotation.outputs(of: matrix), columns: width)
        return ClassifierHeads(
            nesting: sizes.last == width ? sizes : sizes + [width],
            labels: heads.labels,
            form: .shared,
            weights: [rows.values],
            biases: heads.biases
        ).flatMap { FeatureClassifier(adapter: composed, heads: $0, encoder: encoder, training: training) }
    }
}
