import Foundation
public import VectorMath

/// A model of ours on disk.
///
/// A static one is `config.json`, `vocab.txt` (one piece a line) and `model.safetensors` (`embeddings`); one that adapts
/// another's vectors is described at ``AdapterConfiguration``.
public enum ModelDirectory {
    /// File names of a static model, in the order in which they are hashed.
    static let fileNames = ["config.json", "model.safetensors", "vocab.txt"]
    /// File names of an adapter, in the order in which they are hashed.
    static let adapterFileNames = ["config.json", "model.safetensors"]
    /// The tensor of token vectors, pieces × dimensions.
    static let tensorName = "embeddings"

    /// Whether a finished model lies there; one is moved into place as a whole.
    public static func exists(_ directory: String) -> Bool {
        func areThere(_ names: [String]) -> Bool {
            names.allSatisfy { FileManager.default.fileExists(atPath: directory + "/" + $0) }
        }
        if areThere(fileNames) { return true }
        guard areThere(adapterFileNames), var files = try? ModelFiles(directory: directory) else { return false }
        return (try? isAdapter(&files)) ?? false
    }

    /// What keeps a model from being written there, as a sentence: a file, or a folder that holds more than a model; nil
    /// where nothing does.
    public static func obstacle(to directory: String) -> String? { obstacle(to: directory, extraFiles: []) }

    private static func obstacle(to directory: String, extraFiles: some Collection<String>) -> String? {
        let manager = FileManager.default
        guard manager.fileExists(atPath: directory) else { return nil }
        guard let found = try? manager.contentsOfDirectory(atPath: directory) else {
            return "\(directory) is there and no folder that can be read: name another"
        }
        let ours = Set(fileNames + adapterFileNames + [AdapterConfiguration.baseFolder, "costs.json"] + extraFiles)
        guard let foreign = found.sorted().first(where: { !ours.contains($0) }) else { return nil }
        return "\(directory) holds \(foreign), which is no part of a model and would be lost: name another folder"
    }

    /// Writes a static model beside its place and then moves it there.
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
        let files = [
            Array(try encoder.encode(configuration)),
            Safetensors.file([
                .init(name: tensorName, shape: [pieces.count, configuration.dimensions], values: table)
            ]),
            Array((pieces.joined(separator: "\n") + "\n").utf8),
        ]
        return try write(to: directory, Array(zip(fileNames, files)), extraFiles) { _ in }
    }

    /// Writes an adapter's model beside its place and then moves it there.
    ///
    /// - Parameters:
    ///   - directory: Where it goes; one that is there is replaced.
    ///   - configuration: Goes to `config.json`.
    ///   - adapter: What the configuration was made of.
    ///   - base: Directory of the frozen encoder; nil where there is none.
    ///   - isLinked: Whether the encoder is referred to, by a symbolic link, or the files that it reads are copied.
    ///   - extraFiles: By name; they are not part of the model's identity.
    /// - Returns: The model's id.
    /// - Throws: What the file system says, or ``ModelError`` where the encoder does not load.
    @discardableResult
    public static func write(
        to directory: String,
        configuration: AdapterConfiguration,
        adapter: VectorAdapter,
        base: String?,
        isLinked: Bool = false,
        extraFiles: [String: String] = [:]
    ) throws -> String {
        let files = [
            Array(try encoder.encode(configuration)),
            Safetensors.file(adapter.layers.enumerated().flatMap { $1.tensors("adapter.\($0)") }),
        ]
        return try write(to: directory, Array(zip(adapterFileNames, files)), extraFiles) { folder in
            guard let base else { return }
            let target = folder.appendingPathComponent(AdapterConfiguration.baseFolder)
            let manager = FileManager.default
            if isLinked {
                let path = URL(fileURLWithPath: base).standardizedFileURL.path
                try manager.createSymbolicLink(atPath: target.path, withDestinationPath: path)
            } else {
                try copyModel(base, to: target)
            }
        }
    }

    /// Copies the files that a model reads, and no other of its directory.
    private static func copyModel(_ directory: String, to target: URL) throws {
        var files = try ModelFiles(directory: directory)
        _ = try loadEncoder(&files, .float32)
        let manager = FileManager.default
        let base = AdapterConfiguration.baseFolder
        try manager.createDirectory(at: target, withIntermediateDirectories: true)
        // The card may tell which sizes are legal, though it is no part of the identity.
        for name in files.names + ["README.md"] where files.exists(name) {
            let file = target.appendingPathComponent(name)
            try manager.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            // A cache of the hub's client holds links to its files.
            let source = URL(fileURLWithPath: files.path(name)).resolvingSymlinksInPath()
            try manager.copyItem(at: source, to: file)
        }
        if manager.fileExists(atPath: files.path(base)), try isAdapter(&files) {
            try copyModel(files.path(base), to: target.appendingPathComponent(base))
        }
    }

    private static var encoder: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return encoder
    }

    private static func write(
        to directory: String,
        _ files: [(name: String, bytes: [UInt8])],
        _ extraFiles: [String: String],
        more: (URL) throws -> Void
    ) throws -> String {
        if let obstacle = obstacle(to: directory, extraFiles: extraFiles.keys) {
            throw ModelError.malformed(path: directory, reason: obstacle)
        }
        let target = URL(fileURLWithPath: directory)
        let temporary = target.deletingLastPathComponent()
            .appendingPathComponent(".\(target.lastPathComponent).\(ProcessInfo.processInfo.processIdentifier).partial")
        let manager = FileManager.default
        try? manager.removeItem(at: temporary)
        try manager.createDirectory(at: temporary, withIntermediateDirectories: true)
        do {
            for (name, bytes) in files {
                try Data(bytes).write(to: temporary.appendingPathComponent(name))
            }
            for (name, text) in extraFiles {
                try Data(text.utf8).write(to: temporary.appendingPathComponent(name))
            }
            try more(temporary)
            try replace(target, with: temporary)
        } catch {
            try? manager.removeItem(at: temporary)
            throw error
        }
        return ModelFiles.identity(of: Dictionary(uniqueKeysWithValues: files.map { ($0.name, $0.bytes) }))
    }
}

