import DocumentStore
import FoundationEssentials
import Glibc
import PostgreSQL
import ServiceRuntime

/// Starts the processes of one home and keeps them running until it is told to stop.
///
/// One thread; children, signals and timers meet in one `sigtimedwait`.
final class Supervisor {
    private struct Child {
        var name: String
        var role: Role
        var spawn: Spawn
        var pid: pid_t = 0
        var phase = ProcessState.Phase.waiting
        var restarts = 0
        /// Starts since the last one that lasted, for the backoff.
        var quickFailures = 0
        var startedAt = 0.0
        var startAgainAt = 0.0
        var killAt = Double.infinity
        var reason: String?
    }

    /// In the order in which they start; they stop in the opposite one.
    private enum Role: Int, CaseIterable {
        case database
        case coordinator
        case worker
    }

    private static let backoffSecondsMin = 0.2
    private static let backoffSecondsMax = 10.0
    /// A process that ran for so long had started well.
    private static let steadySeconds = 20.0
    /// Exits with status 1 in a row after which a process counts as misconfigured.
    private static let refusalsMax = 3

    private let home: Home
    private let folder: String
    private let setpriv = findProgram("setpriv")
    private var size: ClusterSize
    private var revision: Int
    private var children: [Child] = []
    private var phase = ClusterState.Phase.starting
    private var step = "starting"
    private var databaseURL: String?
    private var databaseName = "DATABASE_URL"
    private var signals = sigset_t()
    private var lock: Int32 = -1

    init(home: Home, size: ClusterSize) throws {
        self.home = home
        self.size = size
        revision = WantedCluster.read(home)?.revision ?? 0
        folder = try executableFolder()
        sigemptyset(&signals)
        for signal in [SIGTERM, SIGINT, SIGHUP, SIGCHLD] { sigaddset(&signals, signal) }
    }

    /// Runs until SIGTERM or SIGINT.
    func run() throws {
        try home.prepare()
        guard let lock = try SupervisorLock.take(home) else {
            throw StartupFailure("another supervisor runs in \(home.path)")
        }
        self.lock = lock
        sigprocmask(SIG_BLOCK, &signals, nil)
        signal(SIGPIPE, SIG_IGN)
        try WantedCluster(revision: revision, size: size).write(home)
        do {
            try startDatabase()
            startProcesses()
            phase = .running
            publish("running")
        } catch {
            let sentence = "\(error)"
            phase = .failed
            publish(sentence)
            stopAll()
            phase = .failed
            publish(sentence)
            throw StartupFailure(sentence)
        }
        superviseUntilTold()
        stopAll()
        // libzmq leaves them behind.
        for socket in (1...max(1, size.coordinators)).flatMap({ [home.front($0), home.back($0)] }) { unlink(socket) }
        unlink(home.databaseURL)
        unlink(home.state)
    }

    // MARK: Start

    private func startDatabase() throws {
        if DatabaseAddress.isGiven {
            databaseURL = DatabaseAddress.url
        } else {
            publish("preparing the private PostgreSQL cluster")
            let database = try PrivateDatabase(home: home)
            try database.initialise()
            publish("starting PostgreSQL")
            let url = database.url()
            databaseURL = url
            databaseName = url
            var arguments = try database.serverArguments()
            // A supervisor that is killed takes its children with it; SIGINT is PostgreSQL's fast shutdown.
            if arguments[0] == setpriv {
                arguments.insert("--pdeathsig=INT", at: 1)
            } else if let setpriv {
                arguments = [setpriv, "--pdeathsig=INT", "--"] + arguments
            }
            start(
                Child(
                    name: "postgres",
                    role: .database,
                    spawn: Spawn(arguments: arguments, log: home.logs + "/postgres.log")
                )
            )
            try waitForDatabase(database.url(database: "postgres"))
            try database.createDatabase()
            try replaceFile(home.databaseURL, with: url + "\n", mode: 0o600)
        }
        publish("applying migrations")
        try migrate(databaseURL) { [self] in publish($0) }
    }

    private func waitForDatabase(_ url: String) throws {
        let deadline = now() + 300
        while true {
            do {
                _ = try Connection(ConnectionSettings(url: url))
                return
            } catch {
                reap()
                restartDue()
                let server = children[0]
                if server.phase == .failed || now() > deadline {
                    throw StartupFailure(
                        "PostgreSQL does not start: \(server.reason ?? error.message) (\(home.logs)/postgres.log)"
                    )
                }
                if pendingStop(within: 0.05) { throw StartupFailure("stopped while PostgreSQL was starting") }
            }
        }
    }

    private func startProcesses() {
        for index in 1...max(1, size.coordinators) { start(makeChild("coordinator", "mrl-coordinator", index, 1)) }
        adjustWorkers()
    }

