public import FoundationEssentials

/// A corpus in memory, and its file: one JSON object a line.
public struct Corpus: Sendable {
    /// In the order of the file.
    public var documents: [CorpusDocument]

    /// Makes a corpus.
    public init(documents: [CorpusDocument]) { self.documents = documents }

    /// Reads a corpus file.
    ///
    /// - Throws: ``CorpusError``.
    public init(path: String) throws(CorpusError) {
        guard let data = FileManager.default.contents(atPath: path) else { throw .unreadable(path: path) }
        try self.init(lines: data, path: path)
    }

    /// Reads the bytes of a corpus file; blank lines are skipped.
    ///
    /// - Parameters:
    ///   - data: JSON lines.
    ///   - path: For messages.
    /// - Throws: ``CorpusError/badLine(path:line:)``.
    public init(lines data: Data, path: String) throws(CorpusError) {
        documents = []
        let decoder = JSONDecoder()
        var number = 0
        for line in data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            number += 1
            if line.isEmpty { continue }
            guard let document = try? decoder.decode(CorpusDocument.self, from: line) else {
                throw .badLine(path: path, line: number)
            }
            documents.append(document)
        }
    }

    /// The corpus as JSON lines.
    public func jsonLines() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var data = Data()
        for document in documents {
            data.append(try encoder.encode(document))
            data.append(UInt8(ascii: "\n"))
        }
        return data
    }

    /// Writes the file beside its place and then moves it there, so that a cut-off run leaves no half file.
    public func write(to path: String) throws {
        try jsonLines().write(to: URL(fileURLWithPath: path), options: .atomic)
    }

    /// Indices of the documents of one part that have a short and a long text.
    public func described(in part: CorpusPart) -> [Int] {
        documents.indices.filter { index in
            let document = documents[index]
            return !document.short.isEmpty && !document.long.isEmpty && CorpusPart(source: document.source) == part
        }
    }

    /// Of each source one document, the one whose name's hash is least; in the order of the corpus.
    public func onePerSource() -> Corpus {
        var chosen: [String: (hash: UInt64, index: Int)] = [:]
        for (index, document) in documents.enumerated() {
            let hash = stableHash(document.name)
            if let held = chosen[document.source], held.hash <= hash { continue }
            chosen[document.source] = (hash, index)
        }
        return Corpus(documents: chosen.values.map(\.index).sorted().map { documents[$0] })
    }
}

/// Why a corpus does not load.
public enum CorpusError: Error, Sendable, Hashable, CustomStringConvertible {
    /// No such file, or not ours to read.
    case unreadable(path: String)
    /// A line is not an object with name, source, section, short and long.
    case badLine(path: String, line: Int)
    /// There is no package list with descriptions there.
    case noLists(path: String)

    /// One sentence.
    public var description: String {
        switch self {
        case .unreadable(let path): "\(path) is missing or unreadable"
        case .badLine(let path, let line):
            "\(path) line \(line) is not a JSON object with the texts name, source, section, short and long"
        case .noLists(let path): "\(path) holds no Packages list together with a Translation-en list"
        }
    }
}
