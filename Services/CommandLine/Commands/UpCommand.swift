import ArgumentParser
import CommandHelp
import FoundationEssentials
import Glibc
import ServiceRuntime
import WireProtocol

/// `mrl up`.
struct UpCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up",
        abstract: "Start PostgreSQL, a coordinator and workers on this machine, and keep them running.",
        usage: "mrl up [<options>]",
        discussion: helpDiscussion(
            """
            Returns when everything is ready. Running it twice is harmless: the second time it says what runs, and
            starts again what was given up; other numbers and settings than it runs with it does not take up, and
            says so. With DATABASE_URL (or libpq's own variables) no PostgreSQL is started.
            """,
            examples: """
                mrl up
                mrl up --shortlists 4 --capacity 512MiB
                mrl up --foreground                     for systemd and containers
                DATABASE_URL=postgresql://mrl@db/mrl mrl up
                """
        )
    )

    @OptionGroup var home: HomeOption
    @Option(help: "Coordinators. (default: \(ClusterSize().coordinators))") var coordinators: Int?
    @Option(help: "Encoder workers; they need a model. (default: \(ClusterSize().encoders))") var encoders: Int?
    @Option(help: "Shortlist workers. (default: \(ClusterSize().shortlists))") var shortlists: Int?
    @Option(help: "Rerank workers. (default: \(ClusterSize().rerankers))") var rerankers: Int?
    @Option(help: ArgumentHelp("Model directory; default: models/default in the home.", valueName: "dir"))
    var model: String?
    @Option(
        help: ArgumentHelp(
            "Memory that each worker offers for rows. \(SettingKey.workerCapacityBytes.setting.origins)",
            valueName: "bytes"
        )
    )
    var capacity: String?
    @Option(help: .configurationFile) var config: String?
    @Option(
        help: ArgumentHelp("A setting of all processes, for example --set log.level=debug.", valueName: "key=value")
    )
    var set: [String] = []
    @Option(help: ArgumentHelp("How long to wait until everything is ready.", valueName: "seconds")) var wait = 120
    @Flag(help: "Stay in the foreground and supervise; ends with SIGTERM or Ctrl-C.") var foreground = false

    func validate() throws {
        for (name, count) in [("encoders", encoders), ("shortlists", shortlists), ("rerankers", rerankers)] {
            guard let count, !(0...64).contains(count) else { continue }
            throw ValidationError("--\(name) is \(count); allowed: 0 to 64")
        }
        if let coordinators, !(1...8).contains(coordinators) {
            throw ValidationError("--coordinators is \(coordinators); allowed: 1 to 8")
        }
    }

    func run() throws {
        let home = try home.resolved()
        let size = try size(home)
        if foreground {
            Self.becomeSingleThreaded()
            try Supervisor(home: home, size: size).run()
            return
        }
        if try SupervisorLock.isHeld(home) {
            try startAgain(home, size)
        } else {
            try startInBackground(home, size)
        }
        try waitUntilReady(home)
    }

    /// OpenBLAS starts threads when it is loaded, and a signal that reaches one of them ends the process: starts this
    /// process over without them.
    private static func becomeSingleThreaded() {
        guard ProcessInfo.processInfo.environment["OPENBLAS_NUM_THREADS"] != "1" else { return }
        setenv("OPENBLAS_NUM_THREADS", "1", 1)
        let arguments = ProcessInfo.processInfo.arguments
        withCStrings(arguments) { _ = execv("/proc/self/exe", $0) }
    }

    private func size(_ home: Home) throws -> ClusterSize {
        var size = ClusterSize()
        size.coordinators = coordinators ?? size.coordinators
        size.encoders = encoders ?? size.encoders
        size.shortlists = shortlists ?? size.shortlists
        size.rerankers = rerankers ?? size.rerankers
        if let model {
            size.model = absolutePath(model)
            guard exists(size.model!) else { throw StartupFailure("there is no model directory \(size.model!)") }
        } else if let model = ProcessInfo.processInfo.environment["MRL_ENCODER_MODEL"], !model.isEmpty {
            size.model = absolutePath(model)
        } else if exists(home.model) {
            size.model = home.model
        }
        var flags: [String: String] = ["run.directory": home.run]
        if let capacity { flags["worker.capacity_bytes"] = capacity }
        for text in set {
            let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2 else { throw ValidationError("--set \(text) is not of the form key=value") }
            flags[parts[0]] = parts[1]
        }
        var check = flags
        if let config {
            size.settings["MRL_CONFIG"] = absolutePath(config)
            check["config"] = config
        }
        // Checked here, so that a mistake is one sentence and not one in every worker's log.
        _ = try Settings(flags: check)
        for sentence in Settings.unknownVariables() { Output.note("mrl up: \(sentence)") }
        for setting in Setting.all { flags[setting.name].map { size.settings[setting.environment[0]] = $0 } }
        return size
    }

    private func startInBackground(_ home: Home, _ size: ClusterSize) throws {
        try home.prepare()
        unlink(home.state)
        var arguments = [
            try executableFolder() + "/mrl", "up", "--foreground", "--home", home.path,
            "--coordinators", "\(size.coordinators)", "--encoders", "\(size.encoders)",
            "--shortlists", "\(size.shortlists)", "--rerankers", "\(size.rerankers)",
        ]
        if let model = size.model { arguments += ["--model", model] }
        if let capacity { arguments += ["--capacity", capacity] }
        if let config { arguments += ["--config", absolutePath(config)] }
        for text in set { arguments += ["--set", text] }
        let log = home.logs + "/supervisor.log"
        let child = try Spawn(arguments: arguments, log: log, newSession: true).start()
        var shown = ""
        while true {
            var status: Int32 = 0
            if waitpid(child, &status, WNOHANG) == child {
                let state = ClusterState.read(home)
                let reason = state?.phase == .failed ? state?.step : lastLine(of: log)
                throw StartupFailure(reason ?? "the supervisor ended at once (\(log))")
            }
            if let state = ClusterState.read(home), state.pid == child {
                if state.phase == .running { return }
                if state.step != shown, state.phase == .starting { Output.note("  \(state.step)") }
                shown = state.step
            }
            usleep(20_000)
        }
    }

    /// Lets a running supervisor try again what it gave up, and serve a model that it had not.
    private func startAgain(_ home: Home, _ asked: ClusterSize) throws {
        Output.note("A cluster runs in \(home.path) already.")
        if let running = WantedCluster.read(home)?.size {
            for sentence in notTakenUp(asked, running) { Output.note(sentence) }
        }
        let isDown =
            ClusterState.read(home)?.processes.contains { $0.phase == .failed || $0.phase == .waiting } ?? false
        let isNewModel = asked.model != nil && WantedCluster.read(home)?.size.model == nil
        guard isDown || isNewModel else { return }
        try changeWanted(home) { size in size.model = asked.model ?? size.model }
    }

    /// What was asked for and differs from what a running cluster has, with the way to change it.
    func notTakenUp(_ asked: ClusterSize, _ running: ClusterSize) -> [String] {
        var sentences: [String] = []
        for (option, kind, wanted, count) in [
            ("encoders", "encoder", encoders, running.encoders),
            ("shortlists", "shortlist", shortlists, running.shortlists),
            ("rerankers", "rerank", rerankers, running.rerankers),
        ] {
            guard let wanted, wanted != count else { continue }
            sentences.append("--\(option) \(wanted) is not taken up, \(count) run: mrl scale \(kind) \(wanted)")
        }
        var others: [String] = []
        if let coordinators, coordinators != running.coordinators { others.append("--coordinators \(coordinators)") }
        if model != nil, running.model != nil, asked.model != running.model { others.append("--model \(asked.model!)") }
        others += asked.settings.filter { running.settings[$0.key] != $0.value }.map { "\($0.key)=\($0.value)" }
            .sorted()
        if !others.isEmpty {
            sentences.append("\(others.joined(separator: ", ")) is not taken up: mrl down, then mrl up with it")
        }
        return sentences
    }

    private func waitUntilReady(_ home: Home) throws {
        guard let wanted = WantedCluster.read(home)?.size else { throw StartupFailure("\(home.wanted) is missing") }
        let client = try FrontClient(try clientSettings(home: home))
        let deadline = now() + Double(wait)
        var missing = "no coordinator"
        while now() < deadline {
            if let state = ClusterState.read(home) {
                if let failed = state.processes.first(where: { $0.phase == .failed }) {
                    throw StartupFailure("\(failed.name) does not start: \(failed.reason ?? "see \(home.logs)")")
                }
            } else if try !SupervisorLock.isHeld(home) {
                throw StartupFailure("the cluster was stopped")
            }
            if let json = try? client.object(.status, deadlineMilliseconds: 1_000) {
                let status = StatusReport(json)
                missing = status.missing(for: wanted)
                if missing.isEmpty {
                    Output.line(status.summary)
                    report(home, wanted)
                    return
                }
            }
            usleep(100_000)
        }
        throw StartupFailure("not everything is ready after \(wait) s: \(missing); see mrl status and \(home.logs)")
    }

    private func report(_ home: Home, _ wanted: ClusterSize) {
        var table = Table(["process", "pid", "log"])
        for process in ClusterState.read(home)?.processes ?? [] {
            table.add([process.name, "\(process.pid)", "\(home.logs)/\(process.name).log"])
        }
        Output.line("\n\(table.text)\n")
        let front = (try? clientSettings(home: home)[.coordinatorFront].joined(separator: ", ")) ?? home.front
        Output.line("Clients connect to \(front).")
        if wanted.model == nil {
            Output.line("No model yet, so no encoder runs: make one with mrl train, or name one with --model.")
        }
    }
}

