import Evaluation

/// What became of a claim, or of a part of one.
public enum Verdict: String, Sendable, Hashable, Codable, CaseIterable {
    /// Every interval lies within its limit.
    case holds
    /// An interval lies beyond its limit.
    case contradicted
    /// An interval straddles its limit, or there is none as there is one measurement.
    case undecided
    /// Not measured.
    case skipped

    /// The verdict on several things that are all claimed.
    init(all verdicts: some Sequence<Verdict>) {
        let found = Set(verdicts)
        self =
            [.contradicted, .undecided, .skipped].first { found.contains($0) } ?? (found.isEmpty ? .skipped : .holds)
    }
}

/// What a figure is claimed to be.
enum Limit: Sendable, Hashable {
    case atLeast(Double)
    case atMost(Double)

    /// The number of the limit.
    var value: Double {
        switch self {
        case .atLeast(let value), .atMost(let value): value
        }
    }

    /// As a sign and a number.
    var text: String {
        switch self {
        case .atLeast(let value): "≥ \(decimal(value))"
        case .atMost(let value): "≤ \(decimal(value))"
        }
    }

    /// Where a mean with its 95 % interval lies; a figure that no seed changes has an interval of length 0.
    func verdict(on interval: MeanInterval, isExact: Bool) -> Verdict {
        guard interval.count > 0 else { return .skipped }
        guard let half = isExact ? 0 : interval.halfWidth else { return .undecided }
        // Measurements are sums of floats: what is equal on paper may differ in the last bits.
        let rounding = 1e-9
        let (low, high) = (interval.mean - half, interval.mean + half)
        switch self {
        case .atLeast(let limit):
            return low >= limit - rounding ? .holds : high < limit - rounding ? .contradicted : .undecided
        case .atMost(let limit):
            return high <= limit + rounding ? .holds : low > limit + rounding ? .contradicted : .undecided
        }
    }
}

/// One figure of a claim, measured once for each seed, and what it should be.
struct Finding: Sendable {
    /// What it is, or at which size.
    let label: String
    /// One for each seed.
    let values: [Double]
    /// What is claimed; nil for a figure that is told only.
    let limit: Limit?
    /// Behind the number, as ` points`; empty for none.
    let unit: String
    /// No seed changes it.
    let isExact: Bool

    init(_ label: String, _ values: [Double], _ limit: Limit? = nil, unit: String = " points", isExact: Bool = false) {
        self.label = label
        self.values = values
        self.limit = limit
        self.unit = unit
        self.isExact = isExact
    }

    /// Mean and 95 % interval over the seeds.
    var interval: MeanInterval { MeanInterval(values) }
    /// Nil where nothing is claimed.
    var verdict: Verdict? { limit.map { $0.verdict(on: interval, isExact: isExact) } }

    /// As `−0.3 ± 0.1 points`.
    var text: String { intervalText(interval) + unit }
}

/// One sentence of a claim, with all figures that decide it.
struct StudyPart: Sendable {
    /// What is claimed.
    let statement: String
    /// Figures with a limit decide; others are told.
    let findings: [Finding]
    /// Why nothing was measured; nil where something was.
    let absence: String?

    /// The worst verdict of its figures.
    var verdict: Verdict { absence != nil ? .skipped : Verdict(all: findings.compactMap(\.verdict)) }
}

/// A number with at most two digits after the point, and a true minus.
func decimal(_ value: Double, digits: Int = 2) -> String {
    let scale = digits == 0 ? 1.0 : digits == 1 ? 10 : digits == 2 ? 100 : 1000
    let units = Int((value.magnitude * scale).rounded())
    var text = String(units / Int(scale))
    if digits > 0 {
        var behind = String(units % Int(scale) + Int(scale)).dropFirst()
        while behind.last == "0", behind.count > 1 { behind.removeLast() }
        if behind != "0" { text += "." + behind }
    }
    return value < 0 && units > 0 ? "−" + text : text
}

/// A number with exactly one digit after the point, or two for what is small.
func figure(_ value: Double) -> String {
    let digits = value.magnitude < 0.1 && value != 0 ? 2 : 1
    let text = decimal(value, digits: digits)
    return text.contains(".") ? text : text + ".0"
}

/// As `−0.3 ± 0.1`; without the second number where there is no interval.
func intervalText(_ interval: MeanInterval) -> String {
    guard interval.count > 0 else { return "–" }
    return figure(interval.mean) + (interval.halfWidth.map { " ± \(figure($0))" } ?? "")
}
