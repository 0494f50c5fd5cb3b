import Matryoshka
import RetrievalTesting
import Testing
import VectorMath

@testable import Reranking

@Suite("Exact search by bounds")
struct ExactScanTests {
    private static let cache = VectorCache(directory: "/tmp", byteLimit: 1 << 30)

    private struct Collection {
        var shards: [(shard: UInt16, rows: VectorShard)]
        var space: BoundSpace
        var oracle: Oracle
        var dimensions: Int

        /// Codes all rows that have none.
        func code() {
            for (_, rows) in shards {
                #expect(rows.makeBounds(space, in: ExactScanTests.cache))
                var next = 0
                while let lent = rows.lendLoose(from: next, limit: 100) {
                    rows.bind(lent.rows, space.code(lent.rows.vectors), in: space)
                    next = lent.next
                }
            }
        }

        mutating func upsert(_ row: Oracle.Row) {
            oracle.upsert(row)
            shards[Int(row.id) % shards.count].rows.upsert(
                id: row.id,
                version: row.version,
                vector: row.vector.span,
                externalID: ""
            )
        }

        mutating func remove(_ id: Int64) {
            oracle.remove(id: id)
            shards[Int(id) % shards.count].rows.remove(id: id)
        }

        /// −0 equals +0, and NaN is NaN.
        private func bits(_ score: Float) -> UInt32 { score.isNaN ? .max : (score + 0).bitPattern }

