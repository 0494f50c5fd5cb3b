import FoundationEssentials

/// proto-docs, found from this file.
enum ProtoDocs {
    static let folder: String = {
        let here = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
        return here.joined(separator: "/") + "/proto-docs"
    }()

    static func text(_ path: String) throws -> String {
        try String(contentsOfFile: folder + "/" + path, encoding: .utf8)
    }

    static func bytes(_ path: String) throws -> [UInt8] { Array(try text(path).utf8) }
}

/// Golden frames: one line of hex for each frame, `-` for an empty one, `#` starts a comment.
enum GoldenFiles {
    static let isRecording = ProcessInfo.processInfo.environment["MRL_RECORD_GOLDEN"] == "1"

    static func names(_ folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(ProtoDocs.folder)/golden/\(folder)")
            .filter { $0.hasSuffix(".hex") }.map { String($0.dropLast(4)) }.sorted()
    }

    static func read(_ folder: String, _ name: String) throws -> [[UInt8]] {
        try ProtoDocs.text("golden/\(folder)/\(name).hex").split(separator: "\n")
            .filter { !$0.hasPrefix("#") }
            .map { line in
                if line == "-" { return [] }
                let digits = line.utf8.map { UInt8($0 < 0x3A ? $0 - 0x30 : $0 - 0x57) }
                return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
            }
    }

    /// Writes a file; JSON frames are repeated as comments for readers.
    static func write(_ folder: String, _ name: String, _ frames: [[UInt8]]) throws {
        var lines: [String] = []
        for frame in frames {
            if let first = frame.first, first == 0x7B {
                for line in String(decoding: frame, as: UTF8.self).split(separator: "\n") { lines.append("# \(line)") }
            }
            lines.append(frame.isEmpty ? "-" : hex(frame))
        }
        let path = "\(ProtoDocs.folder)/golden/\(folder)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        try (lines.joined(separator: "\n") + "\n").write(
            toFile: "\(path)/\(name).hex",
            atomically: true,
            encoding: .utf8
        )
    }

    static func hex(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
