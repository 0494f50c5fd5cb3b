import ArgumentParser
import CommandHelp
import Matryoshka
import ServiceRuntime
import WireProtocol

/// `mrl evaluate known-item`.
struct EvaluateKnownItemCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "known-item",
        abstract: "Measure quality, cost and time of many plans on held-out known-item queries.",
        usage: "mrl evaluate known-item [<options>]",
        discussion: helpDiscussion(
            """
            Each query is the short description of one package of a held-out source; the collection embeds the long
            ones. MRR@10 counts where the package is found, ties against us; recall@10 is the share of the ten best of
            full search that a plan finds.
            """,
            examples: """
                mrl evaluate known-item
                mrl evaluate known-item --queries 0 --json
                mrl evaluate known-item --plan 32:400,256:10
                """
        )
    )

    @OptionGroup var front: FrontOptions
    @Option(help: ArgumentHelp("Corpus; default: corpus/debian.jsonl in the home.", valueName: "file")) var corpus:
        String?
    @Option(help: "Collection that embeds the long texts alone.") var collection = "debian-eval"
    @Option(help: "How many queries; 0 for all.") var queries = 1_000
    @Option(help: "A plan to measure instead of the usual ones; may be repeated.") var plan: [PlanArgument] = []
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        let client = try front.client()
        let home = try front.home.resolved()
        let held = try HeldOutQueries(corpus: corpus ?? home.corpus + "/debian.jsonl", limit: queries)
        let shape = try findCollection(collection, client)
        var vectors = try QueryVectors.encode(held.texts, collection: collection, client)
        var targets: [String] = []
        var known: [Float] = []
        for place in 0..<vectors.count {
            let row = vectors.values[place * vectors.dimensions..<(place + 1) * vectors.dimensions]
            guard row.contains(where: { $0 != 0 }) else { continue }
            known += row
            targets.append(held.targets[place])
        }
        vectors.values = known
        let table = KnownItemTable(
            runs: SearchRuns(client: client, collection: collection),
            queries: vectors,
            targets: targets,
            rows: shape.rows,
            dimensions: shape.dimensions
        )
        let plans =
            plan.isEmpty
            ? KnownItemTable.plans(
                dimensions: shape.dimensions,
                smallest: shape.smallestDimensions,
                resident: shape.residentWidth
            )
            : plan.map { ("plan", $0.plan) }
        let rows = try table.measure(plans) { step in if Output.isInteractive { Output.redraw("measuring \(step)") } }
        if Output.isInteractive { Output.redraw("") }
        if json { return Output.json(KnownItemTable.json(rows)) }
        Output.line(
            "Known-item search: \(grouped(targets.count)) held-out queries, \(grouped(shape.rows)) documents, "
                + "collection \(collection)\n"
        )
        Output.line(KnownItemTable.text(rows, full: table.multipliedByFullSearch))
    }
}

/// The collection of that name or alias, as the coordinator tells it.
func findCollection(_ name: String, _ client: FrontClient) throws -> StatusReport.Collection {
    let collections = StatusReport.collections(try client.object(.collections(.list))["collections"])
    guard let found = collections.first(where: { $0.name == name || $0.aliases.contains(name) }) else {
        let names = collections.map(\.name).joined(separator: ", ")
        throw StartupFailure("there is no collection \(name)" + (names.isEmpty ? "" : "; there are \(names)"))
    }
    return found
}
