/// What is done to a frozen encoder's vectors, step by step, to make those of another model.
public struct VectorAdapter: Sendable, Hashable {
    /// A step.
    public enum Step: Sendable, Hashable {
        /// Dense layers.
        case dense(FeatureAdapter)
        /// To unit length.
        case normalise
    }

    /// In the order in which they are applied.
    public let steps: [Step]
    /// Width of the vectors that it takes.
    public let inputs: Int
    /// Width of the vectors that it makes.
    public let outputs: Int

    /// Makes an adapter; nil where no step is dense, or one does not take what the one before it makes.
    public init?(steps: [Step]) {
        let dense = steps.compactMap { step -> FeatureAdapter? in
            if case .dense(let adapter) = step { adapter } else { nil }
        }
        guard let first = dense.first, let last = dense.last,
            zip(dense, dense.dropFirst()).allSatisfy({ $0.outputs == $1.inputs })
        else { return nil }
        self.steps = steps
        inputs = first.inputs
        outputs = last.outputs
    }

    /// Unit vectors made of others; zeros stay, as they say that a text has no known token.
    ///
    /// - Parameter rows: Row-major, ``inputs`` floats each.
    /// - Returns: Row-major, ``outputs`` floats each.
    public func vectors(of rows: [Float]) -> [Float] {
        precondition(rows.count % inputs == 0, "vectors of \(inputs) numbers")
        let isZero = (0..<rows.count / inputs).map { row in
            !rows[row * inputs..<(row + 1) * inputs].contains { $0 != 0 }
        }
        var made = rows
        var width = inputs
        for step in steps {
            switch step {
            case .dense(let adapter):
                made = adapter.outputs(of: made)
                width = adapter.outputs
            case .normalise: VectorHead.normalise(&made, width: width)
            }
        }
        // A bias would make a vector of nothing.
        for (row, isZero) in isZero.enumerated() where isZero {
            for d in row * outputs..<(row + 1) * outputs { made[d] = 0 }
        }
        VectorHead.normalise(&made, width: outputs)
        return made
    }

    /// All dense layers in a row.
    var layers: [FeatureAdapter.Layer] {
        steps.flatMap { step -> [FeatureAdapter.Layer] in
            if case .dense(let adapter) = step { adapter.layers } else { [] }
        }
    }
}
