/// Cuts a stretch of text into the pieces whose scores have the greatest sum (Kudo 2018, section 3.2), as the
/// `tokenizers` package does it.
struct UnigramModel: Sendable {
    /// How far an unknown character lies below the least probable piece.
    private static let unknownPenalty = 10.0

    private let trie: PieceTrie
    /// Logarithms of probabilities, by id.
    private let scores: [Double]
    /// Stands for characters that no piece has.
    let unknown: Int32
    private let unknownScore: Double
    /// Pieces that stand for single bytes, -1 where there is none; empty without byte fallback.
    private let bytePieces: [Int32]

    /// Makes a model; `unknown` is one of the ids.
    init(pieces: [(text: String, score: Double)], unknown: Int32, fallsBackToBytes: Bool) {
        precondition(pieces.indices.contains(Int(unknown)), "the unknown piece is one of the pieces")
        let trie = PieceTrie(pieces.map { Array($0.text.utf8) })
        self.trie = trie
        self.unknown = unknown
        scores = pieces.map(\.score)
        unknownScore = (scores.min() ?? 0) - Self.unknownPenalty
        bytePieces =
            fallsBackToBytes
            ? (0..<256).map { byte in
                let digits = String(byte, radix: 16, uppercase: true)
                return trie.id(of: Array("<0x\(byte < 16 ? "0" : "")\(digits)>".utf8).span) ?? -1
            } : []
    }

    /// Number of ids.
    var count: Int { scores.count }

    /// The best way to the place after some bytes.
    private struct Step {
        var score = 0.0
        /// Where its last piece begins; -1 where no way is known.
        var start: Int32 = -1
        var id: Int32 = 0
    }

    /// Appends the ids of a stretch of valid UTF-8.
    func append(_ bytes: Span<UInt8>, to ids: inout [Int32]) {
        guard !bytes.isEmpty else { return }
        withUnsafeTemporaryAllocation(of: Step.self, capacity: bytes.count + 1) { steps in
            steps.initialize(repeating: Step())
            fill(steps, bytes)
            // Backwards along the best way; a run of unknown characters is one.
            var found: [(start: Int, end: Int, isUnknown: Bool, id: Int32)] = []
            var end = bytes.count
            while end > 0 {
                let (start, id) = (Int(steps[end].start), steps[end].id)
                let isUnknown = id == unknown
                if isUnknown, let last = found.last, last.isUnknown {
                    found[found.count - 1].start = start
                } else {
                    found.append((start, end, isUnknown, id))
                }
                end = start
            }
            for part in found.reversed() {
                if part.isUnknown {
                    appendUnknown(bytes.extracting(part.start..<part.end), to: &ids)
                } else {
                    ids.append(part.id)
                }
            }
        }
    }

    private func fill(_ steps: UnsafeMutableBufferPointer<Step>, _ bytes: Span<UInt8>) {
        func offer(_ score: Double, from start: Int, to end: Int, _ id: Int32) {
            if steps[end].start < 0 || score > steps[end].score {
                steps[end] = Step(score: score, start: Int32(start), id: id)
            }
        }
        var start = 0
        while start < bytes.count {
            let sofar = steps[start].score
            let next = start + Self.length(of: bytes[start])
            var isSingle = false
            trie.forEachPiece(in: bytes, at: start) { end, id in
                offer(sofar + scores[Int(id)], from: start, to: end, id)
                if end == next { isSingle = true }
            }
            if !isSingle { offer(sofar + unknownScore, from: start, to: next, unknown) }
            start = next
        }
    }

    private func appendUnknown(_ bytes: Span<UInt8>, to ids: inout [Int32]) {
        if let id = trie.id(of: bytes) {
            ids.append(id)
            return
        }
        if !bytePieces.isEmpty, bytes.indices.allSatisfy({ bytePieces[Int(bytes[$0])] >= 0 }) {
            for at in bytes.indices { ids.append(bytePieces[Int(bytes[at])]) }
        } else {
            ids.append(unknown)
        }
    }

    /// Bytes of the character that begins with this one.
    private static func length(of first: UInt8) -> Int {
        switch first {
        case ..<0xC0: 1
        case ..<0xE0: 2
        case ..<0xF0: 3
        default: 4
        }
    }
}
