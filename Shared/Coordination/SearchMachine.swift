public import Matryoshka
public import WireProtocol

/// One search from request to reply: encode, scan, rerank, fetch.
///
/// It decides and never does: events go in, actions come out, and its owner performs them. Every message to a worker
/// is a *part* with a number that the answer brings back.
public struct SearchMachine: Sendable {
    /// What the owner shall do.
    public enum Action: Sendable {
        case encode(part: Int, texts: [String])
        case search(part: Int, worker: UInt64, SearchCommand)
        case rerank(part: Int, worker: UInt64, RerankCommand)
        case fetch(part: Int, worker: UInt64, FetchCommand)
        /// Rerank workers are lost: ask the store for the external ids.
        case identify(part: Int, ids: [Int64])
        /// Nothing waits for the answers to these parts any more.
        case abandon(parts: [Int])
        case reply(SearchReply)
        case fail(FrontError)
    }

    /// What the coordinator knows of its workers at the time of an event.
    public struct View {
        /// Who holds what.
        public var directory: ShardDirectory
        /// Who is there and how busy.
        public var registry: WorkerRegistry
        /// Shards that no worker has room for.
        public var withoutRoom: [Holding: Set<UInt16>]
        /// By collection and logical shard, the rows of a whole replica when one was last there.
        public var knownRows: [UInt32: [Int]]
        /// Monotonic microseconds.
        public var now: UInt64

        /// Makes a view.
        public init(
            directory: ShardDirectory,
            registry: WorkerRegistry,
            withoutRoom: [Holding: Set<UInt16>],
            knownRows: [UInt32: [Int]] = [:],
            now: UInt64
        ) {
            self.directory = directory
            self.registry = registry
            self.withoutRoom = withoutRoom
            self.knownRows = knownRows
            self.now = now
        }

        func load(_ worker: UInt64) -> Int? { registry.workers[worker]?.inFlight }
    }

    private enum Phase { case encoding, scanning, reranking, fetching, finished }

    private enum Part {
        case encode
        case scan(worker: UInt64, shards: [UInt16])
        case rerank(worker: UInt64, RerankCommand)
        case fetch(worker: UInt64, rows: [(query: Int, row: Int)])
        case identify
    }

    /// The request.
    public let request: SearchRequest
    /// Collection that is searched.
    public let shape: CollectionShape
    /// Its plan.
    public let plan: ResolvedPlan
    /// For the reply.
    public let trace: (high: UInt64, low: UInt64)
    /// Receipt.
    public let started: UInt64

    private var phase: Phase = .encoding
    private var vectors: [Float] = []
    private var parts: [Int: Part] = [:]
    private var partCount = 0
    private var outcomes: [Coverage.Reason?]
    private var isSearched: [Bool]
    private var rowsSearched = 0
    private var rowsTotal = 0
    private var lists: [[CandidateColumns]] = []
    private var candidates: [CandidateColumns] = []
    private var unscored: Set<Int64> = []
    private var scored: [[CandidateColumns]] = []
    private var finals: [CandidateColumns] = []
    private var documents: [[FetchedDocument?]] = []
    private var failedWorkers: Set<UInt64> = []
    private var attempts = 0
    private var deaths = 0
    /// By part: deaths before it was sent.
    ///
    /// Workers that die at the same time are one coincidence, not two tries.
    private var sentAfterDeaths: [Int: Int] = [:]
    private var degraded: [String] = []
    /// Workers are asked for nothing more.
    private var isPastDeadline = false
    /// The last failure was a full worker's: what it said.
    private var overload: String?
    /// By phase: the longest wait for a worker's credit.
    private var creditWaits: [Phase: Int] = [:]
    private var rescoredNewer = 0
    private var gone = 0
    private var phaseStarted: UInt64
    /// Where the time went so far.
    public private(set) var timings = SearchTimings()

    /// Makes a machine for a request that fits the collection.
    public init(
        request: SearchRequest,
        shape: CollectionShape,
        plan: ResolvedPlan,
        traceHigh: UInt64,
        traceLow: UInt64,
        now: UInt64
    ) {
        self.request = request
        self.shape = shape
        self.plan = plan
        trace = (traceHigh, traceLow)
        started = now
        phaseStarted = now
        outcomes = Array(repeating: nil, count: Slots.shardCount)
        isSearched = Array(repeating: false, count: Slots.shardCount)
    }

