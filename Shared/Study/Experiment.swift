/// One piece of the study's work: a training with a seed, and everything that is measured on what it made.
///
/// Claims that need the same figures share the experiment, so that it runs once. Its results depend on its data, its
/// recipe and the seed alone.
protocol Experiment: Sendable {
    /// Unlike all others; part of a file's name.
    var name: String { get }
    /// For people.
    var title: String { get }
    /// What it reads.
    var needs: [StudyData] { get }
    /// Whether a seed changes anything; else it runs once.
    var isSeeded: Bool { get }
    /// Everything beside data and seed that the figures depend on; one that differs makes old results void.
    var recipe: String { get }
    /// Processor seconds to expect, for the time that is left.
    var cost: Double { get }

    /// Measures.
    ///
    /// - Parameters:
    ///   - library: Gives the data.
    ///   - seed: From 1.
    ///   - progress: Takes the share that is done, 0 to 1.
    /// - Returns: All figures.
    /// - Throws: Where data cannot be read.
    func measure(_ library: StudyLibrary, seed: Int, progress: @escaping (Double) -> Void) throws -> Figures
}

/// Named numbers that an experiment found; shares of one are kept as percentages.
struct Figures: Sendable, Hashable, Codable {
    private var values: [String: Double] = [:]

    /// Starts with none.
    init() {}

    init(from decoder: any Decoder) throws { values = try decoder.singleValueContainer().decode([String: Double].self) }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(values)
    }

    /// Names of all figures, sorted.
    var names: [String] { values.keys.sorted() }

    /// A figure by its whole name.
    subscript(name: String) -> Double? {
        get { values[name] }
        set { values[name] = newValue }
    }

    /// A figure at a size.
    subscript(measure: String, size: Int) -> Double? {
        get { values["\(measure)/\(size)"] }
        set { values["\(measure)/\(size)"] = newValue }
    }
}

/// What experiments read.
public enum StudyData: String, Sendable, Hashable, CaseIterable, Codable {
    case debian = "Debian"
    case wordNet = "WordNet"
    case clinc150 = "CLINC150"
    case cranfield = "Cranfield"
    /// A frozen transformer.
    case encoder = "frozen encoder"
}

/// Results of experiments, as far as there are any.
struct StudyResults: Sendable {
    /// By experiment, then by seed; an experiment without seeds has its results under seed 0.
    private var figures: [String: [Int: Figures]] = [:]
    /// Why an experiment was not run.
    private var absences: [String: String] = [:]
    /// Processor seconds that all these results took.
    private(set) var seconds = 0.0
    /// Core types of OpenBLAS that they were made with, as far as known.
    private(set) var cores: Set<String> = []

    mutating func add(
        _ figures: Figures,
        of experiment: any Experiment,
        seed: Int,
        seconds: Double,
        core: String? = nil
    ) {
        if let core { cores.insert(core) }
        self.figures[experiment.name, default: [:]][experiment.isSeeded ? seed : 0] = figures
        self.seconds += seconds
    }

    mutating func add(absence: String, of experiment: any Experiment) { absences[experiment.name] = absence }

    /// Why there is no result of an experiment; nil where there is one.
    func absence(of experiment: any Experiment) -> String? {
        if let reason = absences[experiment.name] { return reason }
        return (figures[experiment.name] ?? [:]).isEmpty ? "not run yet" : nil
    }

    /// One figure of all seeds, in their order.
    func values(_ experiment: any Experiment, _ name: String) -> [Double] {
        let seeds = figures[experiment.name] ?? [:]
        return seeds.keys.sorted().compactMap { seeds[$0]?[name] }
    }

    /// One figure of all seeds at a size.
    func values(_ experiment: any Experiment, _ measure: String, _ size: Int) -> [Double] {
        values(experiment, "\(measure)/\(size)")
    }

    /// A figure less another of the same seed, for the seeds that have both.
    func differences(
        _ experiment: any Experiment,
        _ name: String,
        less other: any Experiment,
        _ otherName: String
    ) -> [Double] {
        combined(experiment, name, other, otherName) { $0 - $1 }
    }

    /// Two figures of the same seed made one, for the seeds that have both.
    func combined(
        _ experiment: any Experiment,
        _ name: String,
        _ other: any Experiment,
        _ otherName: String,
        _ combine: (Double, Double) -> Double
    ) -> [Double] {
        pairs(experiment, other).compactMap { figures, others in
            guard let value = figures[name], let otherValue = others[otherName] else { return nil }
            return combine(value, otherValue)
        }
    }

    /// The figures of two experiments with the same seed, for the seeds that have both; what no seed changes belongs to
    /// each.
    func pairs(_ experiment: any Experiment, _ other: any Experiment) -> [(Figures, Figures)] {
        let (seeds, others) = (figures[experiment.name] ?? [:], figures[other.name] ?? [:])
        let all = Set(seeds.keys).union(others.keys)
        return all.sorted().compactMap { seed in
            guard seed != 0 || all.count == 1, let own = seeds[seed] ?? seeds[0], let its = others[seed] ?? others[0]
            else { return nil }
            return (own, its)
        }
    }

    /// The figures of each seed.
    func each(_ experiment: any Experiment) -> [Figures] {
        let seeds = figures[experiment.name] ?? [:]
        return seeds.keys.sorted().compactMap { seeds[$0] }
    }

    /// A part of a claim; it is skipped where one of the experiments has no result.
    func part(_ statement: String, of experiments: [any Experiment], _ findings: () -> [Finding]) -> StudyPart {
        for experiment in experiments {
            if let absence = absence(of: experiment) {
                return StudyPart(statement: statement, findings: [], absence: absence)
            }
        }
        return StudyPart(statement: statement, findings: findings(), absence: nil)
    }
}
