import Matryoshka
import Reranking
import RetrievalTesting
import Testing

@Suite("Vector shard")
struct VectorShardTests {
    @Test("holds what was written and not removed, with its external id", arguments: 1...3)
    func againstDictionary(seed: UInt64) {
        struct Held {
            var version: UInt32
            var vector: [Float]
            var externalID: String
        }
        var random = SeededGenerator(seed: seed)
        let shard = VectorShard(dimensions: 19, storedHeadWidth: 8, similarity: .cosine)
        var expected: [Int64: Held] = [:]
        for step in 0..<4000 {
            let id = Int64.random(in: 0..<900, using: &random)
            switch Int.random(in: 0..<500, using: &random) {
            case 0: shard.seal()
            case 1...200:
                shard.remove(id: id)
                expected[id] = nil
            default:
                let held = Held(
                    version: UInt32.random(in: 0...5, using: &random),
                    vector: random.vector(19),
                    externalID: String(repeating: "é\(id)", count: Int(id) % 9)
                )
                shard.upsert(id: id, version: held.version, vector: held.vector.span, externalID: held.externalID)
                if expected[id].map({ $0.version <= held.version }) ?? true { expected[id] = held }
            }
            guard step % 400 == 399 else { continue }
            #expect(shard.rowCount == expected.count)
            for id in Int64(0)..<900 {
                #expect(shard.version(of: id) == expected[id]?.version)
                #expect(shard.externalID(of: id) == expected[id]?.externalID)
                let vector = shard.withVector(of: id) { span in span.indices.map { span[$0] } }
                #expect(vector == expected[id]?.vector)
            }
        }
        shard.removeAll()
        #expect(shard.rowCount == 0)
        #expect(shard.externalID(of: 1) == nil)
    }

    @Test("a row costs what capacity is planned with")
    func memory() {
        let shard = VectorShard(dimensions: 256, storedHeadWidth: 128, similarity: .cosine)
        let vector = [Float](repeating: 1, count: 256)
        for id in Int64(0)..<3000 {
            shard.upsert(id: id, version: 1, vector: vector.span, externalID: "package-name-\(id)")
        }
        #expect(shard.residentBytes <= 3000 * VectorShard.bytesPerRow(dimensions: 256))
        #expect(VectorShard.bytesPerRow(dimensions: 256) < 1300)
    }
}
