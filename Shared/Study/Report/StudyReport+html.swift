import Evaluation

extension StudyReport {
    /// One page that needs nothing beside itself.
    public var html: String {
        """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>Which claims about nested representations hold</title>
        <style>
        \(Self.style)
        </style>
        </head>
        <body>
        <main>
        <h1>Which claims about nested representations hold</h1>
        <p class="lead">\(Self.escaped(summary)). A Matryoshka representation is one vector whose every prefix is a smaller \
        one. Each claim below was measured on real data; where an interval lies beyond the limit the claim is contradicted, \
        where it straddles the limit nothing is decided.</p>
        <ol class="overview">
        \(claims.map(overview).joined(separator: "\n"))
        </ol>
        \(claims.map(section).joined(separator: "\n"))
        <footer><p>\(Self.escaped(origin))</p></footer>
        </main>
        </body>
        </html>

        """
    }

    private static let style = """
        :root { --holds: #1d7a46; --contradicted: #b3261e; --undecided: #9a6700; --skipped: #6b7280; --ink: #1c2430; }
        body { margin: 0; background: #f6f7f9; color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
        main { max-width: 60rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
        h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; }
        h2 { font-size: 1.25rem; margin: 0; flex: 1; }
        h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; }
        .lead { font-size: 1.1rem; max-width: 46rem; }
        .overview { list-style: none; padding: 0; margin: 1.5rem 0 2.5rem; display: grid; gap: .4rem;
          grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); }
        .overview a { display: flex; gap: .6rem; align-items: baseline; padding: .5rem .7rem; background: #fff;
          border-left: 5px solid; border-radius: 4px; color: inherit; text-decoration: none; height: 100%;
          box-sizing: border-box; }
        .overview a:hover { background: #eef2f7; }
        .overview small { display: block; }
        section { background: #fff; border-radius: 8px; padding: 1.2rem 1.4rem; margin: 1.2rem 0;
          box-shadow: 0 1px 3px rgba(0, 0, 0, .08); }
        .head { display: flex; gap: 1rem; align-items: baseline; flex-wrap: wrap; }
        .badge { color: #fff; border-radius: 99px; padding: .1rem .7rem; font-size: .85rem; white-space: nowrap; }
        .holds.badge { background: var(--holds); } .contradicted.badge { background: var(--contradicted); }
        .undecided.badge { background: var(--undecided); } .skipped.badge { background: var(--skipped); }
        a.holds { border-color: var(--holds); } a.contradicted { border-color: var(--contradicted); }
        a.undecided { border-color: var(--undecided); } a.skipped { border-color: var(--skipped); }
        b.holds, small.holds { color: var(--holds); } b.contradicted, small.contradicted { color: var(--contradicted); }
        b.undecided, small.undecided { color: var(--undecided); } b.skipped, small.skipped { color: var(--skipped); }
        .method { color: #4b5563; font-size: .93rem; }
        .wide { overflow-x: auto; }
        table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; margin: .4rem 0; }
        th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e5e7eb; white-space: nowrap; }
        th:first-child, td:first-child { text-align: left; }
        caption { text-align: left; font-weight: 600; padding: .4rem 0; }
        .figures td { vertical-align: middle; } .figures svg { display: block; }
        figure { margin: 1rem 0; } figure svg { width: 100%; height: auto; max-width: 50rem; }
        footer { color: #4b5563; font-size: .9rem; margin-top: 2rem; }
        """

    private func overview(_ claim: Claim) -> String {
        """
        <li><a class="\(claim.verdict.rawValue)" href="#claim-\(claim.number)"><b class="\(claim.verdict.rawValue)">\
        \(claim.number)</b><span>\(Self.escaped(claim.title))<small class="\(claim.verdict.rawValue)">\(claim.verdict.mark) \
        \(claim.verdictText)</small></span></a></li>
        """
    }

