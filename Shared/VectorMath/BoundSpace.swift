import CVectorKernels

/// An orthogonal change of basis that brings the energy of a collection's vectors to the front, and the levels at which
/// an exact search asks what a score can still come to.
///
/// Full-size scores stay the same under it up to ``slack``, which every bound contains.
public final class BoundSpace: Sendable {
    /// D.
    public let dimensions: Int
    /// Rows that the axes were learnt from.
    public let learntFrom: Int
    /// Which rotated numbers each level adds.
    package let levels: [Range<Int>]
    /// Codes of a row, padded.
    package let codeStride: Int
    /// What a bound in units of length must allow for the rotation, float sums and the score's own rounding.
    package let slack: Float
    /// Greatest length of a row's codes.
    package let codeLengthMax: Float
    private let axes: [Float]

    /// Norms out of this range might overflow or underflow somewhere: such rows are always scored.
    private static let squaredNorms = 0x1p-80...0x1p80
    /// Levels are bounded in number, and so are the roundings of a bound.
    private static let levelsMax = 32
    private static let innerBlock = 64

    /// Learns the axes of a sample; nil where nothing can be learnt from it.
    ///
    /// - Parameters:
    ///   - sample: Row-major, `dimensions` floats each.
    ///   - dimensions: D.
    public convenience init?(sample: Span<Float>, dimensions: Int) {
        guard let learnt = principalAxes(of: sample, width: dimensions) else { return nil }
        self.init(
            axes: learnt.axes,
            shares: learnt.shares,
            dimensions: dimensions,
            learntFrom: sample.count / dimensions
        )
    }

    /// Takes axes that are there; nil where they are not orthogonal.
    package init?(axes: [Float], shares: [Double], dimensions: Int, learntFrom: Int) {
        let error = orthogonalityError(of: axes, width: dimensions)
        guard error < 0.01 else { return nil }
        self.axes = axes
        self.dimensions = dimensions
        self.learntFrom = learntFrom
        levels = Self.levels(dimensions, shares)
        codeStride = (dimensions + 31) / 32 * 32
        let unit = 0x1p-24
        let root = Double(dimensions).squareRoot()
        // A row and a query are scaled and rotated in blocks of sums; a rotated number is off by no more than so many
        // units of the sum of its products' magnitudes, and these sums together are at most √D long.
        let rotating = Double(Self.innerBlock + dimensions / Self.innerBlock + 8) * unit * root
        // Dot and norms of the score, each in lanes; see proto-docs, "Scores".
        let scoring = Double(3 * (dimensions / 16 + 5) + 16) * unit
        let summing = Double(8 * Self.levelsMax) * unit
        slack = Float((1.1 * (error + 2 * rotating + scoring + summing) + 0x1p-16).nextUp).nextUp
        codeLengthMax = Float(1.01 + root / 254).nextUp
    }

    /// The first level, read in blocks, is cheap for all rows: as far as a third of the energy is left, or a quarter of
    /// the dimensions.
    ///
    /// Small steps follow while most rows are let go, then what is left.
    static func levels(_ dimensions: Int, _ shares: [Double]) -> [Range<Int>] {
        func rounded(_ value: Int) -> Int { max(32, value / 32 * 32) }
        var first = 32
        var left = 1 - shares.prefix(first).reduce(0, +)
        while left > 0.35, first < rounded(dimensions / 4) {
            left -= shares[first..<min(shares.count, first + 32)].reduce(0, +)
            first += 32
        }
        var ends = [min(dimensions, first)]
        while let end = ends.last, end < dimensions {
            let step = end < dimensions / 2 ? rounded(dimensions / 16) : rounded(dimensions / 4)
            ends.append(min(dimensions, end + step))
        }
        return zip([0] + ends, ends).map { $0..<$1 }
    }

    /// Rotates rows, blocks of the inner sum at a time.
    private func rotated(_ units: [Float], count: Int) -> [Float] {
        let (width, axes) = (dimensions, axes)
        var result = [Float](repeating: 0, count: count * width)
        var span = result.mutableSpan
        for inner in stride(from: 0, to: width, by: Self.innerBlock) {
            BLAS.sgemm(
                transposeB: true,
                rows: count,
                columns: width,
                inner: min(Self.innerBlock, width - inner),
                units.span.extracting(inner..<units.count),
                strideA: width,
                axes.span.extracting(inner..<axes.count),
                strideB: width,
                beta: 1,
                &span
            )
        }
        return result
    }

    /// Rotates and codes some vectors, row-major, D floats each.
    public func code(_ vectors: [Float]) -> CodedVectors {
        let width = dimensions
        let count = vectors.count / width
        var coded = CodedVectors(count: count, levels: levels.count, codeStride: codeStride)
        var units = [Float](repeating: 0, count: count * width)
        for row in 0..<count {
            var squared = 0.0
            var isZero = true
            for i in row * width..<(row + 1) * width {
                squared += Double(vectors[i]) * Double(vectors[i])
                if vectors[i] != 0 { isZero = false }
            }
            coded.isBounded[row] = isZero || Self.squaredNorms.contains(squared)
            guard coded.isBounded[row], !isZero else { continue }
            coded.sizes[row] = squared.squareRoot()
            let factor = 1 / squared.squareRoot()
            for i in row * width..<(row + 1) * width { units[i] = Float(Double(vectors[i]) * factor) }
        }
        let turned = rotated(units, count: count)
        turned.withUnsafeBufferPointer { turned in
            coded.codes.withUnsafeMutableBufferPointer { codes in
                for row in 0..<count where coded.isBounded[row] {
                    let from = turned.baseAddress! + row * width
                    let to = codes.baseAddress! + row * codeStride
                    var (error, rest) = (0.0, 0.0)
                    for (number, level) in levels.enumerated() {
                        let scale = mrl_quantise(from + level.lowerBound, level.count, to + level.lowerBound)
                        coded.scales[row * levels.count + number] = scale
                        for i in level {
                            let left = Double(from[i]) - Double(scale) * Double(to[i])
                            error += left * left
                        }
                        coded.errors[row * levels.count + number] = error.squareRoot()
                    }
                    for (number, level) in levels.enumerated().reversed() {
                        coded.rests[row * levels.count + number] = rest.squareRoot()
                        for i in level { rest += Double(from[i]) * Double(from[i]) }
                    }
                }
            }
        }
        return coded
    }
}

/// Vectors in the codes of a ``BoundSpace``.
public struct CodedVectors: Sendable {
    /// Vectors.
    public let count: Int
    /// False: the vector's length is out of range, and no bound holds for it.
    package var isBounded: [Bool]
    /// Row-major, padded to the space's stride.
    package var codes: [Int8]
    /// By vector and level, what a code of 1 stands for.
    package var scales: [Float]
    /// By vector and level, the length of what the codes of this level and those before it leave out.
    package var errors: [Double]
    /// By vector and level, the length of what lies behind it.
    package var rests: [Double]
    /// Lengths of the vectors before they were scaled; 0: zero, or not bounded.
    package var sizes: [Double]

    init(count: Int, levels: Int, codeStride: Int) {
        self.count = count
        isBounded = Array(repeating: false, count: count)
        codes = Array(repeating: 0, count: count * codeStride)
        scales = Array(repeating: 0, count: count * levels)
        errors = Array(repeating: 0, count: count * levels)
        rests = Array(repeating: 0, count: count * levels)
        sizes = Array(repeating: 0, count: count)
    }
}

/// A float that is not less than a number that is known to some units in its last place.
func roundedUp(_ value: Double) -> Float { Float(value * (1 + 0x1p-20)).nextUp }
