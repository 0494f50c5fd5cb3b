import DocumentStore
import Matryoshka
import Reranking
import ServiceRuntime
import Synchronization
import VectorMath
import WireProtocol
import WorkerRuntime

/// Answers RERANK, FETCH and exhaustive SEARCH from the rows held, and from the store for the rest.
struct Reranker: Sendable {
    /// Queries in one exhaustive scan.
    static let queriesMax = 64

    let table: ShardTable<VectorShard>
    let reader: RowReader
    let crew: ScanCrew
    let passing: PassingScan
    let bounds: BoundsKeeper

    /// All SEARCHes together where one is first, or else some of the rest.
    static func take(from queue: inout RequestQueue, now: UInt64, threads: Int) -> [WorkerRequest] {
        func isSearch(_ request: WorkerRequest) -> Bool {
            if case .search = request.message.body { true } else { false }
        }
        guard let first = queue.first(now: now) else { return queue.take(now: now) }
        if isSearch(first) { return queue.take(now: now, where: isSearch) }
        return queue.take(limit: threads > 1 ? 1 : 16, now: now) { !isSearch($0) }
    }

    @Sendable func serve(_ batch: [WorkerRequest], _ desk: RequestDesk) {
        var answers: [WorkerAnswer] = []
        for request in batch {
            switch request.message.body {
            case .rerank(let command):
                if let answer = rerank(request, command, desk) { answers.append(answer) }
            case .fetch(let command):
                if let answer = fetch(request, command, desk) { answers.append(answer) }
            case .search: continue
            default:
                answers.append(
                    request.failed("UNSUPPORTED", "a rerank worker serves no \(request.message.header.type)")
                )
            }
        }
        desk.answer(answers)
        for group in SearchGroup.grouping(batch, queryLimit: Self.queriesMax) {
            search(group, desk)
            desk.progressed()
        }
    }

    /// Lends the held shards by number.
    private func withHeld<R>(
        _ key: HoldingKey,
        _ shards: some Sequence<UInt16>,
        _ body: ([VectorShard?]) -> R
    ) -> R {
        let ready = table.readyShards(of: key)
        var isWanted = [Bool](repeating: false, count: ready.count)
        for shard in shards where Int(shard) < isWanted.count { isWanted[Int(shard)] = true }
        let wanted = ready.indices.compactMap { isWanted[$0] ? ready[$0] : nil }
        table.yieldToFollowers()
        return HeldShard.withRows(of: wanted) { lent in
            var held = [VectorShard?](repeating: nil, count: ready.count)
            for shard in lent { held[Int(shard.shard)] = shard.rows }
            return body(held)
        }
    }

    // MARK: - RERANK

    private func rerank(_ request: WorkerRequest, _ command: RerankCommand, _ desk: RequestDesk) -> WorkerAnswer? {
        let start = ServiceProcess.monotonicMicroseconds()
        let key = request.holding
        guard let shape = table.shape(of: key) else { return request.holdsNothing }
        if let fault = RerankJob.fault(command, shape) { return request.failed("BAD_FRAME", fault) }
        var basis: VectorRotation?
        if command.rotation != 0 {
            basis = reader.rotations.known(command.rotation)
            if basis == nil {
                reader.async { [self] reader in
                    guard reader.readRotation(command.rotation, dimensions: shape.dimensions) else {
                        return desk.answer([request.storeIsDown])
                    }
                    if let answer = rerank(request, command, desk) { desk.answer([answer]) }
                }
                return nil
            }
        }
        var job = RerankJob(command, shape, basis: basis)
        let shards = command.candidates.lazy.flatMap(\.shards)
        let (results, names) = withHeld(key, shards) { held -> ([CandidateColumns], [[String?]]) in
            job.score(held)
            if job.hasPending { return ([], []) }
            let results = job.results()
            return (results, command.isWhole ? externalIDs(of: results, held, [:]) : [])
        }
        if !job.hasPending {
            if let answer = scores(job, results, names, read: nil, request, start) { return answer }
        }
        // The rest needs the store.
        reader.async { [self, job] reader in
            var job = job
            if request.deadlineAt <= ServiceProcess.monotonicMicroseconds() {
                return desk.answer([request.failed("DEADLINE_EXCEEDED", "the deadline passed before rows were read")])
            }
            // A request before this one may have missed the same rows.
            if job.hasPending { withHeld(key, job.pending.shards) { job.score($0) } }
            guard job.hasPending else { return desk.answer([finish(job, request, start, reader)]) }
            let pending = job.pending
            let mark = table.markBeforeReading(key, pending.shards)
            let read = reader.rows(shape, ids: pending.ids, shards: pending.shards)
            job.take(read?.byID)
            desk.answer([finish(job, request, start, reader)])
            if let read { table.admit(read.byID.values, readFrom: read.primary, since: mark) }
        }
        return nil
    }