    /// Queries of the request.
    public var queryCount: Int { request.query.count }
    /// Nothing more will come of it.
    public var isFinished: Bool { phase == .finished }

    private var scanHolding: Holding {
        Holding(
            collection: shape.collection,
            generation: shape.generation,
            role: plan.isExhaustive ? .rerank : .shortlist
        )
    }
    private var rerankHolding: Holding {
        Holding(collection: shape.collection, generation: 0, role: .rerank)
    }

    private mutating func add(_ part: Part) -> Int {
        partCount += 1
        parts[partCount] = part
        sentAfterDeaths[partCount] = deaths
        return partCount
    }

    // MARK: Events

    /// The request was accepted.
    public mutating func start(_ view: View) -> [Action] {
        switch request.query {
        case .texts(let texts):
            return [.encode(part: add(.encode), texts: texts)]
        case .vectors(let values, _, _):
            vectors = values
            return scan(view)
        }
    }

    /// The encoder answered part `part`.
    public mutating func encoded(part: Int, _ answer: Vectors, _ view: View) -> [Action] {
        guard phase == .encoding, parts.removeValue(forKey: part) != nil else { return [] }
        timings.encode = timing(view, queued: answer.queuedMicroseconds, compute: answer.computeMicroseconds)
        guard answer.dimensions == shape.dimensions, answer.values.count == queryCount * shape.dimensions else {
            return fail(
                FrontError(
                    .modelMismatch,
                    field: "collection",
                    "the encoder makes \(answer.dimensions) dimensions, the collection has \(shape.dimensions)"
                )
            )
        }
        for query in 0..<queryCount {
            let row = answer.values[query * shape.dimensions..<(query + 1) * shape.dimensions]
            guard row.contains(where: { $0 != 0 }) else {
                return fail(
                    FrontError(
                        .zeroVector,
                        field: queryCount == 1 ? "text" : "texts[\(query)]",
                        "the text has no token that the model knows",
                        allowed: "a text with at least one known word"
                    )
                )
            }
        }
        vectors = answer.values
        return scan(view)
    }

    /// A worker answered SEARCH.
    public mutating func hits(part: Int, _ hits: Hits, _ view: View) -> [Action] {
        guard phase == .scanning, case .scan(let worker, let shards)? = parts.removeValue(forKey: part) else {
            return []
        }
        guard hits.results.count == queryCount,
            hits.results.allSatisfy({ $0.scores.count == max(plan.residentCount, 1) })
        else {
            return lost(shards, worker: worker, reason: .failed, view) + advanceIfScanned(view)
        }
        var elsewhere: [UInt16] = []
        for answer in hits.shards where Int(answer.shard) < Slots.shardCount {
            switch answer.status {
            case .searched:
                if !isSearched[Int(answer.shard)] {
                    isSearched[Int(answer.shard)] = true
                    outcomes[Int(answer.shard)] = nil
                    rowsSearched += Int(answer.rows)
                }
            case .notHere:
                elsewhere.append(answer.shard)
            }
        }
        lists.append(hits.results)
        timings.shortlist = timing(view, queued: hits.queuedMicroseconds, compute: hits.computeMicroseconds)
        var actions: [Action] = []
        if !elsewhere.isEmpty { actions = lost(elsewhere, worker: worker, reason: .unavailable, view) }
        return actions + advanceIfScanned(view)
    }

    /// A rerank worker answered RERANK.
    public mutating func scores(part: Int, _ scores: Scores, _ view: View) -> [Action] {
        guard phase == .reranking, case .rerank(_, let command)? = parts.removeValue(forKey: part) else { return [] }
        guard scores.results.count == queryCount,
            scores.results.allSatisfy({ $0.scores.count == plan.steps.count })
        else {
            return skip(command) + advanceIfReranked(view)
        }
        rescoredNewer += Int(scores.rescoredNewer)
        gone += Int(scores.gone)
        skip(Set(scores.skipped), of: command)
        timings.rerank = timing(view, queued: scores.queuedMicroseconds, compute: scores.computeMicroseconds)
        if command.isWhole {
            finals = scores.results
            documents = scores.documents.map { $0.map { Optional($0) } }
            guard zip(finals, documents).allSatisfy({ $0.count == $1.count }) else {
                return fail(FrontError(.internalError, "a rerank worker's answer has hits without documents"))
            }
            if finals.allSatisfy({ $0.count == 0 }), !unscored.isEmpty { return advanceIfReranked(view) }
            if !unscored.isEmpty { degrade("rerank_skipped") }
            return finish(view)
        }
        scored.append(scores.results)
        return advanceIfReranked(view)
    }

