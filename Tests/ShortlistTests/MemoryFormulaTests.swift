import Matryoshka
import Shortlist
import Testing

@Suite("What a row takes")
struct MemoryFormulaTests {
    @Test("is known to whoever places shards as the engines know it", arguments: [Similarity.cosine, .dot])
    func formula(similarity: Similarity) {
        for (stored, width) in [(128, 64), (128, 128), (100, 33), (16, 1), (64, 62)] {
            for precision in [Precision.int8, .float32] {
                for index in [
                    .flat, CollectionIndex(kind: .ivf), CollectionIndex(kind: .hnsw),
                    CollectionIndex(kind: .hnsw, links: 2), CollectionIndex(kind: .hnsw, links: 48),
                ] {
                    for holdsSigns in [false, true] where index.kind != .hnsw || !holdsSigns {
                        let shape = CollectionShape(
                            collection: 1,
                            name: "c",
                            model: "",
                            dimensions: 256,
                            smallestDimensions: 1,
                            isMatryoshka: true,
                            similarity: similarity,
                            storedHeadWidth: stored,
                            residentWidth: width,
                            residentPrecision: precision,
                            holdsSigns: holdsSigns,
                            index: index,
                            generation: 1
                        )
                        let known =
                            switch index.kind {
                            case .flat: ResidentShard.bytesPerRow(shape)
                            case .ivf: InvertedLists.bytesPerRow(shape)
                            case .hnsw: HeadGraph.bytesPerRow(shape)
                            }
                        #expect(shape.shortlistBytesPerRow == known, "\(shape)")
                    }
                }
            }
        }
    }
}
