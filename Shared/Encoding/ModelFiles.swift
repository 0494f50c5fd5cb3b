import Foundation

/// The files of a model directory: read once each, named in errors, and summed up in the model's id.
struct ModelFiles {
    /// The directory.
    let directory: String
    private var digests: [String: String] = [:]

    init(directory: String) throws(ModelError) {
        var isDirectory: ObjCBool = false
        guard FileManager.default.fileExists(atPath: directory, isDirectory: &isDirectory), isDirectory.boolValue else {
            throw .missing(
                path: directory,
                hint: "a model directory is made by `mrl train`, or published on the Hugging Face hub"
            )
        }
        self.directory = directory
    }

    /// Where a file of that name is; `name` may lead through folders.
    func path(_ name: String) -> String { directory + "/" + name }

    func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: path(name)) }

    /// The whole file, mapped into memory where it is large; nil where there is none.
    mutating func contents(ifThere name: String) throws(ModelError) -> Data? {
        guard exists(name) else { return nil }
        guard let data = try? Data(contentsOf: URL(fileURLWithPath: path(name)), options: .mappedIfSafe) else {
            throw .missing(path: path(name), hint: "it is there but cannot be read")
        }
        digests[name] = data.withUnsafeBytes { "\(data.count) \(SHA256.hexadecimal($0))" }
        return data
    }

    /// The whole file; where it is missing, `hint` says what one does about it.
    mutating func contents(_ name: String, hint: String) throws(ModelError) -> Data {
        guard let data = try contents(ifThere: name) else { throw .missing(path: path(name), hint: hint) }
        return data
    }

    /// A text file of UTF-8.
    mutating func text(_ name: String, hint: String) throws(ModelError) -> String {
        let data = try contents(name, hint: hint)
        guard let text = String(validating: data, as: UTF8.self) else {
            throw .malformed(path: path(name), reason: "it is not UTF-8")
        }
        return text
    }

    /// A JSON object whose members must be understood; nil where there is no such file.
    mutating func configuration(ifThere name: String) throws(ModelError) -> ConfigurationFile? {
        guard let data = try contents(ifThere: name) else { return nil }
        return try ConfigurationFile([UInt8](data), path: path(name))
    }

    /// A JSON object whose members must be understood.
    mutating func configuration(_ name: String, hint: String) throws(ModelError) -> ConfigurationFile {
        try ConfigurationFile([UInt8](try contents(name, hint: hint)), path: path(name))
    }

    /// Adds what was not read from a file but decides what vectors come out.
    mutating func note(_ name: String, _ value: String) { digests[name] = value }

    /// Names of what was read and noted.
    var names: [String] { digests.keys.sorted() }

    /// Id of the model: SHA-256 over the name, length and SHA-256 of each file that was read, by name.
    var identity: String { Self.identity(digests) }

    /// The id that files of these contents have.
    static func identity(of files: [String: [UInt8]]) -> String {
        identity(files.mapValues { "\($0.count) \(SHA256.hexadecimal($0))" })
    }

    private static func identity(_ digests: [String: String]) -> String {
        let lines = digests.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
            .map { "\($0.key) \($0.value)\n" }
        return SHA256.hexadecimal(Array(lines.joined().utf8))
    }
}