    /// A rerank worker answered FETCH.
    public mutating func documents(part: Int, _ answer: Documents, _ view: View) -> [Action] {
        guard phase == .fetching, case .fetch(_, let rows)? = parts.removeValue(forKey: part) else { return [] }
        var byID: [Int64: FetchedDocument] = [:]
        for document in answer.documents { byID[document.id] = document }
        for place in rows { documents[place.query][place.row] = byID[finals[place.query].ids[place.row]] }
        return finishIfFetched(view)
    }

    /// The store named the rows of an ``Action/identify(part:ids:)``; nil where it could not.
    public mutating func identified(part: Int, _ names: [Int64: String]?, _ view: View) -> [Action] {
        guard phase == .fetching, parts.removeValue(forKey: part) != nil else { return [] }
        for query in finals.indices {
            for row in finals[query].ids.indices where documents[query][row] == nil {
                let id = finals[query].ids[row]
                documents[query][row] = names?[id].map { FetchedDocument(id: id, externalID: $0, payload: nil) }
            }
        }
        return finishIfFetched(view)
    }

    /// A worker answered FAILED, or was lost; `died` where its process is gone.
    public mutating func failed(part: Int, _ failure: Failed, died: Bool, _ view: View) -> [Action] {
        guard let known = parts.removeValue(forKey: part) else { return [] }
        if died {
            deaths = max(deaths, (sentAfterDeaths[part] ?? 0) + 1)
            if deaths >= 2 {
                return fail(
                    FrontError(
                        .poison,
                        "two workers were lost while they worked on this request; it is not tried again"
                    )
                )
            }
        }
        // No other worker would do better.
        if failure.code == FrontErrorCode.tooLarge.rawValue {
            return fail(
                FrontError(.tooLarge, failure.message, allowed: "ask for fewer hits, or without payloads")
            )
        }
        overload = failure.code == FrontErrorCode.overloaded.rawValue ? failure.message : nil
        let actions = goOn(without: known, failure, died: died, view)
        // Nobody else holds what the full worker holds: the client hears so at once.
        if overload != nil, phase != .finished, !isCoverageReachable { return fail(unavailable(failure.message, view)) }
        return actions
    }

    private mutating func goOn(without known: Part, _ failure: Failed, died: Bool, _ view: View) -> [Action] {
        switch known {
        case .encode:
            if died || failure.code == "OVERLOADED" || failure.code == "UNAVAILABLE", attempts < 2,
                case .texts(let texts) = request.query
            {
                attempts += 1
                return [.encode(part: add(.encode), texts: texts)]
            }
            return fail(
                FrontError(
                    FrontErrorCode(rawValue: failure.code) ?? .unavailable,
                    failure.message,
                    retryAfterMilliseconds: overload == nil ? nil : Self.overloadMilliseconds
                )
            )
        case .scan(let worker, let shards):
            return lost(shards, worker: worker, reason: .failed, view) + advanceIfScanned(view)
        case .rerank(let worker, let command):
            failedWorkers.insert(worker)
            attempts += 1
            if attempts < 3 {
                let (actions, left) = dispatch(command.candidates, view)
                for (query, rows) in left.enumerated() { skip(rows, query: query) }
                return actions + advanceIfReranked(view)
            }
            return skip(command) + advanceIfReranked(view)
        case .fetch(let worker, let rows):
            failedWorkers.insert(worker)
            return identify(rows.map { finals[$0.query].ids[$0.row] }) + finishIfFetched(view)
        case .identify:
            return finishIfFetched(view)
        }
    }

    /// Time to go on with what the scan has brought, where the client takes a part of the whole.
    public mutating func scanCutOff(_ view: View) -> [Action] {
        guard phase == .scanning, request.minCoverage < 1 else { return [] }
        return abandonScans(view)
    }

