import VectorMath

#if canImport(Glibc)
import Glibc
#endif

/// The layers of a transformer encoder, over texts that lie packed one after the other.
///
/// Nothing is padded: matrix products run over all tokens of a batch, attention over each text alone.
final class TransformerStack: Sendable {
    /// y = x·Wᵀ + b.
    struct Linear: Sendable {
        var inputs: Int
        var outputs: Int
        /// outputs × inputs.
        var weight: [Float]
        /// One for each output, or none.
        var bias: [Float]
    }

    /// Weight and shift of a layer normalisation.
    struct Norm: Sendable {
        var weight: [Float]
        var shift: [Float]
    }

    struct Layer: Sendable {
        /// Queries, keys and values side by side.
        var attention: Linear
        var mixing: Linear
        var mixingNorm: Norm
        /// Twice as wide as `outer` takes where units are gated: first the values, then the gates.
        var inner: Linear
        var outer: Linear
        var outerNorm: Norm
    }

    /// A layer with its weights packed.
    private struct PackedLayer: Sendable {
        let attention, mixing, inner, outer: PackedLinear
        let mixingNorm, outerNorm: Norm

        init(_ layer: Layer, _ precision: LinearPrecision) {
            func packed(_ linear: Linear) -> PackedLinear {
                PackedLinear(
                    linear.weight,
                    bias: linear.bias,
                    outputs: linear.outputs,
                    inputs: linear.inputs,
                    precision: precision
                )
            }
            attention = packed(layer.attention)
            mixing = packed(layer.mixing)
            inner = packed(layer.inner)
            outer = packed(layer.outer)
            mixingNorm = layer.mixingNorm
            outerNorm = layer.outerNorm
        }
    }

    /// Room for a batch, used again for the next one.
    final class Scratch {
        /// One for each token of the last batch.
        fileprivate(set) var rows: [Float] = []
        fileprivate var attention: [Float] = []
        fileprivate var mixed: [Float] = []
        fileprivate var heads: [Float] = []
        fileprivate var inner: [Float] = []
        fileprivate var gated: [Float] = []
        fileprivate let linear = LinearScratch()

        /// Makes `values` so long and leaves in it what stands there.
        fileprivate static func fit(_ values: inout [Float], _ count: Int) {
            if values.count > count {
                values.removeLast(values.count - count)
            } else {
                values.append(contentsOf: repeatElement(0, count: count - values.count))
            }
        }
    }

    let shape: TransformerShape
    /// tokens × width; holds the row of the only token type too.
    private let tokenTable: [Float]
    /// positions × width, or empty.
    private let positionTable: [Float]
    private let inputNorm: Norm
    private let layers: [PackedLayer]

    init(
        shape: TransformerShape,
        tokenTable: [Float],
        positionTable: [Float],
        inputNorm: Norm,
        layers: [Layer],
        precision: LinearPrecision
    ) {
        self.shape = shape
        self.tokenTable = tokenTable
        self.positionTable = positionTable
        self.inputNorm = inputNorm
        self.layers = layers.map { PackedLayer($0, precision) }
    }

    /// Multiply-adds of one token in the linear layers.
    var multiplyAdds: Int {
        layers.reduce(0) { sum, layer in
            [layer.attention, layer.mixing, layer.inner, layer.outer].reduce(sum) { $0 + $1.inputs * $1.outputs }
        }
    }

