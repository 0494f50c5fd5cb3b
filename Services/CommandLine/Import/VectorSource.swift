import DocumentStore
import ServiceRuntime
import VectorFiles
import WireProtocol

/// Rows for a collection out of a file of vectors and, where there is one, a file that says what they belong to.
struct VectorSource {
    private let path: String
    private let dimensions: Int
    private var vectors: any VectorReader
    private let documentsPath: String?
    private var documents: DocumentFile?

    /// Opens the files.
    ///
    /// - Parameters:
    ///   - path: The vectors.
    ///   - format: What they are in.
    ///   - columns: Of Parquet and JSON lines.
    ///   - documentsPath: Ids, or documents, a line for each vector; nil: ids are in `path`, or the rows' numbers.
    ///   - dimensions: Length of the collection's vectors; nil: that of the first one.
    /// - Throws: ``StartupFailure``.
    init(
        path: String,
        format: VectorFormat,
        columns: VectorColumns,
        documents documentsPath: String?,
        dimensions: Int?
    ) throws {
        self.path = path
        self.documentsPath = documentsPath
        do throws(VectorFileError) {
            vectors = try format.reader(path, columns: columns)
            if let dimensions, let width = vectors.dimensions, dimensions != width {
                throw .badColumn(
                    path: path,
                    reason: "its vectors have \(width) dimensions, those of the collection \(dimensions)"
                )
            }
            var width = dimensions ?? vectors.dimensions
            if width == nil { width = try Self.firstLength(&vectors) }
            guard let width else { throw .damaged(path: path, reason: "it has no row with a vector") }
            self.dimensions = width
        } catch {
            throw StartupFailure("\(error)")
        }
        if let documentsPath {
            let file = try DocumentFile(path: documentsPath, fields: nil, allowsPlainIDs: true)
            let lines = file.remainingLines
            guard lines == vectors.rows else {
                throw StartupFailure(
                    "\(path) has \(grouped(vectors.rows)) vectors, \(documentsPath) has \(grouped(lines)) lines; "
                        + "each vector needs its line"
                )
            }
            documents = file
        }
    }

    /// Length of the first vector that can be read, where each row has its own.
    private static func firstLength(_ vectors: inout any VectorReader) throws(VectorFileError) -> Int? {
        while true {
            do throws(VectorFileError) {
                let length = try vectors.next()?.vector.count
                try vectors.seek(to: 0)
                return length
            } catch {
                guard case .row = error else { throw error }
            }
        }
    }

    /// Length of the vectors.
    var width: Int { dimensions }
    /// All rows.
    var rows: Int { vectors.rows }
    /// Rows taken.
    var position: Int { vectors.position }

    /// Tells these contents from others, so that an offset is not used for another file.
    static func fingerprint(_ paths: [String], columns: VectorColumns) throws -> String {
        var hash = ContentHash()
        for path in paths {
            do { try hash.add(contentsOf: path) } catch { throw StartupFailure("\(error)") }
        }
        let names = [columns.vector, columns.id, columns.text, columns.payload?.joined(separator: ",")]
        hash.add(names.map { $0 ?? "" }.joined(separator: " "))
        return "\(fileName(paths[0])) \(hash.text)"
    }

    /// Goes on where an earlier import stopped.
    mutating func seek(to row: Int) throws {
        do { try vectors.seek(to: row) } catch { throw StartupFailure("\(error)") }
        documents?.skip(vectors.position)
    }

    /// The next row; nil at the end.
    ///
    /// - Throws: ``BadLine``, after which it goes on with the row behind, or ``StartupFailure``.
    mutating func next() throws -> UpsertRow? {
        let number = vectors.position + 1
        // Both move on, whatever is wrong with one of them.
        let (found, document) = (take(), takeDocument())
        func bad(_ id: String?, _ problem: String) -> BadLine {
            BadLine(unit: "row", number: number, id: id, problem: problem, content: [], offset: number - 1)
        }
        let row: VectorFileRow
        switch found {
        case .success(nil): return nil
        case .success(let taken?): row = taken
        case .failure(.row(let fault)): throw bad(fault.id ?? (try? document.get())?.id, fault.problem)
        case .failure(let error): throw StartupFailure("\(error)")
        }
        var merged = ImportedDocument(id: row.id ?? String(number - 1), text: row.text ?? "")
        merged.payload = row.payload?.jsonText
        if documents != nil {
            do {
                guard let document = try document.get() else {
                    throw StartupFailure("\(documentsPath ?? "") was cut short meanwhile")
                }
                merged = document
            } catch let line as BadLine {
                throw bad(line.id, "\(fileName(documentsPath ?? "")) \(line.sentence)")
            }
        }
        if merged.id.utf8.contains(0) || merged.text.utf8.contains(0) || row.payload?.hasNull ?? false {
            throw bad(nil, "id, text or payload contains the character U+0000, which cannot be stored")
        }
        if let problem = merged.problem(key: "id") { throw bad(nil, problem) }
        if let problem = Self.problem(row.vector, dimensions: dimensions) { throw bad(merged.id, problem) }
        return UpsertRow(
            externalID: merged.id,
            text: merged.text.isEmpty ? nil : merged.text,
            payload: merged.payload,
            vector: row.vector
        )
    }

    private mutating func take() -> Result<VectorFileRow?, VectorFileError> {
        do { return .success(try vectors.next()) } catch { return .failure(error) }
    }

    private mutating func takeDocument() -> Result<ImportedDocument?, any Error> {
        do { return .success(try documents?.next()) } catch { return .failure(error) }
    }

    /// What a collection of that size would refuse, as the end of a sentence.
    private static func problem(_ vector: [Float], dimensions: Int) -> String? {
        switch VectorFault.find(in: vector.span, dimensions: dimensions) {
        case nil: return nil
        case .wrongLength: return "its vector has \(vector.count) dimensions; allowed: \(dimensions)"
        case .zero: return "its vector has no length: all is 0, or too small for float32"
        case .nonFinite:
            guard let place = vector.firstIndex(where: { !$0.isFinite }) else {
                return "its vector is too long: the squares of its numbers are beyond float32"
            }
            return "vector[\(place)] is \(vector[place]), which is not finite as float32"
        }
    }
}
