import DocumentStore
import Matryoshka
import ServiceRuntime
import WireProtocol

/// Counts of searches by minute and collection, and the slow ones, until the next flush to PostgreSQL.
struct SearchMetrics {
    struct Key: Hashable {
        var minute: Int
        var collection: UInt32
    }
    struct Minute {
        var searches = 0
        var partial = 0
        var degraded = 0
        var errors: [String: Int] = [:]
        var latency = LatencyHistogram()
    }

    var minutes: [Key: Minute] = [:]
    var slow:
        [(
            collection: UInt32, trace: (UInt64, UInt64), plan: String, micros: Int, timings: String, coverage: Double,
            hits: Int
        )] = []
    var slowDropped = 0
    var malformed = 0
    var late = 0
    var errors: [String: Int] = [:]
    var searches: UInt64 = 0
    static let slowMax = 256

    /// Times of all collections' searches from a minute on.
    func latency(sinceMinute minute: Int) -> LatencyHistogram {
        minutes.reduce(into: LatencyHistogram()) { sum, entry in
            if entry.key.minute >= minute { sum.merge(entry.value.latency) }
        }
    }

    mutating func record(_ reply: SearchReply, collection: UInt32, minute: Int, slowMicroseconds: Int) {
        searches += 1
        let micros = reply.timings.totalMicroseconds
        var entry = minutes[Key(minute: minute, collection: collection), default: Minute()]
        entry.searches += 1
        if !reply.coverage.isComplete { entry.partial += 1 }
        if !reply.degraded.isEmpty { entry.degraded += 1 }
        entry.latency.record(microseconds: UInt64(micros))
        minutes[Key(minute: minute, collection: collection)] = entry
        guard micros >= slowMicroseconds else { return }
        guard slow.count < Self.slowMax else {
            slowDropped += 1
            return
        }
        let times = reply.timings
        let text =
            "{\"encode\":\(times.encode?.totalMicroseconds ?? 0),\"shortlist\":\(times.shortlist?.totalMicroseconds ?? 0),"
            + "\"rerank\":\(times.rerank?.totalMicroseconds ?? 0),\"fetch\":\(times.fetchMicroseconds),"
            + "\"merge\":\(times.mergeMicroseconds)}"
        slow.append(
            (
                collection, (reply.traceHigh, reply.traceLow), reply.plan.plan.description, micros, text,
                reply.coverage.fraction, reply.hits.reduce(0) { $0 + $1.count }
            )
        )
    }

    mutating func recordFailure(_ error: FrontError, collection: UInt32, minute: Int, microseconds: Int) {
        searches += 1
        minutes[Key(minute: minute, collection: collection), default: Minute()].searches += 1
        minutes[Key(minute: minute, collection: collection), default: Minute()]
            .latency.record(microseconds: UInt64(max(0, microseconds)))
    }

    mutating func count(_ code: FrontErrorCode, collection: UInt32, now minute: Int) {
        errors[code.rawValue, default: 0] += 1
        guard collection != 0 else { return }
        minutes[Key(minute: minute, collection: collection), default: Minute()].errors[code.rawValue, default: 0] += 1
    }
}
