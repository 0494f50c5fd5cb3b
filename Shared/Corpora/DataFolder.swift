public import FoundationEssentials

/// A folder of data to measure a model on, known by the names of its files.
///
/// Labelled: `train`, and `val` (`validation`, `valid`, `dev`) and `test` where there are such parts, each a file that
/// ``LabelledFile`` reads, or one `.json` file with all parts. Judged: `corpus` (`docs`, `documents`), `queries` and
/// `qrels`, the latter also as `qrels/test.tsv`. Beside each file of texts its vectors may lie, row by row, under the
/// same name with the ending `npy`, `fvecs` or `parquet`.
public enum DataFolder: Sendable, Hashable {
    /// Examples with a label each.
    case labelled(Labelled)
    /// A collection, queries, and which documents are relevant for them.
    case judged(Judged)

    /// A file of texts and what it has as vectors, as paths.
    public struct Part: Sendable, Hashable {
        /// Texts, labels or both.
        public var texts: String
        /// Nil where there is no such file.
        public var vectors: String?
    }

    /// Files of labelled examples.
    public struct Labelled: Sendable, Hashable {
        /// What is learnt from, or all parts in one file.
        public var training: Part
        /// Nil where no file is for that.
        public var validation: Part?
        /// Nil where no file is for that.
        public var test: Part?
        /// A file that may name groups of labels; see ``groups(of:path:)``.
        public var groups: String?
    }

    /// Files of a judged collection.
    public struct Judged: Sendable, Hashable {
        /// The documents.
        public var documents: Part
        /// The queries.
        public var queries: Part
        /// Which document is relevant for which query.
        public var judgements: String
    }

    static let vectorEndings = ["npy", "fvecs", "parquet"]

    /// Looks into a folder.
    ///
    /// - Throws: ``DataFolderError``.
    public init(path: String) throws(DataFolderError) {
        guard let names = try? FileManager.default.contentsOfDirectory(atPath: path) else {
            throw .unreadable(path: path)
        }
        let qrels = (try? FileManager.default.contentsOfDirectory(atPath: path + "/qrels")) ?? []
        try self.init(files: names + qrels.map { "qrels/" + $0 }, path: path)
    }

    /// Tells by the names of its files what a folder is.
    ///
    /// - Parameters:
    ///   - files: Names in the folder.
    ///   - path: The folder.
    /// - Throws: ``DataFolderError``.
    public init(files: [String], path: String) throws(DataFolderError) {
        let names = Set(files)
        func file(_ stems: [String], _ endings: [String]) -> String? {
            stems.lazy.flatMap { stem in endings.map { "\(stem).\($0)" } }.first(where: names.contains)
        }
        func part(_ stems: [String], _ endings: [String]) -> Part? {
            guard let texts = file(stems, endings) else { return nil }
            let stem = texts.split(separator: ".").dropLast().joined(separator: ".")
            return Part(texts: "\(path)/\(texts)", vectors: file([stem], Self.vectorEndings).map { "\(path)/\($0)" })
        }
        let documents = part(["corpus", "docs", "documents"], ["jsonl"])
        let queries = part(["queries"], ["jsonl"])
        let judgements = file(["qrels", "qrels/test"], ["tsv", "txt", "qrels"])
        if let documents, let queries, let judgements {
            self = .judged(Judged(documents: documents, queries: queries, judgements: "\(path)/\(judgements)"))
            return
        }
        let groups = ["domains.json", "meta.json"].first(where: names.contains).map { "\(path)/\($0)" }
        let endings = LabelledFile.endings
        if let training = part(["train", "training"], endings) {
            self = .labelled(
                Labelled(
                    training: training,
                    validation: part(["val", "validation", "valid", "dev"], endings),
                    test: part(["test"], endings),
                    groups: groups
                )
            )
            return
        }
        let whole = files.filter { $0.hasSuffix(".json") && !["domains.json", "meta.json"].contains($0) }
        if documents == nil, queries == nil, whole.count == 1 {
            self = .labelled(Labelled(training: Part(texts: "\(path)/\(whole[0])"), groups: groups))
            return
        }
        let missing = [
            (documents == nil, "corpus.jsonl"), (queries == nil, "queries.jsonl"), (judgements == nil, "qrels.tsv"),
        ].filter(\.0).map(\.1)
        throw .unknownLayout(path: path, missing: missing.count < 3 ? missing : [], found: files.sorted())
    }

    /// Groups of labels, in a file with an object of lists of labels, or one under `domains`.
    ///
    /// - Parameters:
    ///   - data: JSON.
    ///   - path: For messages.
    /// - Returns: The group of each label; nil where the file is about something else.
    /// - Throws: ``TextFileError`` where a label is in two groups, or a domains.json has none.
    public static func groups(of data: Data, path: String) throws(TextFileError) -> [String: String]? {
        struct Nested: Decodable { var domains: [String: [String]] }
        let decoder = JSONDecoder()
        guard
            let groups = (try? decoder.decode(Nested.self, from: data))?.domains
                ?? (try? decoder.decode([String: [String]].self, from: data))
        else {
            guard path.hasSuffix("domains.json") else { return nil }
            throw .malformed(
                path: path,
                line: nil,
                problem: "it must be an object with a list of labels for each group, or have one under \"domains\""
            )
        }
        var group: [String: String] = [:]
        for (name, labels) in groups.sorted(by: { $0.key < $1.key }) {
            for label in labels {
                if let other = group.updateValue(name, forKey: label), other != name {
                    throw .malformed(
                        path: path,
                        line: nil,
                        problem: "the label \"\(label)\" is in the groups \(other) and \(name)"
                    )
                }
            }
        }
        return group
    }
}

/// Why a folder cannot be measured on.
public enum DataFolderError: Error, Sendable, Hashable, CustomStringConvertible {
    /// No such folder, or not ours to read.
    case unreadable(path: String)
    /// Its files are not those of a layout; `missing` where some of a judged collection's are there.
    case unknownLayout(path: String, missing: [String], found: [String])

    /// What to change.
    public var description: String {
        switch self {
        case .unreadable(let path): return "\(path) is missing, or no folder that can be read"
        case .unknownLayout(let path, let missing, let found):
            if !missing.isEmpty { return "\(path) lacks \(missing.joined(separator: " and ")) beside what is there" }
            let shown = found.prefix(8).joined(separator: ", ") + (found.count > 8 ? ", …" : "")
            return "\(path) is neither labelled (train.tsv, .jsonl, .json, or .txt beside train.npy; val and test "
                + "likewise) nor judged (corpus.jsonl, queries.jsonl, qrels.tsv); it has "
                + (found.isEmpty ? "no file" : shown)
        }
    }
}
