public import WireProtocol

/// A worker that has registered and has not been counted out.
public struct Worker: Sendable {
    /// Fencing token; the higher of two wins.
    public let incarnation: UInt64
    /// ZeroMQ routing id under which it was last heard.
    public var route: [UInt8]
    /// As it registered.
    public var registration: Register
    /// Last beat.
    public var heartbeat: Heartbeat?
    /// Microseconds on the coordinator's monotonic clock.
    public var lastHeard: UInt64
    /// Requests sent and not answered.
    public var inFlight: Int
    /// Moving average of the time to answer, in microseconds.
    public var answerMicroseconds: Double
    /// Its compute threads have stood still for too long: it gets nothing until they move.
    public var isHung = false

    /// What it holds, by its last report.
    public var shards: [ShardReport] { heartbeat?.shards ?? registration.shards }
    /// Rows that it can answer for.
    public var rows: Int { shards.reduce(0) { $0 + ($1.state == .ready || $1.state == .draining ? $1.rows : 0) } }
    /// One word for people.
    public var state: String { isHung ? "hung" : isDraining ? "draining" : "up" }
    /// It asked to be relieved of its shards.
    public var isDraining: Bool { heartbeat?.draining ?? false }
    /// May take one more request.
    public var hasCredit: Bool { inFlight < registration.credit }
}

/// The workers that a coordinator knows.
///
/// Time is passed in; nothing here reads a clock.
public struct WorkerRegistry: Sendable {
    /// By incarnation.
    public private(set) var workers: [UInt64: Worker] = [:]
    private var incarnations: [[UInt8]: UInt64] = [:]
    private let hungMilliseconds: Int

    /// Makes an empty registry; workers count as hung after so long without progress.
    public init(hungMilliseconds: Int = .max) { self.hungMilliseconds = hungMilliseconds }

    /// What a REGISTER led to.
    public enum Registration: Sendable, Equatable {
        /// `hasNewRoute`: it was known under another route, and what went there is lost. `former`: the same process is
        /// known under this incarnation too, which it does not carry any more.
        case accepted(incarnation: UInt64, hasNewRoute: Bool, former: UInt64? = nil)
        case rejected(Reject)
        /// It brings no incarnation, and there is none to give.
        case postponed
    }

    /// The worker behind a routing id.
    public func worker(atRoute route: [UInt8]) -> Worker? { incarnations[route].flatMap { workers[$0] } }

    /// Takes a worker in, under `proposed` where it already has an incarnation, else under `fresh`.
    ///
    /// A process is known by its token. Another one that brings its incarnation is fenced, and so is one that was started
    /// before it under the same name: of two with the same role, host and
    /// process id that one coordinator has named, the higher incarnation wins.
    public mutating func register(
        _ registration: Register,
        route: [UInt8],
        proposed: UInt64,
        fresh: () -> UInt64?,
        now: UInt64
    ) -> Registration {
        guard let low = registration.protocolVersions.first, let high = registration.protocolVersions.last,
            low <= 1, high >= 1
        else {
            return .rejected(
                Reject(code: "UNSUPPORTED_VERSION", message: "this coordinator speaks back protocol version 1")
            )
        }
        if let known = incarnations[route] { return renew(known, registration, route, now) }
        if let reason = fence(registration, proposed) { return .rejected(Reject(code: "FENCED", message: reason)) }
        // Another coordinator has named the process meanwhile, or it has not heard its name here.
        let known = workers.values.first { $0.registration.process == registration.process }?.incarnation
        guard let incarnation = proposed != 0 ? proposed : known ?? fresh() else { return .postponed }
        return renew(incarnation, registration, route, now, former: known == incarnation ? nil : known)
    }

    /// Why a process must leave: another one has its incarnation, or a higher one under its name.
    private func fence(_ registration: Register, _ proposed: UInt64) -> String? {
        guard proposed != 0 else { return nil }
        let others = workers.values.filter { $0.registration.process != registration.process }
        if others.contains(where: { $0.incarnation == proposed }) {
            return "incarnation \(proposed) belongs to another process; start anew"
        }
        let successor = others.filter {
            $0.registration.hasName(of: registration) && $0.incarnation > proposed
                && Incarnations.areOfOneBlock($0.incarnation, proposed)
        }.map(\.incarnation).max()
        return successor.map { "incarnation \($0) of this worker has come after incarnation \(proposed); start anew" }
    }