    /// Puts an answer together on the reading thread.
    private func finish(
        _ job: RerankJob,
        _ request: WorkerRequest,
        _ start: UInt64,
        _ reader: RowReader
    ) -> WorkerAnswer {
        var job = job
        var results = job.results()
        var names: [[String?]] = []
        if job.command.isWhole {
            names = withHeld(request.holding, results.lazy.flatMap(\.shards)) {
                externalIDs(of: results, $0, job.readIDs)
            }
            // Rows that were let go of since they were scored.
            var ids: Set<Int64> = []
            var shards: Set<UInt16> = []
            for (query, columns) in results.enumerated() {
                for row in columns.ids.indices where names[query][row] == nil {
                    ids.insert(columns.ids[row])
                    shards.insert(columns.shards[row])
                }
            }
            if !ids.isEmpty {
                guard let read = reader.rows(job.shape, ids: ids, shards: shards) else { return request.storeIsDown }
                for query in results.indices {
                    let columns = results[query]
                    for row in columns.ids.indices where names[query][row] == nil {
                        names[query][row] = read.byID[columns.ids[row]]?.externalID
                    }
                    let left = columns.ids.indices.filter { names[query][$0] != nil }
                    job.lost(columns.count - left.count)
                    results[query] = columns.picking(left)
                    names[query] = left.map { names[query][$0] }
                }
            }
        }
        guard job.command.isWhole, job.command.withPayload else {
            return scores(job, results, names, read: nil, request, start)!
        }
        var missing: [Int64: UInt32] = [:]
        for columns in results {
            for (id, version) in zip(columns.ids, columns.versions)
            where reader.payloads.payload(job.shape.collection, id, version) == nil {
                missing[id] = version
            }
        }
        let read: [Int64: String?]
        do {
            read = try reader.payloads(job.shape, missing.map { ($0.key, $0.value) })
        } catch {
            return request.failed(error)
        }
        return scores(job, results, names, read: read, request, start)!
    }

    private func externalIDs(
        of results: [CandidateColumns],
        _ held: [VectorShard?],
        _ read: [Int64: String]
    ) -> [[String?]] {
        results.map { columns in
            columns.ids.indices.map { row in
                let id = columns.ids[row]
                return read[id] ?? held[Int(columns.shards[row]) % held.count]?.externalID(of: id)
            }
        }
    }

    /// The answer; nil where payloads are asked for and must be read first.
    private func scores(
        _ job: RerankJob,
        _ results: [CandidateColumns],
        _ externalIDs: [[String?]],
        read: [Int64: String?]?,
        _ request: WorkerRequest,
        _ start: UInt64
    ) -> WorkerAnswer? {
        var documents: [[FetchedDocument]] = []
        var count = PayloadCount()
        if job.command.isWhole {
            documents.reserveCapacity(results.count)
            for (query, columns) in results.enumerated() {
                var list: [FetchedDocument] = []
                list.reserveCapacity(columns.count)
                for row in columns.ids.indices {
                    let id = columns.ids[row]
                    guard let externalID = externalIDs[query][row] else { return nil }
                    var payload: String?
                    if job.command.withPayload {
                        if let known = read?[id] {
                            payload = known
                        } else if let known = reader.payloads.payload(
                            job.shape.collection,
                            id,
                            columns.versions[row]
                        ) {
                            payload = known
                        } else if read == nil {
                            return nil
                        }
                        do { try count.add(payload) } catch { return request.failed(error) }
                    }
                    list.append(FetchedDocument(id: id, externalID: externalID, payload: payload))
                }
                documents.append(list)
            }
        } else {
            documents = Array(repeating: [], count: results.count)
        }
        return request.answer(
            .scores(
                Scores(
                    results: results,
                    documents: documents,
                    gone: job.gone,
                    rescoredNewer: job.rescoredNewer,
                    skipped: job.skipped,
                    fetchedRows: job.fetchedRows,
                    queuedMicroseconds: request.queued(until: start),
                    computeMicroseconds: UInt32(clamping: ServiceProcess.monotonicMicroseconds() - start)
                )
            )
        )
    }

