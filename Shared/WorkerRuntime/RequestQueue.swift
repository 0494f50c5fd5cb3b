public import Matryoshka
import ServiceRuntime
public import WireProtocol

/// Where an answer goes: a link, the life of its socket, and the coordinator's number.
public struct RequestOrigin: Sendable, Hashable {
    /// Which coordinator.
    public var link: Int
    /// Counts the sockets of that link; an answer for an older one has no way back.
    public var session: UInt32
    /// The coordinator's number of the request.
    public var request: UInt64

    /// Makes an origin.
    public init(link: Int, session: UInt32, request: UInt64) {
        self.link = link
        self.session = session
        self.request = request
    }
}

/// A request that a worker has received and not answered.
public struct WorkerRequest: Sendable {
    /// Where the answer goes.
    public var origin: RequestOrigin
    /// As it came.
    public var message: BackMessage
    /// Monotonic microseconds.
    public var receivedAt: UInt64
    /// Monotonic microseconds; `.max` where it has no deadline.
    public var deadlineAt: UInt64

    /// Makes a request.
    public init(origin: RequestOrigin, message: BackMessage, receivedAt: UInt64) {
        self.origin = origin
        self.message = message
        self.receivedAt = receivedAt
        let left = message.header.deadlineMicroseconds
        deadlineAt = left == 0 ? .max : receivedAt.addingReportingOverflow(left).partialValue
    }

    /// Microseconds between its receipt and `now`, as answers carry them.
    public func queued(until now: UInt64) -> UInt32 { UInt32(clamping: now &- receivedAt) }
}

/// Requests waiting for a compute thread, in order of arrival.
public struct RequestQueue: Sendable {
    /// Most requests of one link that may wait; beyond it the coordinator ignores the credit it was given.
    public let limitPerLink: Int
    private var waiting: [WorkerRequest] = []
    private var countByLink: [Int: Int] = [:]
    private var expired: [WorkerRequest] = []

    /// Makes an empty queue.
    public init(limitPerLink: Int) { self.limitPerLink = limitPerLink }

    /// Requests that wait.
    public var count: Int { waiting.count }
    /// Nothing waits.
    public var isEmpty: Bool { waiting.isEmpty }

    /// Adds a request; false where its link is beyond its credit, and the request was not taken.
    public mutating func push(_ request: WorkerRequest) -> Bool {
        guard countByLink[request.origin.link, default: 0] < limitPerLink else { return false }
        countByLink[request.origin.link, default: 0] += 1
        waiting.append(request)
        return true
    }

    /// Removes a request that still waits; nil where it is not here.
    public mutating func cancel(_ origin: RequestOrigin) -> WorkerRequest? {
        guard let index = waiting.firstIndex(where: { $0.origin == origin }) else { return nil }
        countByLink[origin.link]! -= 1
        return waiting.remove(at: index)
    }

    /// Removes all requests of the earlier sockets of a link, whose answers have no way back.
    public mutating func forget(link: Int) {
        waiting.removeAll { $0.origin.link == link }
        expired.removeAll { $0.origin.link == link }
        countByLink[link] = nil
    }

    /// Takes up to `limit` requests that `belongs` picks out, in order, and sets aside all that have expired.
    ///
    /// ``takeExpired()`` hands those out: they are owed an answer too.
    public mutating func take(
        limit: Int = .max,
        now: UInt64,
        where belongs: (WorkerRequest) -> Bool = { _ in true }
    ) -> [WorkerRequest] {
        var taken: [WorkerRequest] = []
        var left: [WorkerRequest] = []
        for request in waiting {
            if request.deadlineAt <= now {
                expired.append(request)
            } else if taken.count < limit, belongs(request) {
                taken.append(request)
            } else {
                left.append(request)
                continue
            }
            countByLink[request.origin.link]! -= 1
        }
        waiting = left
        return taken
    }

    /// Hands out what has expired since the last call.
    mutating func takeExpired() -> [WorkerRequest] {
        defer { expired = [] }
        return expired
    }

    /// The first request that has not expired.
    public func first(now: UInt64) -> WorkerRequest? { waiting.first { $0.deadlineAt > now } }
}

