import Corpora
import FoundationEssentials
import Testing

@Suite("Corpus")
struct CorpusTests {
    private func document(_ name: String, source: String, long: String = "long text") -> CorpusDocument {
        CorpusDocument(name: name, source: source, section: "s", short: "short", long: long)
    }

    @Test("reads the lines that it wrote")
    func roundTrip() throws {
        let corpus = Corpus(documents: [
            document("a", source: "a", long: "line\nnext \"quoted\" \\ / ü \u{1F600} \u{2028}"),
            document("b", source: "a"),
        ])
        let lines = try corpus.jsonLines()
        #expect(lines.count { $0 == UInt8(ascii: "\n") } == 2)
        #expect(try Corpus(lines: lines, path: "x").documents == corpus.documents)
    }

    @Test("names the line that is wrong")
    func badLine() throws {
        let good = String(decoding: try Corpus(documents: [document("a", source: "a")]).jsonLines(), as: UTF8.self)
        #expect(throws: CorpusError.badLine(path: "x", line: 3)) {
            try Corpus(lines: Data((good + "\n{\"name\": 1}\n").utf8), path: "x")
        }
        #expect(throws: CorpusError.unreadable(path: "/nowhere/file")) { try Corpus(path: "/nowhere/file") }
    }

    @Test("gives one document of each source, whatever the order")
    func onePerSource() {
        let documents = ["a", "b", "c", "d"].map { document($0, source: $0 == "d" ? "other" : "one") }
        let chosen = Corpus(documents: documents).onePerSource().documents
        #expect(chosen.map(\.source) == ["one", "other"])
        #expect(Set(Corpus(documents: documents.reversed()).onePerSource().documents) == Set(chosen))
    }

    @Test("splits by source in shares of 85, 5 and 10 percent")
    func shares() {
        var counts: [CorpusPart: Int] = [:]
        for index in 0..<20_000 { counts[CorpusPart(source: "source-\(index)"), default: 0] += 1 }
        #expect(abs(counts[.train]! - 17_000) < 200)
        #expect(abs(counts[.validation]! - 1000) < 150)
        #expect(abs(counts[.test]! - 2000) < 200)
    }

    @Test(
        "never moves a source to another part",
        arguments: [
            ("gnuchess", CorpusPart.train), ("linux", .train), ("zope", .train),
        ]
    )
    func stable(source: String, part: CorpusPart) {
        #expect(CorpusPart(source: source) == part)
    }

    @Test("asks for one document of each held-out source among all that have a long text")
    func knownItems() {
        var documents: [CorpusDocument] = []
        for index in 0..<400 {
            for binary in 0..<3 { documents.append(document("p\(index)-\(binary)", source: "p\(index)")) }
        }
        documents.append(document("none", source: "none", long: ""))
        let items = KnownItems(Corpus(documents: documents))
        #expect(items.collection == Array(0..<1200))
        let sources = items.queries.map { documents[$0].source }
        #expect(Set(sources).count == sources.count)
        #expect(sources.allSatisfy { CorpusPart(source: $0) == .test })
        #expect(Set(sources).count == (0..<400).count { CorpusPart(source: "p\($0)") == .test })
        #expect(zip(items.queries, items.targets).allSatisfy { items.collection[$1] == $0 })
        let reversed = KnownItems(Corpus(documents: documents.reversed()))
        #expect(
            Set(reversed.queries.map { documents.reversed()[$0].name }) == Set(items.queries.map { documents[$0].name })
        )
    }
}
