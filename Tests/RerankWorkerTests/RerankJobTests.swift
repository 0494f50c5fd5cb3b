import DocumentStore
import Matryoshka
import Reranking
import RetrievalTesting
import Testing
import WireProtocol

@testable import RerankWorker

@Suite("A rerank under way")
struct RerankJobTests {
    static let dimensions = 48
    static let storedWidth = 16

    static let shape = CollectionShape(
        collection: 1,
        name: "things",
        model: "",
        dimensions: dimensions,
        smallestDimensions: 4,
        isMatryoshka: true,
        similarity: .cosine,
        storedHeadWidth: storedWidth,
        residentWidth: 16,
        residentPrecision: .int8,
        generation: 1
    )
    static let plan = ResolvedPlan(
        steps: [
            .init(dimensions: 8, keep: 60, precision: .int8), .init(dimensions: 24, keep: 30, precision: .float32),
            .init(dimensions: 48, keep: 10, precision: .float32),
        ],
        residentCount: 1
    )

    private let rows: [Oracle.Row]
    private let queries: [[Float]]

    init() {
        var random = SeededGenerator(seed: 9)
        rows = (0..<120).map {
            Oracle.Row(id: Int64($0 * 7 % 120), version: 3, vector: random.vector(Self.dimensions))
        }
        queries = (0..<2).map { _ in random.vector(Self.dimensions) }
    }

    @Test("a newer row is scored anew at its bit stage too, also by a worker that knows a generation without bits")
    func bits() {
        var shape = Self.shape
        shape.signSeed = 77
        let plan = ResolvedPlan(
            steps: [
                .init(dimensions: 16, keep: 60, precision: .bit), .init(dimensions: 16, keep: 40, precision: .int8),
                .init(dimensions: 24, keep: 30, precision: .float16),
                .init(dimensions: 48, keep: 10, precision: .float32),
            ],
            residentCount: 2
        )
        func oracle(_ rows: [Oracle.Row]) -> Oracle {
            Oracle(rows: rows, storedHeadWidth: Self.storedWidth, similarity: .cosine, rotationSeed: shape.signSeed)
        }
        let seen = queries.map { query -> CandidateColumns in
            let best = oracle(rows).stages(query: query, steps: [plan.steps[0]])[0]
            return CandidateColumns(
                ids: best.map(\.id),
                versions: best.map(\.version),
                shards: best.map { shard(ofRow: $0.id) },
                scores: plan.steps[..<2].map { step in
                    best.map { oracle(rows).score(id: $0.id, query: query, step: step)! }
                }
            )
        }
        let command = RerankCommand(
            plan: plan,
            firstStep: 2,
            isWhole: false,
            withPayload: false,
            queryCount: queries.count,
            width: Self.dimensions,
            queries: queries.flatMap { $0 },
            candidates: seen
        )
        #expect(RerankJob.fault(command, shape) == nil)
        var random = SeededGenerator(seed: 10)
        let newer = rows.map { row in
            row.id % 3 == 0 ? Oracle.Row(id: row.id, version: 4, vector: random.vector(Self.dimensions)) : row
        }
        var job = RerankJob(command, shape)
        job.score(held(newer) { _ in true })
        #expect(!job.hasPending)
        #expect(job.rescoredNewer > 0)
        let now = oracle(newer)
        for (columns, query) in zip(job.results(), queries) {
            for (step, scores) in columns.scores.enumerated() {
                #expect(scores == columns.ids.map { now.score(id: $0, query: query, step: plan.steps[step])! })
            }
        }
    }

    private func shard(ofRow id: Int64) -> UInt16 { UInt16(id % 5) }

    private var oracle: Oracle { Oracle(rows: rows, storedHeadWidth: Self.storedWidth, similarity: .cosine) }

    /// What a shortlist would hand on.
    private func candidates() -> [CandidateColumns] {
        queries.map { query in
            let best = oracle.stages(query: query, steps: Array(Self.plan.steps[..<1]))[0]
            return CandidateColumns(
                ids: best.map(\.id),
                versions: best.map(\.version),
                shards: best.map { shard(ofRow: $0.id) },
                scores: [best.map { $0.scores[0] }]
            )
        }
    }

    private func job(isWhole: Bool = true) -> RerankJob {
        let command = RerankCommand(
            plan: Self.plan,
            firstStep: 1,
            isWhole: isWhole,
            withPayload: false,
            queryCount: queries.count,
            width: Self.dimensions,
            queries: queries.flatMap { $0 },
            candidates: candidates()
        )
        #expect(RerankJob.fault(command, Self.shape) == nil)
        return RerankJob(command, Self.shape)
    }

    /// Shards that hold the rows that `isHeld` picks.
    private func held(_ rows: [Oracle.Row], cache: VectorCache? = nil, isHeld: (Int64) -> Bool) -> [VectorShard?] {
        let shards = (0..<5).map { _ in
            VectorShard(
                dimensions: Self.dimensions,
                storedHeadWidth: Self.storedWidth,
                similarity: .cosine,
                cache: cache
            )
        }
        for row in rows where isHeld(row.id) {
            let shard = shards[Int(shard(ofRow: row.id))]
            if cache == nil {
                shard.upsert(id: row.id, version: row.version, vector: row.vector.span, externalID: "r\(row.id)")
            } else {
                shard.admit(id: row.id, version: row.version, vector: row.vector.span, externalID: "r\(row.id)")
            }
        }
        return shards
    }

