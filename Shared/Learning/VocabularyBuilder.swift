import Encoding

/// Builds a word-piece vocabulary from counted words.
///
/// The most frequent pair of neighbouring pieces is joined again and again (byte-pair encoding: Sennrich et al. 2016,
/// on characters), some way past the size asked for; then the joined pieces that are left least often, mostly steps on
/// the way to longer ones, are dropped. The tokeniser takes the longest piece first, so it never needs the steps.
public struct VocabularyBuilder: Sendable {
    private struct Piece: Hashable {
        var bytes: [UInt8]
        var continues: Bool
    }

    private struct Candidate {
        var count: Int
        var pair: UInt64

        /// The more frequent pair comes first, then the older pieces, so that the order is always the same.
        func comes(before other: Candidate) -> Bool { (count, other.pair) > (other.count, pair) }
    }

    /// Pieces at most, the specials among them.
    public var size: Int
    /// A pair that occurs less often is not joined.
    public var pairCountMin = 3
    /// A character that occurs less often is none of the vocabulary's.
    public var characterCountMin = 10

    private var pieces: [Piece] = []
    private var ids: [Piece: Int32] = [:]
    private var words: [[Int32]] = []
    private var wordCounts: [Int] = []
    private var pairs: [UInt64: Int] = [:]
    private var pairCounts: [Int] = []
    private var pairWords: [[Int32]] = []
    private var heap: [Candidate] = []

    /// Makes a builder for vocabularies of `size` pieces.
    public init(size: Int) { self.size = size }

    /// The pieces, specials first, then characters, then longer ones.
    public func pieces(for counts: WordCounts) -> [String] {
        var work = self
        return work.build(counts)
    }

    private mutating func build(_ counts: WordCounts) -> [String] {
        let alphabet = addAlphabet(counts)
        addWords(counts)
        let target = max(0, size - WordSplitter.specials.count - alphabet)
        join(count: target + target / 4)

        var uses = [Int](repeating: 0, count: pieces.count)
        for (word, count) in zip(words, wordCounts) { for id in word { uses[Int(id)] += count } }
        let kept = (alphabet..<pieces.count).sorted { (uses[$0], $1) > (uses[$1], $0) }.prefix(target).sorted()
        return WordSplitter.specials
            + (Array(0..<alphabet) + kept).map { id in
                (pieces[id].continues ? "##" : "") + String(decoding: pieces[id].bytes, as: UTF8.self)
            }
    }

    /// Single characters, each as the beginning of a word and as its continuation.
    private mutating func addAlphabet(_ counts: WordCounts) -> Int {
        var found: [[UInt8]: Int] = [:]
        for byte in UInt8(33)...126 where !(UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) {
            found[[byte]] = characterCountMin
        }
        for word in 0..<counts.wordCount {
            for character in Self.characters(counts, word) {
                found[Array(character), default: 0] += counts.counts[word]
            }
        }
        let characters = found.filter { $0.value >= characterCountMin }.keys
            .sorted { $0.lexicographicallyPrecedes($1) }
        for continues in [false, true] {
            for character in characters { _ = add(Piece(bytes: character, continues: continues)) }
        }
        return pieces.count
    }

    private mutating func add(_ piece: Piece) -> Int32 {
        if let id = ids[piece] { return id }
        let id = Int32(pieces.count)
        pieces.append(piece)
        ids[piece] = id
        return id
    }

    private static func characters(_ counts: WordCounts, _ word: Int) -> [ArraySlice<UInt8>] {
        var parts: [ArraySlice<UInt8>] = []
        var at = counts.starts[word]
        let end = counts.starts[word + 1]
        while at < end {
            var next = at + 1
            while next < end, counts.bytes[next] & 0xC0 == 0x80 { next += 1 }
            parts.append(counts.bytes[at..<next])
            at = next
        }
        return parts
    }

