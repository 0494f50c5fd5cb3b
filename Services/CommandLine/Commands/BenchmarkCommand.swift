import ArgumentParser
import CommandHelp
import DocumentStore
import FoundationEssentials
import Glibc
import Matryoshka
import PostgreSQL
import ServiceRuntime
import WireProtocol

/// `mrl benchmark`.
struct BenchmarkCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "benchmark",
        abstract: "Measure searches, reranking, loading, and memory.",
        discussion: helpDiscussion(
            "Without a subcommand it measures searches.",
            examples: """
                mrl benchmark
                mrl benchmark search --plan 16:200,256:10
                mrl benchmark memory
                """
        ),
        subcommands: [Search.self, Rerank.self, Load.self, Memory.self, ClusterBenchmarkCommand.self],
        defaultSubcommand: Search.self
    )

    /// Latency and throughput.
    struct Search: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Latency of one request at a time, and throughput with many in flight.",
            usage: "mrl benchmark search [<options>]",
            discussion: helpDiscussion(
                """
                Queries are short descriptions of held-out packages, or random vectors where there is no corpus.
                """,
                examples: """
                    mrl benchmark
                    mrl benchmark search --plan 16:200,256:10 --in-flight 16 --json
                    mrl benchmark search --cold                 restarts the rerank workers first
                    """
            )
        )

        @OptionGroup var front: FrontOptions
        @Option(help: "Collection.") var collection = "debian"
        @Option(help: "Stages, dimensions:keep[:precision],….") var plan = PlanArgument(argument: "32:200,256:10")!
        @Option(help: ArgumentHelp("Corpus; default: corpus/debian.jsonl in the home.", valueName: "file"))
        var corpus: String?
        @Option(help: "Requests of each one-at-a-time run.") var requests = 2_000
        @Option(help: "Requests in flight of the throughput run.") var inFlight = 64
        @Option(help: "Length of the throughput run.") var seconds = 5.0
        @Flag(help: "Restart the rerank workers of the home first, and measure the first requests after it.")
        var cold = false
        @Flag(help: "Print JSON.") var json = false

        /// One measured line.
        private struct Line {
            var name: String
            var latencies: Latencies
            var rate: Double?
        }

        func run() throws {
            let client = try front.client()
            let home = try front.home.resolved()
            let shape = try findCollection(collection, client)
            let texts = try? HeldOutQueries(corpus: corpus ?? home.corpus + "/debian.jsonl", limit: 1_000).texts
            let vectors = try queryVectors(texts, shape, client)
            let runs = SearchRuns(client: client, collection: collection)
            func requests(_ count: Int, from first: Int = 0, payload: Bool = false) -> [SearchRequest] {
                (first..<first + count).map { place in
                    let query = place % vectors.count
                    return runs.request(vectors[query..<query + 1], plan.plan, payload: payload)
                }
            }

            var lines: [Line] = []
            if cold {
                try restartRerankers(home, client)
                lines.append(Line(name: "cold, one at a time", latencies: try runs.oneAtATime(requests(100))))
            }
            _ = try runs.oneAtATime(requests(200))
            lines.append(Line(name: "one at a time", latencies: try runs.oneAtATime(requests(self.requests))))
            lines.append(
                Line(
                    name: "with payload, one at a time",
                    latencies: try runs.oneAtATime(requests(self.requests, payload: true))
                )
            )
            if let texts {
                let searches = (0..<self.requests).map { runs.request(.texts([texts[$0 % texts.count]]), plan.plan) }
                _ = try runs.oneAtATime(Array(searches.prefix(100)))
                lines.append(Line(name: "text, one at a time", latencies: try runs.oneAtATime(searches)))
            }
            let (latencies, rate) = try runs.inFlight(inFlight, seconds: seconds, requests(1_000))
            lines.append(Line(name: "\(inFlight) in flight", latencies: latencies, rate: rate))
            show(lines, shape)
        }

        private func queryVectors(
            _ texts: [String]?,
            _ shape: StatusReport.Collection,
            _ client: FrontClient
        ) throws -> QueryVectors {
            guard let texts, !texts.isEmpty else { return .random(count: 1_000, dimensions: shape.dimensions) }
            var vectors = try QueryVectors.encode(texts, collection: collection, client)
            let width = vectors.dimensions
            vectors.values = (0..<vectors.count).map { vectors.values[$0 * width..<($0 + 1) * width] }
                .filter { row in row.contains { $0 != 0 } }.flatMap { $0 }
            return vectors
        }

        private func restartRerankers(_ home: Home, _ client: FrontClient) throws {
            guard let state = ClusterState.read(home) else {
                throw StartupFailure("--cold restarts workers of mrl up, and nothing runs in \(home.path)")
            }
            let pids = state.processes.filter { $0.name.hasPrefix("rerank") }.map(\.pid)
            for pid in pids { kill(pid, SIGKILL) }
            let deadline = now() + 120
            while now() < deadline {
                pause(milliseconds: 100)
                let report = StatusReport(try client.object(.status))
                let rerankers = report.workers.filter { $0.role == "rerank" }
                // Until the coordinator notices its death, a killed worker still counts.
                let areAllFresh = rerankers.count >= pids.count && !rerankers.contains { pids.contains(Int32($0.pid)) }
                let missing = report.collections.compactMap { $0.shards["rerank"]?.missing }.reduce(0, +)
                if areAllFresh, missing == 0 { return }
            }
            throw StartupFailure("the rerank workers are not ready again after two minutes")
        }

        private func show(_ lines: [Line], _ shape: StatusReport.Collection) {
            if json {
                let measured = lines.map { line in
                    JSONValue.object(
                        [
                            .init("name", .string(line.name)),
                            .init("requests", .integer(Int64(line.latencies.microseconds.count))),
                            .init("p50_ms", .number(line.latencies.milliseconds(0.5))),
                            .init("p95_ms", .number(line.latencies.milliseconds(0.95))),
                            .init("p99_ms", .number(line.latencies.milliseconds(0.99))),
                        ] + (line.rate.map { [.init("per_second", .number($0))] } ?? [])
                    )
                }
                Output.json(
                    .object([
                        .init("collection", .string(shape.name)), .init("rows", .integer(Int64(shape.rows))),
                        .init("plan", plan.json), .init("runs", .array(measured)),
                    ])
                )
                return
            }
            Output.line("\(shape.name): \(grouped(shape.rows)) documents, plan \(plan.plan)\n")
            var table = Table(["search", "requests", "p50 ms", "p95 ms", "p99 ms", "a second"])
            for line in lines {
                table.add([
                    line.name, grouped(line.latencies.microseconds.count), fixed(line.latencies.milliseconds(0.5), 2),
                    fixed(line.latencies.milliseconds(0.95), 2), fixed(line.latencies.milliseconds(0.99), 2),
                    line.rate.map { grouped(Int($0)) } ?? "–",
                ])
            }
            Output.line(table.text)
        }
    }

    /// Rows a second from PostgreSQL.
    struct Load: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "How fast heads and whole vectors are read from PostgreSQL.",
            discussion: helpDiscussion(
                examples: """
                    mrl benchmark load --collection debian
                    """
            )
        )

        @OptionGroup var home: HomeOption
        @Option(help: "Collection.") var collection = "debian"
        @Option(help: "Repetitions; the fastest counts.") var repeats = 3
        @Flag(help: "Print JSON.") var json = false

        func run() throws {
            let store = Store(try DatabaseAddress.connect(try home.resolved()))
            let shapes = try reportingStoreErrors { try store.collections().map(\.shape) }
            guard let shape = shapes.first(where: { $0.name == collection }) else {
                throw StartupFailure("there is no collection \(collection)")
            }
            let all = (0..<UInt16(Slots.shardCount)).map { $0 }
            func fastest(_ load: () throws -> Int) throws -> (rows: Int, rate: Double) {
                var best = 0.0
                var rows = 0
                for _ in 0..<max(1, repeats) {
                    let started = now()
                    rows = try reportingStoreErrors(load)
                    best = max(best, Double(rows) / (now() - started))
                }
                return (rows, best)
            }
            let heads = try fastest { try store.loadHeads(shape, shards: all) { _, _, _, _ in }.rows }
            let vectors = try fastest { try store.loadVectors(shape, shards: all) { _, _, _, _, _ in }.rows }
            if json {
                return Output.json(
                    .object([
                        .init("rows", .integer(Int64(heads.rows))),
                        .init("heads_per_second", .number(heads.rate)),
                        .init("vectors_per_second", .number(vectors.rate)),
                    ])
                )
            }
            Output.line("\(shape.name): \(grouped(heads.rows)) rows")
            Output.line("heads of \(shape.storedHeadWidth) floats: \(grouped(Int(heads.rate))) rows a second")
            Output.line("vectors of \(shape.dimensions) floats: \(grouped(Int(vectors.rate))) rows a second")
        }
    }

    /// Bytes a document.
    struct Memory: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Memory of a shortlist worker a document, as the slope between two sizes.",
            usage: "mrl benchmark memory [<options>]",
            discussion: helpDiscussion(
                """
                Runs a cluster of its own with one shortlist worker in an empty folder, and fills it with synthetic
                vectors. 4,000,000 documents take about 4 GB of disk and some minutes.
                """,
                examples: """
                    mrl benchmark memory --from 100000 --to 400000
                    mrl benchmark memory --json
                    """
            )
        )

        @Option(help: "Documents of the first measurement.") var from = 1_000_000
        @Option(help: "Documents of the second measurement.") var to = 4_000_000
        @Option(help: "Dimensions in memory, and of the vectors.") var resident = 64
        @Option(help: ArgumentHelp("Empty folder for it; removed afterwards.", valueName: "dir")) var folder: String?
        @Flag(help: "Print JSON.") var json = false

        func validate() throws {
            guard from > 0, to > from else { throw ValidationError("--to must be more than --from") }
        }

        func run() throws {
            let cluster = try SyntheticCluster(folder: folder, dimensions: resident, residentWidth: resident)
            defer { cluster.remove() }
            let small = try measure(cluster, documents: from, existing: 0)
            let large = try measure(cluster, documents: to, existing: from)
            let slope = Double(large.memory - small.memory) / Double(to - from)
            let fixedCost = Double(small.memory) - slope * Double(from)
            if json {
                return Output.json(
                    .object([
                        .init("bytes_per_document", .number(slope)), .init("fixed_bytes", .number(fixedCost)),
                        .init("from", .integer(Int64(from))), .init("from_bytes", .integer(Int64(small.memory))),
                        .init("to", .integer(Int64(to))), .init("to_bytes", .integer(Int64(large.memory))),
                        .init("load_rows_per_second", .number(Double(to) / large.seconds)),
                    ])
                )
            }
            Output.line("\(grouped(from)) documents: \(bytesText(small.memory)) in the shortlist worker")
            Output.line(
                "\(grouped(to)) documents: \(bytesText(large.memory)), ready \(fixed(large.seconds, 1)) s after its start"
            )
            Output.line(
                "\(fixed(slope, 1)) bytes a document at \(resident) int8 dimensions, and \(bytesText(Int(fixedCost))) once"
            )
        }

        /// Fills the collection up, starts the worker anew, and reads its memory once all shards are ready.
        private func measure(
            _ cluster: SyntheticCluster,
            documents: Int,
            existing: Int
        ) throws -> (memory: Int, seconds: Double) {
            let size = ["--rerankers", "0", "--capacity", "64GiB"]
            try cluster.up(["--shortlists", "0", "--wait", "60"] + size)
            try cluster.fill(from: existing, to: documents)
            try cluster.down()
            let started = now()
            try cluster.up(["--shortlists", "1", "--wait", "600"] + size)
            let client = try cluster.client()
            while true {
                let report = StatusReport(try client.object(.status))
                if let worker = report.workers.first(where: { $0.role == "shortlist" }), worker.rows >= documents {
                    let seconds = now() - started
                    sleep(2)
                    return (OwnCluster.residentBytes(worker.pid), seconds)
                }
                guard now() - started < 900 else { throw StartupFailure("the worker does not load all rows") }
                pause(milliseconds: 50)
            }
        }
    }
}
