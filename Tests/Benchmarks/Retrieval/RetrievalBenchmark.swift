import ArgumentParser

/// Measures whole searches, ours and others', over one set of data: `deploy/benchmark` runs it step by step.
@main
struct RetrievalBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "retrieval-benchmark",
        abstract: "Make data, measure our engines in process, and judge and tabulate what was measured.",
        subcommands: [DataCommand.self, MeasureCommand.self, ReportCommand.self]
    )
}
