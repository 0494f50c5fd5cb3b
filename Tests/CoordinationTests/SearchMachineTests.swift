import Coordination
import Matryoshka
import Testing
import WireProtocol

private let shape = CollectionShape(
    collection: 1,
    name: "c",
    model: "",
    dimensions: 8,
    smallestDimensions: 2,
    isMatryoshka: true,
    similarity: .cosine,
    storedHeadWidth: 4,
    residentWidth: 4,
    residentPrecision: .int8,
    generation: 1
)

/// Two shortlist workers (1, 2) with half the shards each and one rerank worker (9).
private func view(without lost: Set<UInt64> = [], spare: Bool = false, now: UInt64 = 0) -> SearchMachine.View {
    var registry = WorkerRegistry()
    func add(_ worker: UInt64, _ role: WorkerRole, _ shards: Range<UInt16>) {
        guard !lost.contains(worker) else { return }
        let reports = shards.map {
            ShardReport(
                collection: 1,
                generation: role == .rerank ? 0 : 1,
                shard: $0,
                state: .ready,
                rows: 10,
                bytes: 1,
                applied: "5:5:"
            )
        }
        let registration = Register(
            role: role,
            host: "h",
            pid: Int32(worker),
            build: "t",
            capacityBytes: 1,
            credit: 8,
            shards: reports
        )
        _ = registry.register(registration, route: [UInt8(worker)], proposed: worker, fresh: worker, now: 0)
    }
    add(1, .shortlist, 0..<32)
    add(2, .shortlist, 32..<64)
    if spare { add(3, .shortlist, 0..<32) }
    add(9, .rerank, 0..<64)
    return SearchMachine.View(directory: ShardDirectory(registry), registry: registry, withoutRoom: [:], now: now)
}

private func machine(minCoverage: Double = 1) throws -> SearchMachine {
    let plan = Plan(stages: [Stage(dimensions: 4, keep: 3), Stage(dimensions: 8, keep: 2)])
    return SearchMachine(
        request: SearchRequest(
            collection: "c",
            query: .vectors(values: Array(repeating: 1, count: 8), count: 1, width: 8),
            plan: plan,
            k: 2,
            minCoverage: minCoverage,
            explain: true
        ),
        shape: shape,
        plan: try plan.resolved(in: shape.planSpace),
        traceHigh: 1,
        traceLow: 2,
        now: 0
    )
}

private func answer(_ shards: [UInt16], ids: [Int64], scores: [Float], status: ShardAnswer.Status = .searched) -> Hits {
    Hits(
        shards: shards.map { ShardAnswer(shard: $0, status: status, rows: 10, appliedXmax: 5) },
        results: [
            CandidateColumns(
                ids: ids,
                versions: ids.map { _ in 1 },
                shards: ids.map { _ in shards[0] },
                scores: [scores]
            )
        ],
        queuedMicroseconds: 1,
        computeMicroseconds: 2
    )
}

private func scans(_ actions: [SearchMachine.Action]) -> [(part: Int, worker: UInt64, shards: [UInt16])] {
    actions.compactMap {
        if case .search(let part, let worker, let command) = $0 { (part, worker, command.shards) } else { nil }
    }
}

