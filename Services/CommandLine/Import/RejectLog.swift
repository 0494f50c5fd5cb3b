import Glibc
import ServiceRuntime
import WireProtocol

/// Where an import tells of the lines that it passes over: the first ones to the terminal, all to a file if wanted.
final class RejectLog {
    private static let toldMax = 5

    private let path: String?
    private let file: UnsafeMutablePointer<FILE>?
    /// Lines passed over so far.
    private(set) var count = 0

    /// Opens the file; `appends` where an earlier import of the same lines has begun it.
    init(path: String?, appends: Bool) throws {
        self.path = path
        file = path.flatMap { fopen($0, appends ? "ae" : "we") }
        if let path, file == nil { throw StartupFailure("cannot write \(path): \(systemError())") }
    }

    deinit { if let file { fclose(file) } }

    /// Passes a line over.
    func add(_ line: BadLine) throws {
        count += 1
        if count <= Self.toldMax { Output.note("Passed over \(line.sentence)") }
        if count == Self.toldMax + 1, file == nil { Output.note("More bad lines; --rejects writes all to a file.") }
        guard let file, let path else { return }
        let record = JSONValue.object([
            .init(line.unit, .integer(Int64(line.number))), .init("id", line.id.map { .string($0) } ?? .null),
            .init("problem", .string(line.problem)),
            .init("content", .string(String(decoding: line.content, as: UTF8.self))),
        ])
        let bytes = Array((record.jsonText + "\n").utf8)
        guard fwrite(bytes, 1, bytes.count, file) == bytes.count, fflush(file) == 0 else {
            throw StartupFailure("cannot write \(path): \(systemError())")
        }
    }
}
