import Corpora
import FoundationEssentials
import Testing

@Suite("Files to learn from")
struct LearningFilesTests {
    private func pairs(_ lines: [String]) throws -> TextPairs {
        try TextPairs(lines: Data(lines.joined(separator: "\n").utf8), path: "x.jsonl")
    }

    @Test("pairs go by several names, and one with an empty side is left out")
    func names() throws {
        let read = try pairs([
            #"{"query":"a","document":"b"}"#, #"{"anchor":"c","positive":"d","other":1}"#, "",
            #"{"name":"n","source":"s","section":"t","short":"e","long":"f"}"#, #"{"query":"","document":"b"}"#,
        ])
        #expect(read.pairs.map(\.query) == ["a", "c", "e"])
        #expect(read.pairs.map(\.document) == ["b", "d", "f"])
        #expect(!read.hasSources)
    }

    @Test(
        "a line without a pair is named",
        arguments: [
            ("nonsense", "not a JSON object"), (#"{"document":"b"}"#, "no query"), (#"{"query":"b"}"#, "no document"),
            (#"{"query":1,"document":"b"}"#, "with texts"),
        ]
    )
    func badLine(line: String, problem: String) {
        let error = #expect(throws: TextFileError.self) { try pairs([#"{"query":"a","document":"b"}"#, line]) }
        #expect(error?.description.contains("x.jsonl line 2") == true && error?.description.contains(problem) == true)
    }

    @Test("a split keeps pairs of one document together and has about the share")
    func split() throws {
        let lines = (0..<4_000).map { #"{"query":"q\#($0)","document":"d\#($0 / 2)"}"# }
        let read = try pairs(lines)
        let (training, validation) = read.split(share: nil)
        #expect(training.count + validation.count == 4_000)
        #expect(abs(validation.count - 200) < 80)
        #expect(Set(training.map(\.document)).isDisjoint(with: validation.map(\.document)))
        #expect(read.split(share: 0).validation.isEmpty)
        #expect(abs(read.split(share: 0.5).validation.count - 2_000) < 150)
    }

    @Test("a corpus keeps its test part out of training, whatever the share")
    func corpus() throws {
        let lines = (0..<2_000).map { #"{"source":"s\#($0)","short":"q","long":"d\#($0)"}"# }
        let read = try pairs(lines)
        #expect(read.hasSources)
        for share in [nil, 0, 0.3] as [Double?] {
            let (training, validation) = read.split(share: share)
            let parts = Set((training + validation).map { CorpusPart(source: $0.group) })
            #expect(!parts.contains(.test))
            #expect(training.count + validation.count == read.pairs.count { CorpusPart(source: $0.group) != .test })
        }
        #expect(read.split(share: nil).validation.allSatisfy { CorpusPart(source: $0.group) == .validation })
    }

    private func labelled(_ text: String, _ path: String, isTextFirst: Bool = false) throws -> LabelledFile {
        try LabelledFile(Data(text.utf8), path: path, isTextFirst: isTextFirst)
    }

    @Test("labelled texts are read from JSON lines, tabs, lists and CLINC150's object")
    func labelled() throws {
        let lines = try labelled("{\"text\":\"a\",\"label\":\"x\"}\n\n{\"text\":\"b\",\"intent\":7}\r\n", "f.jsonl")
        #expect(lines.training.texts == ["a", "b"] && lines.training.labels == ["x", "7"])
        let tabs = try labelled("x\ta b\ny\tc\n", "f.tsv")
        #expect(tabs.training.texts == ["a b", "c"] && tabs.training.labels == ["x", "y"])
        #expect(try labelled("a b\tx\n", "f.tsv", isTextFirst: true).training == LabelledFile.one("a b", "x"))
        #expect(try labelled(#"[{"text":"a","label":"x"}]"#, "f.json").training == LabelledFile.one("a", "x"))
        let clinc = try labelled(
            #"{"train":[["a","x"]],"val":[["b","x"]],"test":[["c","x"]],"oos_train":[["d","oos"]]}"#,
            "f.json"
        )
        #expect(clinc.training.texts == ["a"] && clinc.validation?.texts == ["b"] && clinc.test?.texts == ["c"])
        #expect(clinc.ignoredParts == ["oos_train"])
        #expect(try labelled("x\ny\n", "f.txt").training.labels == ["x", "y"])
    }

    @Test("what is no labelled text is told by line, and columns in the other order are noticed")
    func badLabelled() throws {
        func sentence(_ text: String, _ path: String) -> String {
            do {
                _ = try labelled(text, path)
                return "read"
            } catch {
                return "\(error)"
            }
        }
        #expect(sentence("x\ta\nb\n", "f.tsv").contains("f.tsv line 2: it is not a label and a text"))
        #expect(sentence("{\"text\":\"a\"}\n", "f.jsonl").contains("line 1"))
        #expect(sentence("{\"train\":[[\"a\"]]}", "f.json").contains("lists of [text, label]"))
        #expect(sentence("", "f.tsv").contains("no labelled text"))
        #expect(sentence("a", "f.csv").contains("jsonl, tsv, json, txt"))
        let swapped = (0..<40).map { "text \($0)\tlabel \($0 % 3)\n" }.joined()
        #expect(sentence(swapped, "f.tsv").contains("--columns"))
    }

    @Test("a share of labelled texts is set apart by their texts alone")
    func share() {
        var texts = LabelledTexts()
        for place in 0..<2_000 { texts.append("text \(place % 1_000)", label: "\(place % 5)") }
        let (training, validation) = texts.split(share: 0.2)
        #expect(abs(validation.count - 400) < 90)
        #expect(Set(training.map { $0 % 1_000 }).isDisjoint(with: validation.map { $0 % 1_000 }))
        #expect(texts.selecting([3, 5]).labels == ["3", "0"])
    }
}

extension LabelledFile {
    fileprivate static func one(_ text: String, _ label: String) -> LabelledTexts {
        var texts = LabelledTexts()
        texts.append(text, label: label)
        return texts
    }
}
