/// The token vectors under training, with Adam's moments (Kingma and Ba 2015).
///
/// Adam is lazy: a row moves, and its moments decay, only in a step that saw its token.
struct TokenTable {
    private static let decay: (first: Float, second: Float) = (0.9, 0.999)

    let dimensions: Int
    private(set) var rows: [Float]
    private var first: [Float]
    private var second: [Float]
    private var powers: (first: Double, second: Double) = (1, 1)
    /// Where a token's gradient stands in this step; -1 where it has none.
    private var places: [Int32]
    private var touched: [Int32] = []
    private var gradients: [Float] = []

    /// Draws rows from the normal distribution, each times its token's weight.
    init(weights: [Float], dimensions: Int, using generator: inout SeededGenerator) {
        self.dimensions = dimensions
        rows = []
        rows.reserveCapacity(weights.count * dimensions)
        for weight in weights {
            for _ in 0..<dimensions / 2 {
                let pair = generator.normalPair()
                rows += [pair.0 * weight, pair.1 * weight]
            }
            if dimensions % 2 == 1 { rows.append(generator.normalPair().0 * weight) }
        }
        first = [Float](repeating: 0, count: rows.count)
        second = [Float](repeating: 0, count: rows.count)
        places = [Int32](repeating: -1, count: weights.count)
    }

    /// Means of the rows of each text's tokens, row-major.
    func means(_ texts: TokenRows, _ selected: [Int]) -> [Float] {
        var means = [Float](repeating: 0, count: selected.count * dimensions)
        means.withUnsafeMutableBufferPointer { means in
            rows.withUnsafeBufferPointer { rows in
                for (index, text) in selected.enumerated() {
                    let tokens = texts[text]
                    let factor = 1 / Float(max(1, tokens.count))
                    for token in tokens {
                        Self.add(rows, Int(token) * dimensions, factor, means, index * dimensions, dimensions)
                    }
                }
            }
        }
        return means
    }

    /// Hands each text's gradient down to its tokens.
    mutating func collect(_ gradient: [Float], _ texts: TokenRows, _ selected: [Int]) {
        for text in selected {
            for token in texts[text] where places[Int(token)] < 0 {
                places[Int(token)] = Int32(touched.count)
                touched.append(token)
            }
        }
        let missing = touched.count * dimensions - gradients.count
        if missing > 0 { gradients += repeatElement(0, count: missing) }
        gradients.withUnsafeMutableBufferPointer { gradients in
            gradient.withUnsafeBufferPointer { gradient in
                for (index, text) in selected.enumerated() {
                    let tokens = texts[text]
                    let factor = 1 / Float(max(1, tokens.count))
                    for token in tokens {
                        let place = Int(places[Int(token)])
                        Self.add(gradient, index * dimensions, factor, gradients, place * dimensions, dimensions)
                    }
                }
            }
        }
    }

    /// One step of Adam on the rows that have a gradient, which is spent.
    mutating func step(rate: Float) {
        powers.first *= Double(Self.decay.first)
        powers.second *= Double(Self.decay.second)
        let size = rate / Float(1 - powers.first)
        let correction = Float(1 / (1 - powers.second).squareRoot())
        let (keepFirst, keepSecond) = Self.decay
        rows.withUnsafeMutableBufferPointer { rows in
            first.withUnsafeMutableBufferPointer { first in
                second.withUnsafeMutableBufferPointer { second in
                    gradients.withUnsafeMutableBufferPointer { gradients in
                        for (place, token) in touched.enumerated() {
                            let (from, to) = (place * dimensions, Int(token) * dimensions)
                            for d in stride(from: 0, to: dimensions, by: 8) {
                                let gradient = load(gradients, from + d)
                                let m = load(first, to + d) * keepFirst + gradient * (1 - keepFirst)
                                let v = load(second, to + d) * keepSecond + gradient * gradient * (1 - keepSecond)
                                store(m, first, to + d)
                                store(v, second, to + d)
                                let change = m * size / (v.squareRoot() * correction + 1e-8)
                                store(load(rows, to + d) - change, rows, to + d)
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

    @inline(__always)
    private static func add(
        _ source: UnsafeBufferPointer<Float>,
        _ from: Int,
        _ factor: Float,
        _ target: UnsafeMutableBufferPointer<Float>,
        _ to: Int,
        _ count: Int
    ) {
        for d in stride(from: 0, to: count, by: 8) {
            store(load(target, to + d) + load(source, from + d) * factor, target, to + d)
        }
    }
}
