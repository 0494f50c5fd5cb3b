import ArgumentParser
import CommandHelp
import Encoding
import FoundationEssentials
import ServiceRuntime
import VectorFiles
import VectorMath

/// `mrl encode`.
struct EncodeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "encode",
        abstract: "Write the vectors that a model makes of texts, or an adapter of other vectors, into a file.",
        usage: "mrl encode <input> --model <DIR> --output <FILE.npy> [<options>]",
        discussion: helpDiscussion(
            """
            Texts are the lines of a file, of standard input (-), or the "text" members of a .jsonl file. A file of
            vectors (.npy, .fvecs, .parquet; .jsonl for an adapter without an encoder) goes through an adapter's layers
            alone: so vectors of any origin get good prefixes, documents before mrl import vectors and queries alike.
            Rows of the result have unit length, zeros where a text has no known token, at --dimensions too.
            """,
            examples: """
                mrl encode texts.txt --model MiniLM --output texts.npy
                mrl encode queries.jsonl --model model --role query --dimensions 64 \\
                  --output queries.npy
                mrl encode openai.npy --model map --output adapted.npy
                """
        )
    )

    @Argument(help: "Texts or vectors.") var input: String
    @Option(help: ArgumentHelp("A model that mrl-encoder serves, or an adapter.", valueName: "DIR")) var model: String
    @Option(help: ArgumentHelp("The file to make.", valueName: "FILE.npy")) var output: String
    @Option(help: "query or document: a model may have a prompt for each.") var role = "document"
    @Option(help: ArgumentHelp("Keep the first so many; default: all.", valueName: "m")) var dimensions: Int?
    @Option(help: "Of a transformer's linear layers: float32 or bfloat16.") var precision = "float32"

    /// Texts or vectors that are done before the line of progress moves.
    private static let batch = 256

    func validate() throws {
        guard ["query", "document"].contains(role) else {
            throw ValidationError("--role is \(role); allowed: query, document")
        }
        guard LinearPrecision(rawValue: precision) != nil else {
            throw ValidationError("--precision is \(precision); allowed: float32, bfloat16")
        }
        guard output.hasSuffix(".npy") else { throw ValidationError("--output is \(output); it must end in .npy") }
    }

    func run() throws {
        if let reader = try vectorReader() { return try adapt(reader) }
        let encoder = try frozenEncoder(model, precision: LinearPrecision(rawValue: precision) ?? .float32)
        let texts = try self.texts()
        try write(rows: texts.count, width: encoder.model.dimensions, smallest: encoder.model.smallestDimensions) {
            rows in
            encoder.encode(Array(texts[rows]), role: role)
        }
    }

    /// Nil where the input holds texts.
    private func vectorReader() throws -> (any VectorReader)? {
        guard input != "-", let format = VectorFormat(path: input) else { return nil }
        // Lines hold texts, but for an adapter that has no encoder for them.
        if format == .jsonl {
            guard let adapter = try? AdapterDirectory(model), adapter.configuration.base == nil else { return nil }
        }
        do throws(VectorFileError) {
            return try format.reader(input)
        } catch {
            throw StartupFailure("\(error)")
        }
    }

    private func adapt(_ reader: any VectorReader) throws {
        let directory: AdapterDirectory
        do throws(ModelError) {
            directory = try AdapterDirectory(model)
        } catch {
            throw StartupFailure("vectors go through an adapter, and \(model) is none: \(error)")
        }
        let adapter = directory.adapter
        var reader = reader
        try write(rows: reader.rows, width: adapter.outputs, smallest: directory.configuration.smallestDimensions) {
            rows in
            var values: [Float] = []
            do throws(VectorFileError) {
                for _ in rows {
                    guard let row = try reader.next(width: adapter.inputs) else { break }
                    values += row.vector
                }
                guard values.count == rows.count * adapter.inputs else {
                    throw .damaged(path: input, reason: "it has fewer rows than it says")
                }
            } catch {
                throw StartupFailure("\(input): \(error)")
            }
            return adapter.vectors(of: values)
        }
    }

    private func texts() throws -> [String] {
        struct Line: Decodable {
            var text: String
        }
        let lines: [Substring]
        if input == "-" {
            var read: [Substring] = []
            while let line = readLine() { read.append(line[...]) }
            lines = read
        } else {
            guard let bytes = FileManager.default.contents(atPath: input) else {
                throw StartupFailure("cannot read \(input)")
            }
            var all = String(decoding: bytes, as: UTF8.self).split(
                omittingEmptySubsequences: false,
                whereSeparator: \.isNewline
            )
            if all.last?.isEmpty == true { all.removeLast() }
            lines = all
        }
        guard !lines.isEmpty else { throw StartupFailure("\(input) has no text") }
        guard VectorFormat(path: input) == .jsonl else { return lines.map(String.init) }
        return try lines.enumerated().map { number, line in
            guard let decoded = try? JSONDecoder().decode(Line.self, from: Data(line.utf8)) else {
                throw StartupFailure("\(input), line \(number + 1): it must be an object with the string \"text\"")
            }
            return decoded.text
        }
    }

    /// Writes what `make` says of each range of rows, in order.
    private func write(rows: Int, width: Int, smallest: Int, _ make: (Range<Int>) throws -> [Float]) throws {
        let kept = dimensions ?? width
        guard (smallest...width).contains(kept) else {
            throw StartupFailure("--dimensions is \(kept); the model allows \(smallest) to \(width)")
        }
        guard rows > 0 else { throw StartupFailure("\(input) has no row") }
        var progress = ProgressLine("encoding", total: rows, at: now())
        do {
            try MatrixFile.create(output, rows: rows, columns: kept, element: .float32) { place in
                let target = place.assumingMemoryBound(to: Float.self)
                for start in stride(from: 0, to: rows, by: Self.batch) {
                    let range = start..<min(start + Self.batch, rows)
                    let values = try make(range)
                    for row in range {
                        let first = (row - start) * width
                        let head = unitPrefix(values[first..<first + kept])
                        for (column, value) in head.enumerated() { target[row * kept + column] = value }
                    }
                    progress.update(range.upperBound, at: now())
                }
            }
        } catch let error as MatrixFileError {
            throw StartupFailure("\(error)")
        }
        progress.finish(rows, at: now())
        Output.note("\(output): \(grouped(rows)) vectors of \(kept) dimensions")
    }

    private func unitPrefix(_ values: ArraySlice<Float>) -> [Float] {
        let norm = values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        return norm > 0 ? values.map { Float(Double($0) / norm) } : Array(values)
    }
}
