import CVectorKernels

/// The change of basis that a collection has learnt, in the one order of float operations that all processes share
/// (proto-docs, "Rotated collections").
public final class VectorRotation: Sendable {
    /// D.
    public let dimensions: Int
    private let axes: [Float]

    /// Takes over an orthogonal matrix, row-major; row i makes coordinate i.
    public init?(axes: [Float], dimensions: Int) {
        guard dimensions >= 1, axes.count == dimensions * dimensions else { return nil }
        self.dimensions = dimensions
        self.axes = axes
    }

    /// The first `count` coordinates of a vector of D floats.
    public func rotated(_ vector: Span<Float>, first count: Int) -> [Float] {
        precondition(vector.count == dimensions && count <= dimensions, "a vector of another size")
        return [Float](unsafeUninitializedCapacity: count) { out, filled in
            vector.withUnsafeBufferPointer { vector in
                for axis in 0..<count {
                    out[axis] = axes.withUnsafeBufferPointer {
                        mrl_float_dot(
                            KernelPath.current.checkedNumber,
                            $0.baseAddress! + axis * dimensions,
                            vector.baseAddress!,
                            dimensions
                        )
                    }
                }
            }
            filled = count
        }
    }

    /// The first `count` coordinates of many vectors, row-major both.
    public func rotated(rows: [Float], first count: Int) -> [Float] {
        var result: [Float] = []
        result.reserveCapacity(rows.count / dimensions * count)
        for start in stride(from: 0, to: rows.count, by: dimensions) {
            result += rotated(rows.span.extracting(start..<start + dimensions), first: count)
        }
        return result
    }
}