    /// Leaves the rows of the last layer in `scratch`, one for each token.
    ///
    /// `ids` are those of all texts in a row; each text has 1 to `shape.positions` of them. `onLayer` sees the rows after
    /// the input and after every layer.
    func run(_ ids: [Int32], lengths: [Int], scratch: Scratch, onLayer: ([Float]) -> Void = { _ in }) {
        let (width, count) = (shape.width, ids.count)
        Scratch.fit(&scratch.attention, count * 3 * width)
        Scratch.fit(&scratch.mixed, count * width)
        Scratch.fit(&scratch.heads, count * width)
        fillInput(ids, lengths, &scratch.rows)
        let angles = self.angles(lengths)
        onLayer(scratch.rows)
        for layer in layers {
            apply(layer.attention, scratch.rows, &scratch.attention, scratch)
            if !angles.cosines.isEmpty {
                var values = scratch.attention.mutableSpan
                TransformerKernels.turn(
                    &values,
                    stride: 3 * width,
                    heads: 2 * shape.heads,
                    half: shape.headWidth / 2,
                    cosines: angles.cosines.span,
                    sines: angles.sines.span
                )
            }
            attend(lengths, scratch)
            apply(layer.mixing, scratch.heads, &scratch.mixed, scratch)
            normalise(&scratch.rows, adding: scratch.mixed, layer.mixingNorm)
            Scratch.fit(&scratch.inner, count * layer.inner.outputs)
            if layer.inner.outputs == layer.outer.inputs {
                apply(layer.inner, scratch.rows, finish: .gelu, &scratch.inner, scratch)
                apply(layer.outer, scratch.inner, &scratch.mixed, scratch)
            } else {
                apply(layer.inner, scratch.rows, &scratch.inner, scratch)
                Scratch.fit(&scratch.gated, count * layer.outer.inputs)
                var gated = scratch.gated.mutableSpan
                TransformerKernels.gate(scratch.inner.span, into: &gated, width: layer.outer.inputs)
                apply(layer.outer, scratch.gated, &scratch.mixed, scratch)
            }
            normalise(&scratch.rows, adding: scratch.mixed, layer.outerNorm)
            onLayer(scratch.rows)
        }
    }

    /// Token rows and position rows, normalised.
    private func fillInput(_ ids: [Int32], _ lengths: [Int], _ rows: inout [Float]) {
        let width = shape.width
        Scratch.fit(&rows, ids.count * width)
        var token = 0
        for length in lengths {
            for position in 0..<length {
                let (from, to) = (Int(ids[token]) * width, token * width)
                if positionTable.isEmpty {
                    for i in 0..<width { rows[to + i] = tokenTable[from + i] }
                } else {
                    for i in 0..<width { rows[to + i] = tokenTable[from + i] + positionTable[position * width + i] }
                }
                token += 1
            }
        }
        normalise(&rows, adding: [], inputNorm)
    }

    /// Cosines and sines for every token and pair of a head; empty without rotary positions.
    private func angles(_ lengths: [Int]) -> (cosines: [Float], sines: [Float]) {
        guard case .rotary(let base) = shape.positionKind else { return ([], []) }
        let half = shape.headWidth / 2
        let speeds = (0..<half).map { 1 / pow(base, Double($0) / Double(half)) }
        var (cosines, sines): ([Float], [Float]) = ([], [])
        for length in lengths {
            for position in 0..<length {
                for speed in speeds {
                    cosines.append(Float(cos(Double(position) * speed)))
                    sines.append(Float(sin(Double(position) * speed)))
                }
            }
        }
        return (cosines, sines)
    }

    /// softmax(q·kᵀ / √width) · v of every head, text by text.
    private func attend(_ lengths: [Int], _ scratch: Scratch) {
        let width = shape.width
        scratch.heads.withUnsafeMutableBufferPointer { heads in
            var start = 0
            for length in lengths {
                TransformerKernels.attend(
                    scratch.attention.span.extracting(start * 3 * width..<(start + length) * 3 * width),
                    heads: shape.heads,
                    columns: shape.headWidth,
                    scale: 1 / Float(shape.headWidth).squareRoot(),
                    into: UnsafeMutableBufferPointer(rebasing: heads[start * width..<(start + length) * width]),
                    scratch: scratch.linear
                )
                start += length
            }
        }
    }

    private func normalise(_ rows: inout [Float], adding added: [Float], _ norm: Norm) {
        var values = rows.mutableSpan
        TransformerKernels.normalise(
            &values,
            width: shape.width,
            adding: added.span,
            weight: norm.weight.span,
            shift: norm.shift.span,
            epsilon: shape.epsilon
        )
    }

    private func apply(
        _ linear: PackedLinear,
        _ rows: [Float],
        finish: PackedLinear.Finish = .nothing,
        _ result: inout [Float],
        _ scratch: Scratch
    ) {
        var target = result.mutableSpan
        linear.apply(rows.span, finish: finish, into: &target, scratch: scratch.linear)
    }
}
