import ArgumentParser
import CommandHelp
import Glibc
import Matryoshka
import ServiceRuntime
import WireProtocol

/// `mrl status`.
struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show coordinators, workers, shards and traffic.",
        discussion: helpDiscussion(
            examples: """
                mrl status
                mrl status --watch
                mrl status --json | jq '.workers[].rows'
                """
        )
    )

    @OptionGroup var front: FrontOptions
    @Flag(help: "Show it again every second until Ctrl-C.") var watch = false
    @Flag(help: "Print the coordinator's answer as JSON.") var json = false

    func run() throws {
        let client = try front.client()
        while true {
            let answer = try client.object(.status)
            if json {
                Output.json(answer)
            } else {
                if watch { Output.write("\u{1B}[H\u{1B}[2J", to: 1) }
                Output.line(StatusPage(StatusReport(answer)).text)
            }
            guard watch else { return }
            sleep(1)
        }
    }
}

/// The status as tables.
struct StatusPage {
    let report: StatusReport

    init(_ report: StatusReport) { self.report = report }

    var text: String {
        var parts = [coordinators]
        if let workers { parts.append(workers) }
        if let collections { parts.append(collections) }
        parts += changes
        if let errors { parts.append(errors) }
        return parts.joined(separator: "\n\n")
    }

    private var coordinators: String {
        var table = Table([
            "coordinator", "leader", "epoch", "up", "in flight", "queued", "searches/s", "p50 ms", "p95 ms", "p99 ms",
            "rejected",
        ])
        for coordinator in report.json["coordinators"].items + [report.json["coordinator"]].compactMap({ $0 }) {
            table.add([
                coordinator["name"].text, coordinator["leader"].flag ? "yes" : "no",
                "\(coordinator["epoch"].integer)", durationText(coordinator["uptime_s"].double),
                "\(coordinator["in_flight"].integer)", "\(coordinator["queue_depth"].integer)",
                fixed(coordinator["searches_per_second"].double, 1), fixed(coordinator["p50_ms"].double, 2),
                fixed(coordinator["p95_ms"].double, 2), fixed(coordinator["p99_ms"].double, 2),
                "\(coordinator["rejected"].integer)",
            ])
        }
        return table.text
    }

    private var workers: String? {
        guard !report.workers.isEmpty else { return nil }
        var table = Table([
            "worker", "role", "host", "pid", "state", "shards", "rows", "memory", "of", "in flight", "beat ms",
            "database",
        ])
        for worker in report.workers.sorted(by: { ($0.role, $0.incarnation) < ($1.role, $1.incarnation) }) {
            let isEncoder = worker.role == "encoder"
            table.add([
                "\(worker.incarnation)", worker.role, worker.host, "\(worker.pid)",
                worker.draining ? "draining" : worker.state, isEncoder ? "–" : "\(worker.shards)",
                isEncoder ? "–" : grouped(worker.rows), isEncoder ? "–" : bytesText(worker.residentBytes),
                isEncoder ? "–" : bytesText(worker.capacityBytes), "\(worker.inFlight)", "\(worker.heartbeatAge)",
                isEncoder ? "–" : worker.databaseReachable ? "yes" : "no",
            ])
        }
        return table.text
    }

    private var collections: String? {
        guard !report.collections.isEmpty else { return nil }
        var table = Table([
            "collection", "rows", "dimensions", "resident", "index", "shortlist shards", "rerank shards", "pending",
            "lag ms",
        ])
        func shards(_ counts: StatusReport.Shards?) -> String {
            guard let counts else { return "–" }
            var parts = ["\(counts.ready) ready"]
            if counts.loading > 0 {
                let rows = counts.loadedRows - counts.rows
                parts.append("\(counts.loading) loading" + (rows > 0 ? " (\(grouped(rows)) rows)" : ""))
            }
            let missing = max(0, counts.missing - counts.loading)
            if missing > 0 { parts.append("\(missing) missing") }
            if counts.noCapacity > 0 { parts.append("\(counts.noCapacity) without room") }
            return parts.joined(separator: ", ")
        }
        for collection in report.collections {
            let aliases = collection.aliases.isEmpty ? "" : " (\(collection.aliases.joined(separator: ", ")))"
            table.add([
                collection.name + aliases, grouped(collection.rows),
                "\(collection.dimensions)", "\(collection.residentWidth) \(collection.residentPrecision)",
                collection.index,
                shards(collection.shards["shortlist"]), shards(collection.shards["rerank"]),
                grouped(collection.pending), "\(collection.lagMilliseconds)",
            ])
        }
        return table.text
    }

    /// How far the forms have come that were asked for.
    private var changes: [String] {
        report.collections.compactMap { collection in
            guard let next = collection.next else { return nil }
            let what = "\(collection.name) becomes \(next.index) \(next.resident): "
            if next.state == "training" { return what + "learning from a sample of its rows" }
            let share = collection.rows == 0 ? 100 : min(100, next.loadedRows * 100 / collection.rows)
            return what
                + "\(grouped(next.loadedRows)) of \(grouped(collection.rows)) rows built (\(share) %), "
                + "\(next.readyShards) of \(Slots.shardCount) shards ready"
        }
    }

    private var errors: String? {
        guard case .object(let counts)? = report.json["coordinator"]?["errors"], !counts.isEmpty else { return nil }
        let list = counts.map { "\($0.key) \(JSONValue?.some($0.value).integer)" }.joined(separator: ", ")
        return "errors: " + list
    }
}