    // MARK: - FETCH

    private func fetch(_ request: WorkerRequest, _ command: FetchCommand, _ desk: RequestDesk) -> WorkerAnswer? {
        let key = request.holding
        guard let shape = table.shape(of: key) else { return request.holdsNothing }
        guard command.ids.count == command.shards.count else {
            return request.failed("BAD_FRAME", "ids and shards differ in number")
        }
        let known = withHeld(key, command.shards) { held in
            zip(command.ids, command.shards).map { id, shard -> KnownRow in
                let rows = Int(shard) < held.count ? held[Int(shard)] : nil
                return KnownRow(id: id, shard: shard, version: rows?.version(of: id), name: rows?.externalID(of: id))
            }
        }
        var documents: [FetchedDocument] = []
        documents.reserveCapacity(known.count)
        var count = PayloadCount()
        for row in known {
            guard let name = row.name, let version = row.version else { break }
            guard command.withPayload else {
                documents.append(FetchedDocument(id: row.id, externalID: name, payload: nil))
                continue
            }
            guard let payload = reader.payloads.payload(shape.collection, row.id, version) else { break }
            do { try count.add(payload) } catch { return request.failed(error) }
            documents.append(FetchedDocument(id: row.id, externalID: name, payload: payload))
        }
        if documents.count == known.count { return request.answer(.documents(Documents(documents: documents))) }
        reader.async { [self] reader in desk.answer([read(known, command, shape, request, reader)]) }
        return nil
    }

    private struct KnownRow: Sendable {
        var id: Int64
        var shard: UInt16
        var version: UInt32?
        var name: String?
    }

    private func read(
        _ known: [KnownRow],
        _ command: FetchCommand,
        _ shape: CollectionShape,
        _ request: WorkerRequest,
        _ reader: RowReader
    ) -> WorkerAnswer {
        var known = known
        let missing = known.filter { $0.name == nil }
        guard
            let rows = reader.rows(
                shape,
                ids: Set(missing.map(\.id)),
                shards: Set(missing.map(\.shard))
            )
        else { return request.storeIsDown }
        for index in known.indices where known[index].name == nil {
            known[index].name = rows.byID[known[index].id]?.externalID
            known[index].version = rows.byID[known[index].id]?.version
        }
        known.removeAll { $0.name == nil }
        var payloads: [Int64: String?] = [:]
        if command.withPayload {
            let unread = known.filter {
                reader.payloads.payload(shape.collection, $0.id, $0.version ?? 0) == nil
            }
            do {
                payloads = try reader.payloads(shape, unread.map { ($0.id, $0.version ?? 0) })
            } catch {
                return request.failed(error)
            }
        }
        var documents: [FetchedDocument] = []
        documents.reserveCapacity(known.count)
        var count = PayloadCount()
        for row in known {
            var payload: String?
            if command.withPayload {
                payload =
                    payloads[row.id] ?? reader.payloads.payload(shape.collection, row.id, row.version ?? 0) ?? nil
                do { try count.add(payload) } catch { return request.failed(error) }
            }
            documents.append(FetchedDocument(id: row.id, externalID: row.name ?? "", payload: payload))
        }
        return request.answer(.documents(Documents(documents: documents)))
    }

    // MARK: - SEARCH

