import FoundationEssentials
import Glibc

/// One process of a cluster under test; it dies with the test process, however that ends.
final class ChildProcess: @unchecked Sendable {
    // Used by one test at a time; the load generator never touches it.
    let name: String
    let pid: pid_t
    let logPath: String
    private var exitStatus: Int32?

    /// Starts `executable` with stdout and stderr in `logPath`.
    init(
        _ name: String,
        executable: String,
        arguments: [String] = [],
        environment: [String: String],
        logPath: String
    ) throws {
        self.name = name
        self.logPath = logPath
        // PR_SET_PDEATHSIG fires when the thread that forked ends, so that one lasting thread starts all children.
        pid = try Spawner.shared.spawn(
            ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", executable] + arguments,
            environment: environment,
            logPath: logPath
        )
    }

    deinit { kill() }

    /// What the process has printed so far.
    var log: String {
        guard let data = try? Data(contentsOf: URL(filePath: logPath)) else { return "" }
        return String(decoding: data, as: UTF8.self)
    }

    /// Exit code, or 128 + signal; nil while it runs.
    var exitCode: Int32? {
        if let exitStatus { return exitStatus }
        var status: Int32 = 0
        guard waitpid(pid, &status, WNOHANG) == pid else { return nil }
        let signal = status & 0x7f
        exitStatus = signal == 0 ? (status >> 8) & 0xff : 128 + signal
        return exitStatus
    }

    /// It has not ended.
    var isRunning: Bool { exitCode == nil }

    /// Sends a signal while it runs.
    func signal(_ number: Int32) {
        if isRunning { _ = Glibc.kill(pid, number) }
    }

    /// Waits for the end; nil when it still runs after `seconds`.
    func waitForExit(seconds: Double) -> Int32? {
        _ = poll(seconds: seconds, every: 0.02) { !self.isRunning }
        return exitCode
    }

    /// kill -9, and waits until it is gone.
    func kill() {
        guard isRunning else { return }
        _ = Glibc.kill(pid, SIGCONT)
        _ = Glibc.kill(pid, SIGKILL)
        _ = waitForExit(seconds: 5)
    }

    /// Resident memory in bytes.
    var residentBytes: Int {
        guard let text = try? String(contentsOf: URL(filePath: "/proc/\(pid)/statm"), encoding: .utf8) else { return 0 }
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        return pages * 4096
    }
}

/// Asks again until it holds or the time is over.
func poll(seconds: Double, every interval: Double = 0.05, _ holds: () throws -> Bool) rethrows -> Bool {
    let end = now() + seconds
    while true {
        if try holds() { return true }
        if now() > end { return false }
        pause(interval)
    }
}

/// Monotonic seconds.
func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Blocks this thread.
func pause(_ seconds: Double) { usleep(UInt32(max(seconds, 0) * 1_000_000)) }

/// Runs a blocking job on a thread of its own.
func detachThread(_ job: @escaping @Sendable () -> Void) {
    var thread = pthread_t()
    let box = Unmanaged.passRetained(JobBox(job))
    let result = pthread_create(
        &thread,
        nil,
        { argument in
            Unmanaged<JobBox>.fromOpaque(argument!).takeRetainedValue().job()
            return nil
        },
        box.toOpaque()
    )
    precondition(result == 0, "no thread")
    pthread_detach(thread)
}

private final class JobBox: Sendable {
    let job: @Sendable () -> Void
    init(_ job: @escaping @Sendable () -> Void) { self.job = job }
}

/// Starts processes from one thread that lives as long as the tests.
private final class Spawner: @unchecked Sendable {
    // `pending` and `results` are guarded by the condition variable's mutex.
    static let shared = Spawner()

    private struct Job {
        var arguments: [String]
        var environment: [String: String]
        var logPath: String
        var result: Result<pid_t, SpawnError>?
    }

    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var jobs: [Int: Job] = [:]
    private var lastJob = 0

    private init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(condition, nil)
        detachThread { Spawner.shared.serve() }
    }

    func spawn(_ arguments: [String], environment: [String: String], logPath: String) throws -> pid_t {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        lastJob += 1
        let number = lastJob
        jobs[number] = Job(arguments: arguments, environment: environment, logPath: logPath)
        pthread_cond_broadcast(condition)
        while true {
            if let result = jobs[number]?.result {
                jobs[number] = nil
                return try result.get()
            }
            pthread_cond_wait(condition, mutex)
        }
    }

    private func serve() {
        pthread_mutex_lock(mutex)
        while true {
            for (number, job) in jobs where job.result == nil {
                jobs[number]?.result = start(job)
                pthread_cond_broadcast(condition)
            }
            pthread_cond_wait(condition, mutex)
        }
    }

    private func start(_ job: Job) -> Result<pid_t, SpawnError> {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, job.logPath, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // The test process may block or ignore signals; children start clean.
        var none = sigset_t()
        sigemptyset(&none)
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var arguments: [UnsafeMutablePointer<CChar>?] = job.arguments.map { strdup($0) }
        var environment: [UnsafeMutablePointer<CChar>?] = job.environment.map { strdup("\($0.key)=\($0.value)") }
        defer { for pointer in arguments + environment { free(pointer) } }
        arguments.append(nil)
        environment.append(nil)
        var pid: pid_t = 0
        let code = posix_spawn(&pid, job.arguments[0], &actions, &attributes, arguments, environment)
        return code == 0 ? .success(pid) : .failure(SpawnError(command: job.arguments, code: code))
    }
}

/// A process that could not be started.
struct SpawnError: Error {
    var command: [String]
    var code: Int32
}
