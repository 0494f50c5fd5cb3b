import ArgumentParser
import Evaluation
import ServiceRuntime

/// Whole numbers as `8,16,32`, each 1 or more.
struct CountList: ExpressibleByArgument {
    var values: [Int]

    init?(argument: String) {
        let parts = argument.split(separator: ",", omittingEmptySubsequences: false).map {
            Int($0.filter { $0 != " " })
        }
        values = parts.compactMap { $0 }
        guard !values.isEmpty, values.count == parts.count, values.allSatisfy({ $0 >= 1 }) else { return nil }
    }

    var defaultValueDescription: String { values.map(String.init).joined(separator: ",") }
}

/// What folders and collections are measured with.
struct EvaluationOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Sizes to measure at (default: those of the model and one between each two; 8, 16, … of others).",
            valueName: "8,16,…"
        )
    )
    var sizes: CountList?
    @Option(name: .short, help: "How many of the first found are judged.") var k = 10
    @Option(
        help: ArgumentHelp("Ds of the grid: dimensions scanned (default: the sizes up to 128).", valueName: "8,16,…")
    )
    var gridSizes: CountList?
    @Option(help: ArgumentHelp("K of the grid: rows that the scan keeps.", valueName: "50,100,…"))
    var keep = CountList(argument: "50,100,200,400")!
    @Option(
        help: ArgumentHelp("Dr of the grid: dimensions that score these (default: the sizes).", valueName: "64,384,…")
    )
    var rerankSizes: CountList?
    @Option(help: "Queries, spread over all, that plans are tried with, and that ask a collection; 0 for all.")
    var sample = 1_000
    @Flag(help: "Show every plan, not just single shots, funnels and what nothing beats.") var all = false
    @Flag(help: "Print JSON.") var json = false
    @Option(help: ArgumentHelp("Write plots (SVG) and report.json there.", valueName: "DIR")) var output: String?

    func validate() throws {
        guard (1...1_000).contains(k) else { throw ValidationError("-k is \(k), allowed are 1 to 1000") }
        guard sample >= 0 else { throw ValidationError("--sample is \(sample), allowed are 0 or more") }
    }

    /// The sizes that the options ask for.
    ///
    /// - Throws: ``StartupFailure`` where one is not legal.
    func sizes(nesting: [Int], dimensions: Int, smallest: Int) throws -> EvaluatedSizes {
        for (option, list) in [("--sizes", sizes), ("--grid-sizes", gridSizes), ("--rerank-sizes", rerankSizes)] {
            for size in list?.values ?? [] where !(smallest...dimensions).contains(size) {
                throw StartupFailure("\(option) has \(size), allowed are \(smallest) to \(dimensions)")
            }
        }
        if let sizes { return EvaluatedSizes(chosen: sizes.values, nesting: nesting, dimensions: dimensions) }
        return EvaluatedSizes(nesting: nesting, dimensions: dimensions, smallest: max(smallest, min(8, dimensions)))
    }

    /// The plans that the options ask for.
    ///
    /// - Parameters:
    ///   - sizes: Of single shots, and Dr.
    ///   - rows: Of the collection.
    ///   - extra: Hits that a plan keeps beyond k.
    ///   - first: Ds where the options say none.
    /// - Returns: The full search last.
    func plans(_ sizes: EvaluatedSizes, rows: Int, extra: Int = 0, first: [Int]? = nil) -> [PlanGrid.Entry] {
        PlanGrid(
            sizes: sizes.main,
            first: gridSizes?.values ?? first ?? sizes.main.filter { $0 <= 128 },
            keeps: keep.values,
            hits: min(k + extra, rows),
            rows: rows,
            rerank: rerankSizes?.values
        ).entries
    }

    /// Places of a sample, spread over `count`.
    func sampled(of count: Int) -> [Int] {
        guard sample > 0, sample < count else { return Array(0..<count) }
        return (0..<sample).map { $0 * count / sample }
    }

    /// Makes the folder of --output, before the work whose result it is for.
    func makeOutput() throws { if let output { try makeFolder(absolutePath(output)) } }

    /// Prints a report, and writes it with its plots where that is asked for.
    func show(_ report: some EvaluationReport) throws {
        if let output {
            let folder = absolutePath(output)
            try replaceFile(folder + "/report.json", with: try jsonText(report) + "\n")
            for (name, plot) in report.plots { try replaceFile("\(folder)/\(name).svg", with: plot.svg) }
            Output.note(
                "written to \(folder): report.json, " + report.plots.map { $0.name + ".svg" }.joined(separator: ", ")
            )
        }
        Output.line(json ? try jsonText(report) : report.text(showsAllPlans: all))
    }
}

/// What a measurement found, for people and for scripts.
protocol EvaluationReport: Encodable {
    /// For a terminal.
    func text(showsAllPlans: Bool) -> String
    /// By name of the file.
    var plots: [(name: String, plot: LinePlot)] { get }
}

/// A mean of measurements with its 95 % interval, or one measurement.
struct Figure: Encodable {
    let mean: Double
    /// Nil of a single one.
    let halfWidth: Double?

    enum CodingKeys: String, CodingKey {
        case mean
        case halfWidth = "half_width"
    }

    init(_ values: [Double]) {
        let interval = MeanInterval(values)
        mean = interval.mean
        halfWidth = interval.halfWidth
    }

    /// A share in percent.
    var percent: String { text(scale: 100, digits: 1) }

    func text(scale: Double = 1, digits: Int) -> String {
        fixed(mean * scale, digits) + (halfWidth.map { " ±" + fixed($0 * scale, digits) } ?? "")
    }
}