/// `mrl down`.
struct DownCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "down",
        abstract: "Stop everything that mrl up started, gracefully.",
        discussion: helpDiscussion(
            """
            Workers stop first, then the coordinator, then PostgreSQL. The data stays.
            """,
            examples: """
                mrl down
                mrl down --home /srv/matryoshka
                """
        )
    )

    @OptionGroup var home: HomeOption

    func run() throws {
        let home = try home.resolved()
        guard try SupervisorLock.isHeld(home) else {
            Output.line("Nothing runs in \(home.path).")
            return
        }
        guard let state = ClusterState.read(home) else {
            throw StartupFailure("a supervisor runs in \(home.path) but \(home.state) cannot be read")
        }
        guard kill(state.pid, SIGTERM) == 0 else {
            throw StartupFailure("cannot stop process \(state.pid): \(systemError())")
        }
        var shown = ""
        let deadline = now() + 120
        while try SupervisorLock.isHeld(home) {
            if let step = ClusterState.read(home)?.step, step != shown, step.hasPrefix("stopping") {
                Output.note("  \(step)")
                shown = step
            }
            guard now() < deadline else { throw StartupFailure("process \(state.pid) does not stop") }
            usleep(20_000)
        }
        Output.line("Stopped. The data stays in \(home.path).")
    }
}

