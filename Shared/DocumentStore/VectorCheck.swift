/// What is wrong with a vector, if anything; the database's functions and readers say the same.
public enum VectorFault: String, Sendable, Hashable {
    /// It has another length than the collection's.
    case wrongLength = "wrong length"
    /// A value, or the squared norm as float32, is not finite.
    case nonFinite = "not finite"
    /// The squared norm is 0 as float32.
    case zero

    /// Looks at a vector; nil where it may be stored.
    public static func find(in vector: Span<Float>, dimensions: Int) -> VectorFault? {
        if vector.count != dimensions { return .wrongLength }
        // Four sums, so that one addition need not wait for the other.
        var sums: (Float, Float, Float, Float) = (0, 0, 0, 0)
        var index = 0
        while index + 4 <= dimensions {
            sums.0 += vector[index] * vector[index]
            sums.1 += vector[index + 1] * vector[index + 1]
            sums.2 += vector[index + 2] * vector[index + 2]
            sums.3 += vector[index + 3] * vector[index + 3]
            index += 4
        }
        while index < dimensions {
            sums.0 += vector[index] * vector[index]
            index += 1
        }
        let norm = (sums.0 + sums.1) + (sums.2 + sums.3)
        if !norm.isFinite { return .nonFinite }
        return norm > 0 ? nil : .zero
    }

    /// Whether all values are finite.
    static func isFinite(_ vector: UnsafeBufferPointer<UInt32>) -> Bool {
        // Adds the carry of a full exponent, for all lanes at once.
        var found: UInt32 = 0
        for bits in vector { found |= (bits & 0x7FFF_FFFF) &+ 0x0080_0000 }
        return found & 0x8000_0000 == 0
    }
}
