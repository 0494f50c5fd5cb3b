import Dispatch
import Evaluation
import Matryoshka
import Reranking
import Shortlist
import Synchronization
import VectorFiles
import VectorMath

/// One way to search, over an index that is there already.
///
/// Searches may run on several threads at once.
protocol SearchMethod: Sendable {
    /// A line of the plot.
    var name: String { get }
    /// The point on it.
    var setting: String { get }
    /// Bytes of the index.
    var memoryBytes: Int { get }
    /// By query, the rows found, best first.
    func search(_ queries: Span<Float>, count: Int) -> [[Int]]
}

/// The full vectors that every method reranks with or scans.
struct FullVectors: @unchecked Sendable {
    // @unchecked: filled by `init`, read alone afterwards.
    let shards: [(shard: UInt16, rows: VectorShard)]
    let dimensions: Int

    init(_ data: DataSet) {
        dimensions = data.dimensions
        shards = (0..<UInt16(Slots.shardCount)).map { number in
            let shard = VectorShard(
                dimensions: data.dimensions,
                storedHeadWidth: min(128, data.dimensions),
                similarity: .cosine
            )
            shard.reserve(rows: (data.rows + Slots.shardCount - 1) / Slots.shardCount)
            return (number, shard)
        }
        for row in 0..<data.rows {
            data.base.withFloats(row..<row + 1) { vector in
                shards[row % shards.count].rows.upsert(
                    id: Int64(row),
                    version: 1,
                    vector: vector.span,
                    externalID: ""
                )
            }
        }
        for shard in shards { shard.rows.seal() }
    }

    var bytes: Int { shards.reduce(0) { $0 + $1.rows.residentBytes } }
}

/// The heads of all rows.
struct Heads: @unchecked Sendable {
    // @unchecked: filled by `init`, read alone afterwards.
    let shards: [(shard: UInt16, rows: ResidentShard)]
    let storedWidth: Int
    let residentWidth: Int
    /// Searched in place of the shards, which are empty then.
    let listed: (rows: InvertedLists, shards: [ListShard])?
    let holdsSigns: Bool
    /// What heads are taken in; nil: as the vectors are.
    let basis: VectorRotation?
    /// Walked in place of the shards, which are empty then.
    let graph: (rows: HeadGraph, shards: [GraphShard], links: Int)?

    /// Links all rows in a graph, with so many threads.
    init(
        _ data: DataSet,
        residentWidth: Int,
        basis: VectorRotation?,
        links: Int,
        constructionEffort: Int,
        threads: Int
    ) {
        self.residentWidth = residentWidth
        self.basis = basis
        let storedWidth = min(128, data.dimensions)
        self.storedWidth = storedWidth
        listed = nil
        holdsSigns = false
        shards = []
        let graph = HeadGraph(
            shape: Self.shape(
                data,
                residentWidth,
                CollectionIndex(kind: .hnsw, links: links, constructionEffort: constructionEffort)
            ),
            crew: { work in DispatchQueue.concurrentPerform(iterations: threads) { _ in work() } }
        )
        let shard = GraphShard(in: graph)
        for row in 0..<data.rows {
            data.withHead(row, storedWidth, in: basis) { shard.upsert(id: Int64(row), version: 1, head: $0) }
        }
        shard.settle()
        self.graph = (graph, [shard], links)
    }

    /// Learns so many inverted lists as a collection does that says nothing of their dimensions; 0: none.
    init(
        _ data: DataSet,
        residentWidth: Int,
        basis: VectorRotation?,
        lists count: Int = 0,
        holdsSigns: Bool = false
    ) {
        self.residentWidth = residentWidth
        self.basis = basis
        graph = nil
        let storedWidth = min(128, data.dimensions)
        self.storedWidth = storedWidth
        self.holdsSigns = holdsSigns
        if count > 0 {
            let lists = InvertedLists(
                shape: Self.shape(data, residentWidth, CollectionIndex(kind: .ivf)),
                coarse: Self.learn(count, data, basis)
            )
            let shards = (0..<Slots.shardCount).map { _ in ListShard(in: lists) }
            for row in 0..<data.rows {
                data.withHead(row, storedWidth, in: basis) {
                    shards[row % shards.count].upsert(id: Int64(row), version: 1, head: $0)
                }
            }
            for shard in shards { shard.seal() }
            listed = (lists, shards)
            self.shards = []
            return
        }
        listed = nil
        shards = (0..<UInt16(Slots.shardCount)).map { number in
            let shard = ResidentShard(
                storedHeadWidth: storedWidth,
                residentWidth: residentWidth,
                precision: .int8,
                similarity: .cosine,
                rotation: holdsSigns ? BitRotation(seed: 1, width: storedWidth) : nil
            )
            shard.reserve(rows: (data.rows + Slots.shardCount - 1) / Slots.shardCount)
            return (number, shard)
        }
        for row in 0..<data.rows {
            data.withHead(row, storedWidth, in: basis) {
                shards[row % shards.count].rows.upsert(id: Int64(row), version: 1, head: $0)
            }
        }
        for shard in shards { shard.rows.seal() }
    }

