import Evaluation

/// One of the claims that the study judges.
protocol StudyClaim: Sendable {
    /// From 1.
    var number: Int { get }
    /// A few words.
    var title: String { get }
    /// What is claimed, with its limits.
    var statement: String { get }
    /// How it is measured.
    var method: String { get }
    /// Whose figures it is judged by.
    var experiments: [any Experiment] { get }

    /// Judges.
    ///
    /// - Parameter results: Of the experiments, as far as there are any.
    /// - Returns: Each part with its figures, and what explains them.
    func findings(_ results: StudyResults) -> ClaimFindings
}

/// What was found about a claim.
struct ClaimFindings: Sendable {
    /// Each with a verdict of its own.
    var parts: [StudyPart]
    /// Sentences for people.
    var notes: [String] = []
    /// All that was measured.
    var tables: [StudyTable] = []
    /// The same to look at.
    var plots: [LinePlot] = []
}

/// Rows under headings.
struct StudyTable: Sendable, Hashable, Encodable {
    let title: String
    let headings: [String]
    var rows: [[String]] = []

    init(_ title: String, _ headings: [String]) {
        self.title = title
        self.headings = headings
    }

    /// Adds a row, of one cell for each heading.
    mutating func add(_ row: [String]) {
        precondition(row.count == headings.count, "a cell for each heading")
        rows.append(row)
    }
}

/// Several methods at several sizes: a table, and a plot of it.
struct SizeCurves {
    let title: String
    /// What the figures are, with their unit.
    let measure: String
    let sizes: [Int]
    /// By method: its name, and the figures of all seeds at each size.
    var lines: [(name: String, values: [[Double]])] = []

    init(_ title: String, _ measure: String, _ sizes: [Int]) {
        self.title = title
        self.measure = measure
        self.sizes = sizes
    }

    /// Adds a method, unless nothing is known of it.
    mutating func add(_ name: String, _ values: (Int) -> [Double]) {
        let found = sizes.map(values)
        if found.contains(where: { !$0.isEmpty }) { lines.append((name, found)) }
    }

    /// Nil without a method.
    var table: StudyTable? {
        guard !lines.isEmpty else { return nil }
        var table = StudyTable("\(title): \(measure)", ["dimensions"] + sizes.map(String.init))
        for line in lines { table.add([line.name] + line.values.map { intervalText(MeanInterval($0)) }) }
        return table
    }

    /// Dimensions on a logarithmic axis; nil without a method.
    var plot: LinePlot? {
        guard !lines.isEmpty, let first = sizes.first, let last = sizes.last, first < last else { return nil }
        let series = lines.enumerated().map { place, line in
            let known = zip(sizes, line.values).filter { !$0.1.isEmpty }.map { (Double($0.0), MeanInterval($0.1)) }
            return LinePlot.Series(
                name: line.name,
                points: known.map { ($0.0, $0.1.mean) },
                isEmphasised: place == 0,
                spreads: known.map { $0.1.halfWidth ?? 0 }
            )
        }
        var plot = LinePlot(
            title: title,
            xLabel: "dimensions",
            yLabel: measure,
            xRange: Double(first)...Double(last),
            series: series
        )
        plot.xScale = .logarithmic
        plot.yScale = .linear
        plot.xTicks = sizes.map(Double.init)
        return plot
    }
}

extension ClaimFindings {
    /// Adds the table and the plot of some curves.
    mutating func add(_ curves: SizeCurves, isPlotted: Bool = true) {
        if let table = curves.table { tables.append(table) }
        if isPlotted, let plot = curves.plot { plots.append(plot) }
    }
}