    /// The deadline is near: answer now, with nothing more from any worker; the store may still name rows.
    ///
    /// ``end(_:)`` follows, should the store not answer.
    public mutating func deadline(_ view: View) -> [Action] {
        isPastDeadline = true
        overload = nil
        switch phase {
        case .finished:
            return []
        case .encoding:
            return fail(FrontError(.deadlineExceeded, "no encoder answered within the deadline"))
        case .scanning:
            for part in parts.values {
                if case .scan(_, let shards) = part { mark(shards, .timedOut) }
            }
            return fail(unavailable("the deadline passed before enough shards had answered", view))
        case .reranking:
            for part in parts.values {
                if case .rerank(_, let command) = part { _ = skip(command, reason: .timedOut) }
            }
            let abandoned = abandon()
            degrade("timeout")
            return abandoned + advanceIfReranked(view)
        case .fetching:
            var unnamed: [Int64] = []
            var fetches: [Int] = []
            for (number, part) in parts {
                guard case .fetch(_, let rows) = part else { continue }
                fetches.append(number)
                unnamed += rows.map { finals[$0.query].ids[$0.row] }
            }
            guard !fetches.isEmpty else { return [] }
            for number in fetches { parts[number] = nil }
            degrade("timeout")
            return [.abandon(parts: fetches.sorted())] + identify(unnamed)
        }
    }

    /// The deadline is here: whatever is not there is missing.
    public mutating func end(_ view: View) -> [Action] {
        switch phase {
        case .finished: return []
        case .fetching:
            // Rows that nobody has named are no hits; their shards count as missing.
            for query in finals.indices {
                let named = finals[query].ids.indices.filter { documents[query][$0] != nil }
                guard named.count < finals[query].count else { continue }
                for row in finals[query].ids.indices where documents[query][row] == nil {
                    let shard = Int(finals[query].shards[row])
                    isSearched[shard] = false
                    outcomes[shard] = .timedOut
                }
                documents[query] = named.map { documents[query][$0] }
                finals[query] = finals[query].rows(at: named)
            }
            degrade("timeout")
            return finish(view)
        case .encoding, .scanning, .reranking:
            return fail(FrontError(.deadlineExceeded, "the search was not done within the deadline"))
        }
    }

    /// Part `part` has waited so long for its worker's credit.
    public mutating func waited(part: Int, microseconds: UInt64) {
        guard parts[part] != nil else { return }
        creditWaits[phase] = max(creditWaits[phase] ?? 0, Int(clamping: microseconds))
    }

    private mutating func degrade(_ reason: String) {
        if !degraded.contains(reason) { degraded.append(reason) }
    }

    private mutating func abandon() -> [Action] {
        defer { parts = [:] }
        return parts.isEmpty ? [] : [.abandon(parts: parts.keys.sorted())]
    }

    // MARK: Scan

    private mutating func scan(_ view: View) -> [Action] {
        phase = .scanning
        phaseStarted = view.now
        let route = view.directory.routeAll(scanHolding, load: view.load)
        rowsTotal = view.directory.rows(scanHolding)
        // What is missing counts with what it had.
        if let known = view.knownRows[shape.collection] {
            for shard in route.missing { rowsTotal += known[Int(shard)] }
        }
        for shard in route.missing {
            let noRoom = view.withoutRoom[scanHolding]?.contains(shard) ?? false
            outcomes[Int(shard)] = noRoom ? .noCapacity : .unavailable
        }
        if Double(Slots.shardCount - route.missing.count) < request.minCoverage * Double(Slots.shardCount) {
            for entry in route.byWorker {
                for shard in entry.shards { isSearched[Int(shard)] = true }
            }
            return fail(unavailable("\(route.missing.count) of \(Slots.shardCount) shards have no worker", view))
        }
        return ask(route) + advanceIfScanned(view)
    }