    private static func shape(_ data: DataSet, _ width: Int, _ index: CollectionIndex) -> CollectionShape {
        CollectionShape(
            collection: 1,
            name: "benchmark",
            model: "",
            dimensions: data.dimensions,
            smallestDimensions: 8,
            isMatryoshka: true,
            similarity: .cosine,
            storedHeadWidth: min(128, data.dimensions),
            residentWidth: width,
            residentPrecision: .int8,
            index: index,
            generation: 1
        )
    }

    /// From rows that lie evenly over the data, 64 for each list.
    private static func learn(_ count: Int, _ data: DataSet, _ basis: VectorRotation?) -> CoarseLists {
        let width = min(CoarseLists.standardDimensions, data.dimensions)
        let step = max(1, data.rows / (count * 64))
        var sample: [Float] = []
        for row in stride(from: 0, to: data.rows, by: step) {
            data.withHead(row, width, in: basis) { head in for i in head.indices { sample.append(head[i]) } }
        }
        let centroids = sphericalKMeans(sample.span, width: width, clusters: count).centroids
        return CoarseLists(centroids: centroids, count: centroids.count / width)
    }

    var bytes: Int {
        graph?.shards.reduce(0) { $0 + $1.residentBytes } ?? listed?.shards.reduce(0) { $0 + $1.residentBytes }
            ?? shards.reduce(0) { $0 + $1.rows.residentBytes }
    }
}

extension DataSet {
    /// The first coordinates of a row, in the basis where there is one.
    func withHead(_ row: Int, _ width: Int, in basis: VectorRotation?, _ body: (Span<Float>) -> Void) {
        base.withFloats(row..<row + 1) { vector in
            guard let basis else { return body(vector.extracting(first: width).span) }
            body(basis.rotated(vector.span, first: width).span)
        }
    }

    /// The principal axes of rows that lie evenly over the data, as a collection learns them that is made with
    /// `rotation: pca`.
    func principalBasis() -> VectorRotation? {
        let step = max(1, rows / 20_000)
        var sample: [Float] = []
        for row in stride(from: 0, to: rows, by: step) { base.withFloats(row..<row + 1) { sample += $0 } }
        guard let found = principalAxes(of: sample.span, width: dimensions) else { return nil }
        return VectorRotation(axes: found.axes, dimensions: dimensions)
    }
}

extension UnsafeBufferPointer<Float> {
    func extracting(first count: Int) -> UnsafeBufferPointer<Float> { UnsafeBufferPointer(rebasing: self[..<count]) }
}

/// Every head is scanned, or those of the lists near the query, or a graph is walked; the best are scored at full size: what shortlist and rerank workers do together.
struct FlatMethod: SearchMethod {
    let heads: Heads
    let vectors: FullVectors
    let plan: ResolvedPlan
    /// Lists that a query looks into, where the heads have lists; rows that it keeps in view, where they have a graph.
    let effort: Int

    /// Stages before the last are resident as far as the heads reach.
    init(heads: Heads, vectors: FullVectors, stages: [Stage], effort: Int = 0) throws {
        self.effort = effort
        self.heads = heads
        self.vectors = vectors
        plan = try Plan(stages: stages).resolved(
            in: PlanSpace(
                dimensions: vectors.dimensions,
                smallestDimensions: 8,
                residentWidth: heads.residentWidth,
                residentPrecision: .int8,
                bitWidth: heads.holdsSigns ? heads.storedWidth : 0
            )
        )
    }

    var name: String {
        if plan.steps[0].precision == .bit { return "signs" }
        return heads.listed.map { "ivf\($0.rows.coarse.count)" } ?? heads.graph.map { "hnsw\($0.links)" } ?? "flat"
    }
    var setting: String {
        plan.plan.description
            + (heads.listed != nil ? ", probes \(effort)" : heads.graph != nil ? ", ef \(effort)" : "")
            + (heads.basis == nil ? "" : ", pca")
    }
    var memoryBytes: Int { heads.bytes }

    func search(_ queries: Span<Float>, count: Int) -> [[Int]] {
        let width = vectors.dimensions
        var queryHeads: [Float] = []
        queryHeads.reserveCapacity(count * heads.storedWidth)
        for query in 0..<count {
            if let basis = heads.basis {
                let whole = queries.extracting(query * width..<(query + 1) * width)
                queryHeads += basis.rotated(whole, first: heads.storedWidth)
            } else {
                for j in 0..<heads.storedWidth { queryHeads.append(queries[query * width + j]) }
            }
        }
        let steps = Array(plan.steps[..<plan.residentCount])
        let lists =
            if let graph = heads.graph {
                graph.rows.search(
                    shards: graph.shards.enumerated().map { (UInt16($0), $1.owner) },
                    queries: queryHeads.span,
                    queryCount: count,
                    steps: steps,
                    ef: effort
                )
            } else if let listed = heads.listed {
                listed.rows.search(
                    shards: listed.shards.enumerated().map { (UInt16($0), $1.owner) },
                    queries: queryHeads.span,
                    queryCount: count,
                    steps: steps,
                    probed: listed.rows.coarse.probed(by: queryHeads.span, width: heads.storedWidth, probes: effort)
                )
            } else {
                scanShortlist(shards: heads.shards, queries: queryHeads.span, queryCount: count, steps: steps)
            }
        return lists.enumerated().map { query, list in
            funnel(list, query: queries.extracting(query * width..<(query + 1) * width))
        }
    }