    private func section(_ claim: Claim) -> String {
        var out = [
            """
            <section id="claim-\(claim.number)">
            <div class="head"><h2>\(claim.number). \(Self.escaped(claim.title))</h2>\
            <span class="badge \(claim.verdict.rawValue)">\(claim.verdictText)</span></div>
            <p>\(Self.escaped(claim.statement))</p>
            <p class="method">\(Self.escaped(claim.method))</p>
            """
        ]
        for part in claim.findings.parts {
            out.append(
                "<h3><b class=\"\(part.verdict.rawValue)\">\(part.verdict.mark)</b> \(Self.escaped(part.statement))</h3>"
            )
            if let absence = part.absence {
                out.append("<p class=\"method\">Skipped: \(Self.escaped(absence)).</p>")
            } else {
                out.append(figures(part))
            }
        }
        for note in claim.findings.notes { out.append("<p>\(Self.escaped(note))</p>") }
        for plot in claim.findings.plots { out.append("<figure>\n\(plot.svg)</figure>") }
        if !claim.findings.tables.isEmpty {
            out.append("<details><summary>All figures</summary>")
            out += claim.findings.tables.map(Self.table)
            out.append("</details>")
        }
        out.append("</section>")
        return out.joined(separator: "\n")
    }

    private func figures(_ part: StudyPart) -> String {
        let axis = IntervalStrip(part.findings)
        let rows = part.findings.map { finding in
            let verdict = finding.verdict
            let count = finding.isExact ? "" : "n = \(finding.values.count)"
            return """
                <tr><td>\(Self.escaped(finding.label))</td><td>\(Self.escaped(finding.text))</td>\
                <td>\(finding.limit.map { Self.escaped("claimed \($0.text)") } ?? "")</td>\
                <td>\(verdict.map { "<b class=\"\($0.rawValue)\">\($0.mark)</b>" } ?? "")</td>\
                <td>\(axis.svg(finding))</td><td>\(count)</td></tr>
                """
        }
        return "<div class=\"wide\"><table class=\"figures\">\n\(rows.joined(separator: "\n"))\n</table></div>"
    }

    private static func table(_ table: StudyTable) -> String {
        func row(_ cells: [String], _ tag: String) -> String {
            "<tr>" + cells.map { "<\(tag)>\(escaped($0))</\(tag)>" }.joined() + "</tr>"
        }
        return """
            <div class="wide"><table>
            <caption>\(escaped(table.title))</caption>
            \(row(table.headings, "th"))
            \(table.rows.map { row($0, "td") }.joined(separator: "\n"))
            </table></div>
            """
    }

    static func escaped(_ text: String) -> String {
        var out = ""
        for character in text {
            switch character {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "\"": out += "&quot;"
            default: out.append(character)
            }
        }
        return out
    }
}

/// Intervals of a part's figures beside their limits, on one axis for each unit.
private struct IntervalStrip {
    private static let (width, height) = (180.0, 18.0)
    private var ranges: [String: ClosedRange<Double>] = [:]

    init(_ findings: [Finding]) {
        for unit in Set(findings.map(\.unit)) {
            let own = findings.filter { $0.unit == unit && $0.limit != nil }
            let values = own.flatMap { finding in
                let interval = finding.interval
                let half = interval.halfWidth ?? 0
                return [interval.mean - half, interval.mean + half, finding.limit?.value ?? interval.mean]
            }
            guard let low = values.min(), let high = values.max(), low < high else { continue }
            let margin = (high - low) * 0.06
            ranges[unit] = low - margin...high + margin
        }
    }

    /// The limit as a dashed line, the interval as a bar, the mean as a dot; empty where nothing is claimed.
    func svg(_ finding: Finding) -> String {
        guard let limit = finding.limit, let verdict = finding.verdict, let range = ranges[finding.unit] else {
            return ""
        }
        func x(_ value: Double) -> String {
            decimal(Self.width * (value - range.lowerBound) / (range.upperBound - range.lowerBound), digits: 1)
        }
        let interval = finding.interval
        let half = finding.isExact ? 0 : interval.halfWidth ?? 0
        let colour = "var(--\(verdict.rawValue))"
        return """
            <svg width="\(decimal(Self.width))" height="\(decimal(Self.height))" role="img" \
            aria-label="\(StudyReport.escaped(finding.text))"><line x1="0" x2="\(decimal(Self.width))" y1="9" y2="9" stroke="#e5e7eb"/>\
            <line x1="\(x(limit.value))" x2="\(x(limit.value))" y1="0" y2="18" stroke="#6b7280" stroke-dasharray="2 2"/>\
            <line x1="\(x(interval.mean - half))" x2="\(x(interval.mean + half))" y1="9" y2="9" stroke="\(colour)" \
            stroke-width="4"/><circle cx="\(x(interval.mean))" cy="9" r="4" fill="\(colour)"/></svg>
            """
    }
}