    /// Starts and stops workers until there are as many of each kind as wanted.
    private func adjustWorkers() {
        let encoders = size.model == nil ? 0 : size.encoders
        for (kind, executable, count) in [
            ("encoder", "mrl-encoder", encoders), ("shortlist", "mrl-shortlist", size.shortlists),
            ("rerank", "mrl-rerank", size.rerankers),
        ] {
            for index in 1...max(count, 1) where index <= count {
                let name = "\(kind)-\(index)"
                if let place = children.firstIndex(where: { $0.name == name }) {
                    if children[place].phase == .failed {
                        // Made anew, for what it is started with may have changed.
                        children[place] = makeChild(kind, executable, index, 2)
                        launch(place)
                    }
                } else {
                    start(makeChild(kind, executable, index, 2))
                }
            }
            for place in children.indices {
                let parts = children[place].name.split(separator: "-")
                if parts.count == 2, parts[0] == kind, let index = Int(parts[1]), index > count {
                    askToStop(place)
                }
            }
        }
        children.removeAll { $0.phase == .stopping && $0.pid == 0 }
    }

    private func makeChild(_ kind: String, _ executable: String, _ index: Int, _ role: Int) -> Child {
        var environment = size.settings
        environment["MRL_RUN_DIRECTORY"] = home.run
        if size.coordinators > 1 {
            // The first keeps the default endpoints; workers connect to all.
            let back = (1...size.coordinators).map { "ipc://" + home.back($0) }
            if kind == "coordinator" {
                environment["MRL_COORDINATOR_FRONT"] = "ipc://" + home.front(index)
                environment["MRL_COORDINATOR_BACK"] = back[index - 1]
            } else {
                environment["MRL_COORDINATOR_BACK"] = back.joined(separator: ",")
            }
        }
        if let databaseURL { environment["DATABASE_URL"] = databaseURL }
        if kind == "encoder", let model = size.model { environment["MRL_ENCODER_MODEL"] = model }
        // Where workers share the cores, more BLAS threads only spin (and they are made when the library loads).
        if environment["OPENBLAS_NUM_THREADS"] == nil { environment["OPENBLAS_NUM_THREADS"] = "1" }
        var arguments = ["\(folder)/\(executable)"]
        if let setpriv { arguments = [setpriv, "--pdeathsig=TERM", "--"] + arguments }
        let name = kind == "coordinator" && index == 1 ? kind : "\(kind)-\(index)"
        return Child(
            name: name,
            role: Role(rawValue: role)!,
            spawn: Spawn(arguments: arguments, environment: environment, log: "\(home.logs)/\(name).log")
        )
    }

    private func start(_ child: Child) {
        children.append(child)
        rotate(child.spawn.log)
        launch(children.count - 1)
    }

    private func launch(_ place: Int) {
        do {
            children[place].pid = try children[place].spawn.start()
            children[place].phase = .running
            children[place].startedAt = now()
            children[place].reason = nil
        } catch {
            children[place].phase = .failed
            children[place].reason = "\(error)"
        }
    }

    private func rotate(_ log: String?) {
        guard let log else { return }
        var status = stat()
        if stat(log, &status) == 0, status.st_size > 32 << 20 { rename(log, log + ".1") }
    }

    // MARK: Run

    private func superviseUntilTold() {
        while true {
            switch nextSignal(within: secondsToNextTimer()) {
            case SIGTERM, SIGINT: return
            case SIGHUP: takeUpWanted()
            default: break
            }
            reap()
            restartDue()
            killOverdue()
        }
    }

    private func takeUpWanted() {
        guard let wanted = WantedCluster.read(home) else { return }
        size = wanted.size
        revision = wanted.revision
        adjustWorkers()
        startAgain()
        publish(step)
    }

    private func nextSignal(within seconds: Double) -> Int32 {
        var time = timespec(tv_sec: Int(seconds), tv_nsec: Int((seconds - seconds.rounded(.down)) * 1e9))
        return sigtimedwait(&signals, nil, &time)
    }

    private func pendingStop(within seconds: Double) -> Bool {
        let signal = nextSignal(within: seconds)
        return signal == SIGTERM || signal == SIGINT
    }

    private func secondsToNextTimer() -> Double {
        let waits = children.map { $0.phase == .waiting ? $0.startAgainAt : $0.killAt }
        return min(5, max(0.01, (waits.min() ?? .infinity) - now()))
    }

    private func reap() {
        var status: Int32 = 0
        while true {
            let pid = waitpid(-1, &status, WNOHANG)
            guard pid > 0 else { return }
            guard let place = children.firstIndex(where: { $0.pid == pid }) else { continue }
            ended(place, status: status)
        }
    }

