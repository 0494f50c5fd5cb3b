import FoundationEssentials
import Glibc

/// A file system of a few bytes, with ballast on it that a test drops to make room.
///
/// Only root can mount one.
final class TinyDisk {
    let folder: String
    private var isMounted = false

    /// This user can mount one.
    static let isPossible = (try? TinyDisk(bytes: 4_096)) ?? nil != nil

    /// Nil where none can be made.
    init?(bytes: Int, ballast: Int = 0) throws {
        folder = try makePrivateFolder()
        let isDone = try Self.run("/usr/bin/mount", ["-t", "tmpfs", "-o", "size=\(bytes)", "tmpfs", folder])
        guard isDone else { return nil }
        isMounted = true
        if ballast > 0 { try Data(count: ballast).write(to: URL(filePath: "\(folder)/ballast")) }
    }

    deinit {
        if isMounted { _ = try? Self.run("/usr/bin/umount", ["--lazy", folder]) }
        rmdir(folder)
    }

    /// An empty folder on it that belongs to the server's user.
    func makeServerFolder() throws -> String {
        let path = "\(folder)/tables"
        guard let owner = getpwnam("postgres"), mkdir(path, 0o700) == 0, chmod(folder, 0o755) == 0,
            chown(path, owner.pointee.pw_uid, owner.pointee.pw_gid) == 0
        else { throw TestFailure("no folder on the tiny disk, errno \(errno)") }
        return path
    }

    /// There is room again.
    func dropBallast() { unlink("\(folder)/ballast") }

    /// Bytes that are left.
    var freeBytes: Int {
        var status = statvfs()
        guard statvfs(folder, &status) == 0 else { return 0 }
        return Int(status.f_bavail) * Int(status.f_bsize)
    }

    private static func run(_ program: String, _ arguments: [String]) throws -> Bool {
        let child = try ChildProcess(
            program,
            executable: program,
            arguments: arguments,
            environment: baseEnvironment,
            logPath: "/dev/null"
        )
        return child.waitForExit(seconds: 10) == 0
    }
}
