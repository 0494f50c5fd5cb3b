/// A table of token vectors; a text is the mean of its tokens' rows, at unit length.
public struct StaticEncoder: TextEncoder {
    /// Which model it is.
    public let model: ModelDescription
    /// Cuts texts into rows of the table.
    public let tokenizer: WordPieceTokenizer
    private let configuration: ModelConfiguration
    private let table: [Float]
    private let isSkipped: [Bool]

    /// Makes an encoder; `table` holds `configuration.dimensions` floats for each piece of the vocabulary.
    public init(id: String, configuration: ModelConfiguration, tokenizer: WordPieceTokenizer, table: [Float]) {
        precondition(table.count == tokenizer.vocabulary.count * configuration.dimensions, "the table does not fit")
        model = ModelDescription(
            id: id,
            name: configuration.name,
            dimensions: configuration.dimensions,
            smallestDimensions: configuration.smallestDimensions,
            nesting: configuration.nesting
        )
        self.tokenizer = tokenizer
        self.configuration = configuration
        self.table = table
        isSkipped = Self.skipped(tokenizer)
    }

    /// Ids that say nothing about a text: `[UNK]` and the other specials.
    public static func skipped(_ tokenizer: WordPieceTokenizer) -> [Bool] {
        var skipped = [Bool](repeating: false, count: tokenizer.vocabulary.count)
        for id in tokenizer.specials + [tokenizer.unknown] where id >= 0 { skipped[Int(id)] = true }
        return skipped
    }

    /// Encodes texts into unit vectors, row-major; zeros for a text with no known token.
    public func encode(_ texts: [String], role: String) -> [Float] {
        let dimensions = model.dimensions
        let prompt = configuration.prompts[role] ?? ""
        var splitter = WordSplitter()
        var ids: [Int32] = []
        var vectors = [Float](repeating: 0, count: texts.count * dimensions)
        vectors.withUnsafeMutableBufferPointer { vectors in
            table.withUnsafeBufferPointer { table in
                for (index, text) in texts.enumerated() {
                    ids.removeAll(keepingCapacity: true)
                    tokenizer.tokenize(
                        prompt.isEmpty ? text : prompt + text,
                        limit: configuration.maximumTokens,
                        with: &splitter,
                        into: &ids
                    )
                    let row = UnsafeMutableBufferPointer(rebasing: vectors[(index * dimensions)...].prefix(dimensions))
                    for id in ids where !isSkipped[Int(id)] {
                        let token = UnsafeBufferPointer(rebasing: table[(Int(id) * dimensions)...].prefix(dimensions))
                        for d in 0..<dimensions { row[d] += token[d] }
                    }
                    Self.normalise(row)
                }
            }
        }
        return vectors
    }

    /// The sum and the mean have the same direction, so the count of tokens does not matter.
    private static func normalise(_ row: UnsafeMutableBufferPointer<Float>) {
        var squares = SIMD8<Float>.zero
        let whole = row.count & ~7
        for start in stride(from: 0, to: whole, by: 8) {
            let part = UnsafeRawPointer(row.baseAddress! + start).loadUnaligned(as: SIMD8<Float>.self)
            squares += part * part
        }
        var sum = squares.sum()
        for d in whole..<row.count { sum += row[d] * row[d] }
        guard sum > 0 else { return }
        let factor = 1 / sum.squareRoot()
        for d in row.indices { row[d] *= factor }
    }
}
