/// A table of token vectors; a text is the mean of its tokens' rows.
public struct StaticEncoder: TextEncoder {
    private static let textsInBatch = 256

    /// Which model it is.
    public let model: ModelDescription
    private let tokenizer: any Tokenizer
    private let prompts: [String: String]
    private let maximumTokens: Int
    private let table: [Float]
    private let width: Int
    private let isSkipped: [Bool]
    private let head: VectorHead

    /// Makes an encoder of our own kind; `table` holds `configuration.dimensions` floats for each piece.
    public init(id: String, configuration: ModelConfiguration, tokenizer: WordPieceTokenizer, table: [Float]) {
        self.init(
            model: ModelDescription(
                id: id,
                name: configuration.name,
                dimensions: configuration.dimensions,
                smallestDimensions: configuration.smallestDimensions,
                nesting: configuration.nesting
            ),
            tokenizer: tokenizer,
            prompts: configuration.prompts,
            maximumTokens: configuration.maximumTokens,
            table: table,
            width: configuration.dimensions,
            skipping: tokenizer.specials + [tokenizer.unknown],
            head: VectorHead(
                dimensions: configuration.dimensions,
                dimensionsFull: configuration.dimensions,
                isUnit: true
            )
        )
    }

    /// Makes an encoder whose `table` has a row of `width` for each id, of which those in `skipping` say nothing about
    /// a text (negative ones are no ids); `head` says what is done to the mean.
    init(
        model: ModelDescription,
        tokenizer: any Tokenizer,
        prompts: [String: String],
        maximumTokens: Int,
        table: [Float],
        width: Int,
        skipping: [Int32],
        head: VectorHead
    ) {
        precondition(table.count >= tokenizer.idCount * width, "the table does not fit")
        self.model = model
        self.tokenizer = tokenizer
        self.prompts = prompts
        self.maximumTokens = maximumTokens
        self.table = table
        self.width = width
        self.head = head
        isSkipped = Self.marked(skipping, of: tokenizer.idCount)
    }

    /// Ids that say nothing about a text: `[UNK]` and the other specials.
    public static func skipped(_ tokenizer: WordPieceTokenizer) -> [Bool] {
        marked(tokenizer.specials + [tokenizer.unknown], of: tokenizer.idCount)
    }

    private static func marked(_ ids: [Int32], of count: Int) -> [Bool] {
        var marked = [Bool](repeating: false, count: count)
        for id in ids where id >= 0 { marked[Int(id)] = true }
        return marked
    }

    /// Encodes texts; zeros for a text with no known token.
    public func encode(_ texts: [String], role: String, onBatch: () -> Void) -> [Float] {
        let prompt = prompts[role] ?? ""
        var means = [Float](repeating: 0, count: texts.count * width)
        means.withUnsafeMutableBufferPointer { means in
            table.withUnsafeBufferPointer { table in
                for (index, text) in texts.enumerated() {
                    let ids = tokenizer.tokenize(prompt.isEmpty ? text : prompt + text, limit: maximumTokens)
                    let row = UnsafeMutableBufferPointer(rebasing: means[(index * width)...].prefix(width))
                    var counted = 0
                    for id in ids where !isSkipped[Int(id)] {
                        let token = UnsafeBufferPointer(rebasing: table[(Int(id) * width)...].prefix(width))
                        for d in 0..<width { row[d] += token[d] }
                        counted += 1
                    }
                    let factor = 1 / Float(max(1, counted))
                    for d in 0..<width { row[d] *= factor }
                    if index % Self.textsInBatch == Self.textsInBatch - 1 { onBatch() }
                }
            }
        }
        return head.finish(means, count: texts.count)
    }
}
