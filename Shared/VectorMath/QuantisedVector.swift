import CVectorKernels
public import Matryoshka

/// int8 codes of a vector's head with one scale, as resident scores use them (proto-docs, "Scores").
public struct QuantisedVector: Sendable, Hashable {
    /// One code per float, -127...127.
    public let codes: [Int8]
    /// What a code of 1 stands for; 0 where all codes are 0.
    public let scale: Float

    /// Quantises the stored head; its greatest magnitude gives the scale.
    public init(head: Span<Float>) {
        var scale: Float = 0
        codes = [Int8](unsafeUninitializedCapacity: head.count) { out, count in
            count = head.count
            guard let codes = out.baseAddress else { return }
            scale = head.withUnsafeBufferPointer { mrl_quantise($0.baseAddress, head.count, codes) }
        }
        self.scale = scale
    }

    /// The integer dot product of the first `dimensions` codes.
    public func dot(_ other: QuantisedVector, dimensions: Int) -> Int32 {
        precondition(dimensions <= codes.count && dimensions <= other.codes.count, "a prefix longer than its vector")
        return mrl_int8_dot(codes, other.codes, dimensions)
    }

    /// The factor that a vector puts into its scores: the root of the prefix's squared norm, or the scale.
    package func factor(dimensions: Int, similarity: Similarity) -> Float {
        similarity == .cosine ? Float(dot(self, dimensions: dimensions)).squareRoot() : scale
    }

    /// The resident int8 score of `row` for this query.
    public func score(row: QuantisedVector, dimensions: Int, similarity: Similarity) -> Float {
        mrl_int8_score(
            dot(row, dimensions: dimensions),
            factor(dimensions: dimensions, similarity: similarity),
            row.factor(dimensions: dimensions, similarity: similarity),
            similarity == .cosine
        )
    }
}
