/// How the values of a column are made of bytes.
struct ParquetDecoder<Value> {
    /// As many values as asked for, written one behind the other; nil where the bytes do not hold them.
    var plain: (_ bytes: ArraySlice<UInt8>, _ count: Int) -> [Value]?
    /// Bytes of a value where all have as many, for streams that are split by byte.
    var width: Int?

    /// Of numbers that stand there as they are.
    static func fixed<Number: BitwiseCopyable>(
        _ type: Number.Type,
        _ value: @escaping (Number) -> Value
    ) -> ParquetDecoder {
        let width = MemoryLayout<Number>.size
        return ParquetDecoder(
            plain: { bytes, count in
                guard count <= bytes.count / width else { return nil }
                return numbers(type, bytes.prefix(count * width)).map(value)
            },
            width: width
        )
    }
}

/// One column of a row group, row by row; a page and a dictionary of it are in memory at a time.
struct ParquetColumn<Value> {
    /// What a row has in the column.
    enum Row {
        case values
        /// Null, or an empty list.
        case nothing
        /// A list with a null at that place.
        case null(at: Int)
    }

    /// More than any writer makes: a damaged length must not fill the memory.
    private static var pageBytesMax: Int { 1 << 29 }

    private let file: FileBytes
    private let leaf: ParquetFooter.Leaf
    private let decoder: ParquetDecoder<Value>
    private let codec: Int
    /// Next page.
    private var place: Int
    private let end: Int
    /// Values of the chunk that no page has given yet.
    private var left: Int
    private var dictionary: [Value]?

    // The page at hand.
    private var definitions: [UInt32] = []
    private var repetitions: [UInt32] = []
    private var values: [Value] = []
    private var entries = 0
    private var entry = 0
    private var value = 0

    init(
        _ file: FileBytes,
        _ leaf: ParquetFooter.Leaf,
        _ chunk: ParquetFooter.Chunk,
        _ decoder: ParquetDecoder<Value>
    ) throws(VectorFileError) {
        self.file = file
        self.leaf = leaf
        self.decoder = decoder
        codec = chunk.codec
        place = chunk.start
        end = chunk.start + chunk.bytes
        left = chunk.values
        guard codec == 0 || codec == 1 else {
            let names = [2: "GZIP", 3: "LZO", 4: "BROTLI", 5: "LZ4", 6: "ZSTD", 7: "LZ4_RAW"]
            throw .unsupported(
                path: file.path,
                reason:
                    "column \(name) is compressed with \(names[codec] ?? "codec \(codec)"); read are SNAPPY and none"
            )
        }
    }

    private var name: String { leaf.path[0] }

    private func damaged(_ what: String) -> VectorFileError {
        .damaged(path: file.path, reason: "column \(name), page before byte \(place): \(what)")
    }

    /// Reads the next row; nil at the end of the chunk.
    mutating func next(into row: inout [Value]) throws(VectorFileError) -> Row? {
        row.removeAll(keepingCapacity: true)
        guard try isFilled() else { return nil }
        guard leaf.repetitionMax == 0 || repetitions[entry] == 0 else { throw damaged("it begins within a row") }
        var found = Row.nothing
        while true {
            let level = leaf.definitionMax == 0 ? 0 : Int(definitions[entry])
            if level == leaf.definitionMax {
                row.append(values[value])
                value += 1
                if case .nothing = found { found = .values }
            } else if leaf.isOptional, leaf.repetitionMax > 0, level == leaf.definitionMax - 1 {
                if case .null = found {} else { found = .null(at: row.count) }
            }
            entry += 1
            // A list may go on in the next page.
            guard leaf.repetitionMax > 0, try isFilled(), repetitions[entry] > 0 else { return found }
        }
    }

    /// Whether there is an entry at hand; reads pages until there is.
    private mutating func isFilled() throws(VectorFileError) -> Bool {
        while entry == entries {
            guard left > 0 else { return false }
            try readPage()
        }
        return true
    }

