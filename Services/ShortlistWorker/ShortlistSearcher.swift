import Matryoshka
import ServiceRuntime
import Shortlist
import WireProtocol
import WorkerRuntime

/// Answers SEARCH: requests for the same shards and stages are scanned together.
struct ShortlistSearcher: Sendable {
    /// Queries in one scan; more would make the first of them wait for the last.
    static let queriesMax = 256

    let table: ShardTable<ResidentShard>
    let trainer: Trainer
    let crew: ScanCrew

    init(table: ShardTable<ResidentShard>, trainer: Trainer, threads: Int) {
        self.table = table
        self.trainer = trainer
        crew = ScanCrew(threads: threads)
    }

    @Sendable func serve(_ batch: [WorkerRequest], _ desk: RequestDesk) {
        for group in SearchGroup.grouping(batch, queryLimit: Self.queriesMax) {
            desk.answer(search(group))
            desk.progressed()
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
            table.yieldToFollowers()
            let (queries, count, steps) = (group.queries, group.queryCount, group.key.steps)
            let probed = selection.context?.lists.map {
                $0.probed(by: queries.span, width: group.key.width, probes: group.key.effort.probes(of: $0.count))
            }
            results = crew.scan(selection.ready, keep: steps[0].keep) { shards in
                scanShortlist(
                    shards: shards,
                    queries: queries.span,
                    queryCount: count,
                    steps: steps,
                    probed: probed
                ).map { CandidateColumns($0) }
            }
        }
        return group.answers(results, shards: selection?.answers, since: start)
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
        if key.width != shape.storedHeadWidth {
            return ("BAD_DIM", "queries have \(key.width) floats, heads have \(shape.storedHeadWidth)")
        }
        let isServed = key.steps.allSatisfy { step in
            step.precision == shape.residentPrecision && step.dimensions >= 1
                && step.dimensions <= shape.residentWidth && step.keep >= 1
        }
        return isServed && !key.steps.isEmpty ? nil : ("BAD_PLAN", "a stage is not resident here")
    }
}

extension CandidateColumns {
    fileprivate init(_ columns: ShortlistColumns) {
        self.init(ids: columns.ids, versions: columns.versions, shards: columns.shards, scores: columns.scores)
    }
}