    private mutating func ask(_ route: ShardDirectory.Route) -> [Action] {
        let full = shape.dimensions
        // A rotation takes the whole vector.
        let width = plan.isExhaustive || shape.learntRotation != 0 ? full : shape.storedHeadWidth
        let queries: [Float]
        if width == full {
            queries = vectors
        } else {
            var heads: [Float] = []
            heads.reserveCapacity(queryCount * width)
            for query in 0..<queryCount { heads += vectors[query * full..<query * full + width] }
            queries = heads
        }
        let steps = Array(plan.steps[..<max(plan.residentCount, 1)])
        return route.byWorker.map { worker, shards in
            .search(
                part: add(.scan(worker: worker, shards: shards)),
                worker: worker,
                SearchCommand(
                    steps: steps,
                    shards: shards,
                    queryCount: queryCount,
                    width: width,
                    queries: queries,
                    effort: request.effort,
                    isExact: request.isExact
                )
            )
        }
    }

    private mutating func lost(_ shards: [UInt16], worker: UInt64, reason: Coverage.Reason, _ view: View) -> [Action] {
        failedWorkers.insert(worker)
        attempts += 1
        guard attempts < 8 else {
            mark(shards, reason)
            return []
        }
        let route = view.directory.route(scanHolding, shards: shards, avoiding: failedWorkers, load: view.load)
        mark(route.missing, reason)
        return ask(route)
    }

    private mutating func mark(_ shards: [UInt16], _ reason: Coverage.Reason) {
        for shard in shards where !isSearched[Int(shard)] { outcomes[Int(shard)] = reason }
    }

    private mutating func abandonScans(_ view: View) -> [Action] {
        for part in parts.values {
            if case .scan(_, let shards) = part { mark(shards, .timedOut) }
        }
        let abandoned = abandon()
        degrade("timeout")
        return abandoned + advanceIfScanned(view)
    }

    private mutating func advanceIfScanned(_ view: View) -> [Action] {
        guard phase == .scanning, parts.isEmpty else { return [] }
        if coverage.fraction < request.minCoverage {
            return fail(unavailable("\(coverage.missing.count) of \(Slots.shardCount) shards did not answer", view))
        }
        let merging = view.now
        candidates = (0..<queryCount).map { query in
            let steps = plan.steps
            var merged = CandidateColumns.merged(lists.map { $0[query] }, keep: steps[0].keep)
            if merged.scores.isEmpty { merged.scores = Array(repeating: [], count: max(plan.residentCount, 1)) }
            for stage in 1..<max(plan.residentCount, 1) { merged = merged.best(steps[stage].keep, atStage: stage) }
            return merged
        }
        lists = []
        timings.mergeMicroseconds += Int(view.now - merging)
        if max(plan.residentCount, 1) == plan.steps.count {
            finals = candidates
            return fetch(view)
        }
        phase = .reranking
        phaseStarted = view.now
        attempts = 0
        failedWorkers = []
        let (actions, left) = dispatch(candidates, view)
        for (query, rows) in left.enumerated() { skip(rows, query: query) }
        return actions + advanceIfReranked(view)
    }

    // MARK: Rerank

    /// Sends rows to the rerank workers of their shards; what has none is returned.
    private mutating func dispatch(_ rows: [CandidateColumns], _ view: View) -> ([Action], left: [CandidateColumns]) {
        let route =
            failedWorkers.isEmpty
            ? view.directory.routeAll(rerankHolding, load: view.load)
            : view.directory.route(
                rerankHolding,
                shards: 0..<UInt16(Slots.shardCount),
                avoiding: failedWorkers,
                load: view.load
            )
        let none = rows.map { _ in CandidateColumns(scores: Array(repeating: [], count: max(plan.residentCount, 1))) }
        if route.byWorker.count == 1, route.missing.isEmpty {
            let isWhole = scored.isEmpty && unscored.isEmpty && rows == candidates
            let worker = route.byWorker[0].worker
            return ([send(rows, to: worker, isWhole: isWhole)], none)
        }
        var owner = [Int](repeating: -1, count: Slots.shardCount)
        for (index, entry) in route.byWorker.enumerated() {
            for shard in entry.shards { owner[Int(shard)] = index }
        }
        var indices = rows.map { _ in Array(repeating: [Int](), count: route.byWorker.count) }
        var left = none
        for query in rows.indices {
            var orphans: [Int] = []
            for (row, shard) in rows[query].shards.enumerated() {
                let index = owner[Int(shard)]
                if index < 0 { orphans.append(row) } else { indices[query][index].append(row) }
            }
            if !orphans.isEmpty { left[query] = rows[query].rows(at: orphans) }
        }
        var actions: [Action] = []
        for (index, entry) in route.byWorker.enumerated() where indices.contains(where: { !$0[index].isEmpty }) {
            let share = rows.indices.map { rows[$0].rows(at: indices[$0][index]) }
            actions.append(send(share, to: entry.worker, isWhole: false))
        }
        return (actions, left)
    }