    private func read(_ rows: [Oracle.Row], _ ids: Set<Int64>) -> [Int64: VectorRow] {
        var found: [Int64: VectorRow] = [:]
        for row in rows where ids.contains(row.id) {
            found[row.id] = VectorRow(
                shard: shard(ofRow: row.id),
                id: row.id,
                version: row.version,
                vector: row.vector,
                externalID: "r\(row.id)"
            )
        }
        return found
    }

    private func expectOracle(_ results: [CandidateColumns], _ rows: [Oracle.Row]? = nil) {
        let oracle = Oracle(rows: rows ?? self.rows, storedHeadWidth: Self.storedWidth, similarity: .cosine)
        for (columns, query) in zip(results, queries) {
            let expected = oracle.hits(query: query, plan: Self.plan)
            #expect(columns.ids == expected.map(\.id))
            for step in 0..<3 { #expect(columns.scores[step] == expected.map { $0.scores[step] }) }
        }
    }

    @Test("held rows, cached rows and read rows give one and the same answer", arguments: [0, 1, 2, 3, 120])
    func sources(period: Int64) {
        // period 0: all are held; 1: none; n: every n-th row must be read.
        let isHeld: (Int64) -> Bool = { period == 0 || $0 % period != 0 }
        for cache in [nil, VectorCache(directory: "/tmp", byteLimit: 1 << 20)] {
            var job = job()
            job.score(held(rows, cache: cache, isHeld: isHeld))
            let wanted = Set(candidates().flatMap(\.ids).filter { !isHeld($0) })
            #expect(job.hasPending == !wanted.isEmpty)
            // Each row once, whatever number of queries misses it.
            #expect(job.pending.ids == wanted)
            #expect(job.pending.shards == Set(wanted.map { shard(ofRow: $0) }))
            if job.hasPending { job.take(read(rows, job.pending.ids)) }
            #expect(!job.hasPending)
            #expect(job.fetchedRows == wanted.count && job.gone == 0 && job.rescoredNewer == 0)
            expectOracle(job.results())
        }
    }

    @Test("rows that another request has brought meanwhile are not read again")
    func scoredLater() {
        var job = job()
        job.score(held(rows) { $0 % 2 == 0 })
        let before = job.pending.ids
        job.score(held(rows) { $0 % 3 != 0 })
        #expect(job.pending.ids == before.filter { $0 % 3 == 0 })
        job.take(read(rows, job.pending.ids))
        expectOracle(job.results())
    }

    @Test("an older version than the shortlist saw is read anew, a newer one is scored at all stages")
    func versions() {
        let stale = rows.map { row in
            var row = row
            if row.id % 4 == 0 {
                row.version = 2
                row.vector.reverse()
            }
            return row
        }
        let old = Set(stale.filter { $0.version == 2 }.map(\.id))
        var job = job()
        job.score(held(stale) { _ in true })
        #expect(job.pending.ids == old.intersection(candidates().flatMap(\.ids)))
        job.take(read(rows, job.pending.ids))
        expectOracle(job.results())

        let newer = rows.map { row in
            var row = row
            if row.id % 4 == 0 {
                row.version = 5
                row.vector.reverse()
            }
            return row
        }
        var other = self.job(isWhole: false)
        other.score(held(newer) { $0 % 8 != 0 })
        other.take(read(newer, other.pending.ids))
        let changed = Oracle(rows: newer, storedHeadWidth: Self.storedWidth, similarity: .cosine)
        var count: UInt32 = 0
        for (columns, query) in zip(other.results(), queries) {
            for row in columns.ids.indices {
                let id = columns.ids[row]
                if id % 4 == 0 { count += 1 }
                #expect(columns.versions[row] == (id % 4 == 0 ? 5 : 3))
                for (number, step) in Self.plan.steps.enumerated() {
                    #expect(columns.scores[number][row] == changed.score(id: id, query: query, step: step))
                }
            }
        }
        #expect(other.rescoredNewer == count)
    }

    @Test("rows that are gone are left out and counted; an unreadable store is told apart")
    func gone() {
        var job = job(isWhole: false)
        job.score(held(rows) { $0 % 6 != 0 })
        let missing = job.pending.ids
        let count = candidates().map { $0.ids.filter { missing.contains($0) }.count }.reduce(0, +)
        var unreadable = job
        job.take([:])
        #expect(job.gone == UInt32(count) && job.skipped.isEmpty)
        #expect(job.results().allSatisfy { $0.ids.allSatisfy { !missing.contains($0) } })
        unreadable.take(nil)
        #expect(unreadable.gone == 0 && Set(unreadable.skipped) == missing)
    }

    @Test("a command that does not fit the collection is refused", arguments: 0..<5)
    func faults(kind: Int) {
        var command = job().command
        switch kind {
        case 0: command.width = 12
        case 1: command.queries.removeLast()
        case 2: command.candidates.removeLast()
        case 3: command.firstStep = 3
        default: command.plan.steps[2].dimensions = 49
        }
        #expect(RerankJob.fault(command, Self.shape) != nil)
    }
}
