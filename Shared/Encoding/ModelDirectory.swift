import Foundation

/// A model on disk: `config.json`, `vocab.txt` (one piece a line) and `model.safetensors` (`embeddings`, float32).
public enum ModelDirectory {
    /// File names, in the order in which they are hashed.
    static let fileNames = ["config.json", "model.safetensors", "vocab.txt"]
    /// The tensor of token vectors, pieces × dimensions.
    static let tensorName = "embeddings"

    /// Id of a model: SHA-256 over the name, length and SHA-256 of each of its three files.
    static func identity(_ files: [[UInt8]]) -> String {
        let lines = zip(fileNames, files).map { "\($0) \($1.count) \(SHA256.hexadecimal($1))\n" }
        return SHA256.hexadecimal(Array(lines.joined().utf8))
    }

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
        return identity(files)
    }
}

/// Loads a model directory.
///
/// - Throws: ``ModelError``, naming the file and what is wrong with it.
public func loadEncoder(directory: String) throws -> any TextEncoder {
    try loadStaticEncoder(directory: directory)
}

/// Loads a model directory that holds a static model.
///
/// - Throws: ``ModelError``.
public func loadStaticEncoder(directory: String) throws(ModelError) -> StaticEncoder {
    var isDirectory: ObjCBool = false
    guard FileManager.default.fileExists(atPath: directory, isDirectory: &isDirectory), isDirectory.boolValue else {
        throw .missing(path: directory, hint: "a model directory is made by `mrl train`")
    }
    var files: [[UInt8]] = []
    for name in ModelDirectory.fileNames {
        guard let data = FileManager.default.contents(atPath: directory + "/" + name) else {
            throw .missing(
                path: directory + "/" + name,
                hint: "a model directory holds " + ModelDirectory.fileNames.joined(separator: ", ")
            )
        }
        files.append([UInt8](data))
    }
    let configurationPath = directory + "/" + ModelDirectory.fileNames[0]
    let configuration: ModelConfiguration = try decodeJSON(files[0], path: configurationPath)
    try configuration.check(path: configurationPath)

    let vocabularyPath = directory + "/" + ModelDirectory.fileNames[2]
    guard let text = String(validating: files[2], as: UTF8.self) else {
        throw .malformed(path: vocabularyPath, reason: "it is not UTF-8")
    }
    var pieces = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    if pieces.last == "" { pieces.removeLast() }
    guard let tokenizer = WordPieceTokenizer(vocabulary: Vocabulary(pieces: pieces)) else {
        throw .malformed(path: vocabularyPath, reason: "there is no piece [UNK]")
    }

    let tensorPath = directory + "/" + ModelDirectory.fileNames[1]
    let (shape, table) = try Safetensors(files[1], path: tensorPath).floats(ModelDirectory.tensorName)
    guard shape == [pieces.count, configuration.dimensions] else {
        throw .malformed(
            path: tensorPath,
            reason:
                "the table is \(shape), vocabulary and dimensions ask for \([pieces.count, configuration.dimensions])"
        )
    }
    guard table.allSatisfy(\.isFinite) else {
        throw .malformed(path: tensorPath, reason: "the table holds numbers that are not finite")
    }
    return StaticEncoder(
        id: ModelDirectory.identity(files),
        configuration: configuration,
        tokenizer: tokenizer,
        table: table
    )
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
