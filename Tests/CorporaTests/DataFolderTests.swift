import FoundationEssentials
import Testing

@testable import Corpora

@Suite("Folders of data")
struct DataFolderTests {
    private func part(_ texts: String, _ vectors: String? = nil) -> DataFolder.Part {
        DataFolder.Part(texts: "d/" + texts, vectors: vectors.map { "d/" + $0 })
    }

    @Test("labelled parts go by several names, and their vectors lie beside them")
    func labelled() throws {
        #expect(
            try DataFolder(files: ["meta.json", "test.tsv", "train.tsv", "val.tsv"], path: "d")
                == .labelled(
                    .init(
                        training: part("train.tsv"),
                        validation: part("val.tsv"),
                        test: part("test.tsv"),
                        groups: "d/meta.json"
                    )
                )
        )
        #expect(
            try DataFolder(files: ["train.npy", "train.txt", "dev.txt", "dev.fvecs"], path: "d")
                == .labelled(.init(training: part("train.txt", "train.npy"), validation: part("dev.txt", "dev.fvecs")))
        )
        #expect(
            try DataFolder(files: ["data_full.json", "domains.json"], path: "d")
                == .labelled(.init(training: part("data_full.json"), groups: "d/domains.json"))
        )
    }

    @Test("a judged collection may be laid out as BEIR does it")
    func judged() throws {
        #expect(
            try DataFolder(files: ["docs.jsonl", "meta.json", "qrels.tsv", "queries.jsonl"], path: "d")
                == .judged(
                    .init(documents: part("docs.jsonl"), queries: part("queries.jsonl"), judgements: "d/qrels.tsv")
                )
        )
        #expect(
            try DataFolder(
                files: ["corpus.jsonl", "corpus.npy", "queries.jsonl", "queries.npy", "qrels", "qrels/test.tsv"],
                path: "d"
            )
                == .judged(
                    .init(
                        documents: part("corpus.jsonl", "corpus.npy"),
                        queries: part("queries.jsonl", "queries.npy"),
                        judgements: "d/qrels/test.tsv"
                    )
                )
        )
    }

    @Test("a folder that is neither says what is missing")
    func unknown() {
        #expect { try DataFolder(files: ["docs.jsonl", "queries.jsonl"], path: "d") } throws: { error in
            "\(error)" == "d lacks qrels.tsv beside what is there"
        }
        #expect { try DataFolder(files: ["a.json", "b.json"], path: "d") } throws: { error in
            "\(error)".contains("neither labelled") && "\(error)".contains("a.json, b.json")
        }
        #expect(throws: DataFolderError.unreadable(path: "/nowhere/at/all")) {
            try DataFolder(path: "/nowhere/at/all")
        }
    }

    @Test("groups of labels stand in an object of lists, or under domains")
    func groups() throws {
        let nested = #"{"source":"x","domains":{"b":["p","q"],"c":["r"]}}"#
        let expected = ["p": "b", "q": "b", "r": "c"]
        #expect(try DataFolder.groups(of: Data(nested.utf8), path: "m") == expected)
        #expect(try DataFolder.groups(of: Data(#"{"b":["p","q"],"c":["r"]}"#.utf8), path: "m") == expected)
        #expect(try DataFolder.groups(of: Data(#"{"docs":3}"#.utf8), path: "m") == nil)
        #expect(throws: TextFileError.self) {
            try DataFolder.groups(of: Data(#"{"b":["p"],"c":["p"]}"#.utf8), path: "m")
        }
        // A file of that name is about nothing else.
        #expect(throws: TextFileError.self) {
            try DataFolder.groups(of: Data(#"{"b": "#.utf8), path: "folder/domains.json")
        }
    }
}

@Suite("Judged texts")
struct JudgedTextsTests {
    private func texts(_ lines: String) throws -> IdentifiedTexts {
        try IdentifiedTexts(lines: Data(lines.utf8), path: "x.jsonl")
    }

    private func judgements(_ lines: String) throws -> RelevanceJudgements {
        try RelevanceJudgements(lines: Data(lines.utf8), path: "qrels.tsv")
    }

    @Test("ids may be numbers or go by _id, and a title stands before the text")
    func lines() throws {
        let read = try texts(
            """
            {"id": 7, "text": "a"}

            {"_id": "x", "title": "T", "text": "b"}
            {"id": "y", "title": "only"}
            """
        )
        #expect(read.ids == ["7", "x", "y"])
        #expect(read.texts == ["a", "T b", "only"])
    }

    @Test(
        "bad lines are named",
        arguments: [
            (#"{"text":"a"}"#, "line 1"), ("{\"id\":\"a\"}\n{\"id\":\"a\"}", "\"a\" is there twice"), ("", "no line"),
        ]
    )
    func badLines(lines: String, problem: String) {
        #expect { try texts(lines) } throws: { "\($0)".contains(problem) }
    }

    @Test("judgements have three columns, or four as TREC has them, and perhaps a heading")
    func columns() throws {
        let expected = ["1": ["a": 3, "b": 0], "2": ["a": -1]]
        #expect(try judgements("1\ta\t3\r\n1\tb\t0\n\n2\ta\t-1\n").grades == expected)
        #expect(try judgements("1 0 a 3\n1 0 b 0\n2 0 a -1").grades == expected)
        #expect(try judgements("query-id\tcorpus-id\tscore\n1\ta\t3\n1\tb\t0\n2\ta\t-1").grades == expected)
        #expect(try judgements("1\ta\t3").grades(of: "9") == [:])
        #expect { try judgements("1\ta\t3\n1\tb\tyes") } throws: { "\($0)".contains("line 2") }
        #expect { try judgements("1\ta") } throws: { "\($0)".contains("line 1") }
        #expect { try judgements("q\td\tgrade") } throws: { "\($0)".contains("no judgement") }
    }
}
