import Matryoshka
import Testing
import WireProtocol

@testable import WorkerRuntime

@Suite("Requests that wait")
struct RequestQueueTests {
    @Test("are taken in order, less those whose deadline has passed, which are handed out to be answered")
    func deadlines() {
        var queue = RequestQueue(limitPerLink: 10)
        for request in [search(1), search(2, deadline: 50), search(3, deadline: 200)] {
            let isTaken = queue.push(request)
            #expect(isTaken)
        }
        #expect(queue.first(now: 150)?.origin.request == 1)
        let taken = queue.take(now: 150)
        #expect(taken.map(\.origin.request) == [1, 3])
        let expired = (0..<2).map { _ in queue.takeExpired().map(\.origin.request) }
        #expect(expired == [[2], []])
        #expect(queue.isEmpty)
    }

    @Test("are refused beyond a link's credit, whatever other links do")
    func credit() {
        var queue = RequestQueue(limitPerLink: 2)
        var taken = [search(1), search(2), search(3), search(3, link: 1)].map { queue.push($0) }
        #expect(taken == [true, true, false, true])
        _ = queue.take(limit: 1, now: 0)
        taken = [queue.push(search(4))]
        #expect(taken == [true])
    }

    @Test("can be cancelled, and forgotten with their link")
    func cancel() {
        var queue = RequestQueue(limitPerLink: 2)
        _ = queue.push(search(1))
        _ = queue.push(search(2, link: 1))
        let cancelled = (0..<2).map { _ in queue.cancel(RequestOrigin(link: 0, session: 1, request: 1)) != nil }
        #expect(cancelled == [true, false])
        queue.forget(link: 1)
        #expect(queue.isEmpty)
    }

    @Test("can be picked, the others keep their order")
    func picking() {
        var queue = RequestQueue(limitPerLink: 9)
        for number in 1...4 { _ = queue.push(search(UInt64(number))) }
        let picked = queue.take(limit: 1, now: 0) { $0.origin.request > 1 }
        #expect(picked.map(\.origin.request) == [2])
        let rest = queue.take(now: 0)
        #expect(rest.map(\.origin.request) == [1, 3, 4])
    }

    @Test("form a group where collection, generation, shards and steps are equal")
    func groups() {
        let requests = [
            search(1), search(2, shards: [0]), search(3, keep: 5), search(4), search(5, generation: 2), search(6),
        ]
        let groups = SearchGroup.grouping(requests, queryLimit: 100)
        #expect(groups.map { $0.members.map(\.request.origin.request) } == [[1, 4, 6], [2], [3], [5]])
        #expect(groups[0].queryCount == 3)
        #expect(groups[0].queries == [1, 1, 1, 1, 4, 4, 4, 4, 6, 6, 6, 6])
    }

    @Test("open another group when one is full")
    func fullGroups() {
        let requests = (1...5).map { search(UInt64($0), count: 2) }
        #expect(SearchGroup.grouping(requests, queryLimit: 4).map(\.queryCount) == [4, 4, 2])
    }

    @Test("open another group where the answers would have too many rows; a request alone is always one")
    func fullAnswers() {
        let requests = (1...5).map { search(UInt64($0), keep: 100, count: 2) }
        func counts(_ rows: Int) -> [Int] {
            SearchGroup.grouping(requests, queryLimit: 256, rowLimit: rows).map(\.queryCount)
        }
        #expect(counts(1_000) == [10])
        #expect(counts(999) == [8, 2])
        #expect(counts(600) == [6, 4])
        #expect(counts(100) == [2, 2, 2, 2, 2])
        // By default as many as a single search may ask for.
        let wide = (1...40).map { search(UInt64($0), keep: 10_000, count: 10) }
        #expect(SearchGroup.grouping(wide, queryLimit: 256).map(\.queryCount) == [100, 100, 100, 100])
    }

    @Test("fall into parts of few queries, in their order; a request alone is always one")
    func parts() {
        let requests = [2, 2, 7, 1, 1, 3].enumerated().map { search(UInt64($0 + 1), count: $1) }
        let group = SearchGroup.grouping(requests, queryLimit: 100)[0]
        let parts = group.parts(queryLimit: 4)
        #expect(parts.map { $0.members.map(\.request.origin.request) } == [[1, 2], [3], [4, 5], [6]])
        #expect(parts.map(\.queryCount) == [4, 7, 2, 3])
        #expect(parts.flatMap(\.queries) == group.queries)
        #expect(group.parts(queryLimit: 16).count == 1)
    }
}

/// A search of a worker, of one collection.
func search(
    _ number: UInt64,
    link: Int = 0,
    shards: [UInt16] = [0, 1],
    keep: Int = 10,
    deadline: UInt64 = 0,
    generation: UInt32 = 1,
    count: Int = 1
) -> WorkerRequest {
    let command = SearchCommand(
        steps: [.init(dimensions: 4, keep: keep, precision: .int8)],
        shards: shards,
        queryCount: count,
        width: 4,
        queries: [Float](repeating: Float(number), count: 4 * count)
    )
    let header = BackHeader(
        type: .search,
        request: number,
        deadlineMicroseconds: deadline,
        collection: 1,
        generation: generation
    )
    return WorkerRequest(
        origin: RequestOrigin(link: link, session: 1, request: number),
        message: BackMessage(header: header, body: .search(command)),
        receivedAt: 100
    )
}
