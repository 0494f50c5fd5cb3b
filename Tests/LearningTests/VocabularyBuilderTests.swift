import Encoding
import Testing

@testable import Learning

@Suite("Vocabulary builder")
struct VocabularyBuilderTests {
    private func pieces(_ texts: [String], size: Int) -> [String] {
        var counts = WordCounts()
        for text in texts { counts.add(text) }
        return VocabularyBuilder(size: size).pieces(for: counts)
    }

    private let texts = Array(repeating: "Matryoshka search, searching searches; dolls in dolls", count: 20)

    @Test("joins frequent words whole")
    func words() throws {
        let pieces = pieces(texts, size: 400)
        #expect(Array(pieces[..<5]) == WordSplitter.specials)
        let tokenizer = try #require(WordPieceTokenizer(vocabulary: Vocabulary(pieces: pieces)))
        #expect(
            tokenizer.tokenize("matryoshka SEARCH dolls").map { pieces[Int($0)] } == ["matryoshka", "search", "dolls"]
        )
    }

    @Test("can write any word of its characters")
    func anyWord() throws {
        let pieces = pieces(texts, size: 200)
        let tokenizer = try #require(WordPieceTokenizer(vocabulary: Vocabulary(pieces: pieces)))
        #expect(!tokenizer.tokenize("xyzzy q42 {curly}").contains(tokenizer.unknown))
        #expect(tokenizer.tokenize("ж") == [tokenizer.unknown])
    }

    @Test("keeps to its size, has no piece twice, and is always the same")
    func size() {
        let alphabet = pieces([], size: 0).count
        let found = pieces(texts, size: alphabet + 12)
        #expect(found.count == alphabet + 12)
        #expect(Set(found).count == found.count)
        #expect(found == pieces(texts, size: alphabet + 12))
    }

    @Test("drops steps on the way before whole words")
    func steps() {
        let alphabet = pieces([], size: 0).count
        // Words of 10, 6, 9, 8, 5 and 2 letters: with room for six pieces the words win over their beginnings.
        let found = pieces(texts, size: alphabet + 24).dropFirst(alphabet)
        #expect(found.contains("dolls"))
        #expect(found.contains("search"))
        #expect(!found.contains("dol"))
    }
}
