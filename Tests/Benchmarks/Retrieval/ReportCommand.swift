import ArgumentParser
import Evaluation
import FoundationEssentials
import VectorFiles

/// Judges what was found, and writes tables, plots and one file with everything.
struct ReportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report",
        abstract: "Judge recall, tabulate, plot, and compare at equal recall."
    )

    @Argument(help: "Folders of data sets, with results in their folder results.") var folders: [String]
    @Option(help: "Folder of the report.") var output: String

    /// Recalls at which methods are compared.
    private static let recalls = [0.95, 0.99]

    /// Everything of one data set.
    struct Section: Codable {
        var name: String
        var rows: Int
        var dimensions: Int
        var queries: Int
        var environments: [String: [String: String]]
        var results: [ResultRow]
        var comparisons: [Comparison]
    }

    /// Ours against one peer at one recall.
    struct Comparison: Codable {
        var engine: String
        var method: String
        var rows: Int
        var recall: Double
        /// Processor milliseconds of one query.
        var singlePeer: Double?
        var singleOurs: Double?
        var singleRatio: Double?
        /// Queries a second and core.
        var batchedPeer: Double?
        var batchedOurs: Double?
        var batchedRatio: Double?
    }

    /// The file.
    struct Report: Codable {
        var machine: [String: String]
        var sections: [Section]
    }

    func run() throws {
        try FileManager.default.createDirectory(atPath: output, withIntermediateDirectories: true)
        let machine = Machine.description
        let sections = try folders.map(section)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        try encoder.encode(Report(machine: machine, sections: sections))
            .write(to: URL(fileURLWithPath: output + "/results.json"))
        var text =
            "Machine: " + machine.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: "; ")
        for section in sections {
            text +=
                "\n\n## \(section.name): \(section.rows) rows of \(section.dimensions), \(section.queries) queries\n\n"
            text += table(section) + "\n\nAgainst peers at equal recall, processor time:\n\n" + comparisons(section)
            for (file, environment) in section.environments.sorted(by: { $0.key < $1.key }) {
                let settings = environment.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
                text += "\n\(file): \(settings.joined(separator: "; "))\n"
            }
            try plot(section)
        }
        text += """

            Recall is judged against exact search over all dimensions; a row that ties with the tenth counts as found.
            Times of single queries are those of one thread; "ms CPU" and "q/s/core" are processor time, which other work
            on the cores does not inflate. Memory is that of the index; full vectors, which methods that rerank or refine
            need too, come on top. "pca": prefixes are taken in principal axes, since the model is not Matryoshka.

            """
        try Data(text.utf8).write(to: URL(fileURLWithPath: output + "/report.md"))
        print(text)
    }

    private func section(_ folder: String) throws -> Section {
        let data = try DataSet(folder)
        let results = folder + "/results"
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        var environments: [String: [String: String]] = [:]
        var rows: [ResultRow] = []
        for name in try FileManager.default.contentsOfDirectory(atPath: results).sorted() where name.hasSuffix(".json")
        {
            guard let bytes = FileManager.default.contents(atPath: "\(results)/\(name)") else { continue }
            let file = try decoder.decode(ResultFile.self, from: bytes)
            environments[String(name.dropLast(5))] = file.environment
            for var row in file.results {
                if let found = row.found {
                    row.recall = try DataSet(folder, rows: row.rows).recall(of: MatrixFile.open("\(results)/\(found)"))
                }
                rows.append(row)
            }
        }
        return Section(
            name: folder.split(separator: "/").last.map(String.init) ?? folder,
            rows: data.rows,
            dimensions: data.dimensions,
            queries: data.queries.rows,
            environments: environments,
            results: rows,
            comparisons: compare(rows)
        )
    }

    // MARK: fronts

    private struct Line: Hashable {
        var engine: String
        var method: String
        var rows: Int
    }

    private func lines(_ results: [ResultRow]) -> [(line: Line, results: [ResultRow])] {
        var order: [Line] = []
        var groups: [Line: [ResultRow]] = [:]
        for row in results {
            let line = Line(engine: row.engine, method: row.method, rows: row.rows)
            if groups[line] == nil { order.append(line) }
            groups[line, default: []].append(row)
        }
        return order.map { ($0, groups[$0]!) }
    }

    private func front(_ results: [ResultRow], _ rate: (ResultRow) -> Double?) -> ParetoFront {
        ParetoFront(
            results.compactMap { row in
                guard let recall = row.recall?.mean, let rate = rate(row) else { return nil }
                return ParetoFront.Point(recall: recall, rate: rate)
            }
        )
    }

    private func compare(_ results: [ResultRow]) -> [Comparison] {
        var out: [Comparison] = []
        for recall in Self.recalls {
            for (line, peers) in lines(results) where line.engine != "ours" {
                let ours = results.filter { $0.engine == "ours" && $0.rows == line.rows }
                var comparison = Comparison(engine: line.engine, method: line.method, rows: line.rows, recall: recall)
                let singlePeer = front(peers, \.singleRate).rate(atRecall: recall)
                let singleOurs = front(ours, \.singleRate).rate(atRecall: recall)
                comparison.singlePeer = singlePeer.map { 1_000 / $0 }
                comparison.singleOurs = singleOurs.map { 1_000 / $0 }
                if let singlePeer, let singleOurs { comparison.singleRatio = singleOurs / singlePeer }
                let inProcess = ours.filter { $0.singleRate != nil }
                comparison.batchedPeer = front(peers, \.batchedPerCoreSecond).rate(atRecall: recall)
                comparison.batchedOurs = front(inProcess, \.batchedPerCoreSecond).rate(atRecall: recall)
                if let peer = comparison.batchedPeer, let own = comparison.batchedOurs {
                    comparison.batchedRatio = own / peer
                }
                out.append(comparison)
            }
        }
        return out
    }

    // MARK: text

    /// Of each line the cheapest settings that reach the recalls of interest, and the most complete one.
    private func table(_ section: Section) -> String {
        var rows = [
            [
                "method", "N", "setting", "recall mean", "p5", "min", "single p50 ms", "p99 ms", "ms CPU",
                "batched q/s/core",
                "q/s", "memory MB", "build CPU s",
            ]
        ]
        for (line, results) in lines(section.results) {
            var chosen: [Int] = []
            for recall in [0.9] + Self.recalls + [0.999] {
                let reaching = results.indices.filter { (results[$0].recall?.mean ?? 0) >= recall }
                func cost(_ place: Int) -> Double {
                    results[place].batchedPerCoreSecond ?? results[place].batchedPerSecond ?? 0
                }
                if let best = reaching.max(by: { cost($0) < cost($1) }), !chosen.contains(best) { chosen.append(best) }
            }
            let most = results.indices.max { (results[$0].recall?.mean ?? 0) < (results[$1].recall?.mean ?? 0) }
            if let most, chosen.isEmpty { chosen.append(most) }
            for place in chosen {
                let row = results[place]
                rows.append([
                    "\(line.engine) \(line.method)", "\(row.rows)", row.setting,
                    row.recall.map { text($0.mean, 4) } ?? "–", row.recall.map { text($0.fifthPercentile, 2) } ?? "–",
                    row.recall.map { text($0.minimum, 2) } ?? "–", text(row.singleP50Milliseconds, 3),
                    text(row.singleP99Milliseconds, 3), text(row.singleProcessorMilliseconds, 3),
                    text(row.batchedPerCoreSecond, 0), text(row.batchedPerSecond, 0),
                    text(row.memoryBytes.map { $0 / 1e6 }, 0), text(row.buildProcessorSeconds, 1),
                ])
            }
        }
        return markdown(rows)
    }

    private func comparisons(_ section: Section) -> String {
        var rows = [["peer", "N", "recall", "single ms", "ours", "ratio", "batched q/s/core", "ours", "ratio"]]
        for entry in section.comparisons where entry.singlePeer != nil || entry.batchedPeer != nil {
            rows.append([
                "\(entry.engine) \(entry.method)", "\(entry.rows)", text(entry.recall, 2), text(entry.singlePeer, 3),
                text(entry.singleOurs, 3), text(entry.singleRatio, 2), text(entry.batchedPeer, 0),
                text(entry.batchedOurs, 0), text(entry.batchedRatio, 2),
            ])
        }
        return markdown(rows)
    }

    private func markdown(_ rows: [[String]]) -> String {
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        func laidOut(_ row: [String]) -> String {
            "| " + zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }.joined(separator: " | ")
                + " |"
        }
        let rule = "|" + widths.map { String(repeating: "-", count: $0 + 2) }.joined(separator: "|") + "|"
        return ([laidOut(rows[0]), rule] + rows.dropFirst().map(laidOut)).joined(separator: "\n")
    }

    private func text(_ value: Double?, _ digits: Int) -> String {
        guard let value, value.isFinite else { return "–" }
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        let whole = Int((value * scale).rounded())
        guard digits > 0 else { return "\(whole)" }
        let fraction = String(whole % Int(scale))
        return "\(whole / Int(scale))." + String(repeating: "0", count: digits - fraction.count) + fraction
    }

    // MARK: plots

    private func plot(_ section: Section) throws {
        let kinds: [(file: String, label: String, rate: (ResultRow) -> Double?)] = [
            ("single", "queries/s of one thread, one at a time (processor time)", { $0.singleRate }),
            ("batched", "queries/s per core, batched (processor time)", { $0.batchedPerCoreSecond }),
        ]
        for kind in kinds {
            var series: [LinePlot.Series] = []
            for (line, results) in lines(section.results) {
                let points = front(results, kind.rate).points.map { (x: $0.recall, y: $0.rate) }
                guard points.contains(where: { $0.x >= 0.8 }) else { continue }
                let size = line.rows == section.rows ? "" : ", N = \(line.rows)"
                series.append(
                    .init(
                        name: "\(line.engine) \(line.method)\(size)",
                        points: points,
                        isEmphasised: line.engine == "ours"
                    )
                )
            }
            let plot = LinePlot(
                title: "\(section.name): \(section.rows) rows of \(section.dimensions) dimensions",
                xLabel: "recall@10 against exact full-dimension search (mean)",
                yLabel: kind.label,
                xRange: 0.8...1,
                series: series
            )
            try Data(plot.svg.utf8).write(to: URL(fileURLWithPath: "\(output)/\(section.name)-\(kind.file).svg"))
        }
    }
}

