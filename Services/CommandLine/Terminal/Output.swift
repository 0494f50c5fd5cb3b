import Glibc
import WireProtocol

/// What a command writes for people and for scripts.
enum Output {
    /// Standard error is a terminal, so a progress line may rewrite itself.
    static let isInteractive = isatty(2) == 1

    /// Standard output is a terminal whose user has not asked for plain text (https://no-color.org).
    static var isColoured: Bool { isatty(1) == 1 && (getenv("NO_COLOR").map { $0.pointee == 0 } ?? true) }

    static func line(_ text: String = "") { write(text + "\n", to: 1) }

    /// For progress and remarks, beside the data on standard output.
    static func note(_ text: String) { write(text + "\n", to: 2) }

    /// Overwrites the current line of a terminal.
    static func redraw(_ text: String) { write("\r\u{1B}[K" + text, to: 2) }

    static func json(_ value: JSONValue) { line(value.jsonText) }

    static func write(_ text: String, to descriptor: Int32) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                // The reader of the data went away (a pipe to head): nothing is left to say. Remarks may get lost.
                if descriptor == 1 { exit(0) }
                return
            }
            bytes = bytes.dropFirst(count)
        }
    }
}

/// Rows under headings; numbers stand to the right.
struct Table {
    private let headings: [String]
    private var rows: [[String]] = []

    init(_ headings: [String]) { self.headings = headings }

    mutating func add(_ row: [String]) {
        precondition(row.count == headings.count, "a row has a cell for each heading")
        rows.append(row)
    }

    var isEmpty: Bool { rows.isEmpty }

    var text: String {
        let widths = headings.indices.map { column in
            ([headings] + rows).map { $0[column].count }.max() ?? 0
        }
        let isNumeric = headings.indices.map { column in
            !rows.isEmpty && rows.allSatisfy { row in row[column].allSatisfy { "0123456789.,-–%± ".contains($0) } }
        }
        func laidOut(_ row: [String]) -> String {
            let cells = row.indices.map { column in
                let fill = String(repeating: " ", count: widths[column] - row[column].count)
                return isNumeric[column] ? fill + row[column] : row[column] + fill
            }
            var line = cells.joined(separator: "  ")
            while line.last == " " { line.removeLast() }
            return line
        }
        return ([headings] + rows).map(laidOut).joined(separator: "\n")
    }
}

/// A number with so many digits after the point.
func fixed(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite else { return "–" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let whole = Int((abs(value) * scale).rounded())
    var text = String(whole)
    if digits > 0 {
        if text.count <= digits { text = String(repeating: "0", count: digits + 1 - text.count) + text }
        text.insert(".", at: text.index(text.endIndex, offsetBy: -digits))
    }
    return (value < 0 && whole > 0 ? "-" : "") + text
}

/// 1234567 as `1,234,567`.
func grouped(_ value: Int) -> String {
    var text = String(value.magnitude)
    var place = text.count - 3
    while place > 0 {
        text.insert(",", at: text.index(text.startIndex, offsetBy: place))
        place -= 3
    }
    return (value < 0 ? "-" : "") + text
}

/// Bytes as `84.0 MiB`.
func bytesText(_ bytes: Int) -> String {
    var value = Double(bytes)
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024 { return unit == "B" ? "\(bytes) B" : "\(fixed(value, 1)) \(unit)" }
        value /= 1024
    }
    return "\(fixed(value, 1)) TiB"
}

/// Seconds as `3 s` or `2 min 05 s`.
func durationText(_ seconds: Double) -> String {
    let whole = Int(seconds.rounded())
    if seconds < 10 { return "\(fixed(seconds, 1)) s" }
    return whole < 100 ? "\(whole) s" : "\(whole / 60) min \(whole % 60 < 10 ? "0" : "")\(whole % 60) s"
}

/// A line that shows how far a long task is, at most ten times a second; without a terminal every five seconds.
struct ProgressLine {
    private let label: String
    private let total: Int
    private let started: Double
    private let startedFrom: Int
    private var shownAt = 0.0

    /// Starts a line; what an earlier run had done (`startedFrom`) does not count towards the rate.
    init(_ label: String, total: Int, startedFrom: Int = 0, at time: Double) {
        self.label = label
        self.total = total
        self.startedFrom = startedFrom
        started = time
    }

    mutating func update(_ done: Int, at time: Double) {
        guard time - shownAt >= (Output.isInteractive ? 0.1 : 5) else { return }
        shownAt = time
        show(done, at: time)
    }

    /// Ends the line.
    func finish(_ done: Int, at time: Double) {
        if Output.isInteractive {
            show(done, at: time)
            Output.note("")
        }
    }

    private func show(_ done: Int, at time: Double) {
        let share = total > 0 ? min(1, Double(done) / Double(total)) : 0
        let rate = time > started ? Double(done - startedFrom) / (time - started) : 0
        let filled = Int(share * 24)
        let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: 24 - filled)
        var text = "\(label) \(bar) \(Int(share * 100)) %  \(grouped(done)) of \(grouped(total))"
        text += "  \(grouped(Int(rate)))/s"
        if rate > 0, done < total { text += "  \(durationText(Double(total - done) / rate)) left" }
        if Output.isInteractive { Output.redraw(text) } else { Output.note(text) }
    }
}
