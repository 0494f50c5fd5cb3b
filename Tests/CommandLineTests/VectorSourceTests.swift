import DocumentStore
import Foundation
import ServiceRuntime
import Testing
import VectorFiles

@testable import CommandLine

@Suite("The rows of an import of vectors")
struct VectorSourceTests {
    private let files: TemporaryFolder
    private var folder: String { files.path }

    init() throws { files = try TemporaryFolder() }

    private func source(_ lines: [String], documents: String? = nil, dimensions: Int? = 2) throws -> VectorSource {
        try VectorSource(
            path: try files.write("vectors.jsonl", lines.joined(separator: "\n")),
            format: .jsonl,
            columns: VectorColumns(),
            documents: try documents.map { try files.write("documents", $0) },
            dimensions: dimensions
        )
    }

    @Test(
        "a row that cannot be stored is told by number, id and field, and the next one keeps its document",
        arguments: [
            (#"{"vector":[1,2,3]}"#, "its vector has 3 dimensions; allowed: 2"),
            (#"{"vector":[0,0]}"#, "its vector has no length"),
            (#"{"vector":[1,1e300]}"#, "vector[1] is inf, which is not finite as float32"),
            (#"{"vector":[3e38,3e38]}"#, "its vector is too long"),
            (#"{"vector":[1,true]}"#, "vector[1] is no number"),
        ]
    )
    func refused(line: String, sentence: String) throws {
        var source = try source([#"{"vector":[1,2]}"#, line, #"{"vector":[5,6]}"#], documents: "a\nb\nc")
        #expect(try source.next() == UpsertRow(externalID: "a", vector: [1, 2]))
        let bad = #expect(throws: BadLine.self) { try source.next() }
        #expect(bad?.sentence.hasPrefix("row 2, id \"b\": \(sentence)") == true, "\(bad?.sentence as Any)")
        #expect(bad?.offset == 1)
        #expect(try source.next() == UpsertRow(externalID: "c", vector: [5, 6]))
        #expect(try source.next() == nil)
    }

    @Test("a line that is no document takes its vector with it")
    func badDocument() throws {
        var source = try source(
            [#"{"vector":[1,2]}"#, #"{"vector":[3,4]}"#],
            documents: "{\"id\":\"\"}\n{\"id\":\"b\",\"text\":\"t\",\"payload\":{\"n\":1}}"
        )
        let bad = #expect(throws: BadLine.self) { try source.next() }
        #expect(bad?.sentence.contains("row 1, id \"\": documents line 1") == true, "\(bad?.sentence as Any)")
        #expect(
            try source.next() == UpsertRow(externalID: "b", text: "t", payload: #"{"n":1}"#, vector: [3, 4])
        )
    }

    @Test("without ids a row's number from 0 is its id, also where an import goes on")
    func numbers() throws {
        var source = try source([#"{"vector":[1,2]}"#, #"{"vector":[3,4]}"#], dimensions: nil)
        #expect(source.width == 2)
        try source.seek(to: 1)
        #expect(try source.next()?.externalID == "1")
    }

    @Test("a file of documents with another number of lines is refused before anything is stored")
    func otherLength() throws {
        let failure = #expect(throws: StartupFailure.self) {
            try self.source([#"{"vector":[1,2]}"#, #"{"vector":[3,4]}"#], documents: "a\n\nb\nc\n")
        }
        #expect(
            failure?.sentence.contains("has 2 vectors") == true && failure?.sentence.contains("has 3 lines") == true
        )
    }

    @Test("other contents, documents and columns have another fingerprint")
    func fingerprint() throws {
        let (a, b) = (try files.write("a", "xxxxxxxxxxxxxxxx"), try files.write("b", "xxxxxxxxxxxxxxxy"))
        let all = [
            try VectorSource.fingerprint([a], columns: .init()), try VectorSource.fingerprint([b], columns: .init()),
            try VectorSource.fingerprint([a, b], columns: .init()),
            try VectorSource.fingerprint([a, a], columns: .init()),
            try VectorSource.fingerprint([a], columns: .init(id: "x")),
            try VectorSource.fingerprint([a], columns: .init(text: "x")),
        ]
        #expect(Set(all).count == all.count)
        #expect(try VectorSource.fingerprint([a], columns: .init()) == all[0])
    }
}
