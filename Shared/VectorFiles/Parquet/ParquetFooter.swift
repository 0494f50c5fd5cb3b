/// What a Parquet file tells about itself at its end.
struct ParquetFooter {
    /// A column that holds numbers or texts: a leaf of the schema.
    struct Leaf {
        enum Physical: Int {
            case boolean = 0
            case int32 = 1
            case int64 = 2
            case int96 = 3
            case float = 4
            case double = 5
            case bytes = 6
            case fixedBytes = 7

            var name: String {
                ["BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"][
                    rawValue
                ]
            }
        }

        /// From the root, for example `["embedding", "list", "element"]`.
        var path: [String]
        var physical: Physical
        /// Bytes of a FIXED_LEN_BYTE_ARRAY.
        var length: Int
        /// Level of a value that is there.
        var definitionMax: Int
        var repetitionMax: Int
        /// The value itself may be null within its list or row.
        var isOptional: Bool
        var convertedType: Int?
        /// Field number of the logical type that is set.
        var logicalType: Int?
        /// Place among the columns of a row group.
        var column: Int

        /// Two bytes a number, as IEEE binary16.
        var isFloat16: Bool { physical == .fixedBytes && length == 2 && logicalType == 15 }
        var isUnsigned: Bool { convertedType.map { (11...14).contains($0) } ?? false }
        /// Dates, times, decimals and such, whose raw numbers would mislead.
        var isSpecial: Bool {
            convertedType.map { [5, 6, 7, 8, 9, 10, 20, 21].contains($0) } ?? false
                || logicalType.map { [5, 6, 7, 8, 13, 14].contains($0) } ?? false
        }
    }

    /// A column's pages within a row group.
    struct Chunk {
        /// Of the first page.
        var start: Int
        /// Bytes of all pages.
        var bytes: Int
        var codec: Int
        /// Nulls included.
        var values: Int
    }

    struct RowGroup {
        var rows: Int
        /// One for each leaf.
        var chunks: [Chunk]
    }

    var leaves: [Leaf] = []
    var groups: [RowGroup] = []

    init(_ file: FileBytes) throws(VectorFileError) {
        let path = file.path
        guard file.size >= 12 else { throw .damaged(path: path, reason: "it is too short for a Parquet file") }
        let end = try file.read(at: file.size - 8, count: 8)
        let magic = String(decoding: end[4...], as: UTF8.self)
        guard magic == "PAR1" else {
            if magic == "PARE" { throw .unsupported(path: path, reason: "it is encrypted") }
            throw .damaged(path: path, reason: "it does not end as a Parquet file")
        }
        let length = Int(numbers(UInt32.self, end[..<4])[0])
        guard length <= file.size - 12 else { throw .damaged(path: path, reason: "its footer is longer than the file") }
        var reader = ThriftReader(try file.read(at: file.size - 8 - length, count: length))
        guard let footer = try? reader.structure() else {
            throw .damaged(path: path, reason: "its footer cannot be read")
        }
        if footer[8] != nil { throw .unsupported(path: path, reason: "it is encrypted") }
        var elements = (footer[2]?.items ?? [])[...]
        guard let root = elements.popFirst(), let children = root[5]?.integer, children >= 0 else {
            throw .damaged(path: path, reason: "its footer has no schema")
        }
        for _ in 0..<min(children, elements.count) {
            guard addLeaves(of: &elements, path: [], definition: 0, repetition: 0, depth: 0) else {
                throw .damaged(path: path, reason: "its schema cannot be read")
            }
        }
        for group in footer[4]?.items ?? [] {
            guard let rows = group[3]?.integer, rows >= 0, let columns = group[1]?.items, columns.count == leaves.count
            else { throw .damaged(path: path, reason: "a row group has other columns than the schema") }
            groups.append(
                RowGroup(
                    rows: rows,
                    chunks: try columns.map { (column) throws(VectorFileError) in
                        try Self.chunk(column, file)
                    }
                )
            )
        }
    }

    private static func chunk(_ column: ThriftValue, _ file: FileBytes) throws(VectorFileError) -> Chunk {
        if column[1] != nil { throw .unsupported(path: file.path, reason: "it keeps columns in other files") }
        guard let about = column[3] else { throw .unsupported(path: file.path, reason: "a column is encrypted") }
        guard let codec = about[4]?.integer, let values = about[5]?.integer, let bytes = about[7]?.integer,
            let data = about[9]?.integer, values >= 0
        else { throw .damaged(path: file.path, reason: "a column's description is incomplete") }
        // Some writers put 0 where there is no dictionary.
        let dictionary = about[11]?.integer ?? 0
        let start = dictionary > 0 ? min(dictionary, data) : data
        guard start >= 4, bytes >= 0, start <= file.size, bytes <= file.size - start else {
            throw .damaged(path: file.path, reason: "a column lies beyond the end of the file")
        }
        return Chunk(start: start, bytes: bytes, codec: codec, values: values)
    }

    /// Takes one element of the schema with all below it.
    private mutating func addLeaves(
        of elements: inout ArraySlice<ThriftValue>,
        path: [String],
        definition: Int,
        repetition: Int,
        depth: Int
    ) -> Bool {
        guard depth < 16, let element = elements.popFirst(), let name = element[4]?.text else { return false }
        let kind = element[3]?.integer ?? 0
        let definition = definition + (kind == 0 ? 0 : 1)
        let repetition = repetition + (kind == 2 ? 1 : 0)
        if let children = element[5]?.integer, children > 0 {
            for _ in 0..<min(children, elements.count) {
                guard
                    addLeaves(
                        of: &elements,
                        path: path + [name],
                        definition: definition,
                        repetition: repetition,
                        depth: depth + 1
                    )
                else { return false }
            }
            return true
        }
        guard let type = element[1]?.integer, let physical = Leaf.Physical(rawValue: type) else { return false }
        var logical: Int?
        if case .structure(let fields)? = element[10] { logical = fields.keys.min() }
        leaves.append(
            Leaf(
                path: path + [name],
                physical: physical,
                length: element[2]?.integer ?? 0,
                definitionMax: definition,
                repetitionMax: repetition,
                isOptional: kind == 1,
                convertedType: element[6]?.integer,
                logicalType: logical,
                column: leaves.count
            )
        )
        return true
    }
}