        /// Every search finds what the oracle finds, to the bit; returns what it has cost.
        @discardableResult
        func check(
            _ queries: [[Float]],
            keep: Int,
            path: KernelPath = .current,
            _ location: SourceLocation = #_sourceLocation
        ) -> ExactEffort {
            let flat = queries.flatMap { $0 }
            let (found, effort) = scanExact(
                shards: shards,
                queries: flat.span,
                queryCount: queries.count,
                keep: keep,
                space: space,
                path: path
            )
            let step = ResolvedPlan.Step(dimensions: dimensions, keep: keep, precision: .float32)
            for (columns, query) in zip(found, queries) {
                let expected = oracle.stages(query: query, steps: [step])[0]
                #expect(columns.ids == expected.map(\.id), sourceLocation: location)
                #expect(
                    columns.scores.map(bits)
                        == expected.map { bits($0.scores[0]) },
                    sourceLocation: location
                )
                #expect(columns.versions == expected.map(\.version), sourceLocation: location)
                #expect(
                    columns.shards == expected.map { UInt16($0.id % Int64(shards.count)) },
                    sourceLocation: location
                )
            }
            return effort
        }
    }

    private static func collection(
        _ vectors: [[Float]],
        _ similarity: Similarity = .cosine,
        shards: Int = 5
    ) throws -> Collection {
        let dimensions = vectors[0].count
        let sample = vectors.flatMap { $0 }
        let learnt = BoundSpace(sample: sample.span, dimensions: dimensions)
        let space = try #require(learnt)
        var collection = Collection(
            shards: (0..<shards).map {
                (UInt16($0), VectorShard(dimensions: dimensions, storedHeadWidth: 1, similarity: similarity))
            },
            space: space,
            oracle: Oracle(storedHeadWidth: 1, similarity: similarity),
            dimensions: dimensions
        )
        // Ids are no positions.
        for (number, vector) in vectors.enumerated() {
            collection.upsert(.init(id: Int64(number * 7 % vectors.count + 3), vector: vector))
        }
        return collection
    }

    @Test(
        "hits, order and scores equal the oracle's full scan to the bit, at any size of vectors",
        arguments: Similarity.allCases,
        [1, 3, 17, 32, 33, 64, 95, 160, 300]
    )
    func clustered(similarity: Similarity, dimensions: Int) throws {
        let corpus = SyntheticCorpus(rows: 1_501, dimensions: dimensions, seed: UInt64(dimensions))
        let collection = try Self.collection((0..<corpus.count).map { corpus[$0] }, similarity)
        let queries = corpus.queries(9, seed: 2)
        // Without codes, with codes of some rows, and of all.
        collection.check(queries, keep: 10)
        for (_, rows) in collection.shards.prefix(2) {
            #expect(rows.makeBounds(collection.space, in: Self.cache))
            let lent = try #require(rows.lendLoose(from: 0, limit: 100))
            rows.bind(lent.rows, collection.space.code(lent.rows.vectors), in: collection.space)
        }
        collection.check(queries, keep: 10)
        collection.code()
        #expect(collection.shards.allSatisfy { $0.rows.looseRowCount(collection.space) == 0 })
        for path in KernelPath.available { collection.check(queries, keep: 10, path: path) }
        for keep in [1, 100, 1_500, 5_000] { collection.check(Array(queries.prefix(3)), keep: keep) }
    }

    @Test("most rows are let go at an early level")
    func isCheap() throws {
        let corpus = SyntheticCorpus(rows: 8_000, dimensions: 128, seed: 5)
        let collection = try Self.collection((0..<corpus.count).map { corpus[$0] })
        collection.code()
        let queries = corpus.queries(8, seed: 6)
        let effort = collection.check(queries, keep: 10)
        #expect(effort.multiplyAdds < 8 * 8_000 * 128 / 2, "\(effort)")
        #expect(effort.scoredRows < 8 * 8_000 / 8, "\(effort)")
    }

    @Test(
        "rows that are equal, nearly equal, zero, tiny, huge or not finite in their norms change nothing",
        arguments: Similarity.allCases
    )
    func adversarial(similarity: Similarity) throws {
        let dimensions = 96
        var random = SeededGenerator(seed: 8)
        let base = random.vector(dimensions)
        var vectors: [[Float]] = []
        for number in 0..<1_200 {
            var vector = base
            switch number % 12 {
            case 0: break
            // A few units in the last place.
            case 1: vector[number % dimensions] = vector[number % dimensions].nextUp
            case 2: for i in 0..<number % 90 { vector[i] = vector[i].nextDown }
            case 3: vector = [Float](repeating: 0, count: dimensions)
            // Nothing but a head, or a tail.
            case 4: for i in 32..<dimensions { vector[i] = 0 }
            case 5: for i in 0..<64 { vector[i] = 0 }
            case 6: vector = vector.map { $0 * 1e-25 }
            case 7: vector = vector.map { $0 * 3e30 }
            case 8: vector = vector.map { $0 * Float(number) * 1e6 }
            case 9: vector = vector.map { -$0 * Float(number) * 1e-6 }
            case 10: vector = random.vector(dimensions).map { $0 * 1e-38 * 1e-6 }
            default: vector = random.vector(dimensions)
            }
            vectors.append(vector)
        }
        let collection = try Self.collection(vectors, similarity)
        let tiny = base.map { $0 * 1e-30 }
        let one = (0..<dimensions).map { $0 == 40 ? Float(1) : 0 }
        let queries = [base, base.map { -$0 }, random.vector(dimensions), tiny, base.map { $0 * 1e25 }, one]
        collection.check(queries, keep: 20)
        collection.code()
        for path in KernelPath.available { collection.check(queries, keep: 20, path: path) }
        for keep in [1, 3, 101, 700, 1_200] { collection.check(queries, keep: keep) }
        collection.check([[Float](repeating: 0, count: dimensions)], keep: 5)
    }

    @Test("rows without any structure are searched right, though nothing can be let go early")
    func unstructured() throws {
        var random = SeededGenerator(seed: 10)
        let vectors = (0..<6_000).map { _ in (0..<64).map { _ in random.centred() } }
        let collection = try Self.collection(vectors, shards: 12)
        collection.code()
        collection.check((0..<6).map { _ in (0..<64).map { _ in random.centred() } }, keep: 10)
        // All rows are one row.
        let same = try Self.collection((0..<4_000).map { _ in vectors[0] }, shards: 3)
        same.code()
        same.check([vectors[0], vectors[1]], keep: 10)
    }

    @Test("what is written, removed and moved counts at once, with old codes, without and with new ones")
    func changes() throws {
        let corpus = SyntheticCorpus(rows: 2_000, dimensions: 64, seed: 12)
        var collection = try Self.collection((0..<corpus.count).map { corpus[$0] })
        collection.code()
        let queries = corpus.queries(6, seed: 13)
        var random = SeededGenerator(seed: 14)
        for round in 1...12 {
            for _ in 0..<60 {
                let id = Int64(random.next() % 2_400) + 3
                if random.next() % 3 == 0 {
                    collection.remove(id)
                } else {
                    let near = queries[Int(random.next() % 6)].map { $0 + 0.1 * random.centred() }
                    collection.upsert(.init(id: id, version: UInt32(round + 1), vector: near))
                }
            }
            let effort = collection.check(queries, keep: 10)
            #expect(effort.scoredRows < 6 * 2_000)
            if round % 3 == 0 { collection.code() }
            collection.check(queries, keep: 10)
        }
        #expect(collection.shards.contains { $0.rows.looseRowCount(collection.space) < $0.rows.rowCount })
    }

    @Test("codes of a row that was written meanwhile are not kept")
    func writtenMeanwhile() throws {
        let corpus = SyntheticCorpus(rows: 300, dimensions: 32, seed: 15)
        var collection = try Self.collection((0..<corpus.count).map { corpus[$0] }, shards: 1)
        let rows = collection.shards[0].rows
        #expect(rows.makeBounds(collection.space, in: Self.cache))
        let lent = try #require(rows.lendLoose(from: 0, limit: 300)).rows
        let query = corpus.queries(1, seed: 16)[0]
        collection.upsert(.init(id: 10, version: 2, vector: query))
        collection.upsert(.init(id: 20, version: 1, vector: query))
        collection.remove(30)
        rows.bind(lent, collection.space.code(lent.vectors), in: collection.space)
        #expect(rows.looseRowCount(collection.space) == 2)
        collection.check([query], keep: 10)
    }

    @Test("without room in the cache nothing is coded, and every search is right")
    func withoutRoom() throws {
        let corpus = SyntheticCorpus(rows: 500, dimensions: 32, seed: 17)
        let collection = try Self.collection((0..<corpus.count).map { corpus[$0] })
        let cache = VectorCache(directory: "/tmp", byteLimit: 1_000)
        #expect(!collection.shards[0].rows.makeBounds(collection.space, in: cache))
        #expect(cache.byteCount == 0)
        let none = VectorCache(directory: "/nowhere", byteLimit: 1 << 30)
        #expect(!collection.shards[0].rows.makeBounds(collection.space, in: none))
        #expect(none.byteCount == 0)
        collection.check(corpus.queries(3, seed: 18), keep: 10)
        // What is given up gives its bytes back.
        let room = VectorCache(directory: "/tmp", byteLimit: 1 << 30)
        #expect(collection.shards[0].rows.makeBounds(collection.space, in: room))
        #expect(room.byteCount > 0)
        collection.shards[0].rows.removeAll()
        #expect(room.byteCount == 0)
    }
}
