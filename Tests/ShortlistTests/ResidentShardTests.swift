import Matryoshka
import RetrievalTesting
import Shortlist
import Testing

@Suite("Resident shard")
struct ResidentShardTests {
    private func head(_ value: Float) -> [Float] { [value, 40, 0, 0] }

    private func best(_ shard: ResidentShard, keep: Int = 10) -> ShortlistColumns {
        let step = ResolvedPlan.Step(dimensions: 4, keep: keep, precision: .int8)
        return scanShortlist(shards: [(9, shard)], queries: [1, 0, 0, 0].span, queryCount: 1, steps: [step])[0]
    }

    @Test("a newer version replaces a row, an older one is ignored")
    func versions() {
        let shard = ResidentShard(storedHeadWidth: 4, residentWidth: 4, precision: .int8, similarity: .cosine)
        shard.upsert(id: 1, version: 5, head: head(1).span)
        shard.upsert(id: 1, version: 4, head: head(9).span)
        #expect(shard.version(of: 1) == 5)
        let before = best(shard).scores[0]
        shard.upsert(id: 1, version: 6, head: head(9).span)
        #expect(shard.version(of: 1) == 6)
        #expect(shard.rowCount == 1)
        #expect(best(shard).scores[0][0] > before[0])
    }

    @Test("a removed row is not found, and comes back with any version")
    func removal() {
        let shard = ResidentShard(storedHeadWidth: 4, residentWidth: 4, precision: .int8, similarity: .cosine)
        for id in Int64(0)..<40 { shard.upsert(id: id, version: 7, head: head(Float(id)).span) }
        shard.remove(id: 39)
        shard.remove(id: 1000)
        #expect(!shard.contains(id: 39))
        #expect(shard.version(of: 39) == nil)
        #expect(best(shard).ids == [38, 37, 36, 35, 34, 33, 32, 31, 30, 29])
        shard.upsert(id: 39, version: 1, head: head(50).span)
        #expect(shard.version(of: 39) == 1)
        #expect(best(shard, keep: 2).ids == [39, 38])
        shard.removeAll()
        #expect(shard.rowCount == 0)
        #expect(best(shard).ids.isEmpty)
    }

    @Test("equals the oracle after any mix of writes, seals and removals", arguments: [Precision.int8, .float32])
    func churn(precision: Precision) {
        let width = 20
        let shard = ResidentShard(
            storedHeadWidth: width,
            residentWidth: 13,
            precision: precision,
            similarity: .cosine
        )
        var oracle = Oracle(storedHeadWidth: width, similarity: .cosine)
        var random = SeededGenerator(seed: 9)
        let steps = [(8, 60), (13, 30)].map {
            ResolvedPlan.Step(dimensions: $0.0, keep: $0.1, precision: precision)
        }
        for number in 0..<9000 {
            let id = Int64.random(in: 0..<1500, using: &random)
            switch Int.random(in: 0..<600, using: &random) {
            case 0: shard.seal()
            case 1...240:
                shard.remove(id: id)
                oracle.remove(id: id)
            default:
                let row = Oracle.Row(
                    id: id,
                    version: UInt32.random(in: 1...9, using: &random),
                    vector: random.vector(width)
                )
                shard.upsert(id: id, version: row.version, head: row.vector.span)
                oracle.upsert(row)
            }
            guard number % 450 == 449 else { continue }
            #expect(shard.rowCount == oracle.rowCount)
            let query = random.vector(width)
            let got = scanShortlist(shards: [(0, shard)], queries: query.span, queryCount: 1, steps: steps)[0]
            let expected = oracle.stages(query: query, steps: [steps[0]])[0]
            #expect(got.ids == expected.map(\.id))
            #expect(got.versions == expected.map(\.version))
            #expect(got.scores[1] == got.ids.map { oracle.score(id: $0, query: query, step: steps[1])! })
        }
    }

    @Test("what a row costs counts its sign bits", arguments: Similarity.allCases, CollectionIndex.Kind.allCases)
    func memoryOfSigns(similarity: Similarity, index: CollectionIndex.Kind) {
        var shape = CollectionShape(
            collection: 1,
            name: "signs",
            model: "",
            dimensions: 100,
            smallestDimensions: 8,
            isMatryoshka: true,
            similarity: similarity,
            storedHeadWidth: 100,
            residentWidth: 32,
            residentPrecision: .int8,
            holdsSigns: true,
            signSeed: 5,
            index: CollectionIndex(kind: index),
            generation: 1
        )
        // No graph has any.
        guard index != .hnsw else { return }
        let shard = ResidentShard(shape: shape)
        var random = SeededGenerator(seed: 10)
        let vector = random.vector(100)
        let count = 20_000
        for id in 0..<Int64(count) { shard.upsert(id: id, version: 1, head: vector.span) }
        shard.seal()
        #expect(shard.residentBytes <= count * ResidentShard.bytesPerRow(shape))
        let withSigns = ResidentShard.bytesPerRow(shape)
        shape.holdsSigns = false
        #expect(withSigns - ResidentShard.bytesPerRow(shape) >= (similarity == .dot ? 20 : 16))
    }

    @Test(
        "a row costs at most 84 bytes at 64 resident int8 dimensions, in any order of loading",
        arguments: [true, false]
    )
    func memory(ascending: Bool) {
        let count = 60_000
        let shard = ResidentShard(storedHeadWidth: 64, residentWidth: 64, precision: .int8, similarity: .cosine)
        var random = SeededGenerator(seed: 10)
        let vector = random.vector(64)
        let ids = ascending ? [Int64](0..<Int64(count)) : [Int64](0..<Int64(count)).shuffled(using: &random)
        for id in ids { shard.upsert(id: id, version: 1, head: vector.span) }
        shard.seal()
        #expect(Double(shard.residentBytes) / Double(count) <= 81)
        // Writes after the load make spare room.
        for id in 0..<Int64(1000) { shard.upsert(id: Int64(count) + id, version: 1, head: vector.span) }
        #expect(Double(shard.residentBytes) / Double(shard.rowCount) <= 84)
        #expect(shard.residentBytes <= shard.rowCount * ResidentShard.bytesPerRow(residentWidth: 64, precision: .int8))
        #expect(ResidentShard.bytesPerRow(residentWidth: 64, precision: .int8) <= 84)
    }
}
