import ArgumentParser
import CommandHelp
import Matryoshka
import ServiceRuntime
import WireProtocol

/// `mrl search`.
struct SearchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "search",
        abstract: "Search a collection by text.",
        usage: "mrl search [<options>] <text> ...",
        discussion: helpDiscussion(
            """
            A plan is a list of stages dimensions:keep or dimensions:keep:precision, for example 32:200,256:10: keep
            the best 200 by their first 32 dimensions, and of these the best 10 by all 256.
            """,
            examples: """
                mrl search "play chess against the computer"
                mrl search -k 3 --explain edit photos
                mrl search --plan 16:200,32:100,64:50,128:25,256:10 "web server"
                mrl search --exact "web server"
                """
        )
    )

    @OptionGroup var front: FrontOptions
    @Argument(help: "Words to search for.") var text: [String]
    @Option(help: "Collection or alias; default: debian, or the only one.") var collection: String?
    @Option(name: .short, help: "Hits; default 10, or the plan's last keep.") var k: Int?
    @Option(help: "Stages, dimensions:keep[:precision],….") var plan: PlanArgument?
    @Flag(help: "The true best hits by all dimensions, proven; instead of a plan.") var exact = false
    @Option(help: "Index ivf: lists to scan; default one in 32.") var probes: Int?
    @Option(help: "Index hnsw: rows kept in view; default the first stage's keep.") var ef: Int?
    @Option(help: ArgumentHelp("Least share of shards that must answer, 0 to 1.", valueName: "share"))
    var minCoverage = 1.0
    @Option(help: ArgumentHelp("Time for the answer.", valueName: "ms")) var deadline = 2_000
    @Flag(help: "Show whole payloads.") var payload = false
    @Flag(help: "Show the score at each stage, and where the time went.") var explain = false
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        guard !exact || plan == nil else { throw ValidationError("--exact has a plan of its own") }
    }

    func run() throws {
        let client = try front.client()
        let name = try collection ?? defaultCollection(client)
        let request = SearchRequest(
            collection: name,
            query: .texts([text.joined(separator: " ")]),
            plan: plan?.plan,
            k: k ?? plan?.plan.stages.last?.keep ?? 10,
            minCoverage: minCoverage,
            withPayload: true,
            explain: explain,
            effort: SearchEffort(probes: probes, ef: ef),
            isExact: exact
        )
        let started = now()
        guard case .search(let reply) = try client.call(.search(request), deadlineMilliseconds: deadline) else {
            throw StartupFailure("the coordinator's answer is of another kind than the request")
        }
        let milliseconds = (now() - started) * 1_000
        if json { Output.json(asJSON(reply, milliseconds)) } else { show(reply, milliseconds) }
    }

    private func defaultCollection(_ client: FrontClient) throws -> String {
        let collections = StatusReport.collections(try client.object(.collections(.list))["collections"])
        if collections.contains(where: { $0.name == "debian" || $0.aliases.contains("debian") }) { return "debian" }
        guard collections.count == 1 else {
            let names = collections.map(\.name).joined(separator: ", ")
            throw StartupFailure(
                collections.isEmpty
                    ? "there is no collection yet: fill one with mrl import"
                    : "say which --collection to search: \(names)"
            )
        }
        return collections[0].name
    }

    private func show(_ reply: SearchReply, _ milliseconds: Double) {
        let hits = reply.hits.first ?? []
        let width = hits.map { $0.id.count }.max() ?? 0
        for (place, hit) in hits.enumerated() {
            let number = String(place + 1)
            let fill = String(repeating: " ", count: max(0, 2 - number.count))
            let name = hit.id + String(repeating: " ", count: width - hit.id.count)
            var line = "\(fill)\(number)  \(fixed(Double(hit.score), 4))  \(name)"
            if let short = describe(hit) { line += "  \(short)" }
            Output.line(line)
            if explain, let scores = hit.scores {
                let stages = zip(reply.plan.steps, scores).map { "\($0.dimensions)d \(fixed(Double($1), 4))" }
                Output.line("            " + stages.joined(separator: " → "))
            }
            if payload, let body = hit.payload { Output.line("            \(body)") }
        }
        let coverage = reply.coverage
        var line = "\n\(hits.count) hits of \(grouped(coverage.rowsSearched)) rows in \(fixed(milliseconds, 1)) ms"
        line += ", plan \(reply.plan.plan), collection \(reply.collection)"
        if !coverage.isComplete { line += ", only \(coverage.shardsOK) of \(coverage.shardsTotal) shards answered" }
        if reply.isProven { line += ", proven exact" }
        if !reply.degraded.isEmpty { line += ", degraded: \(reply.degraded.joined(separator: ", "))" }
        Output.line(line)
        if explain { Output.line(timings(reply.timings)) }
    }

    /// What the payload says of the document in one line.
    private func describe(_ hit: Hit) -> String? {
        guard let payload = hit.payload, let json = try? JSONValue(parsing: Array(payload.utf8)) else { return nil }
        for key in ["short", "title", "name", "text"] {
            if case .string(let text)? = json[key] { return String(text.prefix(90)) }
        }
        return nil
    }

    private func timings(_ timings: SearchTimings) -> String {
        func milliseconds(_ microseconds: Int) -> String { fixed(Double(microseconds) / 1_000, 2) }
        var parts = [
            "in the coordinator \(milliseconds(timings.totalMicroseconds)) ms",
            "queued \(milliseconds(timings.queueMicroseconds))",
        ]
        for (name, stage) in [
            ("encode", timings.encode), ("shortlist", timings.shortlist), ("rerank", timings.rerank),
        ] {
            guard let stage else { continue }
            parts.append(
                "\(name) \(milliseconds(stage.totalMicroseconds)) (queue \(milliseconds(stage.queueMicroseconds)), "
                    + "compute \(milliseconds(stage.computeMicroseconds)), "
                    + "transport \(milliseconds(stage.transportMicroseconds)))"
            )
        }
        parts.append("merge \(milliseconds(timings.mergeMicroseconds))")
        return parts.joined(separator: ", ")
    }

    private func asJSON(_ reply: SearchReply, _ milliseconds: Double) -> JSONValue {
        let hits = (reply.hits.first ?? []).map { hit -> JSONValue in
            var members: [JSONValue.Member] = [
                .init("id", .string(hit.id)), .init("score", .number(Double(hit.score))),
            ]
            if let scores = hit.scores { members.append(.init("scores", .array(scores.map { .number(Double($0)) }))) }
            if let payload = hit.payload, let json = try? JSONValue(parsing: Array(payload.utf8)) {
                members.append(.init("payload", json))
            }
            return .object(members)
        }
        return .object([
            .init("collection", .string(reply.collection)), .init("hits", .array(hits)),
            .init("plan", PlanArgument(plan: reply.plan.plan).json),
            .init("complete", .bool(reply.coverage.isComplete)),
            .init("rows_searched", .integer(Int64(reply.coverage.rowsSearched))),
            .init("degraded", .array(reply.degraded.map { .string($0) })),
            .init("milliseconds", .number(milliseconds)),
        ])
    }
}

/// A plan on the command line: `32:200,256:10`.
struct PlanArgument: ExpressibleByArgument {
    var plan: Plan

    init(plan: Plan) { self.plan = plan }

    init?(argument: String) {
        var stages: [Stage] = []
        for text in argument.split(separator: ",", omittingEmptySubsequences: false) {
            let parts = text.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count == 2 || parts.count == 3, let dimensions = Int(parts[0]), let keep = Int(parts[1]) else {
                return nil
            }
            var stage = Stage(dimensions: dimensions, keep: keep)
            if parts.count == 3 {
                guard let precision = Precision(rawValue: String(parts[2])) else { return nil }
                stage.precision = precision
            }
            stages.append(stage)
        }
        plan = Plan(stages: stages)
    }

    /// As the front protocol writes it.
    var json: JSONValue {
        .array(
            plan.stages.map { stage in
                var members: [JSONValue.Member] = [
                    .init("dimensions", .integer(Int64(stage.dimensions))), .init("keep", .integer(Int64(stage.keep))),
                ]
                if let precision = stage.precision { members.append(.init("precision", .string(precision.rawValue))) }
                return .object(members)
            }
        )
    }
}
