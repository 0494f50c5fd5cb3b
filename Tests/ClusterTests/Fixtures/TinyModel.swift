import Encoding
import RetrievalTesting

/// A model of 64 dimensions that knows ``TinyModel/words``.
enum TinyModel {
    static let words = ["chess", "play", "game", "text", "editor", "image", "music", "player", "network", "server"]
    static let dimensions = 64

    /// Writes a model directory.
    static func write(to directory: String, seed: UInt64 = 1) throws {
        let pieces = ["[PAD]", "[UNK]"] + words
        var random = SeededGenerator(seed: seed)
        // Padding and unknown words say nothing.
        var table = [Float](repeating: 0, count: 2 * dimensions)
        for _ in words { table += random.vector(dimensions) }
        _ = try ModelDirectory.write(
            to: directory,
            configuration: ModelConfiguration(
                name: "tiny",
                dimensions: dimensions,
                nesting: [8, 16, 32, 64],
                maximumTokens: 64
            ),
            pieces: pieces,
            table: table
        )
    }
}
