public import Logging
public import ServiceRuntime
public import WireProtocol
import ZeroMQ

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// A worker from its settings to its end.
///
/// Make it first thing, before any thread is started.
public final class WorkerProcess {
    /// Version of the build.
    public static let version = "0.1.0"

    /// All settings, checked.
    public let settings: Settings
    /// The process's log.
    public let log: Logger
    private let role: WorkerRole
    private let signals: TerminationSignals
    private let loop: EventLoop

    /// Reads the settings, sets logging and signals up.
    public init(_ role: WorkerRole, flags: [String: String]) throws {
        // Read by OpenBLAS when it starts its threads: workers share cores.
        setenv("OPENBLAS_NUM_THREADS", "1", 1)
        self.role = role
        signals = TerminationSignals()
        settings = try Settings(flags: flags)
        configureLogging(
            level: Logger.Level(rawValue: settings[.logLevel]) ?? .info,
            format: LogFormat(rawValue: settings[.logFormat]) ?? .text
        )
        log = Logger(label: "mrl-\(role.rawValue)")
        warnOfUnknownVariables(log)
        ServiceProcess.raiseOpenFileLimit()
        loop = try EventLoop(name: "mrl-\(role.rawValue)")
    }

    /// Threads that compute, and their cores.
    ///
    /// - Throws: `StartupFailure` where the cores cannot be had.
    public func threads() throws -> ThreadPlacement {
        try ThreadPlacement(count: settings[.workerThreads], list: settings[.workerCPUs])
    }

    /// Requests of one coordinator that may wait: its share of the credit.
    public var creditPerLink: Int { max(1, settings[.workerCredit] / settings[.coordinatorBack].count) }

    /// Tells, from any thread, that heartbeats have something new to say.
    public var stateChanged: @Sendable () -> Void {
        let relay = relay
        return { relay.call() }
    }
    private let relay = ChangeRelay()

    /// Serves until the worker is told to stop and has drained, or is refused.
    ///
    /// - Throws: `StartupFailure` where a setting cannot be used; otherwise it does not return.
    public func run(
        desk: RequestDesk,
        host: (any ShardHolding)? = nil,
        model: ModelReport? = nil,
        classifier: ClassifierReport? = nil
    ) throws -> Never {
        let endpoints = settings[.coordinatorBack]
        var options = SocketOptions()
        options.curve = try curve()
        let registration = Register(
            role: role,
            host: Self.hostName,
            pid: getpid(),
            process: .random(),
            build: Self.version,
            capacityBytes: host == nil ? 0 : settings[.workerCapacityBytes],
            credit: creditPerLink,
            model: model,
            classifier: classifier
        )
        let link = CoordinatorLink(
            loop: loop,
            context: Context(),
            endpoints: endpoints,
            options: options,
            registration: registration,
            desk: desk,
            host: host,
            log: log
        ) { [log] ending in
            switch ending {
            case .drained: exitCleanly()
            case .rejected(let reject):
                log.critical("refused by the coordinator: \(reject.message)", metadata: ["code": "\(reject.code)"])
                exit(1)
            }
        }
        relay.set(link.stateChanged)
        watchSignals(link)
        do {
            try link.start()
        } catch {
            throw StartupFailure("\(error)")
        }
        log.info("connecting", metadata: ["coordinators": "\(endpoints.joined(separator: ","))"])
        loop.run()
        exitCleanly()
    }

    private func watchSignals(_ link: CoordinatorLink) {
        let grace = settings[.workerGraceSeconds]
        var isStopping = false
        loop.watch(fileDescriptor: signals.fileDescriptor) { [loop, signals, log] in
            while let signal = signals.next() {
                if isStopping { TerminationSignals.exitAtOnce(signal) }
                isStopping = true
                loop.schedule(afterMicroseconds: grace * 1_000_000) {
                    log.warning("leaving after the grace of \(grace) s, not everything was handed over")
                    exitCleanly()
                }
                link.drain()
            }
        }
    }

    private func curve() throws -> CurveOptions? {
        guard settings[.curveSecretKeyFile] != nil || settings[.curveServerKey] != nil else { return nil }
        do {
            let file = try settings.required(.curveSecretKeyFile)
            let server = try CurveKeyPair.publicKey(textOrFile: try settings.required(.curveServerKey))
            return .client(CurveClientOptions(keys: try CurveKeyPair(secretKeyFile: file), serverPublicKey: server))
        } catch let error as ZeroMQError {
            throw StartupFailure("\(error)")
        }
    }

    private static var hostName: String {
        var name = [CChar](repeating: 0, count: 256)
        gethostname(&name, 255)
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

private final class ChangeRelay: @unchecked Sendable {
    // Unchecked: the closure is guarded by the lock.
    private let lock = Lock()
    private var body: (@Sendable () -> Void)?

    func set(_ body: @escaping @Sendable () -> Void) { lock.withLock { self.body = body } }
    func call() { lock.withLock { body }?() }
}
