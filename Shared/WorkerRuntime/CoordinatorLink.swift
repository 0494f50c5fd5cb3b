public import Logging
import ServiceRuntime
public import WireProtocol
public import ZeroMQ

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// What a worker holds, for registrations and heartbeats.
public struct Holdings: Sendable, Hashable {
    /// All shards.
    public var shards: [ShardReport]
    /// Bytes of rows.
    public var residentBytes: Int
    /// The database can be reached.
    public var isDatabaseReachable: Bool
    /// The last map lists nothing for this worker.
    public var isNothingListed: Bool

    /// Makes a report.
    public init(
        shards: [ShardReport] = [],
        residentBytes: Int = 0,
        isDatabaseReachable: Bool = true,
        isNothingListed: Bool = true
    ) {
        self.shards = shards
        self.residentBytes = residentBytes
        self.isDatabaseReachable = isDatabaseReachable
        self.isNothingListed = isNothingListed
    }
}

/// What holds shards by the coordinators' maps.
public protocol ShardHolding: AnyObject, Sendable {
    /// Takes a map over; an older one than seen is ignored.
    func apply(_ map: ShardAssignments)
    /// Another incarnation has begun, whose maps count anew.
    func forgetEpoch()
    /// Epoch of the last map.
    var epoch: UInt64 { get }
    /// What is held now.
    var holdings: Holdings { get }
}

/// A worker's connections to all coordinators: one DEALER each, with registration, heartbeats and draining.
///
/// All runs on the loop's thread, save ``stateChanged()`` and the delivery of answers, which hop there.
public final class CoordinatorLink: @unchecked Sendable {
    // Unchecked, because everything that changes is confined to the loop's thread.
    /// How the connections end.
    public enum Ending: Sendable, Hashable {
        /// Everything is answered and handed over, or the grace is over.
        case drained
        /// A coordinator refuses the worker.
        case rejected(Reject)
    }

    private struct Peer {
        var endpoint: String
        var socket: Socket?
        var monitor: SocketMonitor?
        /// A handshake has failed since the last one that succeeded, and the log tells so.
        var hasToldOfFailure = false
        var session: UInt32 = 0
        var state: LinkState
    }

    /// Two beats that were asked for are at least so far apart.
    private static let beatGapMicroseconds: UInt64 = 10_000
    /// How long what was sent last may take to leave the process.
    private static let flushMicroseconds = 100_000

    private let loop: EventLoop
    private let context: Context
    private let options: SocketOptions
    private let desk: RequestDesk
    private let host: (any ShardHolding)?
    private let registration: Register
    private let log: Logger
    private var peers: [Peer]
    private var incarnation: UInt64 = 0
    private var beatAskedFor = false
    private var lastAskedBeat: UInt64 = 0
    private var timer: TimerID?
    private var isDraining = false
    private var hasEnded = false
    private var wasReady = false
    private let ended: (Ending) -> Void

    /// Makes links that ``start()`` opens.
    ///
    /// - Parameters:
    ///   - loop: All runs there.
    ///   - context: The process's only one.
    ///   - endpoints: One of each coordinator.
    ///   - options: Of every socket.
    ///   - registration: What REGISTER says, without shards; its credit is the share of one coordinator.
    ///   - desk: Takes the requests.
    ///   - host: Takes the maps; nil where the worker holds no shards.
    ///   - log: Tells of registrations and losses.
    ///   - leaseMicroseconds: How long a coordinator may be silent before it has said so itself.
    ///   - ended: Called once, on the loop.
    public init(
        loop: EventLoop,
        context: Context,
        endpoints: [String],
        options: SocketOptions,
        registration: Register,
        desk: RequestDesk,
        host: (any ShardHolding)?,
        log: Logger,
        leaseMicroseconds: UInt64 = 5_000_000,
        ended: @escaping (Ending) -> Void
    ) {
        self.loop = loop
        self.context = context
        self.options = options
        self.registration = registration
        self.desk = desk
        self.host = host
        self.log = log
        self.ended = ended
        let now = EventLoop.nowMicroseconds()
        peers = endpoints.map {
            Peer(endpoint: $0, state: LinkState(now: now, leaseMicroseconds: leaseMicroseconds))
        }
        desk.connect { [weak self] answers in
            guard let self else { return }
            self.loop.enqueue { self.send(answers) }
        }
    }

