/// Why a file of texts to learn from does not load.
public enum TextFileError: Error, Sendable, Hashable, CustomStringConvertible {
    /// No such file, or not ours to read.
    case unreadable(path: String)
    /// A line, or the whole where there is none, is not what it should be; `problem` ends a sentence.
    case malformed(path: String, line: Int?, problem: String)

    /// One sentence.
    public var description: String {
        switch self {
        case .unreadable(let path): "\(path) is missing or unreadable"
        case .malformed(let path, let line, let problem): "\(path)\(line.map { " line \($0)" } ?? ""): \(problem)"
        }
    }
}
