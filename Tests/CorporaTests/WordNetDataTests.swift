import Corpora
import Testing

@Suite("WordNet data")
struct WordNetDataTests {
    private static let lines = """
          1 This software and database is being provided to you
        00001740 00 a 01 able 0 001 = 05200169 n 0000 | (usually followed by `to') having means; "able to swim"; "is able"  
        00013662 00 s 02 abounding_in 0 galore(ip) 0 001 & 00013160 a 0000 | existing in abundance  
        not a synset
        """

    @Test("words and examples make the short text, the definition the long one")
    func synsets() {
        var data = WordNetData()
        #expect(data.add(Array(Self.lines.utf8), part: "adj") == 1)
        #expect(
            data.corpus().documents == [
                CorpusDocument(
                    name: "wordnet-adj-00001740",
                    source: "wordnet-adj-00001740",
                    section: "wordnet-adj-00",
                    short: "able: able to swim; is able",
                    long: "(usually followed by `to') having means"
                ),
                CorpusDocument(
                    name: "wordnet-adj-00013662",
                    source: "wordnet-adj-00013662",
                    section: "wordnet-adj-00",
                    short: "abounding in, galore",
                    long: "existing in abundance"
                ),
            ]
        )
    }
}
