import WireProtocol

/// Rows of a Parquet file: a column of lists of numbers, and beside it columns of ids, texts and payloads.
///
/// Read are lists (also of fixed size) of FLOAT, DOUBLE or FLOAT16, and columns of texts, integers, numbers and booleans;
/// encodings PLAIN, dictionary and BYTE_STREAM_SPLIT; pages of versions 1 and 2; compression SNAPPY or none. All else
/// (GZIP, ZSTD, LZ4, BROTLI, delta encodings, encryption, dates and decimals) is an error that names it.
struct ParquetVectors: VectorReader {
    let rows: Int
    let dimensions: Int? = nil
    private(set) var position = 0
    private let file: FileBytes
    private let footer: ParquetFooter
    private let vectorLeaf: ParquetFooter.Leaf
    /// Id, text, payloads, as far as they are wanted.
    private let scalarLeaves: [(role: Role, leaf: ParquetFooter.Leaf)]
    /// Payloads are the members of one object, not an object's text.
    private let joinsPayload: Bool

    private enum Role {
        case id
        case text
        case payload
    }

    // The row group at hand.
    private var group = 0
    private var rowsLeft = 0
    private var vectors: ParquetColumn<Float>?
    private var scalars: [ParquetColumn<JSONValue>] = []
    private var numbersHeld: [Float] = []
    private var scalarHeld: [JSONValue] = []

    init(path: String, columns: VectorColumns = .init()) throws(VectorFileError) {
        file = try FileBytes(path: path)
        footer = try ParquetFooter(file)
        var total = 0
        for group in footer.groups {
            let (sum, overflows) = total.addingReportingOverflow(group.rows)
            guard !overflows else { throw .damaged(path: path, reason: "its row groups have too many rows") }
            total = sum
        }
        rows = total
        let leaves = footer.leaves
        let tops = leaves.map { $0.path[0] }
        func leaf(_ name: String) throws(VectorFileError) -> ParquetFooter.Leaf? {
            let found = leaves.filter { $0.path[0] == name }
            guard found.count < 2 else { throw .badColumn(path: path, reason: "column \(name) holds several values") }
            return found.first
        }
        func required(_ name: String) throws(VectorFileError) -> ParquetFooter.Leaf {
            guard let found = try leaf(name) else {
                throw .badColumn(
                    path: path,
                    reason: "there is no column \(name); there are \(tops.joined(separator: ", "))"
                )
            }
            return found
        }
        let name = columns.vector ?? VectorColumns.vectorNames.first(where: tops.contains) ?? "vector"
        vectorLeaf = try required(name)
        guard vectorLeaf.repetitionMax == 1 else {
            throw .badColumn(path: path, reason: "column \(name) is no list of numbers")
        }
        guard [.float, .double].contains(vectorLeaf.physical) || vectorLeaf.isFloat16 else {
            throw .badColumn(
                path: path,
                reason: "column \(name) is a list of \(vectorLeaf.physical.name); read are FLOAT, DOUBLE and FLOAT16"
            )
        }
        var wanted: [(Role, ParquetFooter.Leaf)] = []
        for (role, asked, usual) in [(Role.id, columns.id, "id"), (.text, columns.text, "text")] {
            if let found = asked != nil ? try required(asked!) : try leaf(usual) { wanted.append((role, found)) }
        }
        let joinsPayload = columns.payload != nil
        self.joinsPayload = joinsPayload
        for asked in columns.payload ?? [] { wanted.append((.payload, try required(asked))) }
        if columns.payload == nil, let found = try leaf("payload") { wanted.append((.payload, found)) }
        for (role, leaf) in wanted {
            let isText = leaf.physical == .bytes
            guard leaf.repetitionMax == 0, leaf.path.count == 1, !leaf.isSpecial,
                ![.int96, .fixedBytes].contains(leaf.physical),
                isText || role == .payload && joinsPayload || role == .id && [.int32, .int64].contains(leaf.physical)
            else {
                let allowed =
                    switch role {
                    case .id: "texts or integers"
                    case .text: "texts"
                    case .payload: joinsPayload ? "texts, integers, numbers or booleans" : "JSON objects as texts"
                    }
                throw .badColumn(path: path, reason: "column \(leaf.path[0]) does not hold \(allowed)")
            }
        }
        scalarLeaves = wanted
        try open(0)
    }

    private mutating func open(_ number: Int) throws(VectorFileError) {
        group = number
        (rowsLeft, vectors, scalars) = (0, nil, [])
        guard number < footer.groups.count else { return }
        let held = footer.groups[number]
        rowsLeft = held.rows
        vectors = try ParquetColumn(file, vectorLeaf, held.chunks[vectorLeaf.column], Self.floats(vectorLeaf))
        for (_, leaf) in scalarLeaves {
            scalars.append(try ParquetColumn(file, leaf, held.chunks[leaf.column], Self.scalars(leaf)))
        }
    }

