import Matryoshka
import ServiceRuntime
import Shortlist
import VectorMath
import WireProtocol
import WorkerRuntime

/// Answers SEARCH: requests for the same shards and stages are scanned together.
struct ShortlistSearcher: Sendable {
    /// Queries in one scan; more would make the first of them wait for the last.
    static let queriesMax = 256
    /// The same where each query looks at rows of its own and batches save little: whoever works on the answers need not
    /// wait.
    static let indexedQueriesMax = 16

    let table: ShardTable<HeadShard>
    let trainer: Trainer
    let crew: ScanCrew

    init(table: ShardTable<HeadShard>, trainer: Trainer, threads: ThreadPlacement) {
        self.table = table
        self.trainer = trainer
        crew = ScanCrew(threads)
    }

    @Sendable func serve(_ batch: [WorkerRequest], _ desk: RequestDesk) {
        for group in SearchGroup.grouping(batch, queryLimit: Self.queriesMax) {
            let isIndexed = (table.shape(of: group.key.holding)?.index.kind ?? .flat) != .flat
            for part in group.parts(queryLimit: isIndexed ? Self.indexedQueriesMax : Self.queriesMax) {
                desk.answer(search(part))
                desk.progressed()
            }
        }
        desk.answer(
            batch.compactMap { request in
                switch request.message.body {
                case .search: return nil
                case .train(let command):
                    trainer.train(request, command, desk)
                    return nil
                default: break
                }
                return request.failed("UNSUPPORTED", "a shortlist worker serves no \(request.message.header.type)")
            }
        )
    }

    private func search(_ group: SearchGroup) -> [WorkerAnswer] {
        let start = ServiceProcess.monotonicMicroseconds()
        let selection = table.select(group.key.holding, shards: group.key.shards)
        if let fault = group.fault(in: selection?.shape) {
            return group.members.map { $0.request.failed(fault.code, fault.message) }
        }
        var results: [CandidateColumns] = []
        if let selection, !selection.ready.isEmpty {
            results =
                if let graph = selection.context?.graph {
                    walk(graph, selection, group)
                } else if let lists = selection.context?.lists {
                    look(into: lists, selection, group)
                } else {
                    scan(selection, group)
                }
        }
        return group.answers(results, shards: selection?.answers, since: start)
    }

    /// The queries' heads, as the rows' are held.
    private func heads(of group: SearchGroup, _ selection: ShardTable<HeadShard>.Selection) -> [Float] {
        selection.context?.rotation?.rotated(rows: group.queries, first: selection.shape.storedHeadWidth)
            ?? group.queries
    }

    /// Shares the shards out among the threads.
    private func scan(_ selection: ShardTable<HeadShard>.Selection, _ group: SearchGroup) -> [CandidateColumns] {
        table.yieldToFollowers()
        let (queries, count, steps) = (heads(of: group, selection), group.queryCount, group.key.steps)
        return crew.scan(selection.ready, keep: steps[0].keep) { shards in
            scanShortlist(
                shards: shards.map { ($0.shard, $0.rows.scanned) },
                queries: queries.span,
                queryCount: count,
                steps: steps
            ).map { CandidateColumns($0) }
        }
    }

    /// Shares the queries out among the threads, or the lists of few queries.
    private func look(
        into lists: InvertedLists,
        _ selection: ShardTable<HeadShard>.Selection,
        _ group: SearchGroup
    ) -> [CandidateColumns] {
        let (shards, width, count, key) = (
            selection.ready, selection.shape.storedHeadWidth, group.queryCount, group.key
        )
        let queries = heads(of: group, selection)
        // The shards stay as long as the lists are asked for them.
        let wanted = shards.compactMap { held in held.handle.map { (shard: held.shard, owner: $0) } }
        defer { withExtendedLifetime(shards) {} }
        let (threads, probes) = (crew.threadCount, key.effort.probes(of: lists.coarse.count))
        @Sendable func found(_ range: Range<Int>, part: Int = 0, of parts: Int = 1) -> [CandidateColumns] {
            let heads = queries.span.extracting(range.lowerBound * width..<range.upperBound * width)
            return lists.search(
                shards: wanted,
                queries: heads,
                queryCount: range.count,
                steps: key.steps,
                probed: lists.coarse.probed(by: heads, width: width, probes: probes),
                part: part,
                of: parts
            ).map { CandidateColumns($0) }
        }
        if count >= 2 * threads {
            return crew.map(threads) { found(count * $0 / threads..<count * ($0 + 1) / threads) }.flatMap { $0 }
        }
        let parts = crew.map(threads) { found(0..<count, part: $0, of: threads) }
        guard parts.count > 1 else { return parts.first ?? [] }
        return (0..<count).map { query in
            CandidateColumns.merging(parts.map { $0[query] }, keep: key.steps[0].keep)
        }
    }

    /// Shares the queries out among the threads; neither waits for writers nor keeps them waiting.
    private func walk(
        _ graph: HeadGraph,
        _ selection: ShardTable<HeadShard>.Selection,
        _ group: SearchGroup
    ) -> [CandidateColumns] {
        let (shards, width, key) = (selection.ready, selection.shape.storedHeadWidth, group.key)
        let queries = heads(of: group, selection)
        return crew.map(group.queryCount) { query in
            // The shards stay as long as the graph is asked for them.
            let wanted = shards.compactMap { held in held.handle.map { (shard: held.shard, owner: $0) } }
            let found = graph.search(
                shards: wanted,
                queries: queries.span.extracting(query * width..<(query + 1) * width),
                queryCount: 1,
                steps: key.steps,
                ef: key.effort.ef
            )
            return withExtendedLifetime(shards) { CandidateColumns(found[0]) }
        }
    }
}

extension SearchGroup {
    /// Why no member can be served; nil where all is well.
    ///
    /// A shape that is not held is no fault but `notHere`.
    fileprivate func fault(in shape: CollectionShape?) -> (code: String, message: String)? {
        if members.contains(where: { !$0.command.filter.isEmpty }) {
            return ("UNSUPPORTED", "this worker applies no filter")
        }
        guard let shape else { return nil }
        let width = shape.learntRotation == 0 ? shape.storedHeadWidth : shape.dimensions
        if key.width != width { return ("BAD_DIM", "queries have \(key.width) floats, not \(width)") }
        let bitWidth = shape.planSpace.bitWidth
        let isServed = key.steps.allSatisfy { step in
            let widest =
                step.precision == .bit
                ? bitWidth : step.precision == shape.residentPrecision ? shape.residentWidth : 0
            return step.dimensions >= 1 && step.dimensions <= widest && step.keep >= 1
        }
        return isServed && !key.steps.isEmpty ? nil : ("BAD_PLAN", "a stage is not resident here")
    }
}

extension CandidateColumns {
    fileprivate init(_ columns: ShortlistColumns) {
        self.init(ids: columns.ids, versions: columns.versions, shards: columns.shards, scores: columns.scores)
    }
}
