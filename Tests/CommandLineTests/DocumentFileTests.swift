import Foundation
import ServiceRuntime
import Testing

@testable import CommandLine

@Suite("The lines of an import")
final class DocumentFileTests {
    private let path = "/tmp/mrl-lines-\(UUID().uuidString).jsonl"

    deinit { try? FileManager.default.removeItem(atPath: path) }

    private func file(_ lines: [String], fields: [String]? = nil) throws -> DocumentFile {
        try Data(lines.joined(separator: "\n").utf8).write(to: URL(filePath: path))
        return try DocumentFile(path: path, fields: fields)
    }

    @Test(
        "a line that is no document is refused by number, id and reason",
        arguments: [
            (#"{"id":"b","text":"\u0000"}"#, #"line 2, id "b": text contains the character U+0000"#),
            (#"{"id":"b","text":"x","payload":{"a":["\u0000"]}}"#, #"line 2, id "b": payload contains the character"#),
            (#"{"id":"b\u0000","text":"x"}"#, ": id contains the character U+0000"),
            (#"{"id":"","text":"x"}"#, #"line 2, id "": id is empty"#),
            (#"{"id":"b","text":"x","payload":"str"}"#, #"line 2, id "b": payload is no JSON object"#),
            (#"{"id":"b","text":["x"]}"#, #"line 2, id "b": text is no text"#),
            (#"{"id":7,"text":"x"}"#, "line 2: id is no text"),
            (#"{"text":"x"}"#, "line 2: it has neither the text id nor the text name"),
            (#"{"id":"b""#, "line 2: no JSON, at byte 9: "),
            (#"["b"]"#, "line 2: it is no JSON object"),
            (#"{"id":"\#(String(repeating: "b", count: 513))","text":"x"}"#, "id has 513 bytes; allowed: at most 512"),
        ]
    )
    func refused(line: String, sentence: String) throws {
        var file = try file([#"{"id":"a","text":"x"}"#, line, #"{"id":"c","text":"y","payload":{"n":1}}"#])
        #expect(try file.next()?.id == "a")
        let start = file.offset
        let bad = #expect(throws: BadLine.self) { try file.next() }
        #expect(bad?.sentence.contains(sentence) == true, "\(bad?.sentence as Any)")
        #expect(bad?.offset == start)
        #expect(bad.map { String(decoding: $0.content, as: UTF8.self) } == line)
        // The rest can be read all the same.
        let last = try file.next()
        #expect(last?.id == "c" && last?.payload == #"{"n":1}"#)
        #expect(try file.next() == nil)
    }

    @Test("lines keep their numbers where an import goes on")
    func numbers() throws {
        var file = try file([#"{"id":"a"}"#, "", #"{"id":"b"}"#, "{"])
        #expect(try file.next()?.text == "")
        _ = try file.next()
        var later = try DocumentFile(path: path, fields: nil)
        later.seek(to: file.offset)
        #expect(later.remainingLines == 1)
        let bad = #expect(throws: BadLine.self) { try later.next() }
        #expect(bad?.number == 4)
    }

    @Test("lines that begin with no object are ids where these are allowed")
    func plainIDs() throws {
        try Data("a\r\n\n7\n{b}\n\u{0}".utf8).write(to: URL(filePath: path))
        var file = try DocumentFile(path: path, fields: nil, allowsPlainIDs: true)
        #expect(file.remainingLines == 4)
        #expect(try file.next()?.id == "a")
        file.skip(1)
        #expect(try file.next()?.id == "{b}")
        let bad = #expect(throws: BadLine.self) { try file.next() }
        #expect(bad?.sentence == "line 5: the id contains the character U+0000, which cannot be stored")
        var other = try DocumentFile(path: path, fields: nil)
        #expect(throws: BadLine.self) { try other.next() }
    }

    @Test("an edit anywhere makes another file of it, and so does another choice of fields")
    func fingerprint() throws {
        let filler = String(repeating: "x", count: 200_000)
        let before = try file([filler, "a", filler]).fingerprint
        #expect(try file([filler, "a", filler]).fingerprint == before)
        #expect(try file([filler, "b", filler]).fingerprint != before)
        #expect(try file([filler, "a", filler], fields: ["long"]).fingerprint != before)
    }

    @Test("what is not a regular file cannot be imported", arguments: ["/tmp", "/dev/null", "/nowhere/x"])
    func irregular(path: String) {
        let failure = #expect(throws: StartupFailure.self) { try DocumentFile(path: path, fields: nil) }
        #expect(failure?.sentence.contains("cannot read \(path)") == true)
    }
}
