import Coordination
import DocumentStore
import Matryoshka
import ServiceRuntime
import WireProtocol

/// Counts of searches by minute and collection, and the slow ones, until the next flush to PostgreSQL.
struct SearchMetrics {
    struct Key: Hashable {
        var minute: Int
        /// 0 where it is not known.
        var collection: UInt32
    }
    struct Minute {
        var searches = 0
        var complete = 0
        var partial = 0
        var degraded = 0
        var shardsAsked = 0
        var shardsMissing: [Coverage.Reason: Int] = [:]
        var errors: [String: Int] = [:]
        var latency = LatencyHistogram()

        fileprivate mutating func add(_ coverage: Coverage) {
            shardsAsked += coverage.shardsTotal
            for shard in coverage.missing { shardsMissing[shard.reason, default: 0] += 1 }
        }
    }

    var minutes: [Key: Minute] = [:]
    /// A search that took long, answered or not.
    struct SlowSearch {
        var collection: UInt32
        var trace: (high: UInt64, low: UInt64)
        var plan: String
        var microseconds: Int
        var timings: String
        var coverage: Double
        var hits: Int
        var error: String?
    }

    private(set) var slow: [SlowSearch] = []
    /// Slow searches that were not written down, because there were too many or the database did not take them.
    private(set) var slowDropped = 0
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
        let micros = reply.timings.totalMicroseconds
        count(collection, minute) { entry in
            if reply.coverage.isComplete { entry.complete += 1 } else { entry.partial += 1 }
            if !reply.degraded.isEmpty { entry.degraded += 1 }
            entry.add(reply.coverage)
            entry.latency.record(microseconds: UInt64(micros))
        }
        guard micros >= slowMicroseconds else { return }
        add(
            SlowSearch(
                collection: collection,
                trace: (reply.traceHigh, reply.traceLow),
                plan: reply.plan.plan.description,
                microseconds: micros,
                timings: Self.text(reply.timings),
                coverage: reply.coverage.fraction,
                hits: reply.hits.reduce(0) { $0 + $1.count }
            )
        )
    }

    private mutating func add(_ search: SlowSearch) {
        if slow.count < Self.slowMax { slow.append(search) } else { slowDropped += 1 }
    }

    /// What has gathered, to be written; what cannot be is told to ``lost(_:)``.
    mutating func takeSlow() -> [SlowSearch] {
        defer { slow = [] }
        return slow
    }

    mutating func lost(_ count: Int) { slowDropped += count }

    private static func text(_ times: SearchTimings) -> String {
        func stage(_ stage: SearchTimings.StageTiming?) -> String {
            guard let stage else { return "null" }
            return "{\"total\":\(stage.totalMicroseconds),\"queue\":\(stage.queueMicroseconds),"
                + "\"compute\":\(stage.computeMicroseconds),\"transport\":\(stage.transportMicroseconds)}"
        }
        return "{\"queue\":\(times.queueMicroseconds),\"encode\":\(stage(times.encode)),"
            + "\"shortlist\":\(stage(times.shortlist)),\"rerank\":\(stage(times.rerank)),"
            + "\"fetch\":\(times.fetchMicroseconds),\"merge\":\(times.mergeMicroseconds)}"
    }

    /// Counts a search that was refused or ran out of time; `machine` knows how far it came.
    mutating func recordFailure(
        _ error: FrontError,
        of machine: SearchMachine,
        minute: Int,
        microseconds: Int,
        slowMicroseconds: Int
    ) {
        let collection = machine.shape.collection
        if microseconds >= slowMicroseconds {
            add(
                SlowSearch(
                    collection: collection,
                    trace: machine.trace,
                    plan: machine.plan.plan.description,
                    microseconds: microseconds,
                    timings: Self.text(machine.timings),
                    coverage: error.coverage?.fraction ?? 0,
                    hits: 0,
                    error: error.code.rawValue
                )
            )
        }
        count(collection, minute) { entry in
            entry.errors[error.code.rawValue, default: 0] += 1
            if let coverage = error.coverage { entry.add(coverage) }
            entry.latency.record(microseconds: UInt64(max(0, microseconds)))
        }
    }

    /// Counts a search that was refused before it had a plan, which says nothing of how long searches take.
    mutating func recordRefusal(_ code: FrontErrorCode, collection: UInt32, minute: Int) {
        count(collection, minute) { $0.errors[code.rawValue, default: 0] += 1 }
    }

    private mutating func count(_ collection: UInt32, _ minute: Int, _ body: (inout Minute) -> Void) {
        searches += 1
        minutes[Key(minute: minute, collection: collection), default: Minute()].searches += 1
        body(&minutes[Key(minute: minute, collection: collection), default: Minute()])
    }

    /// Counts an error of any request.
    mutating func count(_ code: FrontErrorCode) { errors[code.rawValue, default: 0] += 1 }
}