/// Puts a folder in another's place; whatever fails, one of both lies there or beside it.
private func replace(_ target: URL, with folder: URL) throws {
    let manager = FileManager.default
    guard manager.fileExists(atPath: target.path) else { return try manager.moveItem(at: folder, to: target) }
    let former = folder.appendingPathExtension("former")
    try? manager.removeItem(at: former)
    try manager.moveItem(at: target, to: former)
    do {
        try manager.moveItem(at: folder, to: target)
    } catch {
        try? manager.moveItem(at: former, to: target)
        throw error
    }
    try? manager.removeItem(at: former)
}

/// Loads a model directory: one of ours, or one as the Hugging Face hub publishes them.
///
/// - Parameters:
///   - directory: Where it is.
///   - precision: Of a transformer's linear layers; a table has none. The model's id does not depend on it.
/// - Returns: What encodes.
/// - Throws: ``ModelError``, naming the file and what is wrong with it.
public func loadEncoder(
    directory: String,
    precision: LinearPrecision = .float32
) throws(ModelError) -> any TextEncoder {
    var files = try ModelFiles(directory: directory)
    return try loadEncoder(&files, precision)
}

private func loadEncoder(
    _ files: inout ModelFiles,
    _ precision: LinearPrecision
) throws(ModelError) -> any TextEncoder {
    if HubModel.isThere(files) { return try HubModel.load(&files, precision) }
    guard try isAdapter(&files) else { return try loadStaticEncoder(&files) }
    return try AdapterDirectory(&files).encoder(directory: files.directory, precision: precision)
}

/// Whether a directory of ours holds an adapter.
private func isAdapter(_ files: inout ModelFiles) throws(ModelError) -> Bool {
    struct Kind: Decodable {
        var kind: String?
    }
    let name = ModelDirectory.adapterFileNames[0]
    guard let data = try files.contents(ifThere: name) else { return false }
    let found: Kind = try decodeJSON([UInt8](data), path: files.path(name))
    if let kind = found.kind, kind != ModelConfiguration.staticKind, kind != AdapterConfiguration.kind {
        throw .unsupported(
            path: files.path(name),
            reason: "kind is \"\(kind)\", this build runs \"\(ModelConfiguration.staticKind)\" and "
                + "\"\(AdapterConfiguration.kind)\""
        )
    }
    return found.kind == AdapterConfiguration.kind
}

/// Loads a static model directory of ours.
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
