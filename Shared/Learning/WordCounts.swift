import Encoding

/// How often each normalised word occurs in some texts.
public struct WordCounts: Sendable {
    private var index: [UInt64: Int32] = [:]
    private var splitter = WordSplitter()
    /// UTF-8 of all words in a row.
    private(set) var bytes: [UInt8] = []
    /// Where each word begins in ``bytes``, and where the last one ends.
    private(set) var starts: [Int] = [0]
    /// By word.
    private(set) var counts: [Int] = []

    /// Starts with no text.
    public init() {}

    /// Number of different words.
    public var wordCount: Int { counts.count }

    /// Counts the words of a text.
    public mutating func add(_ text: String) {
        // Moved out and back, as it calls back into self.
        var splitter = self.splitter
        self.splitter = WordSplitter()
        defer { self.splitter = splitter }
        splitter.split(text) { word, characters in
            if characters <= WordPieceTokenizer.wordCharactersMax { add(word) }
            return true
        }
    }

    /// Words are told apart by 64 bits of hash, checked against their bytes; a clash drops the later word.
    private mutating func add(_ word: UnsafeBufferPointer<UInt8>) {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in word { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        if let held = index[hash] {
            let held = Int(held)
            guard starts[held + 1] - starts[held] == word.count,
                word.indices.allSatisfy({ bytes[starts[held] + $0] == word[$0] })
            else { return }
            counts[held] += 1
        } else {
            index[hash] = Int32(counts.count)
            bytes += word
            starts.append(bytes.count)
            counts.append(1)
        }
    }
}
