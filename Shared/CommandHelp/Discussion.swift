/// What the help of a command says beneath its options' summary: text that takes the width of the terminal, and examples.
///
/// - Parameters:
///   - text: Lines that follow each other are one paragraph, however the source breaks them; lines that begin with a
///     space stay as they are.
///   - examples: Command lines, each as it is to be shown; with what is added at most 79 columns, or the help breaks them.
/// - Returns: Both, for `discussion:`.
public func helpDiscussion(_ text: String = "", examples: String) -> String {
    var lines: [String] = []
    var isInParagraph = false
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
        if isInParagraph, !line.isEmpty, !line.hasPrefix(" ") {
            lines[lines.count - 1] += " " + line
        } else {
            lines.append(String(line))
            isInParagraph = !line.isEmpty && !line.hasPrefix(" ")
        }
    }
    if text.isEmpty { lines = [] } else { lines.append("") }
    lines.append("EXAMPLES:")
    for line in examples.split(separator: "\n") { lines.append("  " + line) }
    return lines.joined(separator: "\n")
}