/// What a reader must know to compare.
private enum Machine {
    static var description: [String: String] {
        var out: [String: String] = [:]
        let processor = lines("/proc/cpuinfo")
        out["cpu"] = processor.first { $0.hasPrefix("model name") }.map(value)
        out["cores"] = "\(processor.count { $0.hasPrefix("processor") })"
        let flags = processor.first { $0.hasPrefix("flags") }.map { Set($0.split(separator: " ")) } ?? []
        out["instructions"] = ["avx2", "avx512f", "avx512_vnni", "amx_int8"].filter { flags.contains(Substring($0)) }
            .joined(separator: " ")
        out["memory"] = lines("/proc/meminfo").first.map(value)
        out["kernel"] = lines("/proc/sys/kernel/osrelease").first.map(String.init)
        out["load at the end"] = lines("/proc/loadavg").first.map {
            $0.split(separator: " ").prefix(3).joined(separator: " ")
        }
        return out
    }

    private static func lines(_ path: String) -> [Substring] {
        let bytes = FileManager.default.contents(atPath: path) ?? Data()
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    }

    private static func value(_ line: Substring) -> String {
        line.split(separator: ":", maxSplits: 1).last.map { String($0).drop { $0 == " " || $0 == "\t" } }.map(
            String.init
        ) ?? ""
    }
}
