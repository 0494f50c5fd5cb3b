import Matryoshka
import ServiceRuntime
import WireProtocol

/// Queries as vectors, row-major.
struct QueryVectors {
    var values: [Float]
    var dimensions: Int

    var count: Int { dimensions == 0 ? 0 : values.count / dimensions }

    subscript(range: Range<Int>) -> QuerySource {
        .vectors(
            values: Array(values[range.lowerBound * dimensions..<range.upperBound * dimensions]),
            count: range.count,
            width: dimensions
        )
    }

    /// Encodes texts with role query; texts without a known word come out as zero rows.
    static func encode(_ texts: [String], collection: String, _ client: FrontClient) throws -> QueryVectors {
        var values: [Float] = []
        var dimensions = 0
        for start in stride(from: 0, to: texts.count, by: 256) {
            let part = Array(texts[start..<min(start + 256, texts.count)])
            let request = EncodeRequest(collection: collection, role: .query, texts: part)
            guard
                case .vectors(let width, let vectors, _) = try client.call(
                    .encode(request),
                    deadlineMilliseconds: 30_000
                )
            else { throw StartupFailure("the encoder's answer is of another kind than the request") }
            values += vectors
            dimensions = width
        }
        return QueryVectors(values: values, dimensions: dimensions)
    }

    /// Gaussian directions, the same for the same seed.
    static func random(count: Int, dimensions: Int, seed: UInt64 = 1) -> QueryVectors {
        var state = seed
        func uniform() -> Double {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return (Double(state >> 11) + 0.5) / Double(1 << 53)
        }
        // A sum of uniforms is as good as a Gaussian for a direction.
        let values = (0..<count * dimensions).map { _ in Float(uniform() + uniform() + uniform() + uniform() - 2) }
        return QueryVectors(values: values, dimensions: dimensions)
    }
}

/// Times of single requests.
struct Latencies {
    private(set) var microseconds: [UInt64] = []

    mutating func add(_ value: UInt64) { microseconds.append(value) }

    /// The time in milliseconds that a share of all stays at or below.
    func milliseconds(_ share: Double) -> Double {
        guard !microseconds.isEmpty else { return .nan }
        let sorted = microseconds.sorted()
        let rank = min(sorted.count - 1, max(0, Int((share * Double(sorted.count)).rounded(.up)) - 1))
        return Double(sorted[rank]) / 1_000
    }
}

/// Sends searches and takes their answers.
struct SearchRuns {
    let client: FrontClient
    let collection: String
    var effort = SearchEffort()

    func request(_ query: QuerySource, _ plan: Plan, payload: Bool = false) -> SearchRequest {
        SearchRequest(
            collection: collection,
            query: query,
            plan: plan,
            k: plan.stages.last?.keep ?? 10,
            withPayload: payload,
            effort: effort
        )
    }

    /// One at a time.
    func oneAtATime(_ requests: [SearchRequest]) throws -> Latencies {
        var latencies = Latencies()
        for request in requests {
            try client.send(.search(request), deadlineMilliseconds: 10_000)
            let completion = try client.next()
            _ = try reply(completion)
            latencies.add(completion.microseconds)
        }
        return latencies
    }

    /// Keeps so many in flight for so long.
    ///
    /// - Returns: Latencies and answers a second.
    func inFlight(_ count: Int, seconds: Double, _ requests: [SearchRequest]) throws -> (Latencies, rate: Double) {
        var latencies = Latencies()
        var next = 0
        func send() throws {
            try client.send(.search(requests[next % requests.count]), deadlineMilliseconds: 10_000)
            next += 1
        }
        let started = now()
        for _ in 0..<count { try send() }
        while now() - started < seconds {
            let completion = try client.next()
            _ = try reply(completion)
            latencies.add(completion.microseconds)
            try send()
        }
        let elapsed = now() - started
        let answered = latencies.microseconds.count
        while client.inFlight > 0 { _ = try client.next() }
        return (latencies, Double(answered) / elapsed)
    }

    /// Runs all queries in batches, several at once; the hits of each query in order.
    func all(_ queries: QueryVectors, plan: Plan, batch: Int = 64, window: Int = 2) throws -> [[Hit]] {
        var hits = [[Hit]](repeating: [], count: queries.count)
        var starts: [UInt64: Int] = [:]
        var next = 0
        while next < queries.count || !starts.isEmpty {
            while next < queries.count, starts.count < window {
                let range = next..<min(next + batch, queries.count)
                let ticket = try client.send(.search(request(queries[range], plan)), deadlineMilliseconds: 60_000)
                starts[ticket] = next
                next = range.upperBound
            }
            let completion = try client.next()
            guard let start = starts.removeValue(forKey: completion.ticket) else { continue }
            for (place, found) in try reply(completion).hits.enumerated() { hits[start + place] = found }
        }
        return hits
    }

    private func reply(_ completion: FrontClient.Completion) throws -> SearchReply {
        switch completion.body {
        case .search(let reply): return reply
        case .error(let error): throw error.asFailure
        default: throw StartupFailure("the coordinator's answer is of another kind than the request")
        }
    }
}