    private func ended(_ place: Int, status: Int32) {
        let name = children[place].name
        children[place].pid = 0
        children[place].killAt = .infinity
        if phase == .stopping || children[place].phase == .stopping {
            children[place].phase = .stopping
            if phase == .running {
                children.remove(at: place)
                // It may have been asked for again while it stopped.
                adjustWorkers()
            }
            publish(step)
            return
        }
        let lasted = now() - children[place].startedAt
        let signal = status & 0x7F
        let code = (status >> 8) & 0xFF
        let how = signal != 0 ? "ended by signal \(signal)" : "exited with status \(code)"
        let last = children[place].spawn.log.flatMap(lastLine(of:))
        children[place].reason = code == 1 ? last ?? how : how
        children[place].quickFailures = lasted > Self.steadySeconds ? 1 : children[place].quickFailures + 1
        let failures = children[place].quickFailures
        // Status 1 is how our processes, and PostgreSQL, refuse a configuration; trying on would only fill the log.
        if signal == 0, code == 1, failures >= Self.refusalsMax, !mayPass(place) {
            children[place].phase = .failed
            say("\(name) is given up: \(children[place].reason ?? how)")
        } else {
            let wait = min(Self.backoffSecondsMax, Self.backoffSecondsMin * Double(1 << min(failures - 1, 10)))
            children[place].phase = .waiting
            children[place].startAgainAt = now() + wait
            say("\(name) \(how) after \(Int(lasted)) s; starting it again in \(wait) s")
        }
        publish(step)
    }

    /// A refusal has a cause that goes away by itself.
    private func mayPass(_ place: Int) -> Bool {
        guard children[place].role == .database else {
            return children.contains { $0.role == .database && $0.phase == .waiting }
        }
        // It has run with this configuration, so the cluster is never left without it.
        if phase == .running { return true }
        // What a killed server leaves behind holds its shared memory or its lock file for some time.
        let reason = children[place].reason ?? ""
        return reason.contains("old server processes") || reason.contains("another postmaster")
    }

    /// Starts at once what was given up or waits for its turn.
    private func startAgain() {
        for place in children.indices where children[place].phase == .failed || children[place].phase == .waiting {
            children[place].quickFailures = 0
            children[place].restarts += 1
            launch(place)
        }
    }

    private func restartDue() {
        let time = now()
        for place in children.indices where children[place].phase == .waiting {
            guard children[place].startAgainAt <= time else { continue }
            children[place].restarts += 1
            launch(place)
            publish(step)
        }
    }

    // MARK: Stop

    private func askToStop(_ place: Int) {
        guard children[place].phase != .stopping else { return }
        if children[place].pid > 0 {
            kill(children[place].pid, SIGTERM)
            // The worker's own grace, and some more for a slow machine.
            children[place].killAt = now() + graceSeconds + 5
        }
        children[place].phase = .stopping
    }

    private var graceSeconds: Double { size.settings["MRL_WORKER_GRACE_SECONDS"].flatMap(Double.init) ?? 10 }

    private func killOverdue() {
        let time = now()
        for place in children.indices where children[place].killAt <= time && children[place].pid > 0 {
            kill(children[place].pid, SIGKILL)
            children[place].killAt = time + 1
        }
    }

    /// Workers first, then the coordinators, then PostgreSQL.
    private func stopAll() {
        phase = .stopping
        for role in Role.allCases.reversed() {
            let places = children.indices.filter { children[$0].role == role && children[$0].pid > 0 }
            guard !places.isEmpty else { continue }
            publish("stopping " + places.map { children[$0].name }.joined(separator: ", "))
            for place in places {
                children[place].phase = .stopping
                kill(children[place].pid, role == .database ? SIGINT : SIGTERM)
            }
            // Nobody is left to take the shards over, so a worker's grace would be waited for nothing: the second
            // signal comes once requests in flight are answered.
            let second = now() + 1.5
            let last = now() + (role == .database ? 60 : graceSeconds)
            var sentSecond = role == .database
            while places.contains(where: { children[$0].pid > 0 }) {
                _ = nextSignal(within: 0.05)
                reap()
                let time = now()
                if !sentSecond, time > second {
                    sentSecond = true
                    for place in places where children[place].pid > 0 { kill(children[place].pid, SIGTERM) }
                }
                if time > last {
                    for place in places where children[place].pid > 0 { kill(children[place].pid, SIGKILL) }
                }
            }
        }
        publish("stopped")
    }

    // MARK: Tell

    private func publish(_ step: String) {
        if step != self.step { say(step) }
        self.step = step
        let processes = children.map {
            ProcessState(name: $0.name, pid: $0.pid, phase: $0.phase, restarts: $0.restarts, reason: $0.reason)
        }
        let state = ClusterState(
            pid: getpid(),
            phase: phase,
            step: step,
            database: databaseName,
            wantedRevision: revision,
            processes: processes
        )
        do { try state.write(home) } catch { say("\(error)") }
    }

    private func say(_ text: String) {
        var line = [UInt8]("mrl up: \(text)\n".utf8)
        _ = write(2, &line, line.count)
    }
}

/// Applies the migrations that the database lacks.
func migrate(_ url: String?, progress: (String) -> Void) throws {
    let connection: Connection
    do {
        connection = try Connection(ConnectionSettings(url: url))
    } catch {
        throw StartupFailure("cannot connect to the database: \(error.message)")
    }
    try Store(connection).migrate(progress: progress)
}
