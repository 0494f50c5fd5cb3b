import CVectorKernels

/// What a transformer computes between its matrix products, in place over row-major float32.
///
/// Kernel paths agree to rounding, not to the bit.
public enum TransformerKernels {
    /// The swish-gated unit: first half · second half · sigmoid(second half) of every row.
    ///
    /// - Parameters:
    ///   - rows: Whole rows of `2 * width`.
    ///   - gated: Gets as many rows of `width`.
    ///   - width: Columns of a half.
    ///   - path: Kernel path.
    public static func gate(
        _ rows: Span<Float>,
        into gated: inout MutableSpan<Float>,
        width: Int,
        path: KernelPath = .current
    ) {
        let count = rowCount(rows.count, 2 * width)
        precondition(gated.count == count * width, "the result has another shape")
        rows.withUnsafeBufferPointer { rows in
            gated.withUnsafeMutableBufferPointer { gated in
                guard let values = rows.baseAddress, let out = gated.baseAddress else { return }
                mrl_gate(path.checkedNumber, values, count, width, out)
            }
        }
    }

    /// Softmax of every row times `scale`.
    ///
    /// - Parameters:
    ///   - rows: Whole rows of `width`, 1 or more.
    ///   - width: Columns.
    ///   - scale: Factor before the exponential; 0 or more.
    ///   - path: Kernel path.
    public static func softmax(
        _ rows: inout MutableSpan<Float>,
        width: Int,
        scale: Float,
        path: KernelPath = .current
    ) {
        let count = rowCount(rows.count, width)
        rows.withUnsafeMutableBufferPointer { rows in
            guard let values = rows.baseAddress else { return }
            mrl_softmax(path.checkedNumber, values, count, width, width, scale)
        }
    }

    /// Layer normalisation of every row, after adding to it.
    ///
    /// - Parameters:
    ///   - rows: Whole rows of `width`.
    ///   - width: Columns.
    ///   - added: As long as `rows`; added first. Empty for nothing.
    ///   - weight: Factor of each column afterwards. Empty for none, and then `shift` is empty too.
    ///   - shift: Added to each column at the end.
    ///   - epsilon: Added to the variance.
    ///   - path: Kernel path.
    public static func normalise(
        _ rows: inout MutableSpan<Float>,
        width: Int,
        adding added: Span<Float> = Span(),
        weight: Span<Float> = Span(),
        shift: Span<Float> = Span(),
        epsilon: Float,
        path: KernelPath = .current
    ) {
        let count = rowCount(rows.count, width)
        precondition(added.isEmpty || added.count == rows.count, "what is added has another shape")
        precondition(weight.count == shift.count && (weight.isEmpty || weight.count == width), "another width")
        rows.withUnsafeMutableBufferPointer { rows in
            guard let values = rows.baseAddress else { return }
            added.withUnsafeBufferPointer { added in
                weight.withUnsafeBufferPointer { weight in
                    shift.withUnsafeBufferPointer { shift in
                        mrl_layer_norm(
                            path.checkedNumber,
                            values,
                            added.isEmpty ? nil : added.baseAddress,
                            weight.isEmpty ? nil : weight.baseAddress,
                            shift.isEmpty ? nil : shift.baseAddress,
                            count,
                            width,
                            epsilon
                        )
                    }
                }
            }
        }
    }

    /// Rotary positions: turns the pairs (i, i + half) of every head by the row's angles.
    ///
    /// - Parameters:
    ///   - rows: Rows of `stride` floats, whose first `heads * 2 * half` are turned.
    ///   - stride: Floats from one row to the next.
    ///   - heads: Heads in a row.
    ///   - half: Pairs of a head.
    ///   - cosines: Of the angles, rows × half.
    ///   - sines: Of the angles, rows × half.
    ///   - path: Kernel path.
    public static func turn(
        _ rows: inout MutableSpan<Float>,
        stride: Int,
        heads: Int,
        half: Int,
        cosines: Span<Float>,
        sines: Span<Float>,
        path: KernelPath = .current
    ) {
        let count = rowCount(rows.count, stride)
        precondition(heads * 2 * half <= stride, "heads are wider than a row")
        precondition(cosines.count == count * half && sines.count == count * half, "angles do not fit the rows")
        rows.withUnsafeMutableBufferPointer { rows in
            cosines.withUnsafeBufferPointer { cosines in
                sines.withUnsafeBufferPointer { sines in
                    guard let values = rows.baseAddress, let c = cosines.baseAddress, let s = sines.baseAddress
                    else { return }
                    mrl_turn_pairs(path.checkedNumber, values, count, stride, heads, half, c, s)
                }
            }
        }
    }

    private static func rowCount(_ count: Int, _ width: Int) -> Int {
        precondition(width > 0 && count % width == 0, "these are no whole rows of \(width)")
        return count / width
    }
}
