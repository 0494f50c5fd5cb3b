/// Which of several coordinators requests go to, and when to leave it for another.
///
/// It decides in values: its owner tells what it hears, asks ``next(now:)`` what to do while requests wait, and does it.
/// A coordinator that says nothing for ``silence`` is asked for a sign of life together with the others. It is left
/// once it has owed one for as long again and another has given one: where nobody answers, nothing is gained by going.
struct EndpointChoice {
    /// What is to be done.
    enum Step: Equatable {
        /// Go on waiting.
        case stay
        /// Ask every endpoint for a sign of life.
        case probe
        /// This one has been chosen instead.
        case move(to: Int)
    }

    /// Microseconds without a word before a sign of life is asked for, and again before the endpoint is left.
    static let silence: UInt64 = 1_000_000

    private let count: Int
    /// Where requests go; nil before the first connection, and after the chosen one was lost.
    private(set) var chosen: Int?
    private var quietSince: UInt64 = 0
    private var probe: (first: UInt64, last: UInt64)?
    private var answering: Int?

    /// Nothing is chosen yet of so many.
    init(count: Int) { self.count = count }

    /// Requests go to `endpoint` from now on.
    mutating func choose(_ endpoint: Int, now: UInt64) {
        chosen = endpoint
        beginToWait(now: now)
    }

    /// A request waits, and none did before.
    mutating func beginToWait(now: UInt64) {
        quietSince = now
        probe = nil
        answering = nil
    }

    /// A message came from `endpoint`.
    mutating func heard(_ endpoint: Int, now: UInt64) {
        if endpoint == chosen {
            beginToWait(now: now)
        } else if probe != nil, answering == nil {
            answering = endpoint
        }
    }

    /// The connection to `endpoint` is gone.
    mutating func lost(_ endpoint: Int) {
        if answering == endpoint { answering = nil }
        if chosen == endpoint { chosen = nil }
    }

    /// What to do now, while a request waits and all that arrived was ``heard(_:now:)``.
    mutating func next(now: UInt64) -> Step {
        guard count > 1, chosen != nil, now >= quietSince + Self.silence else { return .stay }
        guard let asked = probe else {
            probe = (now, now)
            return .probe
        }
        if let answering, now >= asked.first + Self.silence {
            choose(answering, now: now)
            return .move(to: answering)
        }
        guard now >= asked.last + Self.silence else { return .stay }
        probe = (asked.first, now)
        return .probe
    }
}
