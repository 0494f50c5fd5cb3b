import FoundationEssentials
import Glibc
import ServiceRuntime

/// How many processes of each kind shall run.
struct ClusterSize: Codable, Equatable, Sendable {
    var coordinators = 1
    var encoders = 1
    var shortlists = 2
    var rerankers = 1
    /// Model directory that the encoders serve; nil: none yet, so no encoder runs.
    var model: String?
    /// Further settings for all processes, `MRL_…` names.
    var settings: [String: String] = [:]
}

/// One supervised process as the state file tells it.
struct ProcessState: Codable, Sendable {
    /// What it is doing.
    enum Phase: String, Codable, Sendable {
        case running
        /// Waiting to be started again.
        case waiting
        case stopping
        /// Given up; ``ProcessState/reason`` says why.
        case failed
    }

    var name: String
    var pid: Int32
    var phase: Phase
    var restarts: Int
    var reason: String?
}

/// What the supervisor leaves for `mrl up`, `mrl down`, `mrl scale` and people.
struct ClusterState: Codable, Sendable {
    /// How far the start has come.
    enum Phase: String, Codable, Sendable {
        case starting
        case running
        case stopping
        case failed
    }

    var pid: Int32
    var phase: Phase
    /// For people: the step that is under way, or why the start failed.
    var step: String
    var database: String
    /// The last change of ``ClusterSize`` that was taken up; counted by whoever asks.
    var wantedRevision: Int
    var processes: [ProcessState]

    static func read(_ home: Home) -> ClusterState? {
        readFile(home.state).flatMap { try? JSONDecoder().decode(ClusterState.self, from: Data($0.utf8)) }
    }

    func write(_ home: Home) throws {
        try replaceFile(home.state, with: String(decoding: try JSONEncoder().encode(self), as: UTF8.self))
    }
}

/// What a user asked a running supervisor for; the supervisor reads it on SIGHUP.
struct WantedCluster: Codable, Sendable {
    var revision: Int
    var size: ClusterSize

    static func read(_ home: Home) -> WantedCluster? {
        readFile(home.wanted).flatMap { try? JSONDecoder().decode(WantedCluster.self, from: Data($0.utf8)) }
    }

    func write(_ home: Home) throws {
        try replaceFile(home.wanted, with: String(decoding: try JSONEncoder().encode(self), as: UTF8.self))
    }
}

/// The lock that a supervisor holds for as long as it lives; the kernel lets go of it when the process dies.
enum SupervisorLock {
    /// Takes the lock; nil while another supervisor holds it.
    static func take(_ home: Home) throws -> Int32? {
        let descriptor = open(home.lock, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw StartupFailure("cannot write \(home.lock): \(systemError())") }
        if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return descriptor }
        close(descriptor)
        return nil
    }

    /// Whether a supervisor runs in this home.
    static func isHeld(_ home: Home) throws -> Bool {
        guard exists(home.lock) else { return false }
        let descriptor = open(home.lock, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return false }
            throw StartupFailure("cannot read \(home.lock): \(systemError()); was the cluster started by root?")
        }
        defer { close(descriptor) }
        if flock(descriptor, LOCK_SH | LOCK_NB) == 0 { return false }
        return true
    }
}
