import Matryoshka
import RetrievalTesting
import Testing

@testable import Reranking

@Suite("Vector cache")
struct VectorCacheTests {
    private static let dimensions = 19

    private func shard(_ cache: VectorCache) -> VectorShard {
        VectorShard(dimensions: Self.dimensions, storedHeadWidth: 8, similarity: .cosine, cache: cache)
    }

    /// What one row takes of a cache's files.
    private static let rowBytes = 64 + 32 * 4

    @Test("what it holds of a row is the newest that was written, and never what was removed", arguments: 1...4)
    func againstDictionary(seed: UInt64) {
        struct Row {
            var version: UInt32
            var vector: [Float]
            var externalID: String
        }
        var random = SeededGenerator(seed: seed)
        let cache = VectorCache(directory: "/tmp", byteLimit: 100 * Self.rowBytes)
        let shard = shard(cache)
        // The newest of each id; nil once it is removed.
        var newest: [Int64: Row] = [:]
        var hits = 0
        for step in 0..<6000 {
            let id = Int64.random(in: 0..<300, using: &random)
            var row = Row(
                version: (newest[id]?.version ?? 0) + 1,
                vector: random.vector(Self.dimensions),
                externalID: String(repeating: "é\(id)", count: Int(id) % 25)
            )
            switch Int.random(in: 0..<10, using: &random) {
            case 0:
                shard.remove(id: id)
                newest[id] = nil
            case 1...2:
                // As the change log tells: of rows that are held and of others.
                shard.upsert(id: id, version: row.version, vector: row.vector.span, externalID: row.externalID)
                newest[id] = row
            case 3:
                // An older version than the one that is held changes nothing.
                guard let known = newest[id], known.version > 1 else { continue }
                row.version = known.version - 1
                shard.admit(id: id, version: row.version, vector: row.vector.span, externalID: row.externalID)
                if shard.version(of: id) == row.version { shard.remove(id: id) }
            default:
                if let known = newest[id] { row = known } else { newest[id] = row }
                shard.admit(id: id, version: row.version, vector: row.vector.span, externalID: row.externalID)
                #expect(shard.version(of: id) == row.version)
            }
            guard step % 500 == 499 else { continue }
            #expect(shard.rowCount <= 100)
            var held = 0
            for id in Int64(0)..<300 where shard.contains(id: id) {
                held += 1
                let row = newest[id]
                #expect(shard.version(of: id) == row?.version)
                #expect(shard.externalID(of: id) == row?.externalID)
                #expect(shard.withVector(of: id) { span in span.indices.map { span[$0] } } == row?.vector)
            }
            #expect(held == shard.rowCount)
            hits += held
        }
        #expect(hits > 12 * 90)
        #expect(cache.byteCount == 100 * Self.rowBytes)
        shard.removeAll()
        #expect(shard.rowCount == 0 && cache.byteCount == 0)
    }

    @Test("rows that are used stay, others give way")
    func clock() {
        let shard = shard(VectorCache(directory: "/tmp", byteLimit: 64 * Self.rowBytes))
        let vector = [Float](repeating: 1, count: Self.dimensions)
        let favourites = Int64(0)..<20
        for id in Int64(0)..<2000 {
            shard.admit(id: id, version: 1, vector: vector.span, externalID: "\(id)")
            for favourite in favourites where favourite <= id { _ = shard.version(of: favourite) }
        }
        #expect(favourites.allSatisfy { shard.contains(id: $0) })
        #expect(shard.rowCount == 64)
    }

    @Test("shards share its bound evenly, whoever was there first, and give back what they leave")
    func shares() {
        let cache = VectorCache(directory: "/tmp", byteLimit: 400 * Self.rowBytes)
        let vector = [Float](repeating: 1, count: Self.dimensions)
        func fill(_ shard: VectorShard) {
            for id in Int64(0)..<1000 { shard.admit(id: id, version: 1, vector: vector.span, externalID: "\(id)") }
        }
        var shards = [shard(cache)]
        fill(shards[0])
        #expect(shards[0].rowCount == 400)
        for _ in 1..<4 { shards.append(shard(cache)) }
        // There is no room for the others until the first gives back.
        shards[0].fitShare()
        #expect(shards[0].rowCount <= 100)
        for shard in shards { fill(shard) }
        #expect(shards.map(\.rowCount) == [100, 100, 100, 100])
        #expect(cache.byteCount <= cache.byteLimit)
        for shard in shards {
            for id in Int64(0)..<1000 where shard.contains(id: id) { #expect(shard.externalID(of: id) == "\(id)") }
        }
        shards.removeAll()
        #expect(cache.byteCount == 0)
    }

    @Test("without room or without a folder nothing is kept and nothing breaks", arguments: [0, 1 << 20])
    func nowhere(bytes: Int) {
        let shard = shard(VectorCache(directory: bytes == 0 ? "/tmp" : "/nowhere", byteLimit: bytes))
        let vector = [Float](repeating: 1, count: Self.dimensions)
        shard.admit(id: 1, version: 1, vector: vector.span, externalID: "a")
        shard.upsert(id: 1, version: 2, vector: vector.span, externalID: "a")
        shard.remove(id: 1)
        shard.fitShare()
        #expect(shard.rowCount == 0 && !shard.contains(id: 1))
    }

    @Test("a row in it takes few bytes of memory")
    func memory() {
        let shard = VectorShard(
            dimensions: 256,
            storedHeadWidth: 128,
            similarity: .cosine,
            cache: VectorCache(directory: "/tmp", byteLimit: 64 << 20)
        )
        let vector = [Float](repeating: 1, count: 256)
        for id in Int64(0)..<32_768 {
            shard.admit(id: id, version: 1, vector: vector.span, externalID: "package-\(id)")
        }
        #expect(shard.rowCount == 32_768)
        #expect(shard.residentBytes <= 32_768 * 24)
        #expect(!shard.isWhole)
    }

    @Test("scores from it equal the scores of whole shards to the bit", arguments: Similarity.allCases)
    func scores(similarity: Similarity) {
        var random = SeededGenerator(seed: 5)
        let whole = VectorShard(dimensions: 72, storedHeadWidth: 40, similarity: similarity)
        let cached = VectorShard(
            dimensions: 72,
            storedHeadWidth: 40,
            similarity: similarity,
            cache: VectorCache(directory: "/tmp", byteLimit: 1 << 20)
        )
        for id in Int64(0)..<200 {
            let vector = random.vector(72)
            whole.upsert(id: id, version: UInt32(id), vector: vector.span, externalID: "")
            if id % 3 != 0 { cached.admit(id: id, version: UInt32(id), vector: vector.span, externalID: "") }
        }
        let plan = ResolvedPlan(
            steps: [
                .init(dimensions: 8, keep: 100, precision: .int8), .init(dimensions: 33, keep: 50, precision: .float16),
                .init(dimensions: 72, keep: 10, precision: .float32),
            ],
            residentCount: 1
        )
        let query = PreparedQuery(vector: random.vector(72).span, storedHeadWidth: 40, similarity: similarity)
        let ids = [Int64](0..<200)
        let expected = whole.score(ids: ids, query: query, plan: plan, steps: 0..<3)
        let got = cached.score(ids: ids, query: query, plan: plan, steps: 0..<3)
        for place in ids.indices {
            let isHeld = place % 3 != 0
            #expect(got.versions[place] == (isHeld ? expected.versions[place] : nil))
            for step in 0..<3 { #expect(got.scores[step][place] == (isHeld ? expected.scores[step][place] : 0)) }
        }
    }
}