    private mutating func renew(
        _ incarnation: UInt64,
        _ registration: Register,
        _ route: [UInt8],
        _ now: UInt64,
        former: UInt64? = nil
    ) -> Registration {
        let old = workers[incarnation]
        let hasNewRoute = old.map { $0.route != route } ?? false
        if let old { incarnations[old.route] = nil }
        incarnations[route] = incarnation
        workers[incarnation] = Worker(
            incarnation: incarnation,
            route: route,
            registration: registration,
            heartbeat: nil,
            lastHeard: now,
            inFlight: hasNewRoute ? 0 : old?.inFlight ?? 0,
            answerMicroseconds: old?.answerMicroseconds ?? 0,
            isHung: old?.isHung ?? false
        )
        return .accepted(incarnation: incarnation, hasNewRoute: hasNewRoute, former: former)
    }

    /// Notes that something came from a worker; false where it is unknown (answer WHO_ARE_YOU).
    public mutating func heard(route: [UInt8], now: UInt64) -> UInt64? {
        guard let incarnation = incarnations[route] else { return nil }
        workers[incarnation]?.lastHeard = now
        return incarnation
    }

    /// Takes a beat in; true where the worker has begun or ceased to count as hung by it.
    @discardableResult
    public mutating func beat(_ heartbeat: Heartbeat, incarnation: UInt64) -> Bool {
        guard let wasHung = workers[incarnation]?.isHung else { return false }
        let isHung = heartbeat.progressAgeMilliseconds >= hungMilliseconds
        workers[incarnation]?.heartbeat = heartbeat
        workers[incarnation]?.isHung = isHung
        return isHung != wasHung
    }

    /// A request went to a worker.
    public mutating func sent(to incarnation: UInt64) { workers[incarnation]?.inFlight += 1 }

    /// A worker answered after so many microseconds; nil: the request did not reach it.
    public mutating func answered(by incarnation: UInt64, afterMicroseconds time: UInt64?) {
        guard var worker = workers[incarnation] else { return }
        worker.inFlight = max(0, worker.inFlight - 1)
        if let time { worker.answerMicroseconds += 0.1 * (Double(time) - worker.answerMicroseconds) }
        workers[incarnation] = worker
    }

    /// Counts a worker out.
    @discardableResult
    public mutating func remove(_ incarnation: UInt64) -> Worker? {
        guard let worker = workers.removeValue(forKey: incarnation) else { return nil }
        if incarnations[worker.route] == incarnation { incarnations[worker.route] = nil }
        return worker
    }

    /// Workers not heard of for `silence` microseconds.
    public func silent(for silence: UInt64, now: UInt64) -> [UInt64] {
        workers.values.filter { now > $0.lastHeard && now - $0.lastHeard > silence }.map(\.incarnation).sorted()
    }

    /// Workers of a role that can be asked, by incarnation.
    public func workers(of role: WorkerRole) -> [Worker] {
        workers.values.filter { $0.registration.role == role && !$0.isHung }.sorted { $0.incarnation < $1.incarnation }
    }

    /// The encoder of a model with the least to do; nil model: any encoder.
    public func encoder(of model: String?) -> Worker? {
        freestEncoder { model == nil || model == "" || $0.model?.id == model }
    }

    /// The encoder of a classifier with the least to do; nil classifier: any that has one.
    public func classifier(_ id: String?) -> Worker? {
        freestEncoder { $0.classifier != nil && (id == nil || $0.classifier?.id == id) }
    }

    private func freestEncoder(_ isWanted: (Register) -> Bool) -> Worker? {
        workers.values
            .filter { $0.registration.role == .encoder && !$0.isDraining && !$0.isHung && isWanted($0.registration) }
            .min { ($0.inFlight, $0.incarnation) < ($1.inFlight, $1.incarnation) }
    }
}

extension Register {
    /// Both do the same on the same host under the same process id: one was started after the other has ended.
    fileprivate func hasName(of other: Register) -> Bool {
        role == other.role && host == other.host && pid == other.pid
    }
}
