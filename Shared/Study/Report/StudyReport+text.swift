import Evaluation

extension Verdict {
    /// One character for a list.
    var mark: String {
        switch self {
        case .holds: "✔"
        case .contradicted: "✘"
        case .undecided: "?"
        case .skipped: "–"
        }
    }

    /// Colour of a terminal.
    fileprivate var colour: String {
        switch self {
        case .holds: "32"
        case .contradicted: "31"
        case .undecided: "33"
        case .skipped: "90"
        }
    }
}

extension StudyReport {
    private static let width = 96

    /// For a terminal.
    ///
    /// - Parameter isColoured: Whether verdicts have colours.
    /// - Returns: Lines of at most 100 columns, tables aside.
    public func text(isColoured: Bool) -> String {
        func coloured(_ text: String, _ verdict: Verdict) -> String {
            isColoured ? "\u{1B}[\(verdict.colour)m\(text)\u{1B}[0m" : text
        }
        func bold(_ text: String) -> String { isColoured ? "\u{1B}[1m\(text)\u{1B}[0m" : text }
        var lines = [bold("Which claims about nested representations hold: \(summary)"), ""]
        for claim in claims {
            let number = claim.number < 10 ? " \(claim.number)" : "\(claim.number)"
            lines.append("\(coloured(claim.verdict.mark, claim.verdict)) \(number)  \(claim.title)")
        }
        for claim in claims {
            lines += ["", bold("\(claim.number). \(claim.title)") + " – " + coloured(claim.verdictText, claim.verdict)]
            lines += Self.wrapped(claim.statement, indent: "   ")
            for part in claim.findings.parts {
                lines.append("   \(coloured(part.verdict.mark, part.verdict)) \(part.statement)")
                if let absence = part.absence { lines.append("       skipped: \(absence)") }
                let width = part.findings.map(\.label.count).max() ?? 0
                for finding in part.findings {
                    let fill = String(repeating: " ", count: width - finding.label.count)
                    var line = "       \(finding.label)\(fill)  \(finding.text)"
                    if let limit = finding.limit, let verdict = finding.verdict {
                        line += "  (claimed \(limit.text)) " + coloured(verdict.mark, verdict)
                    }
                    if !finding.isExact, finding.values.count != seeds { line += "  n = \(finding.values.count)" }
                    lines.append(line)
                }
            }
            for note in claim.findings.notes { lines += Self.wrapped(note, indent: "   ") }
            for table in claim.findings.tables { lines += [""] + table.lines.map { "   " + $0 } }
        }
        lines += [""] + Self.wrapped(origin, indent: "")
        return lines.joined(separator: "\n")
    }

    /// Breaks a paragraph between words.
    private static func wrapped(_ text: String, indent: String) -> [String] {
        var lines: [String] = []
        var line = indent
        for word in text.split(separator: " ") {
            if line.count > indent.count, line.count + 1 + word.count > width {
                lines.append(line)
                line = indent
            }
            line += (line.count > indent.count ? " " : "") + word
        }
        return lines + [line]
    }
}

extension StudyTable {
    /// The title, and all cells in columns.
    fileprivate var lines: [String] {
        let all = [headings] + rows
        let widths = headings.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        return [title]
            + all.map { row in
                row.indices.map { column in
                    let fill = String(repeating: " ", count: widths[column] - row[column].count)
                    return column == 0 ? row[column] + fill : fill + row[column]
                }.joined(separator: "  ")
            }
    }
}
