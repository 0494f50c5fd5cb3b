import CPlatform
import Glibc

/// The private folder of a running cluster: its sockets, logs and private database.
public enum RunDirectory {
    /// As root `/var/lib/matryoshka/run`, else `$XDG_RUNTIME_DIR/matryoshka` or `~/.local/share/matryoshka/run`.
    public static func defaultPath(environment: [String: String], isRoot: Bool = ServiceProcess.isRoot) -> String {
        if isRoot { return "/var/lib/matryoshka/run" }
        if let runtime = environment["XDG_RUNTIME_DIR"], !runtime.isEmpty { return runtime + "/matryoshka" }
        return (environment["HOME"] ?? "/tmp") + "/.local/share/matryoshka/run"
    }

    /// Makes the folder, with mode 0700, where it is missing.
    public static func prepare(_ path: String) throws(StartupFailure) {
        let code = platform_make_private_folder(path)
        if code != 0 {
            throw StartupFailure("cannot make the folder \(path): \(String(cString: strerror(-code)))")
        }
    }
}
