import ArgumentParser
import CommandHelp
import Matryoshka
import WireProtocol

extension BenchmarkCommand {
    /// Rows from PostgreSQL, from the cache, from memory.
    struct Rerank: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Searches whose rows a rerank worker reads from PostgreSQL, has in its cache, or in memory.",
            usage: "mrl benchmark rerank [<options>]",
            discussion: helpDiscussion(
                """
                Runs a cluster of its own in an empty folder, with synthetic vectors and memory for a tenth of them:
                  cold    rows come from PostgreSQL, one query for all that a search misses
                  warm    the same searches again: rows come from the cache's mapped files
                  hot     all rows are in memory
                  scan    exhaustive: rows that are not in memory pass by from PostgreSQL
                """,
                examples: """
                    mrl benchmark rerank --documents 200000 --dimensions 768
                    """
            )
        )

        @Option(help: "Documents.") var documents = 100_000
        @Option(help: "Full dimensions.") var dimensions = 256
        @Option(help: "Candidates that are reranked.") var keep = 200
        @Option(help: "Searches of each run.") var requests = 500
        @Option(help: "Requests in flight of the throughput runs.") var inFlight = 64
        @Option(help: "Length of each throughput run.") var seconds = 3.0
        @Option(help: ArgumentHelp("Empty folder for it; removed afterwards.", valueName: "dir")) var folder: String?
        @Flag(help: "Print JSON.") var json = false

        func validate() throws {
            guard documents >= 10 * keep, dimensions >= 128, keep >= 10, requests > 0 else {
                throw ValidationError("--keep is 10 or more, --documents ten times that, --dimensions 128 or more")
            }
        }

        func run() throws {
            let cluster = try SyntheticCluster(folder: folder, dimensions: dimensions, residentWidth: 64)
            defer { cluster.remove() }
            let plan = Plan(stages: [Stage(dimensions: 64, keep: keep), Stage(dimensions: dimensions, keep: 10)])
            let queries = QueryVectors.random(count: requests, dimensions: dimensions, seed: 7)
            try cluster.up(["--shortlists", "0", "--rerankers", "0", "--wait", "60"])
            try cluster.fill(from: 0, to: documents)
            try cluster.down()

            var lines: [(name: String, latencies: Latencies, rate: Double?)] = []
            func measure(capacity: Int, _ body: (SearchRuns, [SearchRequest]) throws -> Void) throws {
                try cluster.up([
                    "--shortlists", "1", "--rerankers", "1", "--capacity", "\(capacity)", "--wait", "600",
                ])
                let client = try cluster.client()
                try waitForRows(client)
                let runs = SearchRuns(client: client, collection: SyntheticCluster.collection)
                try body(runs, (0..<requests).map { runs.request(queries[$0..<$0 + 1], plan) })
                try cluster.down()
            }
            func addBoth(_ name: String, _ runs: SearchRuns, _ searches: [SearchRequest]) throws {
                lines.append((name, try runs.oneAtATime(searches), nil))
                let (latencies, rate) = try runs.inFlight(inFlight, seconds: seconds, searches)
                lines.append(("\(name), \(inFlight) in flight", latencies, rate))
            }
            // Enough for all heads of the shortlist worker.
            let little = max(1 << 20, documents * max(100, dimensions * 4 / 10))
            try measure(capacity: little) { runs, searches in
                // A stranger's rows, so that all connections stand and all code is in place.
                let strangers = QueryVectors.random(count: 20, dimensions: dimensions, seed: 8)
                _ = try runs.oneAtATime((0..<20).map { runs.request(strangers[$0..<$0 + 1], plan) })
                lines.append(("cold", try runs.oneAtATime(searches), nil))
                try addBoth("warm", runs, searches)
                let full = Plan(stages: [Stage(dimensions: dimensions, keep: 10)])
                let scans = (0..<5).map { runs.request(queries[$0..<$0 + 1], full) }
                lines.append(("scan, mostly not in memory", try runs.oneAtATime(scans), nil))
            }
            try measure(capacity: 64 << 30) { runs, searches in
                _ = try runs.oneAtATime(searches)
                try addBoth("hot", runs, searches)
                let full = Plan(stages: [Stage(dimensions: dimensions, keep: 10)])
                let scans = (0..<20).map { runs.request(queries[$0..<$0 + 1], full) }
                lines.append(("scan, in memory", try runs.oneAtATime(scans), nil))
            }
            show(lines)
        }

        /// Waits until searches of both kinds are complete.
        private func waitForRows(_ client: FrontClient) throws {
            let deadline = now() + 600
            while now() < deadline {
                let report = StatusReport(try client.object(.status))
                let workers = report.workers.filter { $0.role == "shortlist" || $0.role == "rerank" }
                if workers.count == 2,
                    workers.allSatisfy({ $0.shards == Slots.shardCount && $0.readyShards == $0.shards })
                {
                    return
                }
                pause(milliseconds: 50)
            }
        }

        private func show(_ lines: [(name: String, latencies: Latencies, rate: Double?)]) {
            if json {
                let measured = lines.map { line in
                    JSONValue.object(
                        [
                            .init("name", .string(line.name)),
                            .init("p50_ms", .number(line.latencies.milliseconds(0.5))),
                            .init("p95_ms", .number(line.latencies.milliseconds(0.95))),
                            .init("p99_ms", .number(line.latencies.milliseconds(0.99))),
                        ] + (line.rate.map { [.init("per_second", .number($0))] } ?? [])
                    )
                }
                return Output.json(
                    .object([
                        .init("documents", .integer(Int64(documents))),
                        .init("dimensions", .integer(Int64(dimensions))),
                        .init("keep", .integer(Int64(keep))), .init("runs", .array(measured)),
                    ])
                )
            }
            Output.line("\(grouped(documents)) documents of \(dimensions) dimensions, \(keep) candidates\n")
            var table = Table(["rows", "p50 ms", "p95 ms", "p99 ms", "a second"])
            for line in lines {
                table.add([
                    line.name, fixed(line.latencies.milliseconds(0.5), 2), fixed(line.latencies.milliseconds(0.95), 2),
                    fixed(line.latencies.milliseconds(0.99), 2), line.rate.map { grouped(Int($0)) } ?? "–",
                ])
            }
            Output.line(table.text)
        }
    }
}
