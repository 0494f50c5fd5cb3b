import ArgumentParser
import FoundationEssentials
import ServiceRuntime
import Testing
import VectorFiles
import WireProtocol

@testable import CommandLine

/// Vectors whose first numbers tell four classes apart, and a folder of them.
private struct TinyFolder {
    private let files: TemporaryFolder
    var path: String { files.path }
    static let width = 12

    init() throws { files = try TemporaryFolder() }

    func write(_ name: String, _ text: String) throws { try files.write(name, text) }

    func write(_ name: String, _ values: [Float]) throws {
        try MatrixFile.create(
            "\(path)/\(name)",
            rows: values.count / Self.width,
            columns: Self.width,
            element: .float32
        ) {
            target in
            values.withUnsafeBytes { target.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
        }
    }

    /// Class c has a large number at place c, then ever smaller noise.
    static func vectors(_ classes: [Int], seed: UInt64) -> [Float] {
        var state = seed
        func noise() -> Float {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Float(state >> 40) * 0x1p-24 - 0.5
        }
        return classes.flatMap { label in
            (0..<width).map { place in (place == label ? 1 : 0) + noise() * 0.3 }
        }
    }
}

@Suite("mrl evaluate folder")
struct EvaluateFolderTests {
    private func command(_ arguments: [String]) throws -> EvaluateFolderCommand {
        try EvaluateFolderCommand.parse(arguments)
    }