    private mutating func readPage() throws(VectorFileError) {
        let (header, body) = try pageHeader()
        guard let packed = header[3]?.integer, let unpacked = header[2]?.integer, packed >= 0, packed <= end - body,
            (0...Self.pageBytesMax).contains(unpacked)
        else { throw damaged("its lengths make no sense") }
        place = body + packed
        switch header[1]?.integer {
        case 0:
            guard let about = header[5] else { throw damaged("its header is incomplete") }
            try take(try unpack(try file.read(at: body, count: packed)[...], unpacked), about)
        case 2:
            guard dictionary == nil, let about = header[7], let count = about[1]?.integer else {
                throw damaged("a dictionary stands where none belongs")
            }
            guard [0, 2].contains(about[2]?.integer), count >= 0, count <= unpacked else {
                throw damaged("its dictionary is not plain")
            }
            let bytes = try unpack(try file.read(at: body, count: packed)[...], unpacked)
            guard let values = decoder.plain(bytes[...], count) else { throw damaged("its dictionary is cut short") }
            dictionary = values
        case 3:
            guard let about = header[8], let definitionBytes = about[5]?.integer,
                let repetitionBytes = about[6]?.integer, definitionBytes >= 0, repetitionBytes >= 0,
                definitionBytes <= packed, repetitionBytes <= packed - definitionBytes,
                definitionBytes + repetitionBytes <= unpacked
            else { throw damaged("its header is incomplete") }
            let bytes = try file.read(at: body, count: packed)
            let levels = definitionBytes + repetitionBytes
            // The levels are never compressed in pages of this kind.
            let rest =
                about[7]?.bool ?? true
                ? try unpack(bytes[levels...], unpacked - levels) : Array(bytes[levels...])
            try take(
                rest,
                about,
                levels: (bytes[..<repetitionBytes], bytes[repetitionBytes..<levels])
            )
        default:
            // Index pages say nothing that is needed.
            return
        }
    }

    private func pageHeader() throws(VectorFileError) -> (header: ThriftValue, end: Int) {
        // Statistics make some headers long.
        for size in [1 << 10, 1 << 16, 1 << 24] {
            var reader = ThriftReader(try file.read(at: place, count: min(size, end - place)))
            do {
                let header = try reader.structure()
                return (header, place + reader.position)
            } catch is ThriftReader.Cut where size < end - place {
                continue
            } catch {
                throw damaged("its header cannot be read")
            }
        }
        throw damaged("its header is too long")
    }

    private func unpack(_ bytes: ArraySlice<UInt8>, _ count: Int) throws(VectorFileError) -> [UInt8] {
        if codec == 0 {
            guard bytes.count == count else { throw damaged("it has \(bytes.count) bytes, not \(count)") }
            return Array(bytes)
        }
        if bytes.isEmpty && count == 0 { return [] }
        guard let unpacked = Snappy.unpack(bytes, count: count) else { throw damaged("its compression is broken") }
        return unpacked
    }

    /// Decodes a data page; `levels` where they stand outside of `bytes`.
    private mutating func take(
        _ bytes: [UInt8],
        _ about: ThriftValue,
        levels: (repetition: ArraySlice<UInt8>, definition: ArraySlice<UInt8>)? = nil
    ) throws(VectorFileError) {
        guard let count = about[1]?.integer, count >= 0, count <= left else {
            throw damaged("it has more values than its column")
        }
        var rest = bytes[...]
        /// Levels behind their own length.
        func inlineLevels(_ maximum: Int) throws(VectorFileError) -> ArraySlice<UInt8> {
            guard maximum > 0 else { return [] }
            guard rest.count >= 4 else { throw damaged("its levels are cut short") }
            let length = Int(numbers(UInt32.self, rest.prefix(4))[0])
            rest = rest.dropFirst(4)
            guard length <= rest.count else { throw damaged("its levels are cut short") }
            defer { rest = rest.dropFirst(length) }
            return rest.prefix(length)
        }
        // Repetition comes before definition.
        let given = levels
        let repetition = if let given { given.repetition } else { try inlineLevels(leaf.repetitionMax) }
        let definition = if let given { given.definition } else { try inlineLevels(leaf.definitionMax) }
        repetitions = try self.levels(repetition, leaf.repetitionMax, count)
        definitions = try self.levels(definition, leaf.definitionMax, count)
        let there = leaf.definitionMax == 0 ? count : definitions.count { $0 == UInt32(leaf.definitionMax) }
        values = try decoded(rest, there, encoding: about[given == nil ? 2 : 4]?.integer)
        (entries, entry, value) = (count, 0, 0)
        left -= count
    }