/// `mrl scale`.
struct ScaleCommand: ParsableCommand {
    /// What can be scaled.
    enum Kind: String, ExpressibleByArgument, CaseIterable {
        case encoder
        case shortlist
        case rerank
    }

    static let configuration = CommandConfiguration(
        commandName: "scale",
        abstract: "Change how many workers of a kind run; shards move by themselves, without a lost query.",
        discussion: helpDiscussion(
            examples: """
                mrl scale shortlist 3
                mrl scale rerank 2
                """
        )
    )

    @OptionGroup var home: HomeOption
    @Argument(help: "encoder, shortlist or rerank.") var kind: Kind
    @Argument(help: "How many shall run.") var count: Int
    @Option(help: ArgumentHelp("How long to wait until all is ready.", valueName: "seconds")) var wait = 60

    func validate() throws {
        guard (0...64).contains(count) else { throw ValidationError("the count is \(count); allowed: 0 to 64") }
    }

    func run() throws {
        let home = try home.resolved()
        try changeWanted(home) { size in
            switch kind {
            case .encoder: size.encoders = count
            case .shortlist: size.shortlists = count
            case .rerank: size.rerankers = count
            }
        }
        let client = try FrontClient(try clientSettings(home: home))
        let deadline = now() + Double(wait)
        var missing = ""
        var shown = ""
        while now() < deadline {
            let status = StatusReport(try client.object(.status))
            let wanted = WantedCluster.read(home)?.size ?? ClusterSize()
            missing = status.missing(for: wanted)
            let running = status.workers.count { $0.role == kind.rawValue }
            if missing.isEmpty, running == count, status.isSettled(kind.rawValue) {
                Output.line(status.summary)
                return
            }
            if missing.isEmpty {
                missing = running > count ? "\(running - count) \(kind.rawValue) still stopping" : "shards are moving"
            }
            if missing != shown { Output.note("  waiting: \(missing)") }
            shown = missing
            usleep(100_000)
        }
        throw StartupFailure("not done after \(wait) s: \(missing)")
    }
}

/// Changes what a running supervisor shall run, and waits until it has taken it up.
func changeWanted(_ home: Home, _ change: (inout ClusterSize) -> Void) throws {
    guard try SupervisorLock.isHeld(home), let state = ClusterState.read(home) else {
        throw StartupFailure("nothing runs in \(home.path): start it with mrl up")
    }
    var wanted = WantedCluster.read(home) ?? WantedCluster(revision: 0, size: ClusterSize())
    wanted.revision += 1
    change(&wanted.size)
    try wanted.write(home)
    guard kill(state.pid, SIGHUP) == 0 else {
        throw StartupFailure("cannot tell process \(state.pid): \(systemError())")
    }
    let deadline = now() + 10
    while (ClusterState.read(home)?.wantedRevision ?? 0) < wanted.revision {
        guard now() < deadline else { throw StartupFailure("the supervisor does not take the change up") }
        usleep(10_000)
    }
}
