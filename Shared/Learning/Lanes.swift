/// Eight floats from anywhere in a buffer.
@inline(__always)
func load(_ buffer: UnsafeBufferPointer<Float>, _ index: Int) -> SIMD8<Float> {
    UnsafeRawPointer(buffer.baseAddress! + index).loadUnaligned(as: SIMD8<Float>.self)
}

/// Eight floats from anywhere in a buffer.
@inline(__always)
func load(_ buffer: UnsafeMutableBufferPointer<Float>, _ index: Int) -> SIMD8<Float> {
    UnsafeRawPointer(buffer.baseAddress! + index).loadUnaligned(as: SIMD8<Float>.self)
}

/// Eight floats to anywhere in a buffer.
@inline(__always)
func store(_ value: SIMD8<Float>, _ buffer: UnsafeMutableBufferPointer<Float>, _ index: Int) {
    UnsafeMutableRawPointer(buffer.baseAddress! + index).storeBytes(of: value, as: SIMD8<Float>.self)
}

/// e^x for x of at most 0, to about 1e-7 of its value; 0 below -87.
///
/// x = n·ln 2 + r with |r| at most ln 2 / 2; e^r by its series, 2^n by its bits.
@inline(__always)
func exponential(_ x: SIMD8<Float>) -> SIMD8<Float> {
    let x = x.replacing(with: -87, where: x .< -87)
    // Adding 1.5·2²³ rounds to a whole number and leaves it in the low bits.
    let shifted = x * 1.442_695_04 + 12_582_912
    let n = shifted - 12_582_912
    let r = (x - n * 0.693_359_375) - n * -2.121_944_4e-4
    var series = r * 1.987_569_1e-4 + 1.398_199_9e-3
    series = series * r + 8.333_452e-3
    series = series * r + 4.166_579_6e-2
    series = series * r + 1.666_666_6e-1
    series = series * r + 0.5
    let power = series * r * r + r + 1
    let exponent = (unsafeBitCast(shifted, to: SIMD8<Int32>.self) &- 0x4B40_0000 &+ 127) &<< 23
    return power * unsafeBitCast(exponent, to: SIMD8<Float>.self)
}