    private func levels(_ bytes: ArraySlice<UInt8>, _ maximum: Int, _ count: Int) throws(VectorFileError) -> [UInt32] {
        guard maximum > 0 else { return [] }
        let width = Int.bitWidth - maximum.leadingZeroBitCount
        guard let levels = Self.runs(bytes, width: width, count: count), levels.allSatisfy({ $0 <= maximum }) else {
            throw damaged("its levels make no sense")
        }
        return levels
    }

    private func decoded(
        _ bytes: ArraySlice<UInt8>,
        _ count: Int,
        encoding: Int?
    ) throws(VectorFileError) -> [Value] {
        if count == 0 { return [] }
        switch encoding {
        case 0:
            guard let values = decoder.plain(bytes, count) else { throw damaged("it is too short for its values") }
            return values
        case 2, 8:
            guard let dictionary, let width = bytes.first, width <= 32,
                let places = Self.runs(bytes.dropFirst(), width: Int(width), count: count)
            else { throw damaged("its places in a dictionary make no sense") }
            guard let largest = places.max(), largest < dictionary.count else {
                throw damaged("it points beyond its dictionary")
            }
            return places.map { dictionary[Int($0)] }
        case 9:
            guard let width = decoder.width, bytes.count == count * width else {
                throw damaged("its split stream has another length than its values")
            }
            // Byte b of value v stands at b · count + v.
            var joined = [UInt8](repeating: 0, count: bytes.count)
            for byte in 0..<width {
                let stream = bytes.startIndex + byte * count
                for value in 0..<count { joined[value * width + byte] = bytes[stream + value] }
            }
            guard let values = decoder.plain(joined[...], count) else { throw damaged("its split stream is too short") }
            return values
        default:
            let names = [
                3: "RLE", 4: "BIT_PACKED", 5: "DELTA_BINARY_PACKED", 6: "DELTA_LENGTH_BYTE_ARRAY",
                7: "DELTA_BYTE_ARRAY",
            ]
            let told = encoding.map { names[$0] ?? "encoding \($0)" } ?? "no encoding"
            throw .unsupported(
                path: file.path,
                reason: "column \(name) is encoded as \(told); read are PLAIN, dictionaries and BYTE_STREAM_SPLIT"
            )
        }
    }

    /// Parquet's mix of repeated values and packed bits: so many numbers of `width` bits; nil where there are fewer.
    private static func runs(_ bytes: ArraySlice<UInt8>, width: Int, count: Int) -> [UInt32]? {
        var out: [UInt32] = []
        out.reserveCapacity(count)
        var place = bytes.startIndex
        if width == 0 { return [UInt32](repeating: 0, count: count) }
        while out.count < count {
            var head = 0
            var shift = 0
            while true {
                guard place < bytes.endIndex, shift < 35 else { return nil }
                head |= Int(bytes[place] & 0x7F) << shift
                place += 1
                shift += 7
                if bytes[place - 1] < 0x80 { break }
            }
            let wanted = count - out.count
            if head & 1 == 0 {
                let width = (width + 7) / 8
                guard width <= bytes.endIndex - place, head > 0 else { return nil }
                let value = (0..<width).reduce(UInt32(0)) { $0 | UInt32(bytes[place + $1]) << UInt32(8 * $1) }
                place += width
                out.append(contentsOf: repeatElement(value, count: min(head >> 1, wanted)))
            } else {
                // Groups of eight; the last may be cut where no more values are wanted.
                let values = min((head >> 1) * 8, wanted)
                let needed = (values * width + 7) / 8
                guard values > 0, needed <= bytes.endIndex - place else { return nil }
                var held: UInt64 = 0
                var bits = 0
                var next = place
                let mask = UInt64(1) << UInt64(width) - 1
                for _ in 0..<values {
                    while bits < width {
                        held |= UInt64(bytes[next]) << UInt64(bits)
                        next += 1
                        bits += 8
                    }
                    out.append(UInt32(held & mask))
                    held >>= UInt64(width)
                    bits -= width
                }
                place = min(bytes.endIndex, place + (head >> 1) * width)
            }
        }
        return out
    }
}
