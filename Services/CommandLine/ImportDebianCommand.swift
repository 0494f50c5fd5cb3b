import ArgumentParser
import CommandHelp
import Corpora
import Foundation
import Glibc

/// Makes a corpus of all Debian packages from apt's own lists.
struct ImportDebianCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "debian",
        abstract: "Make a corpus: name, source, section, short and long description of every Debian package.",
        discussion: helpDiscussion(
            """
            Fetches package lists with apt-get into a folder of its own (about 16 MB; the system's lists stay as they
            are) and joins Packages with Translation-en. Writes one JSON object a line.
            """,
            examples: """
                mrl import debian --output debian.jsonl
                mrl import debian --output debian.jsonl --lists /var/lib/apt/lists
                """
        )
    )

    @Option(help: ArgumentHelp("Where the corpus goes.", valueName: "FILE.jsonl"))
    var output: String
    @Option(help: ArgumentHelp("A folder with apt's lists, instead of fetching them.", valueName: "DIR"))
    var lists: String?
    @Flag(help: "Make the corpus again where it is there already.")
    var force = false

    func run() throws {
        if !force, FileManager.default.fileExists(atPath: output) {
            Output.note("\(output) is there already (--force makes it again)")
            return
        }
        if let lists { return try join(lists) }
        let folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("mrl-debian-\(ProcessInfo.processInfo.processIdentifier)").path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        Output.note("fetching package lists with apt-get")
        try join(fetchLists(into: folder))
    }

    /// Runs `apt-get update` on the system's sources with every written path inside `folder`.
    private func fetchLists(into folder: String) throws -> String {
        for part in ["lists/partial", "cache/archives/partial"] {
            try FileManager.default.createDirectory(atPath: folder + "/" + part, withIntermediateDirectories: true)
        }
        var options = [
            "Acquire::Languages=en", "Acquire::GzipIndexes=false", "Dir::State::Lists=\(folder)/lists",
            "Dir::Cache=\(folder)/cache",
        ]
        // As root apt would drop to a user that may not enter our folder; otherwise it has nobody to drop to.
        if geteuid() == 0 { options.append("APT::Sandbox::User=root") }
        let result = try Self.run("/usr/bin/apt-get", ["-q"] + options.flatMap { ["-o", $0] } + ["update"])
        guard result.status == 0 else {
            throw ValidationError(
                "apt-get update failed: \(String(decoding: result.errors, as: UTF8.self))"
                    + "(a Debian mirror must be reachable; --lists takes lists that are there already)"
            )
        }
        return folder + "/lists"
    }

    private func join(_ folder: String) throws {
        let names = ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted()
        let suffixes = ["", ".lz4", ".xz", ".gz", ".bz2", ".zst"]
        func select(_ kind: String) -> [String] {
            names.filter { name in suffixes.contains { name.hasSuffix(kind + $0) } }
        }
        var debian = DebianLists()
        for name in select("_Packages") {
            debian.addPackages(try read(folder + "/" + name))
            Output.note("\(name): \(debian.packageCount) packages so far")
        }
        for name in select("_Translation-en") {
            debian.addTranslations(try read(folder + "/" + name))
            Output.note("\(name): \(debian.descriptionCount) descriptions so far")
        }
        let corpus = debian.corpus()
        guard !corpus.documents.isEmpty else { throw CorpusError.noLists(path: folder) }
        try corpus.write(to: output)
        Output.line("\(corpus.documents.count) packages with a long description in \(output)")
    }

    private func read(_ path: String) throws -> [UInt8] {
        if path.hasSuffix("_Packages") || path.hasSuffix("_Translation-en") {
            guard let data = FileManager.default.contents(atPath: path) else {
                throw CorpusError.unreadable(path: path)
            }
            return [UInt8](data)
        }
        let result = try Self.run("/usr/lib/apt/apt-helper", ["cat-file", path])
        guard result.status == 0 else { throw CorpusError.unreadable(path: path) }
        return [UInt8](result.output)
    }

    /// Errors go through a file, so that neither pipe can fill while the other is read.
    private static func run(
        _ program: String,
        _ arguments: [String]
    ) throws -> (status: Int32, output: Data, errors: Data) {
        guard FileManager.default.isExecutableFile(atPath: program) else {
            throw ValidationError("\(program) is not there: this command needs Debian's apt (or --lists)")
        }
        let errorsFile = FileManager.default.temporaryDirectory.appendingPathComponent("mrl-\(UUID().uuidString).err")
        try Data().write(to: errorsFile)
        defer { try? FileManager.default.removeItem(at: errorsFile) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        process.standardError = try FileHandle(forWritingTo: errorsFile)
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, output, (try? Data(contentsOf: errorsFile)) ?? Data())
    }
}
