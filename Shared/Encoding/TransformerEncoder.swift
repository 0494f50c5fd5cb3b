/// A transformer of the BERT family, with pooling and whatever the published directory puts after it.
struct TransformerEncoder: TextEncoder {
    /// How the vectors of a text's tokens become one.
    enum Pooling: Sendable {
        /// The mean of all, with those around the text.
        case mean
        /// The first.
        case first
    }

    /// Tokens of a batch: enough for matrix products at full speed, few enough to stay in the cache.
    private static let batchTokens = 64...512
    /// Multiply-adds of a batch, so that a large model lets searches in between as often as a small one.
    private static let batchWork = 6_000_000_000

    let model: ModelDescription
    let tokenizer: HubTokenizer
    /// Text put before what is encoded, by role.
    let prompts: [String: String]
    /// Tokens of a text that count, with those around it.
    let maximumTokens: Int
    let stack: TransformerStack
    let pooling: Pooling
    let head: VectorHead

    func encode(_ texts: [String], role: String, onBatch: () -> Void) -> [Float] {
        let prompt = prompts[role] ?? ""
        let ids = texts.map { self.ids(prompt.isEmpty ? $0 : prompt + $0) }
        let width = stack.shape.width
        var pooled = [Float](repeating: 0, count: texts.count * width)
        let scratch = TransformerStack.Scratch()
        for batch in Self.batches(ids.map(\.count), tokens: batchTokens) {
            let lengths = batch.map { ids[$0].count }
            stack.run(batch.flatMap { ids[$0] }, lengths: lengths, scratch: scratch)
            let rows = scratch.rows
            var start = 0
            for (text, length) in zip(batch, lengths) {
                let counted = pooling == .mean ? length : 1
                for row in start..<start + counted {
                    for i in 0..<width { pooled[text * width + i] += rows[row * width + i] }
                }
                let factor = 1 / Float(counted)
                for i in text * width..<(text + 1) * width { pooled[i] *= factor }
                start += length
            }
            onBatch()
        }
        return head.finish(pooled, count: texts.count)
    }

    /// A text's ids between those that the model puts around it.
    func ids(_ text: String) -> [Int32] {
        let room = max(0, maximumTokens - tokenizer.prefix.count - tokenizer.suffix.count)
        return tokenizer.prefix + tokenizer.tokenizer.tokenize(text, limit: room) + tokenizer.suffix
    }

    private var batchTokens: Int {
        let range = Self.batchTokens
        return min(range.upperBound, max(range.lowerBound, Self.batchWork / stack.multiplyAdds))
    }

    /// Texts that are computed together, by index: of like length, so that short ones do not wait for long ones, and
    /// at most so many tokens, unless it is one text.
    static func batches(_ lengths: [Int], tokens limit: Int) -> [[Int]] {
        var batches: [[Int]] = []
        var tokens = 0
        for index in lengths.indices.sorted(by: { (lengths[$0], $0) < (lengths[$1], $1) }) {
            if batches.isEmpty || tokens + lengths[index] > limit {
                batches.append([])
                tokens = 0
            }
            batches[batches.count - 1].append(index)
            tokens += lengths[index]
        }
        return batches
    }
}
