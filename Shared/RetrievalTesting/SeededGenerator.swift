/// Random numbers that a seed repeats (splitmix64).
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    /// Starts from a seed.
    public init(seed: UInt64) { state = seed }

    /// The next 64 random bits.
    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// Floats between -1 and 1 that fall off towards the end, as the dimensions of a Matryoshka embedding do.
    public mutating func vector(_ count: Int) -> [Float] {
        (0..<count).map { index in
            let bits = Int32(truncatingIfNeeded: next() >> 40) - (1 << 23)
            return Float(bits) / Float(1 << 23) / Float(1 + index / 32)
        }
    }
}
