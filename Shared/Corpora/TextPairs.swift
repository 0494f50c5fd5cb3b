public import FoundationEssentials

/// A query, and the document that it should find.
public struct TextPair: Sendable, Hashable {
    /// What is searched with.
    public var query: String
    /// What is to be found.
    public var document: String
    /// What must not be on both sides of a split: the source of a package, else the document.
    public var group: String

    /// Makes a pair.
    public init(query: String, document: String, group: String? = nil) {
        self.query = query
        self.document = document
        self.group = group ?? document
    }
}

/// Pairs of texts, from JSON lines: `{"query", "document"}`, `{"anchor", "positive"}`, or the packages of a ``Corpus``
/// with `short`, `long` and `source`.
public struct TextPairs: Sendable {
    /// In the order of the file; those with an empty side are left out.
    public var pairs: [TextPair]
    /// Whether each line has a `source`, by which a corpus is split for good.
    public let hasSources: Bool

    private struct Line: Decodable {
        var query: String?
        var anchor: String?
        var short: String?
        var document: String?
        var positive: String?
        var long: String?
        var source: String?
    }

    /// Reads a file's bytes; blank lines are skipped.
    ///
    /// - Parameters:
    ///   - data: JSON lines.
    ///   - path: For messages.
    /// - Throws: ``TextFileError``.
    public init(lines data: Data, path: String) throws(TextFileError) {
        pairs = []
        var sources = 0
        var lines = 0
        let decoder = JSONDecoder()
        var number = 0
        for line in data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            number += 1
            if line.allSatisfy({ $0 == 13 || $0 == 32 }) { continue }
            func malformed(_ problem: String) -> TextFileError {
                .malformed(path: path, line: number, problem: problem)
            }
            guard let read = try? decoder.decode(Line.self, from: line) else {
                throw malformed("it is not a JSON object with texts")
            }
            guard let query = read.query ?? read.anchor ?? read.short else {
                throw malformed("it has no query; that is \"query\", \"anchor\" or \"short\"")
            }
            guard let document = read.document ?? read.positive ?? read.long else {
                throw malformed("it has no document; that is \"document\", \"positive\" or \"long\"")
            }
            lines += 1
            if read.source != nil { sources += 1 }
            if query.isEmpty || document.isEmpty { continue }
            pairs.append(TextPair(query: query, document: document, group: read.source))
        }
        guard lines > 0 else { throw .malformed(path: path, line: nil, problem: "it has no line") }
        hasSources = sources == lines
    }

    /// Pairs of training and of validation.
    ///
    /// A corpus with sources keeps its test part out of both, and its validation part is what the name says; of other
    /// pairs `share` is for validation.
    ///
    /// - Parameter share: Of the groups, 0 to below 1; the corpus's own part where nil and it has sources, else 0.05.
    /// - Returns: Both, in the order of the file.
    public func split(share: Double?) -> (training: [TextPair], validation: [TextPair]) {
        var (training, validation): ([TextPair], [TextPair]) = ([], [])
        for pair in pairs {
            let part = hasSources ? CorpusPart(source: pair.group) : .train
            if part == .test { continue }
            let isHeldOut =
                if let share { Holdout.contains(pair.group, share: share) } else {
                    hasSources ? part == .validation : Holdout.contains(pair.group, share: 0.05)
                }
            if isHeldOut { validation.append(pair) } else { training.append(pair) }
        }
        return (training, validation)
    }
}

/// What is set aside, by its name alone, so that data may grow without anything moving.
enum Holdout {
    /// Whether a name belongs to the share, 0 to below 1, that is set aside.
    static func contains(_ name: String, share: Double) -> Bool {
        // Other bits than those of the corpus's parts.
        Double(stableHash("held out " + name) >> 11) * 0x1p-53 < share
    }
}
