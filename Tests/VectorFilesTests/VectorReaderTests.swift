import Foundation
import Testing
import VectorFiles
import WireProtocol

/// Files that Golden/make.py wrote.
private func golden(_ name: String) -> String {
    URL(filePath: #filePath).deletingLastPathComponent().path + "/Golden/" + name
}

/// What make.py puts into row `row`.
private func numbers(_ row: Int) -> [Float] { (0..<6).map { Float(10 * row + $0) / 8 } }

private func open(_ name: String, _ columns: VectorColumns = .init()) throws -> any VectorReader {
    try #require(VectorFormat(path: name)).reader(golden(name), columns: columns)
}

/// All rows that follow.
private func rest(_ reader: inout any VectorReader) throws -> [VectorFileRow] {
    var rows: [VectorFileRow] = []
    while let row = try reader.next() { rows.append(row) }
    return rows
}

/// The next row, or what is wrong with it.
private func taken(_ reader: inout any VectorReader) -> Result<VectorFileRow?, VectorFileError> {
    do { return .success(try reader.next()) } catch { return .failure(error) }
}

@Suite("Files of vectors")
struct VectorReaderTests {
    @Test(
        "every kind of file gives the same numbers, and goes on at any row",
        arguments: [
            "f2.npy", "f4.npy", "f8.npy", "default.parquet", "plain-v2.parquet", "dictionary-v2.parquet",
            "half-split.parquet", "float-split.parquet",
        ]
    )
    func rows(name: String) throws {
        var reader = try open(name)
        #expect(reader.rows == 50)
        #expect(try rest(&reader).map(\.vector) == (0..<50).map(numbers))
        #expect(reader.position == 50)
        for start in [49, 0, 20, 19, 33] {
            try reader.seek(to: start)
            #expect(reader.position == start)
            #expect(try reader.next()?.vector == numbers(start))
        }
        try reader.seek(to: 50)
        #expect(try reader.next() == nil)
    }

    @Test("columns of Parquet become ids, texts and payloads")
    func columns() throws {
        var reader = try open("default.parquet", .init(payload: ["stars", "score", "fresh"]))
        let rows = try rest(&reader)
        #expect(rows.map(\.id) == (0..<50).map { "row-\($0)" })
        #expect(rows.map(\.text) == (0..<50).map { $0 % 7 == 3 ? nil : "text \($0 % 3)" })
        #expect(rows[0].payload?.jsonText == #"{"score":0.0,"fresh":true}"#)
        #expect(rows[49].payload?.jsonText == #"{"stars":49000147,"score":12.25,"fresh":false}"#)
        var keyed = try open("plain-v2.parquet", .init(id: "key"))
        #expect(try rest(&keyed).last?.id == "49")
    }

    @Test("rows without a whole vector or an id are told by number, id and field; the others are read")
    func holes() throws {
        var reader = try open("holes.parquet")
        var rows: [VectorFileRow] = []
        var faults: [VectorRowFault] = []
        while reader.position < reader.rows {
            switch taken(&reader) {
            case .success(let row): rows.append(try #require(row))
            case .failure(.row(let fault)): faults.append(fault)
            case .failure(let error): throw error
            }
        }
        #expect(rows.map(\.id) == ["full", "short", "last"])
        #expect(rows.map(\.vector) == [[1, 2], [6], [7, 8]])
        #expect(
            faults == [
                VectorRowFault(row: 2, problem: "id is null"),
                VectorRowFault(row: 3, id: "null", problem: "vector is null or empty"),
                VectorRowFault(row: 4, id: "empty", problem: "vector is null or empty"),
                VectorRowFault(row: 5, id: "hole", problem: "vector[1] is null"),
            ]
        )
    }

    @Test(
        "what is not read is an error that names it",
        arguments: [
            ("zstd.parquet", VectorColumns(), "column vector is compressed with ZSTD"),
            ("delta.parquet", VectorColumns(), "column id is encoded as DELTA_BYTE_ARRAY"),
            ("whole.parquet", VectorColumns(), "column vector is a list of INT32; read are FLOAT, DOUBLE and FLOAT16"),
            ("default.parquet", VectorColumns(vector: "stars"), "column stars is no list of numbers"),
            (
                "default.parquet", VectorColumns(vector: "nothing"),
                "there is no column nothing; there are id, embedding,"
            ),
            ("default.parquet", VectorColumns(id: "score"), "column score does not hold texts or integers"),
            ("default.parquet", VectorColumns(text: "stars"), "column stars does not hold texts"),
            ("default.parquet", VectorColumns(payload: ["embedding"]), "column embedding does not hold"),
            ("fortran.npy", VectorColumns(), "it is in Fortran order"),
            ("big.npy", VectorColumns(), "its numbers are >f4; read are <f8, <f4, <f2"),
            ("flat.npy", VectorColumns(), "its shape is (6,); read are two axes"),
            ("nowhere.npy", VectorColumns(), "cannot read"),
        ]
    )
    func refused(name: String, columns: VectorColumns, sentence: String) throws {
        let error = #expect(throws: VectorFileError.self) {
            var reader = try open(name, columns)
            _ = try reader.next()
        }
        #expect(error.map { "\($0)" }?.contains(sentence) == true, "\(error as Any)")
    }

    @Test("endings say what a file is, whatever their case")
    func endings() {
        #expect(VectorFormat(path: "a/b.NPY") == .npy)
        #expect(VectorFormat(path: "x.y.ndjson") == .jsonl)
        #expect(VectorFormat(path: "x.pq") == .parquet)
        #expect(VectorFormat(path: "npy.txt") == nil)
    }
}

