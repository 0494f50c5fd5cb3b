import ArgumentParser
import CommandHelp
import DocumentStore
import FoundationEssentials
import Matryoshka
import ServiceRuntime
import VectorFiles
import WireProtocol

/// `mrl benchmark cluster`: whole searches over ready-made vectors.
struct ClusterBenchmarkCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster",
        abstract: "Searches over ZeroMQ with PostgreSQL behind, over vectors from a file.",
        discussion: helpDiscussion(
            """
            Runs a cluster of its own in an empty folder and stores the vectors of a NumPy file (float32 or float16) in
            it. Then it measures one request at a time, and many in flight, for each plan. deploy/benchmark uses it.
            """,
            examples: """
                mrl benchmark cluster --vectors base.npy --queries queries.npy
                mrl benchmark cluster --vectors base.npy --queries queries.npy \\
                  --plan 32:400,512:10 --json
                mrl benchmark cluster --vectors base.npy --queries queries.npy \\
                  --index hnsw --ef 400
                """
        )
    )

    @Option(help: ArgumentHelp("Vectors to store.", valueName: "file.npy")) var vectors: String
    @Option(help: ArgumentHelp("Vectors to search with.", valueName: "file.npy")) var queries: String
    @Option(help: "Store the first rows alone.") var rows: Int?
    @Option(help: "Stages, dimensions:keep[:precision],…; may be repeated.") var plan: [PlanArgument] = []
    @Option(help: "Dimensions in memory.") var resident = 64
    @Option(help: "How they are searched: flat, ivf or hnsw; built once the rows are there.")
    var index: CollectionIndex.Kind = .flat
    @Option(help: "Index ivf: lists to scan.") var probes: Int?
    @Option(help: "Index hnsw: rows kept in view.") var ef: Int?
    @Option(help: "Shortlist workers.") var shortlists = 2
    @Option(help: "Rerank workers.") var rerankers = 1
    @Option(help: "Requests in flight of the throughput run.") var inFlight = 64
    @Option(help: "Requests of the one-at-a-time run.") var requests = 1_000
    @Option(help: "Length of the throughput run.") var seconds = 5.0
    @Option(help: ArgumentHelp("Empty folder for it; removed afterwards.", valueName: "dir")) var folder: String?
    @Option(help: ArgumentHelp("Folder for results that retrieval-benchmark reports.", valueName: "dir"))
    var output: String?
    @Flag(help: "Print JSON.") var json = false

    /// What one plan gave.
    private struct Measured {
        var plan: Plan
        var single: Latencies
        var many: Latencies
        var rate: Double
        /// Processor microseconds of a query, by kind of process.
        var singleProcessor: [String: Double]
        var manyProcessor: [String: Double]
        var found: [[Int]]
    }

    func run() throws {
        let (base, queries) = try files()
        let count = min(base.rows, rows ?? base.rows)
        let plans = plan.isEmpty ? [PlanArgument(argument: "\(resident):200,\(base.columns):10")!] : plan
        let cluster = try OwnCluster(folder: folder, purpose: "cluster")
        defer { cluster.remove() }
        try cluster.mrl(
            ["up", "--encoders", "0", "--shortlists", "\(shortlists)", "--rerankers", "\(rerankers)"]
                + ["--capacity", "64GiB", "--wait", "120"]
        )
        let started = now()
        let definition = CollectionDefinition(
            name: "benchmark",
            dimensions: base.columns,
            smallestDimensions: 8,
            residency: ResidencyChange(width: resident)
        )
        let shape = try cluster.fill(definition, 0..<count) { range in
            base.withFloats(range) { values in
                range.map { place in
                    let start = (place - range.lowerBound) * base.columns
                    return Array(values[start..<start + base.columns])
                }
            }
        }
        let client = try cluster.client()
        try waitUntilSearchable(client, shape, seconds: 600)
        if index != .flat { try build(client) }
        let filled = now() - started
        let vectors = QueryVectors(values: queries.floats(0..<queries.rows), dimensions: queries.columns)
        let measured = try plans.map { try measure($0.plan, vectors, cluster, client) }
        let memory = StatusReport(try client.object(.status)).workers
            .map { (role: $0.role, bytes: OwnCluster.residentBytes($0.pid)) }
        try show(measured, rows: count, dimensions: base.columns, filled: filled, memory)
    }

    private func files() throws -> (base: MatrixFile, queries: MatrixFile) {
        do {
            let base = try MatrixFile.open(vectors)
            let queries = try MatrixFile.open(self.queries)
            guard base.columns == queries.columns, queries.rows > 0 else {
                throw StartupFailure("\(vectors) and \(self.queries) do not hold vectors of one size")
            }
            return (base, queries)
        } catch let error as MatrixFileError {
            throw StartupFailure("\(error)")
        }
    }

    /// Changes the index, and waits until searches use it.
    private func build(_ client: FrontClient) throws {
        _ = try client.object(.collections(.configure(name: "benchmark", ResidencyChange(index: index))))
        let started = now()
        while true {
            let collections = StatusReport(try client.object(.status)).collections
            if let collection = collections.first, collection.index == index.rawValue, collection.next == nil { break }
            guard now() - started < 3_600 else { throw StartupFailure("\(index.rawValue) is not built within an hour") }
            pause(milliseconds: 50)
        }
        Output.note("\(index.rawValue) built in \(durationText(now() - started))")
    }

    private func measure(
        _ plan: Plan,
        _ vectors: QueryVectors,
        _ cluster: OwnCluster,
        _ client: FrontClient
    ) throws -> Measured {
        let runs = SearchRuns(client: client, collection: "benchmark", effort: SearchEffort(probes: probes, ef: ef))
        let searches = (0..<vectors.count).map { runs.request(vectors[$0..<$0 + 1], plan) }
        func each(_ before: [String: Double], _ count: Int) -> [String: Double] {
            cluster.processorSeconds().reduce(into: [:]) { out, entry in
                out[entry.key] = (entry.value - (before[entry.key] ?? 0)) / Double(max(1, count)) * 1e6
            }
        }
        let hits = try runs.all(vectors, plan: plan)
        var before = cluster.processorSeconds()
        let single = try runs.oneAtATime((0..<requests).map { searches[$0 % searches.count] })
        let singleProcessor = each(before, requests)
        before = cluster.processorSeconds()
        let (many, rate) = try runs.inFlight(inFlight, seconds: seconds, searches)
        return Measured(
            plan: plan,
            single: single,
            many: many,
            rate: rate,
            singleProcessor: singleProcessor,
            manyProcessor: each(before, many.microseconds.count + inFlight),
            found: hits.map { $0.map { Int($0.id) ?? -1 } }
        )
    }

    private func show(
        _ measured: [Measured],
        rows: Int,
        dimensions: Int,
        filled: Double,
        _ memory: [(role: String, bytes: Int)]
    ) throws {
        let bytes = memory.map(\.bytes).reduce(0, +)
        var lines: [JSONValue] = []
        for (number, entry) in measured.enumerated() {
            let name = "cluster-\(rows)-\(number).npy"
            if let output { try write(entry.found, to: "\(output)/\(name)") }
            let costs =
                [("1 client", entry.single, nil, entry.singleProcessor, nil as Int?)]
                + [("\(inFlight) in flight", entry.many, entry.rate, entry.manyProcessor, inFlight)]
            for (method, latencies, rate, processor, batch) in costs {
                let total = processor.values.reduce(0, +)
                let note = processor.sorted { $0.key < $1.key }.map { "\($0.key) \(fixed($0.value, 0))" }
                var members: [JSONValue.Member] = [
                    .init("engine", .string("ours")), .init("method", .string("over ZeroMQ, \(method)")),
                    .init("setting", .string(setting(entry.plan))), .init("rows", .integer(Int64(rows))),
                    .init("dimensions", .integer(Int64(dimensions))),
                    .init("threads", .integer(Int64(shortlists + rerankers))),
                    .init("single_p50_milliseconds", .number(latencies.milliseconds(0.5))),
                    .init("single_p99_milliseconds", .number(latencies.milliseconds(0.99))),
                    .init("batched_per_core_second", .number(total > 0 ? 1e6 / total : 0)),
                    .init("memory_bytes", .integer(Int64(bytes))), .init("build_seconds", .number(filled)),
                    .init("found", .string(name)),
                    .init("note", .string("processor µs a query: " + note.joined(separator: ", "))),
                ]
                if let rate { members.append(.init("batched_per_second", .number(rate))) }
                if let batch { members.append(.init("batch", .integer(Int64(batch)))) }
                lines.append(.object(members))
            }
        }
        let workers = "shortlist workers \(shortlists), rerank workers \(rerankers), one coordinator"
        let environment = JSONValue.object([
            .init("processes", .string(workers)), .init("resident", .string("\(resident) int8 dimensions")),
        ])
        let file = JSONValue.object([.init("environment", environment), .init("results", .array(lines))])
        if let output { try replaceFile("\(output)/cluster-\(rows).json", with: file.jsonText + "\n") }
        if json { return Output.json(file) }
        Output.line("\(grouped(rows)) rows of \(dimensions), stored and searchable in \(durationText(filled))\n")
        var table = Table(["plan", "search", "p50 ms", "p99 ms", "a second", "processor µs a query"])
        for entry in measured {
            func row(_ name: String, _ latencies: Latencies, _ rate: Double?, _ processor: [String: Double]) {
                table.add([
                    "\(entry.plan)", name, fixed(latencies.milliseconds(0.5), 2),
                    fixed(latencies.milliseconds(0.99), 2),
                    rate.map { grouped(Int($0)) } ?? "–", fixed(processor.values.reduce(0, +), 0),
                ])
            }
            row("one at a time", entry.single, nil, entry.singleProcessor)
            row("\(inFlight) in flight", entry.many, entry.rate, entry.manyProcessor)
        }
        Output.line(table.text)
    }

    private func setting(_ plan: Plan) -> String {
        var parts = [plan.description]
        if index != .flat { parts.append(index.rawValue) }
        if let probes { parts.append("probes \(probes)") }
        if let ef { parts.append("ef \(ef)") }
        return parts.joined(separator: ", ")
    }

    private func write(_ found: [[Int]], to path: String) throws {
        let width = found.map(\.count).max() ?? 0
        do {
            try MatrixFile.create(path, rows: found.count, columns: width, element: .int32) { place in
                let values = place.assumingMemoryBound(to: Int32.self)
                for (query, rows) in found.enumerated() {
                    for rank in 0..<width { values[query * width + rank] = rank < rows.count ? Int32(rows[rank]) : -1 }
                }
            }
        } catch let error as MatrixFileError {
            throw StartupFailure("\(error)")
        }
    }
}
