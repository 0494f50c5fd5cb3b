// Times of the engines' kernels on one core, over the shards of one collection, and how much of the memory's bandwidth a
// single scan takes. Run it in release: MRL_BENCHMARKS=1 swift run -c release engine-benchmarks [rows] [keep]
import Matryoshka
import Reranking
import RetrievalTesting
import Shortlist
import VectorMath

let rowCount = CommandLine.arguments.dropFirst().first.flatMap(Int.init) ?? 63_000
let (dimensions, storedWidth, residentWidth) = (256, 128, 64)
let keep = CommandLine.arguments.dropFirst(2).first.flatMap(Int.init) ?? 200
let clock = ContinuousClock()

/// The best of several runs, in nanoseconds.
func best(_ runs: Int = 15, _ body: () -> Void) -> Double {
    (0..<runs).map { _ in
        let time = clock.measure(body)
        return Double(time.components.attoseconds) / 1e9 + Double(time.components.seconds) * 1e9
    }.min() ?? 0
}

func text(_ value: Double, _ digits: Int = 3) -> String {
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    return "\((value * scale).rounded() / scale)"
}

var random = SeededGenerator(seed: 1)
let vectors = (0..<rowCount).map { _ in random.vector(dimensions) }
let heads = (0..<Slots.shardCount).map { shard in
    (
        shard: UInt16(shard),
        rows: ResidentShard(
            storedHeadWidth: storedWidth,
            residentWidth: residentWidth,
            precision: .int8,
            similarity: .cosine,
            rotation: BitRotation(seed: 1, width: storedWidth)
        )
    )
}
let load = clock.measure {
    for (row, vector) in vectors.enumerated() {
        let head = vector.span.extracting(first: storedWidth)
        heads[row % heads.count].rows.upsert(id: Int64(row), version: 1, head: head)
    }
    for shard in heads { shard.rows.seal() }
}
print("load: \(text(Double(rowCount) / (load / .seconds(1)) / 1e6)) million heads/s")
let bytes = heads.reduce(0) { $0 + $1.rows.residentBytes }
print("resident: \(text(Double(bytes) / Double(rowCount), 1)) bytes/row at \(residentWidth) dimensions")

let queryVectors = (0..<64).map { _ in random.vector(dimensions) }
let queryHeads = queryVectors.flatMap { $0[..<storedWidth] }
for path in KernelPath.available {
    for (width, precision) in [(64, Precision.bit), (128, .bit), (16, .int8), (32, .int8), (64, .int8)] {
        let step = ResolvedPlan.Step(dimensions: width, keep: keep, precision: precision)
        var line = "\(path.rawValue) \(precision) \(width):"
        for count in [1, 8, 64] {
            let queries = Array(queryHeads[..<(count * storedWidth)])
            let nanoseconds = best {
                _ = scanShortlist(shards: heads, queries: queries.span, queryCount: count, steps: [step], path: path)
            }
            line += " batch \(count) \(text(nanoseconds / Double(rowCount * count))) ns/(query*row)"
            line += " (\(text(nanoseconds / 1e6)) ms);"
        }
        print(line)
    }
}
compareWithMemory()

let shards = (0..<Slots.shardCount).map { shard in
    (
        shard: UInt16(shard),
        rows: VectorShard(dimensions: dimensions, storedHeadWidth: storedWidth, similarity: .cosine)
    )
}
for (row, vector) in vectors.enumerated() {
    shards[row % shards.count].rows.upsert(id: Int64(row), version: 1, vector: vector.span, externalID: "row-\(row)")
}
for shard in shards { shard.rows.seal() }
let plan = ResolvedPlan(
    steps: [
        .init(dimensions: 32, keep: keep, precision: .int8),
        .init(dimensions: dimensions, keep: 10, precision: .float32),
    ],
    residentCount: 1
)
let prepared = queryVectors.map { PreparedQuery(vector: $0.span, storedHeadWidth: storedWidth, similarity: .cosine) }
for path in KernelPath.available {
    // Other candidates for each query, so that the rows are not in cache already.
    let candidates = prepared.map { _ in (0..<keep).map { _ in Int64.random(in: 0..<Int64(rowCount), using: &random) } }
    let nanoseconds = best {
        for (query, ids) in zip(prepared, candidates) {
            _ = rescore(ids: ids, query: query, plan: plan, steps: 1..<2, path: path) {
                shards[Int(ids[$0]) % shards.count].rows
            }
        }
    }
    print("\(path.rawValue) rescore \(keep) x \(dimensions): \(text(nanoseconds / 64 / 1000, 1)) us")
    guard path != .portable else { continue }
    for count in [1, 16] {
        let queries = queryVectors[..<count].flatMap { $0 }
        let nanoseconds = best(5) {
            _ = scanFull(shards: shards, queries: queries.span, queryCount: count, step: plan.steps[1], path: path)
        }
        print(
            "\(path.rawValue) full scan, batch \(count): \(text(nanoseconds / Double(rowCount * count), 2)) ns/(query*row)"
        )
    }
}
