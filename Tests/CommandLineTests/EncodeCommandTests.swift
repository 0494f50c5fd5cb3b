import ArgumentParser
import Encoding
import Foundation
import ServiceRuntime
import Testing
import VectorFiles

@testable import CommandLine

@Suite("mrl encode")
struct EncodeCommandTests {
    private let files: TemporaryFolder
    private var folder: String { files.path }

    init() throws { files = try TemporaryFolder() }

    /// (x₀ + x₁, x₁ + x₂), of vectors that were made elsewhere.
    private func writeAdapter() throws -> String {
        let dense = try #require(FeatureAdapter(matrix: [1, 1, 0, 0, 1, 1], inputs: 3, outputs: 2))
        let adapter = try #require(VectorAdapter(steps: [.dense(dense)]))
        _ = try ModelDirectory.write(
            to: folder + "/map",
            configuration: AdapterConfiguration(
                name: "map",
                nesting: [1, 2],
                base: nil,
                adapter: adapter,
                training: nil
            ),
            adapter: adapter,
            base: nil,
            isLinked: false
        )
        return folder + "/map"
    }

    private func writeModel() throws -> String {
        try ModelDirectory.write(
            to: folder + "/model",
            configuration: ModelConfiguration(name: "model", dimensions: 4, nesting: [2, 4], maximumTokens: 8),
            pieces: ["[UNK]", "play", "chess"],
            table: [0, 0, 0, 0, 1, 2, 3, 4, 4, -3, 2, -1]
        )
        return folder + "/model"
    }

    private func rows(_ path: String) throws -> [[Float]] {
        let file = try MatrixFile.open(path)
        return (0..<file.rows).map { file.floats($0..<$0 + 1) }
    }

    @Test("puts vectors of any origin through an adapter, at full size and cut to unit length")
    func adapts() throws {
        let input = try files.write(
            "rows.jsonl",
            "{\"vector\": [3, 0, 4]}\n{\"vector\": [0, 0, 0]}\n{\"vector\": [-1, 0, 0]}\n"
        )
        let (map, output) = (try writeAdapter(), folder + "/out.npy")
        try EncodeCommand.parse([input, "--model", map, "--output", output]).run()
        #expect(try rows(output) == [[0.6, 0.8], [0, 0], [-1, 0]])
        try EncodeCommand.parse([input, "--model", map, "--output", output, "--dimensions", "1"]).run()
        #expect(try rows(output) == [[1], [0], [-1]])
    }

    @Test("writes what the encoder says of each line or member text, cut to unit length")
    func encodes() throws {
        let (model, output) = (try writeModel(), folder + "/out.npy")
        let lines = try files.write("texts.txt", "play\nplay chess\n\nxyzzy\n")
        let members = try files.write(
            "texts.jsonl",
            ["play", "play chess", "", "xyzzy"].map { "{\"id\": 1, \"text\": \"\($0)\"}" }.joined(separator: "\n")
        )
        let expected = try loadEncoder(directory: model).encode(["play", "play chess", "", "xyzzy"], role: "document")
        for input in [lines, members] {
            try EncodeCommand.parse([input, "--model", model, "--output", output]).run()
            let found = try rows(output).flatMap { $0 }
            #expect(found.count == 16)
            #expect(zip(found, expected).allSatisfy { abs($0 - $1) < 1e-6 })
        }
        try EncodeCommand.parse([lines, "--model", model, "--output", output, "--dimensions", "2"]).run()
        let cut = try rows(output)
        let root = Float(5).squareRoot()
        #expect(abs(cut[0][0] - 1 / root) < 1e-6 && abs(cut[0][1] - 2 / root) < 1e-6)
        #expect(cut[2] == [0, 0])
    }

    @Test("says what is wrong, and leaves no file")
    func refuses() throws {
        let (model, map, output) = (try writeModel(), try writeAdapter(), folder + "/out.npy")
        let short = try files.write("short.jsonl", "{\"vector\": [1, 2, 3]}\n{\"vector\": [1, 2]}\n")
        let vectors = try files.write("rows.fvecs", "")
        let texts = try files.write("texts.txt", "play\n")
        let members = try files.write("bad.jsonl", "{\"text\": \"play\"}\n{\"texts\": 1}\n")
        func sentence(_ arguments: [String]) -> String {
            do {
                try EncodeCommand.parse(arguments + ["--output", output]).run()
                return "written"
            } catch { return EncodeCommand.message(for: error) + "\(error)" }
        }
        #expect(sentence([short, "--model", map]).contains("row 2: it has 2 dimensions; needed: 3"))
        #expect(sentence([vectors, "--model", model]).contains("rows.fvecs"))
        #expect(sentence([texts, "--model", map]).contains("has no encoder for texts"))
        #expect(sentence([members, "--model", model]).contains("line 2"))
        #expect(sentence([texts, "--model", model, "--dimensions", "1"]).contains("the model allows 2 to 4"))
        #expect(sentence([texts, "--model", model, "--role", "title"]).contains("query, document"))
        #expect(sentence([folder + "/none.txt", "--model", model]).contains("none.txt"))
        #expect(!FileManager.default.fileExists(atPath: output))
    }
}