@Suite("A search, step by step")
struct SearchMachineTests {
    @Test("asks each shard once, merges globally, and sends the survivors to the rerank worker")
    func wholePath() throws {
        var machine = try machine()
        let asked = scans(machine.start(view()))
        #expect(asked.flatMap(\.shards).sorted() == Array(0..<64))
        #expect(asked.map(\.worker) == [1, 2])
        #expect(
            machine.hits(part: asked[0].part, answer(asked[0].shards, ids: [5, 7], scores: [0.9, 0.5]), view()).isEmpty
        )
        let next = machine.hits(part: asked[1].part, answer(asked[1].shards, ids: [2, 3], scores: [0.9, 0.1]), view())
        guard case .rerank(let part, 9, let command)? = next.first else {
            Issue.record("no rerank: \(next)")
            return
        }
        #expect(command.isWhole)
        #expect(command.candidates[0].ids == [2, 5, 7])
        let last = machine.scores(
            part: part,
            Scores(
                results: [
                    CandidateColumns(
                        ids: [7, 2],
                        versions: [1, 1],
                        shards: [0, 32],
                        scores: [[0.5, 0.9], [0.8, 0.7]]
                    )
                ],
                documents: [
                    [
                        FetchedDocument(id: 7, externalID: "seven", payload: nil),
                        FetchedDocument(id: 2, externalID: "two", payload: nil),
                    ]
                ],
                gone: 0,
                rescoredNewer: 0,
                skipped: [],
                fetchedRows: 0,
                queuedMicroseconds: 0,
                computeMicroseconds: 0
            ),
            view()
        )
        guard case .reply(let reply)? = last.first else {
            Issue.record("no reply: \(last)")
            return
        }
        #expect(reply.hits[0].map(\.id) == ["seven", "two"])
        #expect(reply.hits[0][0].scores == [0.5, 0.8])
        #expect(reply.coverage.isComplete)
        #expect(reply.coverage.rowsSearched == 640)
    }

    @Test("refuses at once when shards are missing and the client wants all")
    func missingShards() throws {
        var strict = try machine()
        guard case .fail(let error)? = strict.start(view(without: [2])).first else {
            Issue.record("no failure")
            return
        }
        #expect(error.code == .unavailable)
        #expect(error.coverage?.missing.map(\.shard) == Array(32..<64))
        var lenient = try machine(minCoverage: 0.5)
        #expect(scans(lenient.start(view(without: [2]))).map(\.worker) == [1])
    }

    @Test("sends shards that are not there to another worker, or counts them as missing")
    func notHere() throws {
        var machine = try machine(minCoverage: 0.4)
        let asked = scans(machine.start(view()))
        _ = machine.hits(part: asked[0].part, answer(asked[0].shards, ids: [1], scores: [1]), view())
        let next = machine.hits(
            part: asked[1].part,
            answer(asked[1].shards, ids: [], scores: [], status: .notHere),
            view()
        )
        guard case .rerank? = next.first else {
            Issue.record("no rerank: \(next)")
            return
        }
    }

    @Test("answers within the deadline with the coverage that was reached")
    func deadline() throws {
        var machine = try machine()
        _ = machine.start(view())
        guard case .fail(let error)? = machine.deadline(view(now: 1000)).first else {
            Issue.record("no failure")
            return
        }
        #expect(error.code == .unavailable)
        #expect(error.coverage?.missing.allSatisfy { $0.reason == .timedOut } == true)
        #expect(machine.isFinished)
    }

    @Test("never tries a third time after two workers died on it")
    func poison() throws {
        var machine = try machine(minCoverage: 0)
        let asked = scans(machine.start(view(spare: true)))
        let failure = Failed(code: "UNAVAILABLE", message: "lost")
        let again = scans(machine.failed(part: asked[0].part, failure, died: true, view(without: [1], spare: true)))
        #expect(again.map(\.worker) == [3])
        let last = machine.failed(part: again[0].part, failure, died: true, view(without: [1, 3]))
        guard case .fail(let error)? = last.first else {
            Issue.record("no failure: \(last)")
            return
        }
        #expect(error.code == .poison)
    }

    @Test("does not blame a request when two workers die at the same time")
    func coincidence() throws {
        var machine = try machine(minCoverage: 0)
        let asked = scans(machine.start(view()))
        let failure = Failed(code: "UNAVAILABLE", message: "lost")
        _ = machine.failed(part: asked[0].part, failure, died: true, view(without: [1]))
        let last = machine.failed(part: asked[1].part, failure, died: true, view(without: [1, 2]))
        if case .fail(let error)? = last.first { #expect(error.code != .poison) }
    }

    @Test("keeps a write waiting until every ready replica has applied it")
    func waits() {
        var waits = SearchableWaits<Int>()
        let holdings = [Holding(collection: 1, generation: 1, role: .shortlist)]
        waits.add(1, transaction: 4, shards: [0], holdings: holdings, deadline: 100)
        waits.add(2, transaction: 5, shards: [0], holdings: holdings, deadline: 100)
        let settled = waits.settle(view().directory, now: 0)
        #expect(settled.map(\.ticket) == [1])
        #expect(waits.settle(view().directory, now: 100).map(\.isSearchable) == [false])
    }
}