    private mutating func send(_ rows: [CandidateColumns], to worker: UInt64, isWhole: Bool) -> Action {
        let command = RerankCommand(
            plan: plan,
            firstStep: max(plan.residentCount, 1),
            isWhole: isWhole,
            withPayload: request.withPayload,
            queryCount: queryCount,
            width: shape.dimensions,
            queries: vectors,
            candidates: rows,
            rotation: shape.learntRotation
        )
        return .rerank(part: add(.rerank(worker: worker, command)), worker: worker, command)
    }

    private mutating func skip(_ rows: CandidateColumns, query: Int, reason: Coverage.Reason = .unavailable) {
        for (index, id) in rows.ids.enumerated() {
            unscored.insert(id)
            let shard = Int(rows.shards[index])
            isSearched[shard] = false
            outcomes[shard] = reason
        }
    }

    private mutating func skip(_ command: RerankCommand, reason: Coverage.Reason = .failed) -> [Action] {
        for (query, rows) in command.candidates.enumerated() { skip(rows, query: query, reason: reason) }
        return []
    }

    private mutating func skip(_ ids: Set<Int64>, of command: RerankCommand) {
        guard !ids.isEmpty else { return }
        for (query, rows) in command.candidates.enumerated() {
            let indices = rows.ids.indices.filter { ids.contains(rows.ids[$0]) }
            skip(rows.rows(at: indices), query: query, reason: .failed)
        }
    }

    private mutating func advanceIfReranked(_ view: View) -> [Action] {
        guard phase == .reranking, parts.isEmpty else { return [] }
        if !unscored.isEmpty {
            degrade("rerank_skipped")
            if coverage.fraction < request.minCoverage {
                return fail(unavailable("\(unscored.count) candidates could not be reranked", view))
            }
        }
        let merging = view.now
        let stages = plan.steps.count
        finals = (0..<queryCount).map { query in
            var rows = CandidateColumns.joined(scored.map { $0[query] }, stages: stages)
            if rows.count == 0, !unscored.isEmpty {
                // Nothing was reranked: the shortlist's order, said to be so.
                var order = candidates[query]
                let known = order.scores[order.scores.count - 1]
                while order.scores.count < stages { order.scores.append(known) }
                return order.rows(at: Array(order.ids.indices.prefix(plan.k)))
            }
            // Rows that were rescored from a newer version are ranked anew at the resident stages too.
            for stage in (rescoredNewer > 0 ? 0 : max(plan.residentCount, 1))..<stages {
                rows = rows.best(plan.steps[stage].keep, atStage: stage)
            }
            return rows
        }
        timings.mergeMicroseconds += Int(view.now - merging)
        return fetch(view)
    }

    // MARK: Fetch

    private mutating func fetch(_ view: View) -> [Action] {
        phase = .fetching
        phaseStarted = view.now
        documents = finals.map { Array(repeating: nil, count: $0.count) }
        let route = view.directory.routeAll(rerankHolding, load: view.load)
        var owner = [UInt64](repeating: 0, count: Slots.shardCount)
        for entry in route.byWorker {
            for shard in entry.shards { owner[Int(shard)] = entry.worker }
        }
        var places: [UInt64: [(query: Int, row: Int)]] = [:]
        var orphans: [Int64] = []
        for query in finals.indices {
            for row in finals[query].ids.indices {
                let worker = owner[Int(finals[query].shards[row])]
                if worker == 0 || isPastDeadline {
                    orphans.append(finals[query].ids[row])
                } else {
                    places[worker, default: []].append((query, row))
                }
            }
        }
        var actions: [Action] = []
        for (worker, rows) in places.sorted(by: { $0.key < $1.key }) {
            let command = FetchCommand(
                ids: rows.map { finals[$0.query].ids[$0.row] },
                shards: rows.map { finals[$0.query].shards[$0.row] },
                withPayload: request.withPayload
            )
            actions.append(.fetch(part: add(.fetch(worker: worker, rows: rows)), worker: worker, command))
        }
        actions += identify(orphans)
        return actions.isEmpty ? finish(view) : actions
    }

