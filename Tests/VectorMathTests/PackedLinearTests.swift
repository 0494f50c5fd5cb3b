import Foundation
import RetrievalTesting
import Testing
import VectorMath

@Suite("Packed linear layers")
struct PackedLinearTests {
    private func numbers(_ count: Int, seed: UInt64, scale: Float = 1) -> [Float] {
        var random = SeededGenerator(seed: seed)
        return random.vector(count).map { $0 * scale }
    }

    /// To 8 significant bits, ties to even.
    private func rounded(_ value: Float) -> Double {
        let bits = value.bitPattern
        return Double(Float(bitPattern: (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000))
    }

    private func gaussianUnit(_ x: Double) -> Double { x * (1 + erf(x / 2.0.squareRoot())) / 2 }

    private func apply(
        _ linear: PackedLinear,
        _ rows: [Float],
        _ finish: PackedLinear.Finish,
        _ path: KernelPath
    ) -> [Float] {
        var result = [Float](repeating: .nan, count: rows.count / linear.inputs * linear.outputs)
        var target = result.mutableSpan
        linear.apply(rows.span, finish: finish, into: &target, scratch: LinearScratch(), path: path)
        return result
    }

    private func worst(_ found: [Float], _ expected: [Double]) -> Double {
        zip(found, expected).map { $0.isNaN ? .infinity : abs(Double($0) - $1) }.max() ?? 0
    }

    @Test(
        "give what doubles give, of weights and rows as they are kept, on every path, for few rows and many",
        arguments: [
            (1, 1, 1), (1, 7, 5), (3, 16, 16), (7, 33, 40), (8, 48, 32), (9, 64, 48), (23, 31, 100), (130, 45, 70),
            (257, 96, 64),
        ]
    )
    func products(count: Int, inputs: Int, outputs: Int) {
        let (rows, weight) = (numbers(count * inputs, seed: 1), numbers(outputs * inputs, seed: 2))
        let bias = numbers(outputs, seed: 3)
        for precision in LinearPrecision.allCases {
            func kept(_ value: Float) -> Double { precision == .float32 ? Double(value) : rounded(value) }
            let (x, w) = (rows.map(kept), weight.map(kept))
            let sums = (0..<count * outputs).map { at in
                (0..<inputs).reduce(Double(bias[at % outputs])) {
                    $0 + x[at / outputs * inputs + $1] * w[at % outputs * inputs + $1]
                }
            }
            let plain = PackedLinear(weight, outputs: outputs, inputs: inputs, precision: precision)
            let biased = PackedLinear(weight, bias: bias, outputs: outputs, inputs: inputs, precision: precision)
            for path in KernelPath.available {
                let name = Comment(rawValue: "\(precision) on \(path)")
                let unbiased = sums.indices.map { sums[$0] - Double(bias[$0 % outputs]) }
                #expect(worst(apply(plain, rows, .nothing, path), unbiased) < 2e-5, name)
                #expect(worst(apply(biased, rows, .nothing, path), sums) < 2e-5, name)
                #expect(worst(apply(biased, rows, .gelu, path), sums.map(gaussianUnit)) < 2e-5, name)
            }
        }
    }

    @Test("take the exact Gaussian unit, to 2e-7 of what goes in, and keep its tails finite")
    func gaussianUnit() {
        let near = (0...12_000).map { Float($0 - 6_000) / 1_000 }
        let identity = PackedLinear([1], outputs: 1, inputs: 1, precision: .float32)
        for path in KernelPath.available {
            let found = apply(identity, near, .gelu, path)
            let errors = zip(near, found).map {
                abs(Double($1) - gaussianUnit(Double($0))) / max(1e-3, abs(Double($0)))
            }
            #expect(errors.max()! < 2e-7, "\(path): \(errors.max()!)")
            let far: [Float] = [-1e30, -100, -20, 0, 20, 100, 1e30]
            #expect(worst(apply(identity, far, .gelu, path), [0, 0, 0, 0, 20, 100, Double(Float(1e30))]) < 1e-30)
        }
    }

    @Test(
        "attend as doubles do, in heads of any width and texts of any length",
        arguments: [(1, 2, 8), (15, 3, 32), (16, 2, 16), (70, 2, 20), (131, 1, 64)]
    )
    func attention(length: Int, heads: Int, columns: Int) {
        let width = heads * columns
        let tokens = numbers(length * 3 * width, seed: 4)
        let scale = 1 / Double(columns).squareRoot()
        func value(_ token: Int, _ part: Int, _ head: Int, _ column: Int) -> Double {
            Double(tokens[(token * 3 + part) * width + head * columns + column])
        }
        var expected = [Double](repeating: 0, count: length * width)
        for head in 0..<heads {
            for query in 0..<length {
                let scores = (0..<length).map { key in
                    scale * (0..<columns).reduce(0) { $0 + value(query, 0, head, $1) * value(key, 1, head, $1) }
                }
                let powers = scores.map { exp($0 - scores.max()!) }
                let total = powers.reduce(0, +)
                for column in 0..<columns {
                    expected[query * width + head * columns + column] =
                        (0..<length).reduce(0) { $0 + powers[$1] * value($1, 2, head, column) } / total
                }
            }
        }
        for path in KernelPath.available {
            var out = [Float](repeating: .nan, count: length * width)
            out.withUnsafeMutableBufferPointer { out in
                TransformerKernels.attend(
                    tokens.span,
                    heads: heads,
                    columns: columns,
                    scale: Float(scale),
                    into: out,
                    scratch: LinearScratch(),
                    path: path
                )
            }
            #expect(worst(out, expected) < 2e-6, "\(path)")
        }
    }
}