@Suite("Damaged files of vectors")
struct DamagedFileTests {
    /// Reads all of a file of so many bytes; whatever they are, there is an end.
    private func readAll(_ format: VectorFormat, _ bytes: [UInt8], _ path: String) throws -> Int {
        try Data(bytes).write(to: URL(filePath: path))
        guard var reader = try? format.reader(path) else { return 0 }
        var rows = 0
        while true {
            switch taken(&reader) {
            case .success(nil): return rows
            case .success, .failure(.row): rows += 1
            case .failure: return rows
            }
        }
    }

    @Test(
        "a flipped byte or a lost end is an error or another number, never a trap",
        arguments: ["default.parquet", "plain-v2.parquet", "half-split.parquet", "holes.parquet", "f4.npy"]
    )
    func flips(name: String) throws {
        let path = "/tmp/mrl-damaged-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let format = try #require(VectorFormat(path: name))
        let bytes = [UInt8](try Data(contentsOf: URL(filePath: golden(name))))
        #expect(try readAll(format, bytes, path) > 0)
        var state: UInt64 = 7
        for step in 0..<400 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            var damaged = bytes
            if step % 8 == 0 {
                damaged.removeLast(Int(state >> 33) % bytes.count)
            } else {
                damaged[Int(state >> 33) % bytes.count] ^= UInt8(truncatingIfNeeded: state >> 20) | 1
            }
            _ = try readAll(format, damaged, path)
        }
    }
}

@Suite("Rows with their length, and lines")
final class LinewiseFileTests {
    private let path = "/tmp/mrl-vectors-\(UUID().uuidString)"

    deinit { try? FileManager.default.removeItem(atPath: path) }

    private func fvecs(_ rows: [[Float]]) -> [UInt8] {
        rows.flatMap { row in
            withUnsafeBytes(of: Int32(row.count)) { Array($0) } + row.withUnsafeBytes { Array($0) }
        }
    }

    private func reader(_ format: VectorFormat, _ bytes: [UInt8], _ columns: VectorColumns = .init()) throws
        -> any VectorReader
    {
        try Data(bytes).write(to: URL(filePath: path))
        return try format.reader(path, columns: columns)
    }

    @Test("fvecs are read from any row on")
    func floats() throws {
        var reader = try reader(.fvecs, fvecs([[1, 2], [3, 4], [5, 6]]))
        #expect(reader.rows == 3 && reader.dimensions == 2)
        try reader.seek(to: 1)
        #expect(try rest(&reader).map(\.vector) == [[3, 4], [5, 6]])
    }

    @Test("fvecs whose rows differ in length, or end early, are damaged")
    func ragged() throws {
        var mixed = try reader(.fvecs, fvecs([[1, 2], [3, 4]]).enumerated().map { $0 == 12 ? 9 : $1 })
        _ = try mixed.next()
        let error = #expect(throws: VectorFileError.self) { try mixed.next() }
        #expect(error.map { "\($0)" }?.contains("row 2 says that it has 9 numbers, the first has 2") == true)
        #expect(throws: VectorFileError.self) { try self.reader(.fvecs, self.fvecs([[1, 2]]) + [0]) }
        #expect(throws: VectorFileError.self) { try self.reader(.fvecs, [255, 255, 255, 255]) }
    }

    @Test("lines give ids, texts and payloads; one without numbers is told by number and field")
    func lines() throws {
        let text = """
            {"id": "a", "vector": [1, 2.5], "text": "t", "payload": {"n": 1}}
            {"id": 7, "embedding": [0.5, -3e-1], "lang": "de"}
            {"id": "c", "vector": [1, "2"]}
            {"id": "d"}
            nonsense
            {"vector": [4, 5]}
            """
        var reader = try reader(.jsonl, Array(text.utf8))
        #expect(reader.rows == 6)
        #expect(
            try reader.next()
                == VectorFileRow(vector: [1, 2.5], id: "a", text: "t", payload: .object([.init("n", .integer(1))]))
        )
        #expect(try reader.next() == VectorFileRow(vector: [0.5, -0.3], id: "7"))
        for (row, id, problem) in [
            (3, "c", "vector[1] is no number"), (4, "d", "it has no array vector or embedding"), (5, nil, "no JSON"),
        ] as [(Int, String?, String)] {
            let error = #expect(throws: VectorFileError.self) { try reader.next() }
            guard case .row(let fault)? = error else { return #expect(Bool(false), "\(error as Any)") }
            #expect(fault.row == row && fault.id == id && fault.problem.hasPrefix(problem), "\(fault)")
        }
        #expect(try rest(&reader) == [VectorFileRow(vector: [4, 5])])
        try reader.seek(to: 5)
        #expect(try rest(&reader) == [VectorFileRow(vector: [4, 5])])
    }

    @Test("members of lines are chosen by name")
    func members() throws {
        var reader = try reader(
            .jsonl,
            Array(#"{"_id": "a", "v": [1], "body": "b", "lang": "de", "n": 3}"#.utf8),
            VectorColumns(vector: "v", id: "_id", text: "body", payload: ["lang", "missing"])
        )
        #expect(
            try reader.next()
                == VectorFileRow(vector: [1], id: "a", text: "b", payload: .object([.init("lang", .string("de"))]))
        )
    }

    @Test("contents are told apart, and the same contents are the same however they are cut")
    func hashes() throws {
        let bytes = [UInt8](repeating: 7, count: 3_000_001)
        func hash(_ bytes: [UInt8]) throws -> String {
            try Data(bytes).write(to: URL(filePath: path))
            var hash = ContentHash()
            try hash.add(contentsOf: path)
            return hash.text
        }
        var changed = bytes
        changed[2_999_999] = 8
        #expect(try hash(bytes) == hash(bytes))
        #expect(try hash(bytes) != hash(changed))
        #expect(try hash(bytes) != hash(Array(bytes.dropLast())))
    }
}
