import VectorMath

/// The token vectors under training, with Adam's moments (Kingma and Ba 2015); a text's vector is the mean of its tokens'.
///
/// Adam is lazy: a row moves, and its moments decay, only in a step that saw its token.
struct TokenTable: Trunk {
    let dimensions: Int
    let stride: Int
    let isTrainable = true
    /// Rows of tokens, ``stride`` floats each.
    var parameters: Parameters
    private(set) var outputs: [Float] = []
    private var texts: [(input: TokenRows, rows: [Int])] = []
    /// Where a token's gradient stands in this step; -1 where it has none.
    private var places: [Int32]
    private var touched: [Int32] = []
    private var gradients: [Float] = []

    /// Draws rows from the normal distribution, each times its token's weight.
    init(weights: [Float], dimensions: Int, using generator: inout SeededGenerator) {
        self.dimensions = dimensions
        // Whole lanes; what is behind D is 0 and stays so.
        stride = (dimensions + 7) & ~7
        var rows: [Float] = []
        rows.reserveCapacity(weights.count * stride)
        for weight in weights {
            rows += generator.normals(dimensions, deviation: weight)
            rows += repeatElement(0, count: stride - dimensions)
        }
        parameters = Parameters(rows)
        places = [Int32](repeating: -1, count: weights.count)
    }

    /// Rows of tokens, D floats each.
    var rows: [Float] { Matrix(values: parameters.values, columns: stride).prefixes(dimensions).values }

    /// Means of the rows of each text's tokens, all texts of a part after those of the part before.
    mutating func forward(_ parts: [(input: TokenRows, rows: [Int])]) {
        texts = parts
        let count = parts.reduce(0) { $0 + $1.rows.count } * stride
        if outputs.count < count { outputs = [Float](repeating: 0, count: count) }
        outputs.withUnsafeMutableBufferPointer { means in
            means.update(repeating: 0)
            parameters.values.withUnsafeBufferPointer { rows in
                var index = 0
                for (input, selected) in parts {
                    for text in selected {
                        let tokens = input[text]
                        let factor = 1 / Float(max(1, tokens.count))
                        for token in tokens {
                            Self.add(rows, Int(token) * stride, factor, means, index * stride, stride)
                        }
                        index += 1
                    }
                }
            }
        }
    }

    /// Hands each text's gradient down to its tokens.
    mutating func backward(_ gradient: [Float]) {
        for (input, selected) in texts {
            for text in selected {
                for token in input[text] where places[Int(token)] < 0 {
                    places[Int(token)] = Int32(touched.count)
                    touched.append(token)
                }
            }
        }
        let missing = touched.count * stride - gradients.count
        if missing > 0 { gradients += repeatElement(0, count: missing) }
        gradients.withUnsafeMutableBufferPointer { gradients in
            gradient.withUnsafeBufferPointer { gradient in
                var index = 0
                for (input, selected) in texts {
                    for text in selected {
                        let tokens = input[text]
                        let factor = 1 / Float(max(1, tokens.count))
                        for token in tokens {
                            let place = Int(places[Int(token)])
                            Self.add(gradient, index * stride, factor, gradients, place * stride, stride)
                        }
                        index += 1
                    }
                }
            }
        }
    }

    /// One step on the rows that have a gradient, which is spent.
    mutating func step(_ optimiser: Optimiser, rate: Float) {
        precondition(optimiser.rule == .adam, "a token table learns with Adam")
        parameters.steps += 1
        let (size, root) = Optimiser.corrections(rate: rate, steps: parameters.steps)
        let (keepFirst, keepSecond) = Optimiser.decay
        let kept = 1 - rate * optimiser.weightDecay
        parameters.values.withUnsafeMutableBufferPointer { rows in
            parameters.first.withUnsafeMutableBufferPointer { first in
                parameters.second.withUnsafeMutableBufferPointer { second in
                    gradients.withUnsafeMutableBufferPointer { gradients in
                        for (place, token) in touched.enumerated() {
                            let (from, to) = (place * stride, Int(token) * stride)
                            for d in Swift.stride(from: 0, to: stride, by: 8) {
                                let gradient = load(gradients, from + d)
                                let m = load(first, to + d) * keepFirst + gradient * (1 - keepFirst)
                                let v = load(second, to + d) * keepSecond + gradient * gradient * (1 - keepSecond)
                                store(m, first, to + d)
                                store(v, second, to + d)
                                let change = m * size / (v.squareRoot() * root + Optimiser.epsilon)
                                store(load(rows, to + d) * kept - change, rows, to + d)
                                store(.zero, gradients, from + d)
                            }
                            places[Int(token)] = -1
                        }
                    }
                }
            }
        }
        touched.removeAll(keepingCapacity: true)
    }

    mutating func beginStage() { parameters.forget() }

    @inline(__always)
    private static func add(
        _ source: UnsafeBufferPointer<Float>,
        _ from: Int,
        _ factor: Float,
        _ target: UnsafeMutableBufferPointer<Float>,
        _ to: Int,
        _ count: Int
    ) {
        for d in Swift.stride(from: 0, to: count, by: 8) {
            store(load(target, to + d) + load(source, from + d) * factor, target, to + d)
        }
    }
}