    /// Connects; on the loop's thread or before it runs.
    public func start() throws(ZeroMQError) {
        for index in peers.indices { try open(index) }
        act()
    }

    /// Something that heartbeats tell has changed: beats at once; any thread.
    public func stateChanged() { loop.enqueue { self.beatSoon() } }

    /// Asks for the worker's shards to be moved, and ends once that is done and all is answered.
    public func drain() {
        guard !isDraining else { return }
        isDraining = true
        log.notice("draining")
        for index in peers.indices where peers[index].state.isRegistered { beat(index) }
        checkDrained()
    }

    // MARK: - Sockets

    private func open(_ index: Int) throws(ZeroMQError) {
        if let monitor = peers[index].monitor {
            loop.unwatch(monitor.socket)
            monitor.close()
            peers[index].monitor = nil
        }
        if let old = peers[index].socket {
            loop.unwatch(old)
            old.close()
            peers[index].socket = nil
            desk.forget(link: index)
        }
        let socket = try Socket(context, .dealer, options: options)
        let monitor = try SocketMonitor(context, of: socket)
        peers[index].socket = socket
        peers[index].monitor = monitor
        peers[index].session += 1
        loop.watch(monitor.socket) { [unowned self] in self.observe(index) }
        loop.watch(socket) { [unowned self] in self.receive(index) }
        try socket.connect(peers[index].endpoint)
    }

    /// What the monitor tells of a link; a refused key would otherwise look like a coordinator that is away.
    private func observe(_ index: Int) {
        do {
            while let event = try peers[index].monitor?.next() {
                switch event {
                case .ready:
                    if peers[index].hasToldOfFailure { log.notice("\(peers[index].endpoint) admits this worker now") }
                    peers[index].hasToldOfFailure = false
                    peers[index].state.admitted()
                case .disconnected: break
                case .refused:
                    peers[index].state.refused(now: EventLoop.nowMicroseconds())
                    tellOnce(index, "refuses this worker's key\(keyText): add it to curve.back_allow_list there")
                    act()
                case .handshakeFailed:
                    tellOnce(index, "does not complete the handshake: \(handshakeHint)")
                }
            }
        } catch {
            log.error("cannot monitor \(peers[index].endpoint): \(error)")
        }
    }

    private func tellOnce(_ index: Int, _ sentence: String) {
        guard !peers[index].hasToldOfFailure else { return }
        peers[index].hasToldOfFailure = true
        log.warning("\(peers[index].endpoint) \(sentence); trying on")
    }

    private var handshakeHint: String {
        options.curve == nil
            ? "it hangs, or it wants CURVE keys (curve.secret_key_file, curve.server_key)"
            : "it hangs, or curve.server_key is not its public key"
    }

    private var keyText: String {
        guard case .client(let client)? = options.curve else { return "" }
        return " \(client.keys.publicKey)"
    }

    private func reopen(_ index: Int) {
        do {
            try open(index)
        } catch {
            log.error("cannot connect to \(peers[index].endpoint): \(error)")
        }
        peers[index].state.reopened(now: EventLoop.nowMicroseconds())
    }

    private func transmit(_ index: Int, _ frames: [[UInt8]]) -> Bool {
        guard let socket = peers[index].socket else { return false }
        do {
            return try socket.send(frames) == .sent
        } catch {
            log.error("cannot send to \(peers[index].endpoint): \(error)")
            return false
        }
    }

    private func send(_ answers: [WorkerAnswer]) {
        for answer in answers where peers[answer.origin.link].session == answer.origin.session {
            _ = transmit(answer.origin.link, answer.frames)
        }
        if isDraining { checkDrained() }
    }

