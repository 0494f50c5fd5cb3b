import Foundation

/// A folder for a test's files, which is gone with it.
final class TemporaryFolder {
    let path = "/tmp/mrl-test-\(UUID().uuidString)"

    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Writes a text, and tells where.
    @discardableResult
    func write(_ name: String, _ text: String) throws -> String {
        let path = "\(path)/\(name)"
        try Data(text.utf8).write(to: URL(filePath: path))
        return path
    }
}