    private func search(_ group: SearchGroup, _ desk: RequestDesk) {
        let start = ServiceProcess.monotonicMicroseconds()
        let selection = table.select(group.key.holding, shards: group.key.shards)
        if let fault = group.fault(in: selection?.shape) {
            return desk.answer(group.members.map { $0.request.failed(fault.code, fault.message) })
        }
        let held: [CandidateColumns]
        let (queries, count, step) = (group.queries, group.queryCount, group.key.steps[0])
        if let selection, !selection.ready.isEmpty {
            table.yieldToFollowers()
            if group.key.isExact, step.precision == .float32, step.dimensions == selection.shape.dimensions {
                held = scanExact(selection, group)
            } else {
                held = crew.scan(selection.ready, keep: step.keep) { shards in
                    scanFull(shards: shards, queries: queries.span, queryCount: count, step: step)
                        .map { CandidateColumns($0) }
                }
            }
        } else {
            held = []
        }
        guard let selection, !selection.partial.isEmpty else {
            return desk.answer(group.answers(held, shards: selection?.answers, since: start))
        }
        let (asked, passed) = (selection.answers, Set(selection.partial))
        // The rest passes by from the store.
        let scan = PassingScan.Scan(
            key: PassingScan.Key(shape: selection.shape, shards: selection.partial, step: step),
            queries: queries,
            queryCount: count,
            deadlineAt: group.members.map(\.request.deadlineAt).max() ?? 0
        ) { found in
            var answers = asked
            for index in answers.indices where passed.contains(answers[index].shard) {
                if let found {
                    answers[index].rows = UInt32(clamping: found.rows[Int(answers[index].shard)])
                } else {
                    answers[index].status = .notHere
                }
            }
            let all = found?.results.enumerated().map { query, columns in
                held.isEmpty ? columns : .merging([held[query], columns], keep: step.keep)
            }
            desk.answer(group.answers(all ?? held, shards: answers, since: start))
        }
        passing.add(scan)
    }

    /// The same rows as a full scan, by bounds where the rows have them.
    private func scanExact(_ selection: ShardTable<VectorShard>.Selection, _ group: SearchGroup) -> [CandidateColumns] {
        let (queries, count, step, key) = (group.queries, group.queryCount, group.key.steps[0], group.key.holding)
        let rowCount = selection.answers.reduce(0) { $0 + Int($1.rows) }
        let space = bounds.space(key)
        guard let space, step.keep * 8 < rowCount else {
            if space == nil, rowCount >= BoundsKeeper.rowsMin { bounds.prepare(key) }
            return crew.scan(selection.ready, keep: step.keep) { shards in
                scanFull(shards: shards, queries: queries.span, queryCount: count, step: step)
                    .map { CandidateColumns($0) }
            }
        }
        let loose = Atomic<Int>(0)
        let found = crew.scan(selection.ready, keep: step.keep) { shards in
            let (found, effort) = Reranking.scanExact(
                shards: shards,
                queries: queries.span,
                queryCount: count,
                keep: step.keep,
                space: space
            )
            loose.add(effort.looseRows, ordering: .relaxed)
            return found.map { CandidateColumns($0) }
        }
        if loose.load(ordering: .relaxed) * 32 > rowCount { bounds.prepare(key) }
        return found
    }
}

extension CandidateColumns {
    init(_ columns: FullScanColumns) {
        self.init(ids: columns.ids, versions: columns.versions, shards: columns.shards, scores: [columns.scores])
    }
}

extension SearchGroup {
    /// Why no member can be served; nil where all is well.
    fileprivate func fault(in shape: CollectionShape?) -> (code: String, message: String)? {
        if members.contains(where: { !$0.command.filter.isEmpty }) {
            return ("UNSUPPORTED", "this worker applies no filter")
        }
        guard key.steps.count == 1, let step = key.steps.first, step.precision >= .float16, step.keep >= 1 else {
            return ("BAD_PLAN", "a full scan has one float step")
        }
        guard let shape else { return nil }
        if key.width != shape.dimensions {
            return ("BAD_DIM", "queries have \(key.width) floats, not \(shape.dimensions)")
        }
        return (1...shape.dimensions).contains(step.dimensions)
            ? nil : ("BAD_PLAN", "\(step.dimensions) dimensions are not there")
    }
}

extension WorkerRequest {
    fileprivate var holding: HoldingKey {
        HoldingKey(collection: message.header.collection, generation: message.header.generation)
    }

    fileprivate var holdsNothing: WorkerAnswer { failed("UNAVAILABLE", "nothing of the collection is held here") }

    fileprivate func failed(_ fault: PayloadFault) -> WorkerAnswer {
        switch fault {
        case .storeIsDown: storeIsDown
        case .tooLarge:
            failed("TOO_LARGE", "the payloads have more than the \(FrontLimits.replyBytesMax) bytes of a reply")
        }
    }

    fileprivate var storeIsDown: WorkerAnswer {
        failed("STORE_UNAVAILABLE", "the database cannot be read, and not all that was asked for is held")
    }
}
