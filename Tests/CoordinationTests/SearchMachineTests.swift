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
            process: ProcessToken(high: 0, low: worker),
            build: "t",
            capacityBytes: 1,
            credit: 8,
            shards: reports
        )
        _ = registry.register(registration, route: [UInt8(worker)], proposed: worker, fresh: { worker }, now: 0)
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

    @Test("counts the rows of missing shards as they were last known")
    func rowsOfMissingShards() throws {
        var machine = try machine()
        var view = view(without: [2])
        view.knownRows = [1: Array(repeating: 10, count: 64)]
        guard case .fail(let error)? = machine.start(view).first else {
            Issue.record("half of the shards are missing")
            return
        }
        #expect(error.coverage?.rowsTotal == 640)
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

    /// A machine whose rerank command is with worker 9.
    private func reranking(minCoverage: Double) throws -> (SearchMachine, part: Int) {
        var machine = try machine(minCoverage: minCoverage)
        let asked = scans(machine.start(view()))
        _ = machine.hits(part: asked[0].part, answer(asked[0].shards, ids: [5], scores: [0.9]), view())
        let next = machine.hits(part: asked[1].part, answer(asked[1].shards, ids: [2], scores: [0.5]), view())
        guard case .rerank(let part, 9, _)? = next.first else { throw TestProblem("no rerank: \(next)") }
        return (machine, part)
    }

    private struct TestProblem: Error {
        let text: String
        init(_ text: String) { self.text = text }
    }

    private func reply(_ actions: [SearchMachine.Action]) -> SearchReply? {
        for case .reply(let reply) in actions { return reply }
        return nil
    }

    private func failure(_ actions: [SearchMachine.Action]) -> FrontError? {
        for case .fail(let error) in actions { return error }
        return nil
    }

    @Test("asks no worker for anything after the deadline, only the store for names, and ends whatever happens")
    func afterDeadline() throws {
        var (machine, part) = try reranking(minCoverage: 0)
        let actions = machine.deadline(view(now: 900))
        var names: Int?
        for action in actions {
            switch action {
            case .identify(let number, let ids):
                names = number
                #expect(ids.sorted() == [2, 5])
            case .abandon(let parts): #expect(parts == [part])
            default: Issue.record("\(action)")
            }
        }
        var silent = machine
        let named = reply(machine.identified(part: try #require(names), [2: "two", 5: "five"], view(now: 950)))
        #expect(named?.hits[0].map(\.id) == ["five", "two"])
        #expect(named?.degraded == ["timeout", "rerank_skipped"])
        // The store says nothing either.
        let last = try #require(reply(silent.end(view(now: 990))))
        #expect(last.hits == [[]] && last.gone == 0)
        #expect(last.coverage.missing.map(\.reason) == [.timedOut, .timedOut])
        #expect(silent.isFinished)
        #expect(silent.end(view(now: 999)).isEmpty)
    }

    @Test("drops fetches at the deadline and has the store name their rows")
    func deadlineWhileFetching() throws {
        var (machine, part) = try reranking(minCoverage: 0)
        let fetches = machine.failed(part: part, Failed(code: "INTERNAL", message: ""), died: false, view())
        guard case .fetch(let fetch, 9, _)? = fetches.first else { throw TestProblem("no fetch: \(fetches)") }
        let actions = machine.deadline(view(now: 900))
        guard actions.count == 2, case .abandon([fetch]) = actions[0], case .identify(_, let ids) = actions[1] else {
            throw TestProblem("\(actions)")
        }
        #expect(ids.sorted() == [2, 5])
    }

    @Test("tells which parts nobody waits for any more when the scan is cut off")
    func cutOff() throws {
        var machine = try machine(minCoverage: 0)
        let asked = scans(machine.start(view()))
        _ = machine.hits(part: asked[0].part, answer(asked[0].shards, ids: [5], scores: [0.9]), view())
        guard case .abandon(let parts)? = machine.scanCutOff(view()).first else { throw TestProblem("nothing") }
        #expect(parts == [asked[1].part])
    }

    @Test("says OVERLOADED at once where the only holder of shards is full")
    func overloaded() throws {
        let full = Failed(code: "OVERLOADED", message: "the worker's queue is full")
        var strict = try machine()
        let asked = scans(strict.start(view()))
        let error = failure(strict.failed(part: asked[0].part, full, died: false, view()))
        #expect(error?.code == .overloaded && error?.retryAfterMilliseconds != nil)
        var (reranks, part) = try reranking(minCoverage: 1)
        #expect(failure(reranks.failed(part: part, full, died: false, view()))?.code == .overloaded)
        // Another has room.
        var spare = try machine()
        let again = scans(spare.start(view(spare: true)))
        #expect(scans(spare.failed(part: again[0].part, full, died: false, view(spare: true))).map(\.worker) == [3])
        // A part of the whole is enough.
        var lenient = try machine(minCoverage: 0.5)
        let parts = scans(lenient.start(view()))
        #expect(failure(lenient.failed(part: parts[0].part, full, died: false, view())) == nil)
    }

    @Test("says that rows were not reranked when a whole rerank skipped some")
    func skippedRows() throws {
        var (machine, part) = try reranking(minCoverage: 0)
        let scores = Scores(
            results: [CandidateColumns(ids: [2], versions: [1], shards: [32], scores: [[0.5], [0.7]])],
            documents: [[FetchedDocument(id: 2, externalID: "two", payload: nil)]],
            gone: 0,
            rescoredNewer: 0,
            skipped: [5],
            fetchedRows: 0,
            queuedMicroseconds: 0,
            computeMicroseconds: 0
        )
        #expect(reply(machine.scores(part: part, scores, view()))?.degraded == ["rerank_skipped"])
    }

    @Test("counts the longest wait for credit of each phase")
    func creditWaits() throws {
        var machine = try machine()
        let asked = scans(machine.start(view()))
        machine.waited(part: asked[0].part, microseconds: 30)
        machine.waited(part: asked[1].part, microseconds: 70)
        _ = machine.hits(part: asked[0].part, answer(asked[0].shards, ids: [5], scores: [0.9]), view())
        let next = machine.hits(part: asked[1].part, answer(asked[1].shards, ids: [], scores: []), view())
        guard case .rerank(let part, _, _)? = next.first else { throw TestProblem("\(next)") }
        machine.waited(part: part, microseconds: 5)
        let scores = Scores(
            results: [CandidateColumns(ids: [5], versions: [1], shards: [0], scores: [[0.5], [0.7]])],
            documents: [[FetchedDocument(id: 5, externalID: "five", payload: nil)]],
            gone: 0,
            rescoredNewer: 0,
            skipped: [],
            fetchedRows: 0,
            queuedMicroseconds: 0,
            computeMicroseconds: 0
        )
        #expect(reply(machine.scores(part: part, scores, view()))?.timings.queueMicroseconds == 75)
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
