import Glibc

/// Random numbers that a seed reproduces (xoshiro256**, seeded through splitmix64).
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: (UInt64, UInt64, UInt64, UInt64)

    /// Starts at a seed.
    public init(seed: UInt64) {
        var seed = seed
        func next() -> UInt64 {
            seed &+= 0x9E37_79B9_7F4A_7C15
            var z = (seed ^ seed >> 30) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
            return z ^ z >> 31
        }
        state = (next(), next(), next(), next())
    }

    /// The next 64 bits.
    public mutating func next() -> UInt64 {
        func rotated(_ value: UInt64, _ by: UInt64) -> UInt64 { value << by | value >> (64 - by) }
        let result = rotated(state.1 &* 5, 7) &* 9
        let shifted = state.1 << 17
        state.2 ^= state.0
        state.3 ^= state.1
        state.1 ^= state.2
        state.0 ^= state.3
        state.2 ^= shifted
        state.3 = rotated(state.3, 45)
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
}