    mutating func seek(to row: Int) throws(VectorFileError) {
        var first = 0
        var number = 0
        while number < footer.groups.count, first + footer.groups[number].rows <= row {
            first += footer.groups[number].rows
            number += 1
        }
        try open(number)
        position = first
        while position < row, try take() != nil {}
    }

    mutating func next() throws(VectorFileError) -> VectorFileRow? {
        guard let (state, values) = try take() else { return nil }
        var row = VectorFileRow(vector: [])
        var members: [JSONValue.Member] = []
        func fault(_ problem: String) -> VectorFileError {
            .row(VectorRowFault(row: position, id: row.id, problem: problem))
        }
        for ((role, leaf), value) in zip(scalarLeaves, values) {
            let name = leaf.path[0]
            // What the decoder could not make a text of.
            if case .array = value { throw fault("\(name) is no valid UTF-8") }
            switch (role, value) {
            case (.id, .string(let text)): row.id = text
            case (.id, .integer(let number)): row.id = String(number)
            case (.id, _): throw fault("\(name) is null")
            case (.text, .string(let text)): row.text = text
            case (.text, _): break
            case (.payload, .null): break
            case (.payload, _) where joinsPayload: members.append(.init(name, value))
            case (.payload, .string(let text)):
                guard let json = try? JSONValue(parsing: Array(text.utf8)), case .object = json else {
                    throw fault("\(name) is no JSON object")
                }
                row.payload = json
            case (.payload, _): break
            }
        }
        if joinsPayload { row.payload = .object(members) }
        let name = vectorLeaf.path[0]
        switch state {
        case .nothing: throw fault("\(name) is null or empty")
        case .null(let place): throw fault("\(name)[\(place)] is null")
        case .values: row.vector = numbersHeld
        }
        return row
    }

    /// Takes the next row of every column.
    private mutating func take() throws(VectorFileError) -> (ParquetColumn<Float>.Row, [JSONValue])? {
        while rowsLeft == 0 {
            guard group < footer.groups.count else { return nil }
            try open(group + 1)
        }
        guard let state = try vectors?.next(into: &numbersHeld) else { throw ended(vectorLeaf) }
        var values: [JSONValue] = []
        for place in scalars.indices {
            guard try scalars[place].next(into: &scalarHeld) != nil else { throw ended(scalarLeaves[place].leaf) }
            values.append(scalarHeld.first ?? .null)
        }
        rowsLeft -= 1
        position += 1
        return (state, values)
    }

    private func ended(_ leaf: ParquetFooter.Leaf) -> VectorFileError {
        .damaged(path: file.path, reason: "column \(leaf.path[0]) has fewer rows than its row group, \(group + 1)")
    }

    private static func floats(_ leaf: ParquetFooter.Leaf) -> ParquetDecoder<Float> {
        switch leaf.physical {
        case .double: .fixed(Double.self) { Float($0) }
        case .fixedBytes: .fixed(Float16.self) { Float($0) }
        default: .fixed(Float.self) { $0 }
        }
    }

    private static func scalars(_ leaf: ParquetFooter.Leaf) -> ParquetDecoder<JSONValue> {
        switch leaf.physical {
        // JSON has no infinities.
        case .float: return .fixed(Float.self) { $0.isFinite ? .number(Double($0)) : .null }
        case .double: return .fixed(Double.self) { $0.isFinite ? .number($0) : .null }
        case .int32 where leaf.isUnsigned: return .fixed(UInt32.self) { .integer(Int64($0)) }
        case .int32: return .fixed(Int32.self) { .integer(Int64($0)) }
        case .int64 where leaf.isUnsigned:
            // JSON's integers end before those of 64 bits without sign.
            return .fixed(UInt64.self) { Int64(exactly: $0).map { .integer($0) } ?? .string(String($0)) }
        case .int64: return .fixed(Int64.self) { .integer($0) }
        case .boolean:
            return ParquetDecoder(plain: { bytes, count in
                guard count <= bytes.count * 8 else { return nil }
                return (0..<count).map { .bool(bytes[bytes.startIndex + $0 / 8] >> UInt8($0 % 8) & 1 == 1) }
            })
        default:
            return ParquetDecoder(plain: { bytes, count in
                var rest = bytes
                var out: [JSONValue] = []
                for _ in 0..<count {
                    guard rest.count >= 4 else { return nil }
                    let length = Int(numbers(UInt32.self, rest.prefix(4))[0])
                    rest = rest.dropFirst(4)
                    guard length <= rest.count else { return nil }
                    out.append(String(validating: rest.prefix(length), as: UTF8.self).map { .string($0) } ?? .array([]))
                    rest = rest.dropFirst(length)
                }
                return out
            })
        }
    }
}