    private func report(_ folder: TinyFolder) throws -> JSONValue? {
        try JSONValue(parsing: Array(try #require(readFile(folder.path + "/out/report.json")).utf8))
    }

    @Test("labelled vectors: four classes in the first four numbers are seen by four dimensions and not by one")
    func labelled() throws {
        let folder = try TinyFolder()
        for (name, count, seed) in [("train", 120, 1), ("val", 40, 2), ("test", 80, 3)] {
            let classes = (0..<count).map { $0 % 4 }
            try folder.write("\(name).npy", TinyFolder.vectors(classes, seed: UInt64(seed)))
            try folder.write("\(name).txt", classes.map { "class \($0)\n" }.joined())
        }
        try folder.write("domains.json", #"{"even":["class 0","class 2"],"odd":["class 1"]}"#)
        try command([
            folder.path, "--sizes", "1,4,12", "--seeds", "2", "-k", "5", "--keep", "10,20", "--output",
            folder.path + "/out",
        ]).run()
        let report = try report(folder)
        let sizes = report["sizes"].items
        #expect(sizes.map { $0["size"].double } == [1, 4, 12])
        for measure in ["linear_probe", "nearest_neighbour", "neighbours_vote", "map_by_k", "ndcg", "mrr"] {
            #expect(sizes[1][measure]["mean"].double > 0.95, "\(measure)")
            #expect(sizes[0][measure]["mean"].double < 0.9, "\(measure)")
        }
        #expect(sizes[2]["neighbour_recall"]["mean"].double == 1)
        #expect(report["few_shot"].items.count == 3 * 5)
        #expect(report["cascades"].items.map { $0["rule"].text } == ["greedy", "global"])
        let groups = report["groups"].items
        // Class 3 is in no group, so that there is something to reject.
        #expect(groups.count == 3 && groups[1]["with_reject"]["mean"].double > 0.95)
        let oracle = report["oracle"]
        #expect(oracle["accuracy"]["mean"].double >= sizes[2]["linear_probe"]["mean"].double)
        let plans = report["plans"]["rows"].items
        #expect(plans.contains { $0["search"].text == "funnel" } && plans.contains { $0["search"].text == "adaptive" })
        let full = try #require(plans.first { $0["search"].text == "full search" })
        #expect(full["recall"].double == 1 && full["dimensions_multiplied"].double == 120 * 12)
        for plot in ["sizes", "plans", "plans-time", "cascades", "few-shot"] {
            #expect(readFile("\(folder.path)/out/\(plot).svg")?.contains("</svg>") == true, "\(plot)")
        }
    }

    @Test("an adapter that is taught first gathers in few dimensions what lay beyond them")
    func adapted() throws {
        let folder = try TinyFolder()
        for (name, count, seed) in [("train", 240, 1), ("val", 40, 2)] {
            // The last four numbers tell the classes apart: prefixes of the vectors as they are know nothing.
            let classes = (0..<count).map { $0 / 4 % 4 }
            let vectors = TinyFolder.vectors(classes, seed: UInt64(seed))
            let turned = stride(from: 0, to: vectors.count, by: TinyFolder.width).flatMap { start in
                vectors[start..<start + TinyFolder.width].reversed()
            }
            try folder.write("\(name).npy", turned)
            try folder.write("\(name).txt", classes.map { "class \($0)\n" }.joined())
        }
        func nearest(_ more: [String]) throws -> Double {
            try command([folder.path, "--sizes", "4,12", "--seeds", "1", "--output", folder.path + "/out"] + more).run()
            let report = try report(folder)
            #expect(report["test"].integer == 20 && report["held_out"].integer == 20, "no test part: half of the other")
            return try #require(report["sizes"].items.first)["nearest_neighbour"]["mean"].double
        }
        #expect(try nearest([]) < 0.7)
        #expect(try nearest(["--method", "mrl"]) > 0.9)
    }

    @Test("judged vectors: a query finds what is like it, by the measures' definitions")
    func judged() throws {
        let folder = try TinyFolder()
        let classes = (0..<40).map { $0 % 4 }
        try folder.write("corpus.npy", TinyFolder.vectors(classes, seed: 1))
        try folder.write("corpus.jsonl", classes.indices.map { #"{"id":"d\#($0)","text":"x"}"# + "\n" }.joined())
        try folder.write("queries.npy", TinyFolder.vectors([0, 1, 2, 3, 0], seed: 2))
        try folder.write("queries.jsonl", (0..<5).map { #"{"id":"q\#($0)","text":"x"}"# + "\n" }.joined())
        // The last query has no judgement and does not count.
        let judgements = (0..<4).flatMap { query in
            classes.indices.filter { classes[$0] == query }.map { "q\(query)\td\($0)\t1\n" }
        }
        try folder.write("qrels.tsv", judgements.joined())
        try command([folder.path, "--sizes", "1,4,12", "--keep", "10", "--output", folder.path + "/out"]).run()
        let report = try report(folder)
        #expect(report["queries"].double == 4 && report["documents"].double == 40)
        let sizes = report["sizes"].items
        // Ten of a class, and all ten of them first.
        for measure in ["ndcg", "mrr", "precision", "recall", "map_by_k", "map_by_min_k_r"] {
            #expect(sizes[1][measure].double > 0.95, "\(measure)")
            #expect(sizes[0][measure].double < sizes[1][measure].double, "\(measure)")
        }
        #expect(sizes.allSatisfy { $0["recall_at_100"].double == 1 })
    }

    @Test("folders and options that do not fit are refused with what is allowed")
    func refused() throws {
        let folder = try TinyFolder()
        func message(_ arguments: [String]) -> String {
            do {
                try command([folder.path] + arguments).run()
                return "no error"
            } catch { return EvaluateFolderCommand.message(for: error) }
        }
        #expect(message([]).contains("neither labelled"))
        let classes = (0..<20).map { $0 % 4 }
        try folder.write("train.txt", classes.map { "class \($0)\n" }.joined())
        #expect(message([]).contains("no vectors lie beside"))
        try folder.write("train.npy", TinyFolder.vectors(Array(classes.dropLast()), seed: 1))
        #expect(message([]).contains("19 vectors for 20 labels"))
        try folder.write("train.npy", TinyFolder.vectors(classes, seed: 1))
        #expect(message(["--sizes", "8,13"]).contains("--sizes has 13, allowed are 1 to 12"))
        #expect(message(["--sizes", "8,x"]).contains("--sizes"))
        #expect(message(["--method", "ff"]).contains("allowed are mrl"))
        #expect(message(["--seeds", "0"]).contains("1 to 100"))
        #expect(message(["-k", "0"]).contains("1 to 1000"))
    }
}
