public import WireProtocol

/// Where one worker stands with one coordinator: decides when to register, beat, and give the socket up.
///
/// A value without I/O; times are microseconds of a monotonic clock.
public struct LinkState: Sendable {
    /// What the owner is to do next.
    public enum Action: Sendable, Hashable {
        case register
        case beat
        /// The coordinator is silent: close the socket, connect anew, register anew.
        /// Or it refused the key a while ago.
        case reopen
    }

    /// What a REGISTERED means for the worker's incarnation.
    public enum Registration: Sendable, Hashable {
        /// It is the one that the worker carries, or the first that it gets.
        case carries(UInt64)
        /// Another coordinator has named it before: say so in a new REGISTER.
        case registerAgain
    }

    /// Pause between two REGISTERs, and before the first retry when the socket was not connected yet.
    static let registerPauseMicroseconds: UInt64 = 1_000_000
    static let connectPauseMicroseconds: UInt64 = 50_000
    /// Pauses after a refused key double from the lower to the upper bound.
    static let refusedPauseMicroseconds: ClosedRange<UInt64> = 1_000_000...15_000_000

    /// The coordinator knows this worker.
    public private(set) var isRegistered = false
    /// Beats sent and answered since REGISTERED; equal numbers mean that the coordinator has read all we sent.
    public private(set) var beatsSent = 0
    /// Beats that were answered.
    public private(set) var beatsAnswered = 0
    /// The coordinator asked the worker to stop.
    public private(set) var wasToldToDrain = false
    /// How long a coordinator may be out of reach before the log tells so, and the pause between two such lines.
    static let patienceMicroseconds: UInt64 = 3_000_000
    static let reminderMicroseconds: UInt64 = 60_000_000

    /// How often in a row the coordinator has refused the worker's key.
    public private(set) var refusals = 0

    private var heartbeatMicroseconds: UInt64 = 500_000
    private var leaseMicroseconds: UInt64
    private var heardAt: UInt64
    private var registerAt: UInt64
    private var beatAt: UInt64 = .max
    /// Since when this coordinator does not know the worker; nil while it does.
    private var missedSince: UInt64?
    private var remindAt: UInt64
    /// When a socket whose key was refused is made anew; such a socket never connects again by itself.
    private var retryAt: UInt64?

    /// A socket was opened at `now`.
    public init(now: UInt64, leaseMicroseconds: UInt64) {
        self.leaseMicroseconds = leaseMicroseconds
        heardAt = now
        registerAt = now
        missedSince = now
        remindAt = now + Self.patienceMicroseconds
    }

    /// When ``due(now:)`` may next have something to do.
    public var nextDue: UInt64 { retryAt ?? min(heardAt + leaseMicroseconds, isRegistered ? beatAt : registerAt) }

    /// Seconds for which the coordinator has not known the worker, where it is time to tell so (again).
    public mutating func missedSeconds(now: UInt64) -> Int? {
        guard let missedSince, now >= remindAt else { return nil }
        remindAt = now + Self.reminderMicroseconds
        return Int((now - missedSince) / 1_000_000)
    }

    /// The one thing to do at `now`; nil: wait until ``nextDue``.
    public func due(now: UInt64) -> Action? {
        if let retryAt { return now >= retryAt ? .reopen : nil }
        if now >= heardAt + leaseMicroseconds { return .reopen }
        if isRegistered { return now >= beatAt ? .beat : nil }
        return now >= registerAt ? .register : nil
    }

    /// The socket was closed and opened anew.
    public mutating func reopened(now: UInt64) {
        let before = self
        self = LinkState(now: now, leaseMicroseconds: leaseMicroseconds)
        refusals = before.refusals
        // Still the same absence.
        if before.missedSince != nil {
            missedSince = before.missedSince
            remindAt = before.remindAt
        }
    }

    /// The coordinator refused the worker's key: nothing is due until a new socket is worth a try.
    public mutating func refused(now: UInt64) {
        let pause = Self.refusedPauseMicroseconds
        retryAt = now + min(pause.lowerBound << UInt64(min(refusals, 10)), pause.upperBound)
        refusals += 1
        isRegistered = false
        missed(now: now)
    }

    /// The handshake has succeeded.
    public mutating func admitted() { refusals = 0 }

    /// A REGISTER was handed to the socket, or the socket has no connection yet.
    public mutating func sentRegister(now: UInt64, wasAccepted: Bool) {
        registerAt = now + (wasAccepted ? Self.registerPauseMicroseconds : Self.connectPauseMicroseconds)
    }

    /// A beat was handed to the socket, or the socket is full.
    public mutating func sentBeat(now: UInt64, wasAccepted: Bool) {
        beatAt = now + heartbeatMicroseconds
        if wasAccepted { beatsSent += 1 }
    }

    /// Any message came.
    public mutating func heard(now: UInt64) { heardAt = max(heardAt, now) }

    /// WHO_ARE_YOU came: the coordinator has forgotten the worker.
    public mutating func wasForgotten(now: UInt64) {
        isRegistered = false
        registerAt = now
        missed(now: now)
    }

    private mutating func missed(now: UInt64) {
        guard missedSince == nil else { return }
        missedSince = now
        remindAt = now + Self.patienceMicroseconds
    }

    /// An answer to a beat came.
    public mutating func beatWasAnswered() { beatsAnswered += 1 }

    /// DRAIN came.
    public mutating func toldToDrain() { wasToldToDrain = true }

    /// REGISTERED came.
    ///
    /// - Parameters:
    ///   - answer: What it says.
    ///   - carried: Incarnation that the worker carries; 0 before the first.
    ///   - isOnly: No other coordinator knows the worker, so that this one's word counts.
    ///   - now: When it came.
    /// - Returns: Which incarnation the worker carries from now on, or that it must say which it carries.
    public mutating func registered(
        _ answer: Registered,
        carried: UInt64,
        isOnly: Bool,
        now: UInt64
    ) -> Registration {
        heartbeatMicroseconds = UInt64(max(answer.heartbeatMilliseconds, 10)) * 1000
        leaseMicroseconds = max(UInt64(max(answer.leaseMilliseconds, 0)) * 1000, 2 * heartbeatMicroseconds)
        guard carried == 0 || carried == answer.incarnation || isOnly else {
            isRegistered = false
            registerAt = now
            return .registerAgain
        }
        isRegistered = true
        missedSince = nil
        beatsSent = 0
        beatsAnswered = 0
        beatAt = now
        return .carries(answer.incarnation)
    }
}