    /// Words with a character beyond the alphabet stay out: they are `[UNK]` as a whole.
    private mutating func addWords(_ counts: WordCounts) {
        for word in 0..<counts.wordCount {
            let parts = Self.characters(counts, word).enumerated().map { position, bytes in
                ids[Piece(bytes: Array(bytes), continues: position > 0)]
            }
            guard parts.count > 1, !parts.contains(nil) else { continue }
            words.append(parts.map { $0! })
            wordCounts.append(counts.counts[word])
            countPairs(of: words.count - 1, by: wordCounts[words.count - 1])
        }
        for pair in pairs { push(Candidate(count: pairCounts[pair.value], pair: pair.key)) }
    }

    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(left)) << 32 | UInt64(UInt32(right))
    }

    private mutating func countPairs(of word: Int, by count: Int) {
        for position in 1..<words[word].count {
            let key = Self.key(words[word][position - 1], words[word][position])
            if let pair = pairs[key] {
                pairCounts[pair] += count
                // Several of one word come in a row.
                if count > 0, pairWords[pair].last != Int32(word) { pairWords[pair].append(Int32(word)) }
            } else {
                pairs[key] = pairCounts.count
                pairCounts.append(count)
                pairWords.append([Int32(word)])
            }
        }
    }

    private mutating func join(count: Int) {
        let end = pieces.count + count
        while pieces.count < end, let best = pop() {
            let pair = pairs[best.pair]!
            // Counts only fall behind a candidate's back; it queues again with what is left.
            if pairCounts[pair] != best.count {
                if pairCounts[pair] >= pairCountMin { push(Candidate(count: pairCounts[pair], pair: best.pair)) }
                continue
            }
            if best.count < pairCountMin { return }
            let (left, right) = (Int32(best.pair >> 32), Int32(truncatingIfNeeded: best.pair & 0xFFFF_FFFF))
            let joined = add(
                Piece(
                    bytes: pieces[Int(left)].bytes + pieces[Int(right)].bytes,
                    continues: pieces[Int(left)].continues
                )
            )
            let affected = pairWords[pair]
            pairWords[pair] = []
            var neighbours: Set<UInt64> = []
            for word in affected.map(Int.init) {
                guard Self.contains(words[word], left, right) else { continue }
                countPairs(of: word, by: -wordCounts[word])
                words[word] = Self.joined(words[word], left, right, into: joined)
                guard words[word].count > 1 else { continue }
                countPairs(of: word, by: wordCounts[word])
                for position in 1..<words[word].count
                where words[word][position - 1] == joined || words[word][position] == joined {
                    neighbours.insert(Self.key(words[word][position - 1], words[word][position]))
                }
            }
            for key in neighbours { push(Candidate(count: pairCounts[pairs[key]!], pair: key)) }
        }
    }

    private static func contains(_ word: [Int32], _ left: Int32, _ right: Int32) -> Bool {
        for position in 1..<max(1, word.count) where word[position - 1] == left && word[position] == right {
            return true
        }
        return false
    }

    private static func joined(_ word: [Int32], _ left: Int32, _ right: Int32, into piece: Int32) -> [Int32] {
        var result: [Int32] = []
        result.reserveCapacity(word.count - 1)
        var position = 0
        while position < word.count {
            if position + 1 < word.count, word[position] == left, word[position + 1] == right {
                result.append(piece)
                position += 2
            } else {
                result.append(word[position])
                position += 1
            }
        }
        return result
    }

    private mutating func push(_ candidate: Candidate) {
        heap.append(candidate)
        var child = heap.count - 1
        while child > 0, heap[child].comes(before: heap[(child - 1) / 2]) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private mutating func pop() -> Candidate? {
        guard let last = heap.popLast() else { return nil }
        guard let top = heap.first else { return last }
        heap[0] = last
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < heap.count else { return top }
            if child + 1 < heap.count, heap[child + 1].comes(before: heap[child]) { child += 1 }
            guard heap[child].comes(before: heap[parent]) else { return top }
            heap.swapAt(parent, child)
            parent = child
        }
    }
}
