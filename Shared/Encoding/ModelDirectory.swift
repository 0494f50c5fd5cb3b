import Foundation

/// A model of ours on disk: `config.json`, `vocab.txt` (one piece a line) and `model.safetensors` (`embeddings`).
public enum ModelDirectory {
    /// File names, in the order in which they are hashed.
    static let fileNames = ["config.json", "model.safetensors", "vocab.txt"]
    /// The tensor of token vectors, pieces × dimensions.
    static let tensorName = "embeddings"

    /// Whether a finished model lies there; one is moved into place as a whole.
    public static func exists(_ directory: String) -> Bool {
        fileNames.allSatisfy { FileManager.default.fileExists(atPath: directory + "/" + $0) }
    }

    /// Writes a model beside its place and then moves it there.
    ///
    /// - Parameters:
    ///   - directory: Where it goes; one that is there is replaced.
    ///   - configuration: Goes to `config.json`.
    ///   - pieces: Of the vocabulary, none with a line break.
    ///   - table: Row-major, pieces × dimensions.
    ///   - extraFiles: By name; they are not part of the model's identity.
    /// - Returns: The model's id.
    /// - Throws: What the file system says.
    @discardableResult
    public static func write(
        to directory: String,
        configuration: ModelConfiguration,
        pieces: [String],
        table: [Float],
        extraFiles: [String: String] = [:]
    ) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        let files = [
            Array(try encoder.encode(configuration)),
            Safetensors.file([
                .init(name: tensorName, shape: [pieces.count, configuration.dimensions], values: table)
            ]),
            Array((pieces.joined(separator: "\n") + "\n").utf8),
        ]
        let target = URL(fileURLWithPath: directory)
        let temporary = target.deletingLastPathComponent()
            .appendingPathComponent(".\(target.lastPathComponent).\(ProcessInfo.processInfo.processIdentifier).partial")
        let manager = FileManager.default
        try? manager.removeItem(at: temporary)
        try manager.createDirectory(at: temporary, withIntermediateDirectories: true)
        do {
            for (name, bytes) in zip(fileNames, files) {
                try Data(bytes).write(to: temporary.appendingPathComponent(name))
            }
            for (name, text) in extraFiles {
                try Data(text.utf8).write(to: temporary.appendingPathComponent(name))
            }
            if manager.fileExists(atPath: target.path) { try manager.removeItem(at: target) }
            try manager.moveItem(at: temporary, to: target)
        } catch {
            try? manager.removeItem(at: temporary)
            throw error
        }
        return ModelFiles.identity(of: Dictionary(uniqueKeysWithValues: zip(fileNames, files)))
    }
}

/// Loads a model directory: one of ours, or one as the Hugging Face hub publishes them.
///
/// - Throws: ``ModelError``, naming the file and what is wrong with it.
public func loadEncoder(directory: String) throws(ModelError) -> any TextEncoder {
    var files = try ModelFiles(directory: directory)
    return HubModel.isThere(files) ? try HubModel.load(&files) : try loadStaticEncoder(&files)
}

/// Loads a model directory of ours.
///
/// - Throws: ``ModelError``.
public func loadStaticEncoder(directory: String) throws(ModelError) -> StaticEncoder {
    var files = try ModelFiles(directory: directory)
    return try loadStaticEncoder(&files)
}

private func loadStaticEncoder(_ files: inout ModelFiles) throws(ModelError) -> StaticEncoder {
    let hint = "a model directory holds " + ModelDirectory.fileNames.joined(separator: ", ")
    let names = ModelDirectory.fileNames
    let data = try files.contents(names[0], hint: hint)
    let configuration: ModelConfiguration = try decodeJSON([UInt8](data), path: files.path(names[0]))
    try configuration.check(path: files.path(names[0]))

    let pieces = HubTokenizer.lines(try files.text(names[2], hint: hint))
    guard let tokenizer = WordPieceTokenizer(vocabulary: Vocabulary(pieces: pieces)) else {
        throw .malformed(path: files.path(names[2]), reason: "there is no piece [UNK]")
    }

    let tensors = try Safetensors(try files.contents(names[1], hint: hint), path: files.path(names[1]))
    let (shape, table) = try tensors.floats(ModelDirectory.tensorName)
    guard shape == [pieces.count, configuration.dimensions] else {
        throw .malformed(
            path: files.path(names[1]),
            reason:
                "the table is \(shape), vocabulary and dimensions ask for \([pieces.count, configuration.dimensions])"
        )
    }
    return StaticEncoder(id: files.identity, configuration: configuration, tokenizer: tokenizer, table: table)
}

/// Reads a file's JSON.
func decodeJSON<Value: Decodable>(_ bytes: [UInt8], path: String) throws(ModelError) -> Value {
    do {
        return try JSONDecoder().decode(Value.self, from: Data(bytes))
    } catch let error as DecodingError {
        throw .malformed(path: path, reason: reason(error))
    } catch {
        throw .malformed(path: path, reason: "it is not JSON")
    }
}

private func reason(_ error: DecodingError) -> String {
    switch error {
    case .keyNotFound(let key, _): "\"\(key.stringValue)\" is missing"
    case .typeMismatch(_, let context), .valueNotFound(_, let context):
        "\"\(context.codingPath.map(\.stringValue).joined(separator: "."))\" has the wrong type"
    case .dataCorrupted(let context) where !context.codingPath.isEmpty:
        "\"\(context.codingPath.map(\.stringValue).joined(separator: "."))\" has a value that is not allowed"
    default: "it is not JSON"
    }
}
