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
        /// Gated units have the values' part first and the gates' part second.
        var inner: Linear
        var outer: Linear
        var outerNorm: Norm
    }

    /// Queries of one text that meet all its keys at a time; bounds the scores' memory for long texts.
    private static let queriesAtOnce = 256

    let shape: TransformerShape
    /// tokens × width; holds the row of the only token type too.
    private let tokenTable: [Float]
    /// positions × width, or empty.
    private let positionTable: [Float]
    private let inputNorm: Norm
    private let layers: [Layer]

    init(shape: TransformerShape, tokenTable: [Float], positionTable: [Float], inputNorm: Norm, layers: [Layer]) {
        self.shape = shape
        self.tokenTable = tokenTable
        self.positionTable = positionTable
        self.inputNorm = inputNorm
        self.layers = layers
    }

    /// Multiply-adds of one token in the linear layers.
    var multiplyAdds: Int {
        layers.reduce(0) { sum, layer in
            [layer.attention, layer.mixing, layer.inner, layer.outer].reduce(sum) { $0 + $1.inputs * $1.outputs }
        }
    }

    /// Rows of the last layer, one for each token.
    ///
    /// `ids` are those of all texts in a row; each text has 1 to `shape.positions` of them. `onLayer` sees the rows after
    /// the input and after every layer.
    func run(_ ids: [Int32], lengths: [Int], onLayer: ([Float]) -> Void = { _ in }) -> [Float] {
        let (width, count) = (shape.width, ids.count)
        var rows = input(ids, lengths)
        var attention = [Float](repeating: 0, count: count * 3 * width)
        var mixed = [Float](repeating: 0, count: count * width)
        var heads = [Float](repeating: 0, count: count * width)
        var inner = [Float](repeating: 0, count: count * (layers.first?.inner.outputs ?? 0))
        let longest = lengths.max() ?? 0
        var scores = [Float](repeating: 0, count: longest * min(longest, Self.queriesAtOnce))
        let angles = self.angles(lengths)
        onLayer(rows)
        for layer in layers {
            Self.apply(layer.attention, rows, &attention)
            var values = attention.mutableSpan
            if !layer.attention.bias.isEmpty { TransformerKernels.addBias(&values, layer.attention.bias.span) }
            if !angles.cosines.isEmpty {
                TransformerKernels.turn(
                    &values,
                    stride: 3 * width,
                    heads: 2 * shape.heads,
                    half: shape.headWidth / 2,
                    cosines: angles.cosines.span,
                    sines: angles.sines.span
                )
            }
            attend(attention, lengths, &scores, &heads)
            Self.apply(layer.mixing, heads, &mixed)
            normalise(&rows, adding: mixed, layer.mixing.bias, layer.mixingNorm)
            Self.apply(layer.inner, rows, &inner)
            activate(&inner, layer.inner)
            Self.apply(layer.outer, inner, stride: layer.inner.outputs, &mixed)
            normalise(&rows, adding: mixed, layer.outer.bias, layer.outerNorm)
            onLayer(rows)
        }
        return rows
    }

    /// Token rows and position rows, normalised.
    private func input(_ ids: [Int32], _ lengths: [Int]) -> [Float] {
        let width = shape.width
        var rows = [Float](repeating: 0, count: ids.count * width)
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
        normalise(&rows, adding: [], [], inputNorm)
        return rows
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
    private func attend(_ attention: [Float], _ lengths: [Int], _ scores: inout [Float], _ out: inout [Float]) {
        scores.withUnsafeMutableBufferPointer { scores in
            out.withUnsafeMutableBufferPointer { out in
                var start = 0
                for length in lengths {
                    for first in stride(from: 0, to: length, by: Self.queriesAtOnce) {
                        let count = min(Self.queriesAtOnce, length - first)
                        let part = UnsafeMutableBufferPointer(rebasing: scores[..<(count * length)])
                        for head in 0..<shape.heads {
                            attend(attention.span, head, start: start, first: first, length: length, part, out)
                        }
                    }
                    start += length
                }
            }
        }
    }

    /// The queries of one head from `first` on, as many as `scores` has rows of `length`.
    private func attend(
        _ attention: Span<Float>,
        _ head: Int,
        start: Int,
        first: Int,
        length: Int,
        _ scores: UnsafeMutableBufferPointer<Float>,
        _ out: UnsafeMutableBufferPointer<Float>
    ) {
        let (width, columns, stride) = (shape.width, shape.headWidth, 3 * shape.width)
        let base = start * stride + head * columns
        var products = scores.mutableSpan
        BLAS.sgemm(
            transposeB: true,
            rows: scores.count / length,
            columns: length,
            inner: columns,
            attention.extracting((base + first * stride)...),
            strideA: stride,
            attention.extracting((base + width)...),
            strideB: stride,
            &products
        )
        TransformerKernels.softmax(&products, width: length, scale: 1 / Float(columns).squareRoot())
        let place = (start + first) * width + head * columns
        var target = UnsafeMutableBufferPointer(rebasing: out[place...]).mutableSpan
        BLAS.sgemm(
            rows: scores.count / length,
            columns: columns,
            inner: length,
            products.span,
            attention.extracting((base + 2 * width)...),
            strideB: stride,
            &target,
            strideC: width
        )
    }

    private func activate(_ inner: inout [Float], _ linear: Linear) {
        var values = inner.mutableSpan
        if linear.bias.isEmpty {
            TransformerKernels.gate(&values, width: linear.outputs / 2)
        } else {
            TransformerKernels.gelu(&values, bias: linear.bias.span)
        }
    }

    private func normalise(_ rows: inout [Float], adding added: [Float], _ bias: [Float], _ norm: Norm) {
        var values = rows.mutableSpan
        TransformerKernels.normalise(
            &values,
            width: shape.width,
            adding: added.span,
            bias: bias.span,
            weight: norm.weight.span,
            shift: norm.shift.span,
            epsilon: shape.epsilon
        )
    }

    /// The product alone; biases are added where the result is next touched.
    private static func apply(_ linear: Linear, _ rows: [Float], stride: Int? = nil, _ result: inout [Float]) {
        let count = result.count / linear.outputs
        var target = result.mutableSpan
        BLAS.sgemm(
            transposeB: true,
            rows: count,
            columns: linear.outputs,
            inner: linear.inputs,
            rows.span,
            strideA: stride,
            linear.weight.span,
            &target
        )
    }
}
