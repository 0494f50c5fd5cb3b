import ServiceRuntime
import WireProtocol
import ZeroMQ

/// Searches at a steady rate from a thread of its own and compares every reply.
final class SearchLoad: Sendable {
    /// What has come of it.
    struct Result: Sendable {
        var sent = 0
        var answered = 0
        var faults: [String] = []
        var secondsRunning: Double = 0
        var slowestSeconds: Double = 0
        var hasEnded = false
        /// Replies a second.
        var rate: Double { secondsRunning > 0 ? Double(answered) / secondsRunning : 0 }
    }

    private struct State {
        var result = Result()
        var isStopping = false
    }

    private let state = Guarded(State())

    /// Starts at once.
    init(
        _ endpoint: String,
        _ searches: [KnownSearch],
        perSecond: Double,
        deadline: Int = 2_000,
        curve: CurveClientOptions? = nil
    ) {
        detachThread { [state] in
            do {
                try Self.run(endpoint, curve, searches, perSecond, deadline, state)
            } catch {
                state.withLock { $0.result.faults.append("\(error)") }
            }
            state.withLock { $0.result.hasEnded = true }
        }
    }

    /// So far.
    var result: Result { state.withLock { $0.result } }

    /// Sends no more once `count` and more are answered, waits for what is under way.
    func stop(after count: Int = 0) -> Result {
        _ = poll(seconds: 10) { self.result.answered > count }
        state.withLock { $0.isStopping = true }
        _ = poll(seconds: 15) { self.result.hasEnded }
        return result
    }

    private static func run(
        _ endpoint: String,
        _ curve: CurveClientOptions?,
        _ searches: [KnownSearch],
        _ perSecond: Double,
        _ deadline: Int,
        _ state: Guarded<State>
    ) throws {
        let client = try TestClient(endpoint, curve: curve)
        let start = now()
        var underWay: [String: (search: Int, sent: Double)] = [:]
        var sent = 0
        while true {
            let isStopping = state.withLock { $0.isStopping }
            if isStopping && underWay.isEmpty { break }
            if !isStopping, underWay.count < 32, Double(sent) < (now() - start) * perSecond {
                let search = sent % searches.count
                let id = try client.post(.search(searches[search].request), deadline: deadline)
                underWay[id] = (search, now())
                sent += 1
                continue
            }
            if let reply = try client.next(seconds: 0.001) {
                guard let (search, sentAt) = underWay.removeValue(forKey: reply.id) else {
                    state.withLock { $0.result.faults.append("unknown reply \(reply.id)") }
                    continue
                }
                let elapsed = now() - sentAt
                let fault: String? =
                    switch reply.body {
                    case .search(let reply): searches[search].fault(in: reply)
                    case .error(let error): "\(error)"
                    default: "odd reply"
                    }
                state.withLock {
                    $0.result.answered += 1
                    $0.result.slowestSeconds = max($0.result.slowestSeconds, elapsed)
                    if let fault { $0.result.faults.append("after \(now() - start) s: \(fault)") }
                }
            }
            if let oldest = underWay.values.map(\.sent).min(), now() - oldest > Double(deadline) / 1000 + 3 {
                state.withLock { $0.result.faults.append("no reply within the deadline") }
                break
            }
            state.withLock {
                $0.result.sent = sent
                $0.result.secondsRunning = now() - start
            }
        }
    }
}

/// A value behind a lock.
final class Guarded<Value>: @unchecked Sendable {
    // `value` is only touched under the lock.
    private let lock = Lock()
    private var value: Value

    init(_ value: Value) { self.value = value }

    func withLock<R>(_ body: (inout Value) throws -> R) rethrows -> R { try lock.withLock { try body(&value) } }
}
