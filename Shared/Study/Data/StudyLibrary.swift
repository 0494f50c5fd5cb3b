import Corpora
import Encoding
import FoundationEssentials
import Learning
import VectorMath

/// The study's data, each read when it is first asked for.
final class StudyLibrary {
    private let sources: StudySources
    private var digests: [StudyData: String] = [:]
    private var knownItems: [KnownItemSet: KnownItemData] = [:]
    private var intents: IntentTexts?
    private var intentVectors: IntentVectors?
    private var judged: JudgedCollection?

    init(_ sources: StudySources) { self.sources = sources }

    /// Why data are not there; nil where they are.
    func absence(of data: StudyData) -> String? {
        let isThere =
            switch data {
            case .debian: sources.debian != nil
            case .wordNet: sources.wordNet != nil
            case .clinc150: sources.clinc150 != nil
            case .cranfield: sources.cranfield != nil
            case .encoder: sources.encoder != nil
            }
        return isThere ? nil : sources.absences[data] ?? "no \(data.rawValue) was given"
    }

    /// A hash of everything that is read.
    ///
    /// - Throws: ``StudyError`` where a file is missing.
    func digest(of data: StudyData) throws -> String {
        if let known = digests[data] { return known }
        var hash = SHA256()
        for path in paths(data) { hash.update([UInt8](try Self.contents(path))) }
        let digest =
            data == .encoder
            ? sources.encoder?.id ?? ""
            : hash.finish().map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        digests[data] = String(digest.prefix(16))
        return String(digest.prefix(16))
    }

    private func paths(_ data: StudyData) -> [String] {
        func within(_ folder: String?, _ names: [String]) -> [String] {
            folder.map { folder in names.map { folder + "/" + $0 } } ?? []
        }
        return switch data {
        case .debian: sources.debian.map { [$0] } ?? []
        case .wordNet: within(sources.wordNet, Self.wordNetParts.map { "data." + $0 })
        case .clinc150: within(sources.clinc150, ["train.tsv", "val.tsv", "test.tsv", "meta.json"])
        case .cranfield: within(sources.cranfield, ["docs.jsonl", "queries.jsonl", "qrels.tsv"])
        case .encoder: []
        }
    }

    private static let wordNetParts = ["noun", "verb", "adj", "adv"]

    static func contents(_ path: String) throws -> Data {
        guard let data = FileManager.default.contents(atPath: path) else { throw StudyError.unreadable(path: path) }
        return data
    }

    /// Pairs to train on and a search to measure by, cut into tokens.
    ///
    /// - Throws: ``StudyError``, or what a corpus says of its file.
    func knownItems(_ set: KnownItemSet) throws -> KnownItemData {
        if let known = knownItems[set] { return known }
        let data =
            switch set {
            case .debian: KnownItemData(KnownItemTexts(debian: try debian()))
            case .wordNet: KnownItemData(KnownItemTexts(wordNet: try wordNet()))
            case .both:
                KnownItemData(
                    KnownItemTexts(debian: try debian()).joined(with: KnownItemTexts(wordNet: try wordNet()))
                )
            }
        knownItems[set] = data
        return data
    }

    private func debian() throws -> Corpus {
        let path = paths(.debian).first ?? ""
        return try Corpus(lines: try Self.contents(path), path: path)
    }

    private func wordNet() throws -> Corpus {
        var data = WordNetData()
        for (part, path) in zip(Self.wordNetParts, paths(.wordNet)) {
            data.add([UInt8](try Self.contents(path)), part: part)
        }
        return data.corpus()
    }

    /// CLINC150's texts.
    ///
    /// - Throws: ``StudyError``, or what a labelled file says.
    func intentTexts() throws -> IntentTexts {
        if let intents { return intents }
        let files = try paths(.clinc150).map { ($0, try Self.contents($0)) }
        let texts = try IntentTexts(training: files[0], validation: files[1], test: files[2], domains: files[3])
        intents = texts
        return texts
    }

    /// CLINC150's texts as vectors of the frozen transformer.
    ///
    /// - Throws: As ``intentTexts()``, and what the encoder says.
    func intentVectorParts() throws -> IntentVectors {
        if let intentVectors { return intentVectors }
        guard let encoder = sources.encoder else { throw StudyError.unreadable(path: "the frozen encoder") }
        let texts = try intentTexts()
        let vectors = IntentVectors(
            training: Labelled(
                try encoder.encode(texts.training.texts, "query", "CLINC150, training texts"),
                labels: texts.training.classes
            ),
            validation: Labelled(
                try encoder.encode(texts.validation.texts, "query", "CLINC150, validation texts"),
                labels: texts.validation.classes
            ),
            test: Labelled(
                try encoder.encode(texts.test.texts, "query", "CLINC150, test texts"),
                labels: texts.test.classes
            )
        )
        intentVectors = vectors
        return vectors
    }

    /// Cranfield.
    ///
    /// - Throws: ``StudyError``, or what a text file says.
    func judgedCollection() throws -> JudgedCollection {
        if let judged { return judged }
        let files = try paths(.cranfield).map { ($0, try Self.contents($0)) }
        let collection = JudgedCollection(
            documents: try IdentifiedTexts(lines: files[0].1, path: files[0].0),
            queries: try IdentifiedTexts(lines: files[1].1, path: files[1].0),
            judgements: try RelevanceJudgements(lines: files[2].1, path: files[2].0)
        )
        judged = collection
        return collection
    }

    /// Vectors of any texts by the frozen transformer.
    ///
    /// - Throws: What the encoder says.
    func vectors(of texts: [String], role: String, label: String) throws -> Matrix {
        guard let encoder = sources.encoder else { throw StudyError.unreadable(path: "the frozen encoder") }
        return try encoder.encode(texts, role, label)
    }
}

/// Why a study's data do not load.
public enum StudyError: Error, Sendable, Hashable, CustomStringConvertible {
    /// No such file, or not ours to read.
    case unreadable(path: String)
    /// A file is not what it should be.
    case malformed(path: String, problem: String)

    /// One sentence.
    public var description: String {
        switch self {
        case .unreadable(let path): "\(path) is missing or unreadable"
        case .malformed(let path, let problem): "\(path): \(problem)"
        }
    }
}
