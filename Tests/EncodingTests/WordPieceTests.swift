import Encoding
import Testing

@Suite("Word pieces")
struct WordPieceTests {
    private static let pieces = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "un", "##aff", "##able", "##a", "a", "b", "ab",
        "!", ",", "$", "+", "cafe", "σας", "i", "ss", "中", "文", "ed", "##ed", "x", "##x", "fi", "ﬁ", "e", "-", "「",
        "ᄒ", "##ᅡ", "##ᆫ", "[", "]", "un##", "≠", "##d",
    ]

    private func tokens(_ text: String, limit: Int = .max) throws -> [String] {
        let tokenizer = try #require(WordPieceTokenizer(vocabulary: Vocabulary(pieces: Self.pieces)))
        return tokenizer.tokenize(text, limit: limit).map { Self.pieces[Int($0)] }
    }

    @Test("takes the longest piece first")
    func longestFirst() throws {
        #expect(try tokens("unaffable") == ["un", "##aff", "##able"])
        #expect(try tokens("ab a b") == ["ab", "a", "b"])
    }

    @Test("makes a word with an unmatched tail one unknown, and goes on")
    func unmatchedTail() throws {
        #expect(try tokens("unaffz hello") == ["[UNK]", "hello"])
    }

    @Test("lowers and strips accents, composed or not")
    func accents() throws {
        #expect(try tokens("HELLO Café cafe\u{301}") == ["hello", "cafe", "cafe"])
    }

    @Test("lowers character by character, without a rule for the final sigma")
    func sigma() throws {
        #expect(try tokens("σας") == ["σας"])
        // Σ alone becomes σ, so this is another word.
        #expect(try tokens("ΣΑΣ") == ["[UNK]"])
    }

    @Test("decomposes before it lowers, and keeps ß and ligatures")
    func specialLetters() throws {
        #expect(try tokens("İ") == ["i"])
        #expect(try tokens("ß") == ["[UNK]"])
        #expect(try tokens("ﬁ") == ["ﬁ"])
    }

    @Test("drops control and format characters and joins what they part")
    func controls() throws {
        #expect(
            try tokens("a\u{0B}b a\u{0C}b a\u{85}b a\u{200B}b a\u{AD}b a\u{FEFF}b a\0b a\u{FFFD}b")
                == Array(repeating: "ab", count: 8)
        )
    }

    @Test("takes Unicode spaces for spaces")
    func spaces() throws {
        #expect(try tokens("a\u{A0}b\u{2028}a\u{3000}b\ta\nb\r\na") == ["a", "b", "a", "b", "a", "b", "a"])
    }

    @Test("takes ASCII symbols for punctuation, other symbols not")
    func punctuation() throws {
        #expect(try tokens("hello,world!a$b+a") == ["hello", ",", "world", "!", "a", "$", "b", "+", "a"])
        #expect(try tokens("a「b") == ["a", "「", "b"])
        #expect(try tokens("a€b") == ["[UNK]"])
    }

    @Test("decomposes a symbol into punctuation")
    func decomposedSymbol() throws {
        // ≠ is = with a stroke: = is ASCII punctuation, which this vocabulary lacks.
        #expect(try tokens("≠") == ["[UNK]"])
    }

    @Test("parts ideographs")
    func ideographs() throws {
        #expect(try tokens("中文a中") == ["中", "文", "a", "中"])
    }

    @Test("decomposes Hangul")
    func hangul() throws {
        #expect(try tokens("한") == ["ᄒ", "##ᅡ", "##ᆫ"])
    }

    @Test("takes a word of a hundred characters, and no more")
    func longWords() throws {
        #expect(try tokens(String(repeating: "x", count: 100)).count == 100)
        #expect(try tokens(String(repeating: "x", count: 101)) == ["[UNK]"])
    }

    @Test("takes literal specials as they are, in that spelling alone")
    func specials() throws {
        #expect(try tokens("[CLS] a[MASK]ed") == ["[CLS]", "a", "[MASK]", "ed"])
        #expect(try tokens("[cls]") == ["[", "[UNK]", "]"])
        #expect(try tokens("[[SEP]]") == ["[", "[SEP]", "]"])
    }

    @Test("cuts at the limit, within a word too")
    func limit() throws {
        #expect(try tokens("hello unaffable", limit: 2) == ["hello", "un"])
        #expect(try tokens("hello", limit: 0) == [])
    }

    @Test("gives nothing for nothing", arguments: ["", " ", "\t\n\r ", "\u{200B}"])
    func empty(text: String) throws {
        #expect(try tokens(text) == [])
    }

    @Test("needs an unknown piece")
    func noUnknown() {
        #expect(WordPieceTokenizer(vocabulary: Vocabulary(pieces: ["a"])) == nil)
    }

    @Test("finds every piece of a large vocabulary, and no other")
    func lookup() {
        let pieces = (0..<20_000).flatMap { ["w\($0)", "##w\($0)"] }
        let vocabulary = Vocabulary(pieces: pieces)
        for (id, piece) in pieces.enumerated() where id % 7 == 0 { #expect(vocabulary.id(of: piece) == Int32(id)) }
        #expect(vocabulary.id(of: "w20000") == nil)
        #expect(vocabulary.id(of: "##w20000") == nil)
    }
}
