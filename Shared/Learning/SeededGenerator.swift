import Glibc

/// Random numbers that a seed reproduces (xoshiro256**, seeded through splitmix64).
public struct SeededGenerator: RandomNumberGenerator, Sendable, Hashable {
    private var words: SIMD4<UInt64>

    /// Starts at a seed.
    public init(seed: UInt64) {
        var seed = seed
        func next() -> UInt64 {
            seed &+= 0x9E37_79B9_7F4A_7C15
            var z = (seed ^ seed >> 30) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
            return z ^ z >> 31
        }
        words = SIMD4(next(), next(), next(), next())
    }

    /// Goes on where another one stood; nil for a state that none can have.
    init?(state: [UInt64]) {
        guard state.count == 4, state.contains(where: { $0 != 0 }) else { return nil }
        words = SIMD4(state[0], state[1], state[2], state[3])
    }

    /// All that the next numbers depend on.
    var state: [UInt64] { (0..<4).map { words[$0] } }

    /// The next 64 bits.
    public mutating func next() -> UInt64 {
        func rotated(_ value: UInt64, _ by: UInt64) -> UInt64 { value << by | value >> (64 - by) }
        let result = rotated(words[1] &* 5, 7) &* 9
        let shifted = words[1] << 17
        words[2] ^= words[0]
        words[3] ^= words[1]
        words[1] ^= words[2]
        words[0] ^= words[3]
        words[2] ^= shifted
        words[3] = rotated(words[3], 45)
        return result
    }

    /// Two independent draws from the normal distribution (Box and Muller).
    mutating func normalPair() -> (Float, Float) {
        // Never 0, whose logarithm is none.
        let u = (Float(next() >> 40) + 1) * 0x1p-24
        let v = Float(next() >> 40) * 0x1p-24
        let radius = (-2 * logf(u)).squareRoot()
        return (radius * cosf(2 * .pi * v), radius * sinf(2 * .pi * v))
    }

    /// Draws from the normal distribution.
    mutating func normals(_ count: Int, deviation: Float) -> [Float] {
        var values: [Float] = []
        values.reserveCapacity(count + 1)
        while values.count < count {
            let pair = normalPair()
            values += [pair.0 * deviation, pair.1 * deviation]
        }
        values.removeLast(values.count - count)
        return values
    }
}
