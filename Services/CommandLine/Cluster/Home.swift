import ArgumentParser
import FoundationEssentials
import Glibc
import ServiceRuntime

/// The folder in which one machine's cluster keeps its state.
struct Home: Sendable {
    let path: String

    /// The folder that the user named, or the default of this user.
    ///
    /// - Throws: ``StartupFailure`` where no default can be told.
    init(_ named: String?) throws {
        let environment = ProcessInfo.processInfo.environment
        func setting(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        let chosen: String
        if let named = named ?? setting("MRL_HOME") {
            chosen = named
        } else if geteuid() == 0 {
            chosen = "/var/lib/matryoshka"
        } else if let data = setting("XDG_DATA_HOME") {
            chosen = data + "/matryoshka"
        } else if let user = setting("HOME") {
            chosen = user + "/.local/share/matryoshka"
        } else {
            throw StartupFailure("no folder for the state: set HOME, XDG_DATA_HOME or MRL_HOME, or give --home")
        }
        path = absolutePath(chosen)
    }

    var run: String { path + "/run" }
    var logs: String { path + "/logs" }
    var models: String { path + "/models" }
    /// The model that `mrl up` serves unless told otherwise: a directory, or a link to one.
    var model: String { models + "/default" }
    var corpus: String { path + "/corpus" }
    var postgres: String { path + "/postgres" }
    var front: String { "ipc://" + front(1) }
    /// Socket of a coordinator for clients; they are counted from 1.
    func front(_ coordinator: Int) -> String { socket("front", coordinator) }
    /// Socket of a coordinator for workers.
    func back(_ coordinator: Int) -> String { socket("back", coordinator) }

    private func socket(_ name: String, _ coordinator: Int) -> String {
        "\(run)/\(name)\(coordinator == 1 ? "" : "-\(coordinator)").sock"
    }

    /// Where the supervisor leaves the address of the database for other commands; readable by its owner only.
    var databaseURL: String { run + "/database.url" }
    var lock: String { run + "/supervisor.lock" }
    var state: String { run + "/supervisor.json" }
    var wanted: String { run + "/wanted.json" }

    /// Makes the folder and those below it.
    func prepare() throws {
        try makeDirectory(path, mode: 0o755)
        for folder in [run, logs] { try makeDirectory(folder, mode: 0o700) }
        for folder in [models, corpus] { try makeDirectory(folder, mode: 0o755) }
    }
}

/// `--home`, which most commands take.
struct HomeOption: ParsableArguments {
    @Option(
        name: .customLong("home"),
        help: ArgumentHelp(
            "Folder of the cluster's state. (MRL_HOME; default: /var/lib/matryoshka for root, or "
                + "$XDG_DATA_HOME/matryoshka, or ~/.local/share/matryoshka)",
            valueName: "dir"
        )
    )
    var named: String?

    func resolved() throws -> Home { try Home(named) }
}

/// The path from the root, with `~/` and `.` taken out.
func absolutePath(_ path: String) -> String {
    var path = path
    if path == "~" || path.hasPrefix("~/"), let home = ProcessInfo.processInfo.environment["HOME"] {
        path = home + path.dropFirst()
    }
    if !path.hasPrefix("/") { path = FileManager.default.currentDirectoryPath + "/" + path }
    var parts: [Substring] = []
    for part in path.split(separator: "/") where part != "." {
        if part == ".." { _ = parts.popLast() } else { parts.append(part) }
    }
    return "/" + parts.joined(separator: "/")
}

/// Makes a folder with the ones above it; an existing one is left as it is.
func makeDirectory(_ path: String, mode: mode_t) throws {
    if mkdir(path, mode) == 0 || errno == EEXIST { return }
    if errno == ENOENT, let cut = path.lastIndex(of: "/"), cut != path.startIndex {
        try makeDirectory(String(path[..<cut]), mode: 0o755)
        if mkdir(path, mode) == 0 || errno == EEXIST { return }
    }
    throw StartupFailure("cannot make the folder \(path): \(systemError())")
}

/// What the last system call said.
func systemError(_ code: Int32 = errno) -> String { String(cString: strerror(code)) }

/// Makes a folder with the ones above it, for results; one that is there must be open to us.
func makeFolder(_ path: String) throws {
    do {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    } catch {
        throw StartupFailure("cannot make the folder \(path): its place is taken, or not ours to write to")
    }
    guard access(path, W_OK) == 0 else { throw StartupFailure("cannot write to the folder \(path): \(systemError())") }
}

/// Replaces a file in one step; readers see the old text or the new one.
func replaceFile(_ path: String, with text: String, mode: mode_t = 0o644) throws {
    let draft = "\(path).\(getpid())"
    let descriptor = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
    guard descriptor >= 0 else { throw StartupFailure("cannot write \(path): \(systemError())") }
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
        let written = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        guard written > 0 else {
            let reason = systemError()
            close(descriptor)
            throw StartupFailure("cannot write \(path): \(reason)")
        }
        bytes = bytes.dropFirst(written)
    }
    close(descriptor)
    guard rename(draft, path) == 0 else { throw StartupFailure("cannot write \(path): \(systemError())") }
}

/// The file's text, nil where it cannot be read.
func readFile(_ path: String) -> String? {
    FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
}

/// Whether something is at the path (a link is followed).
func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

/// Seconds on the monotonic clock.
func now() -> Double { Double(ServiceProcess.monotonicMicroseconds()) / 1e6 }
