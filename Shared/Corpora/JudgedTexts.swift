public import FoundationEssentials

/// Texts that have ids: the documents of a collection, or queries.
public struct IdentifiedTexts: Sendable, Hashable {
    /// In the order of the file, each once.
    public private(set) var ids: [String] = []
    /// As many; a title stands before its text.
    public private(set) var texts: [String] = []

    private struct Line: Decodable {
        var id: String
        var text: String

        enum CodingKeys: String, CodingKey {
            case id, title, text
            case underscoredID = "_id"
        }

        init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: CodingKeys.self)
            let key = container.contains(.id) ? CodingKeys.id : .underscoredID
            if let number = try? container.decode(Int.self, forKey: key) {
                id = String(number)
            } else {
                id = try container.decode(String.self, forKey: key)
            }
            let title = try container.decodeIfPresent(String.self, forKey: .title) ?? ""
            let text = try container.decodeIfPresent(String.self, forKey: .text) ?? ""
            self.text = title.isEmpty || text.isEmpty ? title + text : title + " " + text
        }
    }

    /// Reads lines of `{"id", "text"}` with an optional `"title"`; `"_id"` is read as well, as BEIR writes it.
    ///
    /// - Parameters:
    ///   - data: JSON lines; blank ones are skipped.
    ///   - path: For messages.
    /// - Throws: ``TextFileError``, also for an id that is there twice and for a file without a line.
    public init(lines data: Data, path: String) throws(TextFileError) {
        let decoder = JSONDecoder()
        var seen: Set<String> = []
        var number = 0
        for line in data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            number += 1
            if line.isEmpty || line == Data([13]) { continue }
            guard let read = try? decoder.decode(Line.self, from: line), !read.id.isEmpty else {
                throw .malformed(
                    path: path,
                    line: number,
                    problem: "it is not a JSON object with an \"id\" and a \"text\""
                )
            }
            guard seen.insert(read.id).inserted else {
                throw .malformed(path: path, line: number, problem: "the id \"\(read.id)\" is there twice")
            }
            ids.append(read.id)
            texts.append(read.text)
        }
        guard !ids.isEmpty else { throw .malformed(path: path, line: nil, problem: "it has no line") }
    }
}

/// Which documents are relevant for which queries, and how much.
public struct RelevanceJudgements: Sendable, Hashable {
    /// Grades by query's id, then by document's; 0 or less: judged, and not relevant.
    public private(set) var grades: [String: [String: Int]] = [:]

    /// Reads lines of query, document and grade, apart by tabs or spaces, or of the four columns of TREC (query, any,
    /// document, grade); a first line with a word for the grade is a heading, as BEIR has it.
    ///
    /// - Parameters:
    ///   - data: Lines; blank ones are skipped.
    ///   - path: For messages.
    /// - Throws: ``TextFileError``, also for a file without a judgement.
    public init(lines data: Data, path: String) throws(TextFileError) {
        var number = 0
        for line in data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            number += 1
            let columns = line.split { $0 == 9 || $0 == 32 || $0 == 13 }.map { String(decoding: $0, as: UTF8.self) }
            if columns.isEmpty { continue }
            guard columns.count == 3 || columns.count == 4, let grade = columns.last.flatMap({ Int($0) }) else {
                if number == 1, columns.count == 3 || columns.count == 4 { continue }
                throw .malformed(
                    path: path,
                    line: number,
                    problem: "it is not a query's id, a document's id and a whole number"
                )
            }
            grades[columns[0], default: [:]][columns[columns.count - 2]] = grade
        }
        guard !grades.isEmpty else { throw .malformed(path: path, line: nil, problem: "it has no judgement") }
    }

    /// Grades of the documents that are judged for a query; empty where none is.
    public func grades(of query: String) -> [String: Int] { grades[query] ?? [:] }
}
