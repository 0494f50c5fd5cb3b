import Encoding
import FoundationEssentials
import Glibc
import ServiceRuntime
import VectorFiles
import VectorMath

/// Vectors of a frozen encoder to learn from: made of texts, or read from a file.
struct FrozenVectors {
    let encoder: any TextEncoder
    /// Folder in which vectors that were made are kept; nil: nowhere.
    let cache: String?

    /// Encodes texts, each different one once.
    ///
    /// - Parameters:
    ///   - texts: Any.
    ///   - role: `query` or `document`.
    ///   - label: What the line of progress is called.
    /// - Returns: A row for each text; zeros for one without a known token.
    /// - Throws: ``MatrixFileError`` where the cache cannot be written.
    func encode(_ texts: [String], role: String, label: String) throws -> Matrix {
        var places: [String: Int] = [:]
        var distinct: [String] = []
        let rows = texts.map { text in
            if let place = places[text] { return place }
            places[text] = distinct.count
            distinct.append(text)
            return distinct.count - 1
        }
        return try distinctVectors(distinct, role: role, label: label).selecting(rows)
    }

    private func distinctVectors(_ texts: [String], role: String, label: String) throws -> Matrix {
        let width = encoder.model.dimensions
        guard !texts.isEmpty else { return Matrix(values: [], columns: width) }
        let path = cache.map { folder in
            let key = SHA256.hexadecimal(Array(([encoder.model.id, role] + texts).joined(separator: "\u{0}").utf8))
            return "\(folder)/\(key.prefix(32)).npy"
        }
        if let path, let file = try? MatrixFile.open(path), file.columns == width, file.rows == texts.count {
            Output.note("\(label): \(grouped(texts.count)) vectors from \(path)")
            return Matrix(values: file.floats(0..<file.rows), columns: width)
        }
        var progress = ProgressLine(label, total: texts.count, at: now())
        var values: [Float] = []
        values.reserveCapacity(texts.count * width)
        for start in stride(from: 0, to: texts.count, by: 256) {
            let part = Array(texts[start..<min(start + 256, texts.count)])
            values += encoder.encode(part, role: role)
            progress.update(start + part.count, at: now())
        }
        progress.finish(texts.count, at: now())
        if let path, let cache {
            try FileManager.default.createDirectory(atPath: cache, withIntermediateDirectories: true)
            try MatrixFile.create(path, rows: texts.count, columns: width, element: .float32) { target in
                values.withUnsafeBytes { target.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
            }
        }
        return Matrix(values: values, columns: width)
    }

    /// All vectors of a file (`.npy`, `.fvecs`, Parquet, JSON lines).
    static func read(_ path: String) throws -> Matrix { try readIdentified(path).vectors }

    /// All vectors of a file, with the ids of their rows: their numbers from 0 where the file has none.
    static func readIdentified(_ path: String) throws -> (ids: [String], vectors: Matrix) {
        guard let format = VectorFormat(path: path) else {
            throw StartupFailure(
                "\(path) does not say by its ending what it is; read are "
                    + VectorFormat.allCases.map(\.rawValue).joined(separator: ", ")
            )
        }
        do throws(VectorFileError) {
            var reader = try format.reader(path)
            var ids: [String] = []
            var values: [Float] = []
            var width = reader.dimensions
            while let row = try reader.next(width: width) {
                width = row.vector.count
                ids.append(row.id ?? String(reader.position - 1))
                values += row.vector
            }
            guard let width, !values.isEmpty else { throw .damaged(path: path, reason: "it has no row") }
            return (ids, Matrix(values: values, columns: width))
        } catch {
            throw StartupFailure("\(path): \(error)")
        }
    }
}

extension VectorReader {
    /// The next row, of finite numbers, and of so many where a width is given; nil at the end.
    ///
    /// - Throws: ``VectorFileError``; for a row that is otherwise its number and what is wrong.
    mutating func next(width: Int?) throws(VectorFileError) -> VectorFileRow? {
        guard let row = try next() else { return nil }
        func refused(_ problem: String) -> VectorFileError { .row(VectorRowFault(row: position, problem: problem)) }
        guard !row.vector.isEmpty else { throw refused("it has no number") }
        if let width, row.vector.count != width {
            throw refused("it has \(row.vector.count) dimensions; needed: \(width)")
        }
        guard row.vector.allSatisfy(\.isFinite) else { throw refused("its numbers are not all finite") }
        return row
    }
}

/// Loads a model directory, and tells what is wrong with it as a command does.
func frozenEncoder(_ directory: String) throws -> any TextEncoder { try frozenEncoder(directory, precision: .float32) }

/// The same, with linear layers in a precision of the caller's.
func frozenEncoder(_ directory: String, precision: LinearPrecision) throws -> any TextEncoder {
    do {
        return try loadEncoder(directory: directory, precision: precision)
    } catch {
        throw StartupFailure("cannot load the model: \(error)")
    }
}