    private mutating func identify(_ ids: [Int64]) -> [Action] {
        ids.isEmpty ? [] : [.identify(part: add(.identify), ids: ids)]
    }

    private mutating func finishIfFetched(_ view: View) -> [Action] {
        guard phase == .fetching, parts.isEmpty else { return [] }
        timings.fetchMicroseconds = Int(view.now - phaseStarted)
        return finish(view)
    }

    // MARK: End

    private var coverage: Coverage {
        var missing: [(shard: UInt16, reason: Coverage.Reason)] = []
        for shard in 0..<Slots.shardCount where !isSearched[shard] {
            missing.append((UInt16(shard), outcomes[shard] ?? .timedOut))
        }
        return Coverage(
            shardsTotal: Slots.shardCount,
            shardsOK: Slots.shardCount - missing.count,
            missing: missing,
            rowsSearched: rowsSearched,
            rowsTotal: max(rowsTotal, rowsSearched)
        )
    }

    private static let overloadMilliseconds = 50

    /// Shards that are not lost yet are enough.
    private var isCoverageReachable: Bool {
        let lost = isSearched.indices.reduce(0) { $0 + (!isSearched[$1] && outcomes[$1] != nil ? 1 : 0) }
        return Double(Slots.shardCount - lost) >= request.minCoverage * Double(Slots.shardCount)
    }

    private func unavailable(_ message: String, _ view: View) -> FrontError {
        if let overload {
            return FrontError(
                .overloaded,
                overload,
                retryAfterMilliseconds: Self.overloadMilliseconds,
                coverage: coverage
            )
        }
        return FrontError(
            .unavailable,
            field: "min_coverage",
            message,
            allowed: "a lower min_coverage for a partial answer, or another try",
            retryAfterMilliseconds: 500,
            coverage: coverage
        )
    }

    private mutating func fail(_ error: FrontError) -> [Action] {
        phase = .finished
        parts = [:]
        return [.fail(error)]
    }

    private mutating func finish(_ view: View) -> [Action] {
        let coverage = coverage
        if coverage.fraction < request.minCoverage {
            return fail(unavailable("\(coverage.missing.count) of \(Slots.shardCount) shards are missing", view))
        }
        var hits: [[Hit]] = []
        for query in finals.indices {
            let rows = finals[query]
            let last = rows.scores.count - 1
            var list: [Hit] = []
            list.reserveCapacity(rows.count)
            for row in 0..<rows.count {
                // A row that vanished between rerank and fetch is dropped; nothing more is fetched.
                guard let document = documents[query][row] else {
                    gone += 1
                    continue
                }
                list.append(
                    Hit(
                        id: document.externalID,
                        score: rows.scores[last][row],
                        scores: request.explain ? rows.scores.map { $0[row] } : nil,
                        payload: request.withPayload ? document.payload : nil
                    )
                )
            }
            hits.append(list)
        }
        timings.totalMicroseconds = Int(view.now - started)
        timings.queueMicroseconds = creditWaits.values.reduce(0, +)
        if !coverage.isComplete, degraded.isEmpty { degrade("missing_shards") }
        phase = .finished
        parts = [:]
        return [
            .reply(
                SearchReply(
                    hits: hits,
                    plan: plan,
                    coverage: coverage,
                    degraded: degraded,
                    collection: shape.name,
                    generation: shape.generation,
                    index: plan.isExhaustive ? .flat : shape.index.kind,
                    isProven: plan.isFullScan(of: shape.dimensions) && coverage.isComplete && degraded.isEmpty,
                    rescoredNewer: rescoredNewer,
                    gone: gone,
                    timings: timings,
                    columns: request.columns,
                    traceHigh: trace.high,
                    traceLow: trace.low
                )
            )
        ]
    }

    /// Answers come in order of time: the last one is the slowest.
    private func timing(_ view: View, queued: UInt32, compute: UInt32) -> SearchTimings.StageTiming {
        SearchTimings.StageTiming(
            totalMicroseconds: Int(view.now - phaseStarted),
            queueMicroseconds: Int(queued),
            computeMicroseconds: Int(compute)
        )
    }
}
