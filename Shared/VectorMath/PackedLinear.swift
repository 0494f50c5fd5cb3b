import CVectorKernels

/// How the weights of linear layers are kept, and with what products.
public enum LinearPrecision: String, Sendable, Hashable, CaseIterable {
    /// As they are.
    case float32
    /// Weights and the rows that meet them rounded to 8 significant bits; sums are float32.
    case bfloat16
}

/// Memory at the beginning of a cache line, for one owner.
final class AlignedMemory {
    let start: UnsafeMutableRawPointer
    let byteCount: Int

    init(byteCount: Int) {
        self.byteCount = byteCount
        start = .allocate(byteCount: max(64, byteCount), alignment: 64)
    }

    deinit { start.deallocate() }
}

/// Room that products and attention work in.
///
/// It grows and is used again, by one thread at a time.
public final class LinearScratch {
    private var memory = AlignedMemory(byteCount: 0)

    /// Makes it empty.
    public init() {}

    /// At least so many bytes, with whatever stands there.
    func bytes(_ count: Int) -> UnsafeMutableRawPointer {
        if memory.byteCount < count { memory = AlignedMemory(byteCount: count) }
        return memory.start
    }
}

/// A linear layer, x·Wᵀ + b, whose weights are packed for its kernels once.
///
/// Products with packed weights are as fast for a few rows as for many, which a general product is not, and do not
/// depend on which core type OpenBLAS takes the processor for.
public final class PackedLinear: Sendable {
    /// What is done to a row's outputs after the bias is added.
    public enum Finish: Sendable {
        case nothing
        /// The Gaussian error linear unit, with the exact integral.
        case gelu
    }

    /// Width of a row that comes in.
    public let inputs: Int
    /// Width of a row that goes out.
    public let outputs: Int
    /// How weights are kept.
    public let precision: LinearPrecision
    /// One for each output, or none.
    public let bias: [Float]
    // Written once, before anyone else sees it.
    private nonisolated(unsafe) let weights: AlignedMemory

    /// Packs `weight`, outputs × inputs and row-major; `bias` has one value for each output, or none.
    public init(_ weight: [Float], bias: [Float] = [], outputs: Int, inputs: Int, precision: LinearPrecision) {
        precondition(outputs > 0 && inputs > 0 && weight.count == outputs * inputs, "the weight has another shape")
        precondition(bias.isEmpty || bias.count == outputs, "the bias has another width")
        self.inputs = inputs
        self.outputs = outputs
        self.precision = precision
        self.bias = bias
        switch precision {
        case .float32:
            let count = mrl_packed_floats(outputs, inputs)
            weights = AlignedMemory(byteCount: count * MemoryLayout<Float>.stride)
            mrl_pack_floats(weight, outputs, inputs, weights.start.assumingMemoryBound(to: Float.self))
        case .bfloat16:
            let count = mrl_packed_bfloats(outputs, inputs)
            weights = AlignedMemory(byteCount: count * MemoryLayout<UInt16>.stride)
            mrl_pack_bfloats(weight, outputs, inputs, weights.start.assumingMemoryBound(to: UInt16.self))
        }
    }

    /// Bytes of the packed weights.
    public var byteCount: Int { weights.byteCount }

    /// Applies the layer to whole rows.
    ///
    /// - Parameters:
    ///   - rows: Row-major, of `inputs`.
    ///   - finish: What comes after the bias.
    ///   - result: Gets as many rows of `outputs`.
    ///   - scratch: Lends its room.
    ///   - path: Kernel path.
    public func apply(
        _ rows: Span<Float>,
        finish: Finish = .nothing,
        into result: inout MutableSpan<Float>,
        scratch: LinearScratch,
        path: KernelPath = .current
    ) {
        let count = rows.count / inputs
        precondition(rows.count == count * inputs, "these are no whole rows of \(inputs)")
        precondition(result.count == count * outputs, "the result has another shape")
        guard count > 0 else { return }
        let end = Int32(finish == .gelu ? MRL_FINISH_GELU : MRL_FINISH_BIAS)
        let number = path.checkedNumber
        rows.withUnsafeBufferPointer { rows in
            result.withUnsafeMutableBufferPointer { result in
                bias.withUnsafeBufferPointer { bias in
                    let shift = bias.isEmpty ? nil : bias.baseAddress
                    switch precision {
                    case .float32:
                        let packed = weights.start.assumingMemoryBound(to: Float.self)
                        mrl_multiply_floats(
                            number,
                            rows.baseAddress,
                            count,
                            inputs,
                            inputs,
                            packed,
                            outputs,
                            shift,
                            end,
                            result.baseAddress,
                            outputs
                        )
                    case .bfloat16:
                        let packed = weights.start.assumingMemoryBound(to: UInt16.self)
                        let bytes = mrl_rounded_bfloats(inputs) * MemoryLayout<UInt16>.stride
                        mrl_multiply_bfloats(
                            number,
                            rows.baseAddress,
                            count,
                            inputs,
                            inputs,
                            packed,
                            outputs,
                            shift,
                            end,
                            result.baseAddress,
                            outputs,
                            scratch.bytes(bytes).assumingMemoryBound(to: UInt16.self)
                        )
                    }
                }
            }
        }
    }
}

extension TransformerKernels {
    /// softmax(q·kᵀ · scale) · v of every head of one text.
    ///
    /// - Parameters:
    ///   - tokens: One row for each token: the queries of all heads side by side, then keys, then values.
    ///   - heads: Heads of a row.
    ///   - columns: Width of a head.
    ///   - scale: Factor before the softmax.
    ///   - out: Gets a row of heads × columns for each token.
    ///   - scratch: Lends its room.
    ///   - path: Kernel path.
    public static func attend(
        _ tokens: Span<Float>,
        heads: Int,
        columns: Int,
        scale: Float,
        into out: UnsafeMutableBufferPointer<Float>,
        scratch: LinearScratch,
        path: KernelPath = .current
    ) {
        let width = heads * columns
        let length = tokens.count / (3 * width)
        precondition(tokens.count == length * 3 * width && out.count == length * width, "tokens do not fit")
        guard length > 0 else { return }
        let bytes = mrl_attend_floats(length, columns) * MemoryLayout<Float>.stride
        tokens.withUnsafeBufferPointer { tokens in
            mrl_attend(
                path.checkedNumber,
                tokens.baseAddress,
                length,
                3 * width,
                heads,
                columns,
                scale,
                out.baseAddress,
                scratch.bytes(bytes).assumingMemoryBound(to: Float.self)
            )
        }
    }
}