    private func funnel(_ list: ShortlistColumns, query: Span<Float>) -> [Int] {
        // Places in the list; resident steps are scored already.
        var left = Array(list.ids.indices)
        for step in 1..<max(1, plan.residentCount) {
            left = best(left, list.ids, plan.steps[step].keep) { list.scores[step][left[$0]] }
        }
        let prepared = PreparedQuery(
            vector: query,
            storedHeadWidth: heads.storedWidth,
            similarity: .cosine,
            basis: heads.basis
        )
        for step in plan.residentCount..<plan.steps.count {
            let ids = left.map { list.ids[$0] }
            let scores = rescore(ids: ids, query: prepared, plan: plan, steps: step..<step + 1) { place in
                vectors.shards[Int(ids[place]) % vectors.shards.count].rows
            }.scores[0]
            left = best(left, list.ids, plan.steps[step].keep) { scores[$0] }
        }
        return left.map { Int(list.ids[$0]) }
    }

    /// Those of `left` that score best, ties by id; inserted one by one, since few of many are kept.
    private func best(_ left: [Int], _ ids: [Int64], _ keep: Int, score: (Int) -> Float) -> [Int] {
        var kept: [(score: Float, place: Int)] = []
        kept.reserveCapacity(keep + 1)
        func isBetter(_ new: (score: Float, place: Int), _ old: (score: Float, place: Int)) -> Bool {
            new.score > old.score || (new.score == old.score && ids[new.place] < ids[old.place])
        }
        for (number, place) in left.enumerated() {
            let new = (score: score(number), place: place)
            if kept.count == keep, !isBetter(new, kept[keep - 1]) { continue }
            var at = kept.count
            while at > 0, isBetter(new, kept[at - 1]) { at -= 1 }
            kept.insert(new, at: at)
            if kept.count > keep { kept.removeLast() }
        }
        return kept.map(\.place)
    }
}

/// All full vectors are scanned.
struct FullScanMethod: SearchMethod {
    let vectors: FullVectors

    var name: String { "full scan" }
    var setting: String { "\(vectors.dimensions):10" }
    var memoryBytes: Int { vectors.bytes }

    func search(_ queries: Span<Float>, count: Int) -> [[Int]] {
        scanFull(
            shards: vectors.shards,
            queries: queries,
            queryCount: count,
            step: .init(dimensions: vectors.dimensions, keep: DataSet.neighbours, precision: .float32)
        ).map { $0.ids.map { Int($0) } }
    }
}

/// All full vectors, by bounds: the same answers as the full scan's.
struct ExactMethod: SearchMethod {
    let vectors: FullVectors
    let space: BoundSpace
    private let cache: VectorCache
    private let work = Work()

    private final class Work: Sendable {
        let multiplyAdds = Atomic<Int>(0)
        let queries = Atomic<Int>(0)
    }

    /// Learns the space from every `step`-th row and codes all rows in files of `folder`.
    init?(_ vectors: FullVectors, folder: String) {
        self.vectors = vectors
        cache = VectorCache(directory: folder, byteLimit: .max)
        let rowCount = vectors.shards.reduce(0) { $0 + $1.rows.rowCount }
        var sample: [Float] = []
        var first = 0
        for shard in vectors.shards {
            let step = max(1, rowCount / max(4_096, 16 * vectors.dimensions))
            first = shard.rows.sample(from: first, step: step, into: &sample)
        }
        guard let space = BoundSpace(sample: sample.span, dimensions: vectors.dimensions) else { return nil }
        self.space = space
        for shard in vectors.shards {
            guard shard.rows.makeBounds(space, in: cache) else { return nil }
            var next = 0
            while let lent = shard.rows.lendLoose(from: next, limit: 256) {
                shard.rows.bind(lent.rows, space.code(lent.rows.vectors), in: space)
                next = lent.next
            }
        }
    }

    var name: String { "exact by bounds" }
    var setting: String { "\(vectors.dimensions):10" }
    var memoryBytes: Int { vectors.bytes + cache.byteCount }
    /// Of the queries so far, against a full scan.
    var workShare: Double {
        let rowCount = vectors.shards.reduce(0) { $0 + $1.rows.rowCount }
        let full = Double(max(1, work.queries.load(ordering: .relaxed))) * Double(rowCount * vectors.dimensions)
        return Double(work.multiplyAdds.load(ordering: .relaxed)) / full
    }

    func search(_ queries: Span<Float>, count: Int) -> [[Int]] {
        let (found, effort) = scanExact(
            shards: vectors.shards,
            queries: queries,
            queryCount: count,
            keep: DataSet.neighbours,
            space: space
        )
        work.multiplyAdds.add(effort.multiplyAdds, ordering: .relaxed)
        work.queries.add(count, ordering: .relaxed)
        return found.map { $0.ids.map { Int($0) } }
    }
}
