import Foundation
import RetrievalTesting
import Testing
import VectorMath

@Suite("Transformer kernels")
struct TransformerKernelTests {
    private static let widths = [1, 15, 16, 37, 64]

    private func numbers(_ count: Int, scale: Float = 1, seed: UInt64 = 7) -> [Float] {
        var random = SeededGenerator(seed: seed)
        return random.vector(count).map { $0 * scale }
    }

    /// Runs on every kernel path and compares with what doubles give.
    private func compare(
        _ start: [Float],
        _ expected: [Double],
        within tolerance: Double,
        _ run: (inout MutableSpan<Float>, KernelPath) -> Void
    ) {
        for path in KernelPath.available {
            var values = start
            var span = values.mutableSpan
            run(&span, path)
            let worst = zip(values, expected).map { abs(Double($0) - $1) }.max() ?? 0
            #expect(worst < tolerance, "\(path.rawValue)")
        }
    }

    @Test("gates the first half of a row by the second", arguments: widths)
    func gate(width: Int) {
        let rows = numbers(2 * 2 * width, scale: 4)
        let expected = (0..<2 * width).map { index in
            let at = index / width * 2 * width + index % width
            let gate = Double(rows[at + width])
            return Double(rows[at]) * gate / (1 + exp(-gate))
        }
        compare([Float](repeating: .nan, count: 2 * width), expected, within: 5e-6) { values, path in
            TransformerKernels.gate(rows.span, into: &values, width: width, path: path)
        }
    }

    @Test("takes the softmax of scaled rows, however large", arguments: widths)
    func softmax(width: Int) {
        let rows = numbers(3 * width, scale: 50).map { $0 + 1000 }
        let expected = (0..<3).flatMap { row in
            let powers = rows[row * width..<(row + 1) * width].map { exp((Double($0) - 1000) * 0.25) }
            return powers.map { $0 / powers.reduce(0, +) }
        }
        compare(rows, expected, within: 1e-6) { values, path in
            TransformerKernels.softmax(&values, width: width, scale: 0.25, path: path)
        }
    }

    @Test("normalises what is added up, with weights and without", arguments: widths)
    func normalise(width: Int) {
        let (rows, added) = (numbers(3 * width), numbers(3 * width, seed: 9))
        let (bias, weight) = (numbers(width, seed: 10), numbers(width, seed: 11))
        let sums = rows.indices.map { Double(rows[$0]) + Double(added[$0]) }
        let plain = (0..<3).flatMap { row in
            let values = sums[row * width..<(row + 1) * width]
            let mean = values.reduce(0, +) / Double(width)
            let variance = values.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(width)
            return values.map { ($0 - mean) / (variance + 1e-3).squareRoot() }
        }
        compare(rows, plain, within: 1e-5) { values, path in
            TransformerKernels.normalise(
                &values,
                width: width,
                adding: added.span,
                epsilon: 1e-3,
                path: path
            )
        }
        let scaled = plain.indices.map { plain[$0] * Double(weight[$0 % width]) + Double(bias[$0 % width]) }
        compare(rows, scaled, within: 1e-5) { values, path in
            TransformerKernels.normalise(
                &values,
                width: width,
                adding: added.span,
                weight: weight.span,
                shift: bias.span,
                epsilon: 1e-3,
                path: path
            )
        }
    }

    @Test("turns the pairs of each head, and nothing behind the heads", arguments: [1, 4, 16])
    func turn(half: Int) {
        let (heads, stride) = (3, 3 * 2 * half + 5)
        let rows = numbers(2 * stride)
        let angles = numbers(2 * half, seed: 12)
        let (cosines, sines) = (angles.map { cos($0) }, angles.map { sin($0) })
        let expected = rows.indices.map { index in
            let (row, column) = (index / stride, index % stride)
            guard column < heads * 2 * half else { return Double(rows[index]) }
            let pair = column % (2 * half) % half
            let isFirst = column % (2 * half) < half
            let other = Double(rows[isFirst ? index + half : index - half])
            let (c, s) = (Double(cosines[row * half + pair]), Double(sines[row * half + pair]))
            return Double(rows[index]) * c + (isFirst ? -other : other) * s
        }
        compare(rows, expected, within: 1e-6) { values, path in
            TransformerKernels.turn(
                &values,
                stride: stride,
                heads: heads,
                half: half,
                cosines: cosines.span,
                sines: sines.span,
                path: path
            )
        }
    }
}
