import CPlatform
import FoundationEssentials
import Glibc
import ServiceRuntime

/// How a child is started.
struct Spawn {
    /// Executable and its arguments.
    var arguments: [String]
    /// Added to this process's environment.
    var environment: [String: String] = [:]
    /// File that takes standard output and error, appended; nil: those of this process.
    var log: String?
    /// Lead a session of its own, away from the terminal.
    var newSession = false

    /// Starts the child in a process group of its own, so that Ctrl-C in a terminal reaches only its supervisor.
    ///
    /// - Returns: Process id.
    func start() throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        if let log {
            posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
            posix_spawn_file_actions_adddup2(&actions, 1, 2)
        }
        // A caller's lock or pipe must not stay open for as long as the cluster runs.
        platform_close_files_on_exec()

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        var defaults = sigset_t()
        sigemptyset(&defaults)
        for signal in [SIGPIPE, SIGTERM, SIGINT, SIGHUP, SIGCHLD] { sigaddset(&defaults, signal) }
        posix_spawnattr_setsigdefault(&attributes, &defaults)
        // A GNU flag, which the module map of glibc does not show.
        let setSession: Int32 = 0x80
        let flags =
            Int32(POSIX_SPAWN_SETSIGMASK) | Int32(POSIX_SPAWN_SETSIGDEF)
            | (newSession ? setSession : Int32(POSIX_SPAWN_SETPGROUP))
        posix_spawnattr_setflags(&attributes, Int16(flags))

        let variables = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        var child: pid_t = 0
        let code = withCStrings(arguments) { arguments in
            withCStrings(variables.map { "\($0.key)=\($0.value)" }) { variables in
                posix_spawnp(&child, arguments[0]!, &actions, &attributes, arguments, variables)
            }
        }
        guard code == 0 else { throw StartupFailure("cannot start \(arguments[0]): \(systemError(code))") }
        return child
    }

    /// Runs the child to its end.
    ///
    /// - Throws: ``StartupFailure`` with the last line that it printed where it does not exit with 0.
    func run() throws {
        let child = try start()
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0 && errno == EINTR {}
        guard status == 0 else {
            let name = arguments.first { $0.hasPrefix("/") && !$0.hasSuffix("setpriv") } ?? arguments[0]
            throw StartupFailure("\(name) failed: \(log.flatMap(lastLine(of:)) ?? "status \(status >> 8)")")
        }
    }
}

/// Lends a null-terminated array of C strings.
func withCStrings<Result>(
    _ strings: [String],
    _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
    var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
    pointers.append(nil)
    defer { pointers.forEach { free($0) } }
    return pointers.withUnsafeBufferPointer { body($0.baseAddress!) }
}

/// The last line of a log that is not empty, without the time and level before it.
func lastLine(of path: String) -> String? {
    guard let file = fopen(path, "re") else { return nil }
    defer { fclose(file) }
    fseek(file, 0, SEEK_END)
    let size = ftell(file)
    fseek(file, max(0, size - 4096), SEEK_SET)
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = fread(&buffer, 1, buffer.count, file)
    let lines = String(decoding: buffer[..<count], as: UTF8.self).split(separator: "\n")
    return lines.last { !$0.allSatisfy(\.isWhitespace) }.map(String.init)
}

/// Folder of this executable; the other executables are beside it.
func executableFolder() throws -> String {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
    let length = readlink("/proc/self/exe", &buffer, Int(PATH_MAX))
    guard length > 0 else { throw StartupFailure("cannot tell where mrl itself is: \(systemError())") }
    let path = String(decoding: buffer[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
}

/// The first of the named programs that is in PATH or in the given folders.
func findProgram(_ name: String, in folders: [String] = []) -> String? {
    let path = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
    return (folders + path + ["/usr/bin", "/usr/sbin", "/sbin"]).map { "\($0)/\(name)" }
        .first { access($0, X_OK) == 0 }
}
