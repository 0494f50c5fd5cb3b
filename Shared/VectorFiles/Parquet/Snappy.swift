/// Snappy's raw format, as Parquet uses it.
enum Snappy {
    /// Unpacks a block.
    ///
    /// - Parameters:
    ///   - source: The block.
    ///   - count: Bytes that it must unpack to.
    /// - Returns: Nil where it does not.
    static func unpack(_ source: ArraySlice<UInt8>, count: Int) -> [UInt8]? {
        var place = source.startIndex
        /// A little-endian number of so many bytes.
        func number(_ bytes: Int) -> Int? {
            guard bytes <= source.endIndex - place else { return nil }
            defer { place += bytes }
            return (0..<bytes).reduce(0) { $0 | Int(source[place + $1]) << (8 * $1) }
        }
        var told = 0
        var shift = 0
        while true {
            guard let byte = number(1), shift < 35 else { return nil }
            told |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80 { break }
        }
        guard told == count else { return nil }
        var out: [UInt8] = []
        out.reserveCapacity(count)
        while place < source.endIndex {
            guard let tag = number(1) else { return nil }
            let high = tag >> 2
            if tag & 3 == 0 {
                // A literal; its length less one is in the tag, or in up to four bytes behind.
                guard let length = high < 60 ? high : number(high - 59), length < count - out.count,
                    length < source.endIndex - place
                else { return nil }
                out.append(contentsOf: source[place...place + length])
                place += length + 1
                continue
            }
            let length = tag & 3 == 1 ? high & 7 + 4 : high + 1
            let offset = tag & 3 == 1 ? number(1).map { $0 | (high >> 3) << 8 } : number(tag & 3 == 2 ? 2 : 4)
            guard let offset, offset > 0, offset <= out.count, length <= count - out.count else { return nil }
            // A copy may overlap what it writes.
            let start = out.count - offset
            if offset >= length {
                out.append(contentsOf: out[start..<start + length])
            } else {
                for step in 0..<length { out.append(out[start + step]) }
            }
        }
        return out.count == count ? out : nil
    }
}
