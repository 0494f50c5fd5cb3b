/// Cuts text into word pieces as BERT's uncased tokeniser does: the longest piece first, word by word.
public struct WordPieceTokenizer: Tokenizer {
    /// A word of more characters is one `[UNK]`.
    public static let wordCharactersMax = 100

    /// The pieces.
    public let vocabulary: Vocabulary
    /// Id of `[UNK]`.
    public let unknown: Int32
    /// Ids of ``WordSplitter/specials``; -1 where the vocabulary has none.
    public let specials: [Int32]

    /// Makes a tokeniser; nil where the vocabulary has no `[UNK]`.
    public init?(vocabulary: Vocabulary) {
        guard let unknown = vocabulary.id(of: "[UNK]") else { return nil }
        self.vocabulary = vocabulary
        self.unknown = unknown
        specials = WordSplitter.specials.map { vocabulary.id(of: $0) ?? -1 }
    }

    /// Number of ids.
    public var idCount: Int { vocabulary.count }

    /// The first `limit` ids of a text, without `[CLS]` and `[SEP]`.
    public func tokenize(_ text: String, limit: Int) -> [Int32] {
        var splitter = WordSplitter()
        var ids: [Int32] = []
        tokenize(text, limit: limit, with: &splitter, into: &ids)
        return ids
    }

    /// Appends the first `limit` ids of a text to `ids`.
    ///
    /// - Parameters:
    ///   - text: Any text.
    ///   - limit: Ids to append at most.
    ///   - splitter: Lends its buffer.
    ///   - ids: Grows.
    public func tokenize(_ text: String, limit: Int, with splitter: inout WordSplitter, into ids: inout [Int32]) {
        let limit = limit > Int.max - ids.count ? Int.max : ids.count + limit
        guard ids.count < limit else { return }
        withUnsafeTemporaryAllocation(of: UInt64.self, capacity: vocabulary.longestPiece + 1) { hashes in
            splitter.split(text) { word, characters in
                append(word, characters: characters, hashes: hashes, to: &ids)
                return ids.count < limit
            } onSpecial: { index in
                ids.append(specials[index] >= 0 ? specials[index] : unknown)
                return ids.count < limit
            }
        }
        if ids.count > limit { ids.removeLast(ids.count - limit) }
    }

    private func append(
        _ word: UnsafeBufferPointer<UInt8>,
        characters: Int,
        hashes: UnsafeMutableBufferPointer<UInt64>,
        to ids: inout [Int32]
    ) {
        let before = ids.count
        var start = 0
        if characters <= Self.wordCharactersMax {
            while start < word.count {
                let isContinuation = start > 0
                let longest = min(word.count - start, vocabulary.longestPiece)
                // One pass gives the hash of every prefix; they are then tried from the longest down.
                hashes[0] = Vocabulary.seed(continues: isContinuation)
                for length in 0..<longest {
                    hashes[length + 1] = Vocabulary.extended(hashes[length], by: word[start + length])
                }
                var length = longest
                while length > 0 {
                    let piece = UnsafeBufferPointer(rebasing: word[start..<start + length])
                    if let id = vocabulary.find(piece, continues: isContinuation, hash: hashes[length]) {
                        ids.append(id)
                        break
                    }
                    length -= 1
                }
                if length == 0 { break }
                start += length
            }
        }
        if start < word.count {
            ids.removeLast(ids.count - before)
            ids.append(unknown)
        }
    }
}