/// SEARCH requests that one scan can serve.
public struct SearchGroup: Sendable {
    /// What requests must share to be scanned together.
    public struct Key: Sendable, Hashable {
        /// Collection and generation.
        public var holding: HoldingKey
        /// Logical shards.
        public var shards: [UInt16]
        /// Stages.
        public var steps: [ResolvedPlan.Step]
        /// Floats of a query.
        public var width: Int
        /// How hard to look.
        public var effort: SearchEffort
        /// Exact search by the full vectors.
        public var isExact: Bool
    }

    /// What they share.
    public var key: Key
    /// In order of arrival.
    public var members: [(request: WorkerRequest, command: SearchCommand)]
    /// Queries of all members.
    public var queryCount: Int

    /// All queries, one after the other.
    public var queries: [Float] {
        if members.count == 1 { return members[0].command.queries }
        var all: [Float] = []
        all.reserveCapacity(queryCount * key.width)
        for member in members { all.append(contentsOf: member.command.queries) }
        return all
    }

    /// The same requests in groups of no more than so many queries, or of one request.
    public func parts(queryLimit: Int) -> [SearchGroup] {
        if queryCount <= queryLimit { return [self] }
        var parts: [SearchGroup] = []
        for member in members {
            if let last = parts.last, last.queryCount + member.command.queryCount <= queryLimit {
                parts[parts.count - 1].members.append(member)
                parts[parts.count - 1].queryCount += member.command.queryCount
            } else {
                parts.append(SearchGroup(key: key, members: [member], queryCount: member.command.queryCount))
            }
        }
        return parts
    }

    /// HITS for every member, each with its own queries' rows.
    ///
    /// - Parameters:
    ///   - results: By query of the group, or empty where nothing was scanned.
    ///   - answers: What became of the shards; nil where nothing of the collection is held.
    ///   - start: Monotonic microseconds at which the scan began.
    /// - Returns: In the order of the members.
    public func answers(
        _ results: [CandidateColumns],
        shards answers: [ShardAnswer]?,
        since start: UInt64
    ) -> [WorkerAnswer] {
        let spent = UInt32(clamping: ServiceProcess.monotonicMicroseconds() - start)
        let nothing = CandidateColumns(scores: key.steps.map { _ in [] })
        var next = 0
        return members.map { request, command in
            let range = next..<next + command.queryCount
            next = range.upperBound
            return request.answer(
                .hits(
                    Hits(
                        shards: answers ?? Self.nothingHere(key.shards),
                        results: results.isEmpty ? range.map { _ in nothing } : Array(results[range]),
                        queuedMicroseconds: request.queued(until: start),
                        computeMicroseconds: spent
                    )
                )
            )
        }
    }

    /// Groups requests by what they share, in order of first arrival; other kinds of requests are left out.
    ///
    /// - Parameters:
    ///   - requests: In order of arrival.
    ///   - queryLimit: A group takes no request that would bring it beyond so many queries.
    ///   - rowLimit: Nor one that would bring it beyond so many rows of answers, queries times the first keep.
    /// - Returns: The groups.
    public static func grouping(
        _ requests: [WorkerRequest],
        queryLimit: Int,
        rowLimit: Int = SearchLimits.batchRowsMax
    ) -> [SearchGroup] {
        var groups: [SearchGroup] = []
        var open: [Key: Int] = [:]
        for request in requests {
            guard case .search(let command) = request.message.body else { continue }
            let key = Key(
                holding: HoldingKey(
                    collection: request.message.header.collection,
                    generation: request.message.header.generation
                ),
                shards: command.shards,
                steps: command.steps,
                width: command.width,
                effort: command.effort,
                isExact: command.isExact
            )
            let limit = min(queryLimit, rowLimit / max(1, command.steps.first?.keep ?? 1))
            if let index = open[key], groups[index].queryCount + command.queryCount <= limit {
                groups[index].members.append((request, command))
                groups[index].queryCount += command.queryCount
            } else {
                open[key] = groups.count
                groups.append(SearchGroup(key: key, members: [(request, command)], queryCount: command.queryCount))
            }
        }
        return groups
    }

    /// The answers for shards of which nothing is held.
    public static func nothingHere(_ shards: [UInt16]) -> [ShardAnswer] {
        shards.map { ShardAnswer(shard: $0, status: .notHere, rows: 0, appliedXmax: 0) }
    }
}
