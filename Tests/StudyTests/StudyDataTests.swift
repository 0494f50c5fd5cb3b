import Corpora
import FoundationEssentials
import Testing

@testable import Study

/// Packages of three sections, whose short and long texts share two rare words.
func smallDebian(sources: Int) -> Corpus {
    let sections = ["games", "net", "science"]
    return Corpus(
        documents: (0..<sources).flatMap { number in
            ["", "-data"].map { suffix in
                CorpusDocument(
                    name: "package\(number)\(suffix)",
                    source: "source\(number)",
                    section: sections[number % 3],
                    short: "tool alpha\(number % 37) beta\(number % 41) \(sections[number % 3])",
                    long:
                        "this tool makes alpha\(number % 37) and beta\(number % 41) for \(sections[number % 3]) \(suffix)"
                )
            }
        }
    )
}

@Suite("Study data")
struct StudyDataTests {
    @Test("of Debian has one document of each source, and trains on no source that is asked for")
    func debian() {
        var corpus = smallDebian(sources: 300)
        corpus.documents.append(
            CorpusDocument(name: "x", source: "x", section: "debug", short: "left", long: "left out")
        )
        let texts = KnownItemTexts(debian: corpus)
        #expect(texts.documents.count == 300)
        #expect(!texts.documents.contains("left out"))
        let training = Set(texts.training.map(\.group))
        #expect(texts.training.count == 2 * training.count)
        #expect(texts.queries.count == (0..<300).count { CorpusPart(source: "source\($0)") == .test })
        for (query, target) in zip(texts.queries, texts.targets) {
            // The two rare words of the short text.
            for word in query.split(separator: " ")[1...2] { #expect(texts.documents[target].contains(word)) }
        }
        #expect(texts.trained.count == training.count)
    }

    @Test("of WordNet asks for no more than 2,000 synsets")
    func wordNet() {
        let corpus = Corpus(
            documents: (0..<30_000).map {
                CorpusDocument(name: "s\($0)", source: "s\($0)", section: "noun", short: "w\($0)", long: "g\($0)")
            }
        )
        let texts = KnownItemTexts(wordNet: corpus)
        #expect((1_000...2_000).contains(texts.queries.count))
        #expect(texts.documents.count == 30_000)
        #expect(zip(texts.queries, texts.targets).allSatisfy { $0.dropFirst() == texts.documents[$1].dropFirst() })
    }

    @Test("of CLINC150 numbers intents in the order of their names, and knows their domains")
    func intents() throws {
        func file(_ text: String) -> (path: String, bytes: Data) { ("part.tsv", Data(text.utf8)) }
        let texts = try IntentTexts(
            training: file("b\tfirst text\na\tsecond text\n"),
            validation: file("a\tthird\n"),
            test: file("b\tfourth\n"),
            domains: file(#"{"domains": {"two": ["b"], "one": ["c"]}}"#)
        )
        #expect(texts.labels == ["a", "b"] && texts.training.classes == [1, 0] && texts.test.classes == [1])
        #expect(texts.domains == [nil, 1])
        #expect(throws: StudyError.self) {
            try IntentTexts(
                training: file("b\tx\na\ty\n"),
                validation: file("c\tz\n"),
                test: file("b\tz\n"),
                domains: file(#"{"domains": {}}"#)
            )
        }
    }

    @Test("with judgements keeps grades above 0 of documents that are there, and is measured by them")
    func judged() throws {
        let documents = """
            {"id": "7", "title": "wing", "text": "lift"}
            {"id": "9", "text": "flow"}
            {"id": "11", "text": "heat"}
            """
        let read = JudgedCollection(
            documents: try IdentifiedTexts(lines: Data(documents.utf8), path: "d"),
            queries: try IdentifiedTexts(lines: Data(#"{"id": "1", "text": "what lifts"}"#.utf8), path: "q"),
            judgements: try RelevanceJudgements(lines: Data("1\t9\t2\n1\t7\t0\n1\t8\t3\n".utf8), path: "j")
        )
        #expect(read.documents == ["wing lift", "flow", "heat"] && read.queries == ["what lifts"])
        #expect(read.grades == [[1: 2]])
        #expect(read.gain([[1, 0, 2]]) == 100)
        // The one relevant document at rank 2: 1 / log2(3).
        #expect(abs(read.gain([[0, 1, 2]]) - 63.093) < 0.001)
        #expect(read.recall([[0, 2]]) == 0)
    }

    @Test("are trained on and reported from end to end; what is absent is skipped")
    func endToEnd() throws {
        let folder = FileManager.default.temporaryDirectory.path + "/study-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        var sources = StudySources()
        sources.debian = folder + "/debian.jsonl"
        try smallDebian(sources: 240).write(to: folder + "/debian.jsonl")
        func report(_ runsMissing: Bool) throws -> StudyReport {
            try Study(claims: [3], seeds: 2, sources: sources, folder: folder + "/results")
                .report(runsMissing: runsMissing, clock: { 0 }) { _ in }
        }
        #expect(try report(false).claims[0].verdict == .skipped)
        let found = try report(true)
        let parts = found.claims[0].findings.parts
        #expect(parts.map(\.absence) == [nil, "no WordNet was given", "no CLINC150 was given"])
        #expect(parts[0].findings.map(\.values.count) == [2, 2, 2, 2, 2])
        // A known item of 240 is found by chance in one of 80; the model has learnt the rare words.
        let full = found.claims[0].findings.tables[0].rows[0].last.flatMap { Double($0.prefix { $0 != " " }) }
        #expect((full ?? 0) > 30)
        #expect(try report(false).json() == found.json())
    }
}
