import CPlatform
import Testing

@testable import VectorMath

/// Sizes on both sides of where a column gets pages of its own, and huge ones.
@Suite(.serialized) struct ColumnTests {
    private static let sizes = [0, 1, 100, 16_384, 16_400, 100_000, 4_194_304, 5_000_001]

    /// Both ends of a range of places, and some between.
    private func places(_ range: Range<Int>) -> [Int] {
        Array(range.prefix(600)) + stride(from: range.lowerBound, to: range.upperBound, by: 4_099) + range.suffix(600)
    }

    @Test(arguments: sizes, sizes)
    func `A column keeps what it is told to keep, and the rest is zero`(from: Int, to: Int) {
        var column = Column<UInt64>()
        column.resize(to: from, keeping: 0)
        let kept = min(from, to) * 2 / 3
        for place in places(0..<kept) + places(kept..<from) { column.base[place] = UInt64(place) &* 0x9E37_79B9 | 1 }
        column.resize(to: to, keeping: kept)
        #expect(column.capacity == to)
        #expect(places(0..<kept).allSatisfy { column.base[$0] == UInt64($0) &* 0x9E37_79B9 | 1 })
        #expect(places(kept..<to).allSatisfy { column.base[$0] == 0 })
        // What was cut off does not come back with the room.
        column.resize(to: to + 600, keeping: min(kept, to))
        #expect(places(kept..<to + 600).allSatisfy { column.base[$0] == 0 })
        #expect(UInt(bitPattern: column.base) % 64 == 0)
    }

    @Test func `Large columns begin where a huge page can, however they grew`() {
        var column = Column<UInt8>()
        for size in [1, 200_000, 40 << 20, 41 << 20, 90 << 20, 300_000, 50 << 20] {
            column.resize(to: size, keeping: min(column.capacity, 1))
            column.base[0] = 7
            if size >= 32 << 20 { #expect(UInt(bitPattern: column.base) % (2 << 20) == 0) }
        }
        #expect(column.base[0] == 7)
    }

    @Test func `Room that nobody wrote to costs no memory`() {
        var columns = 0
        let before = platform_resident_bytes()
        var column = Column<UInt8>()
        column.resize(to: 200 << 20, keeping: 0)
        column.resize(to: 400 << 20, keeping: 0)
        columns += column.byteCount
        // Other tests of the process run beside.
        #expect(platform_resident_bytes() < before + 200 << 20)
        #expect(columns == 400 << 20)
    }
}