    // MARK: - Time

    /// Does what is due on every link, then sets the timer for what is due next.
    private func act() {
        guard !hasEnded else { return }
        let now = EventLoop.nowMicroseconds()
        for index in peers.indices {
            while let action = peers[index].state.due(now: now) {
                switch action {
                case .register: register(index)
                case .beat: beat(index)
                case .reopen:
                    if peers[index].state.isRegistered, !peers[index].hasToldOfFailure {
                        log.warning("\(peers[index].endpoint) is silent, connecting anew")
                    }
                    reopen(index)
                }
            }
            // A refused key or handshake has been told already, with its own advice.
            if let seconds = peers[index].state.missedSeconds(now: now), !peers[index].hasToldOfFailure {
                tellMissed(peers[index].endpoint, seconds)
            }
        }
        if isDraining { checkDrained() }
        let next = peers.map(\.state.nextDue).min() ?? now + 1_000_000
        if let timer { loop.cancel(timer) }
        timer = loop.schedule(afterMicroseconds: next > now ? Int(next - now) : 0) { [unowned self] in self.act() }
    }

    private func tellMissed(_ endpoint: String, _ seconds: Int) {
        let scheme = "ipc://"
        let isThere = !endpoint.hasPrefix(scheme) || access(String(endpoint.dropFirst(scheme.count)), F_OK) == 0
        log.warning(
            """
            no coordinator answers at \(endpoint)\(isThere ? "" : ", where no socket is,") for \(seconds) s; trying on. \
            Is one running, and does coordinator.back (MRL_COORDINATOR_BACK, or MRL_RUN_DIRECTORY) name its endpoint?
            """
        )
    }

    private func register(_ index: Int) {
        var body = registration
        body.shards = host?.holdings.shards ?? []
        let isSent = transmit(index, BackMessage(.register(body), header).encode())
        peers[index].state.sentRegister(now: EventLoop.nowMicroseconds(), wasAccepted: isSent)
    }

    private func beat(_ index: Int) {
        let load = desk.load
        let holdings = host?.holdings ?? Holdings()
        let body = Heartbeat(
            inFlight: load.inFlight,
            progressAgeMilliseconds: load.progressAgeMilliseconds,
            shards: holdings.shards,
            residentBytes: holdings.residentBytes,
            answered: load.answered,
            draining: isDraining,
            databaseReachable: holdings.isDatabaseReachable
        )
        let isSent = transmit(index, BackMessage(.heartbeat(body), header).encode())
        peers[index].state.sentBeat(now: EventLoop.nowMicroseconds(), wasAccepted: isSent)
    }

    private func beatSoon() {
        guard !beatAskedFor, !hasEnded else { return }
        let now = EventLoop.nowMicroseconds()
        let earliest = lastAskedBeat + Self.beatGapMicroseconds
        beatAskedFor = true
        let job = { [unowned self] in
            self.beatAskedFor = false
            self.lastAskedBeat = EventLoop.nowMicroseconds()
            for index in self.peers.indices where self.peers[index].state.isRegistered { self.beat(index) }
        }
        if now >= earliest { return job() }
        loop.schedule(afterMicroseconds: Int(earliest - now), job)
    }

    private var header: BackHeader {
        BackHeader(type: .cancel, incarnation: incarnation, epoch: host?.epoch ?? 0)
    }

    // MARK: - Receiving

    private func receive(_ index: Int) {
        guard let socket = peers[index].socket else { return }
        do {
            try socket.drain { received in
                let now = EventLoop.nowMicroseconds()
                peers[index].state.heard(now: now)
                guard !received.isTruncated else { return }
                do {
                    handle(try BackMessage.decode(frames: received.frames), from: index, now: now)
                } catch {
                    log.warning("\(peers[index].endpoint) sent what is no message: \(error)")
                    refuseUnreadable(received.frames, from: index, "\(error)")
                }
            }
        } catch {
            log.error("cannot receive from \(peers[index].endpoint): \(error)")
        }
    }

    private func handle(_ message: BackMessage, from index: Int, now: UInt64) {
        switch message.body {
        case .registered(let answer): registered(answer, by: index, now: now)
        case .reject(let reject): end(.rejected(reject))
        case .whoAreYou:
            peers[index].state.wasForgotten(now: now)
            act()
        case .heartbeatReply:
            peers[index].state.beatWasAnswered()
            if isDraining { checkDrained() }
        case .map(let map):
            host?.apply(map)
            if isDraining { checkDrained() }
        case .drain:
            peers[index].state.toldToDrain()
            isDraining ? checkDrained() : drain()
        case .cancel:
            desk.cancel(
                RequestOrigin(link: index, session: peers[index].session, request: message.header.request)
            )
        case .search, .rerank, .fetch, .encode, .classify, .train: take(message, from: index, now: now)
        case .register, .heartbeat, .drained, .trained, .hits, .scores, .documents, .vectors, .labels, .failed:
            log.warning("\(peers[index].endpoint) sent a \(message.header.type), which only workers send")
        }
    }

    /// A request that cannot be read is answered too: it takes credit over there.
    private func refuseUnreadable(_ frames: [[UInt8]], from index: Int, _ reason: String) {
        guard let first = frames.first, let request = BackMessage.request(of: first) else { return }
        let header = BackHeader(type: .failed, request: request, incarnation: incarnation)
        _ = transmit(index, BackMessage(.failed(Failed(code: "BAD_FRAME", message: reason)), header).encode())
    }

    private func take(_ message: BackMessage, from index: Int, now: UInt64) {
        var message = message
        message.header.incarnation = incarnation
        message.header.epoch = host?.epoch ?? 0
        let request = WorkerRequest(
            origin: RequestOrigin(link: index, session: peers[index].session, request: message.header.request),
            message: message,
            receivedAt: now
        )
        guard !desk.receive(request) else { return }
        _ = transmit(index, request.failed("OVERLOADED", "the worker's queue is full").frames)
    }

    private func registered(_ answer: Registered, by index: Int, now: UInt64) {
        let isOnly = !peers.indices.contains { $0 != index && peers[$0].state.isRegistered }
        switch peers[index].state.registered(answer, carried: incarnation, isOnly: isOnly, now: now) {
        case .registerAgain:
            // A coordinator keeps the incarnation of a route, so the new REGISTER takes a new one.
            reopen(index)
        case .carries(let carried):
            if incarnation != 0, carried != incarnation { host?.forgetEpoch() }
            incarnation = carried
            log.log(
                level: wasReady ? .info : .notice,
                wasReady ? "registered" : "ready",
                metadata: ["coordinator": "\(answer.coordinator)", "incarnation": "\(carried)"]
            )
            wasReady = true
        }
        act()
    }

    // MARK: - The end

    private func checkDrained() {
        guard isDraining, !hasEnded, desk.load.inFlight == 0 else { return }
        let isNothingListed = host?.holdings.isNothingListed ?? true
        for peer in peers where peer.state.isRegistered {
            // What a coordinator sent before it read that we drain has come before its answer to that beat.
            let isAnswered = peer.state.beatsSent > 0 && peer.state.beatsAnswered >= peer.state.beatsSent
            guard peer.state.wasToldToDrain || (isNothingListed && isAnswered) else { return }
        }
        for index in peers.indices where peers[index].state.isRegistered {
            _ = transmit(index, BackMessage(.drained, header).encode())
        }
        log.notice("drained")
        hasEnded = true
        loop.schedule(afterMicroseconds: Self.flushMicroseconds) { [unowned self] in self.ended(.drained) }
    }

    private func end(_ ending: Ending) {
        guard !hasEnded else { return }
        hasEnded = true
        ended(ending)
    }
}
