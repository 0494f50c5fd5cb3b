import Matryoshka
import RetrievalTesting
import Shortlist
import Testing
import VectorMath

@Suite("Inverted lists")
struct InvertedListsTests {
    static let storedWidth = 40
    static let residentWidth = 24
    static let coarse = 12

    private func rows(_ count: Int, seed: UInt64) -> [Oracle.Row] {
        var random = SeededGenerator(seed: seed)
        var rows: [Oracle.Row] = []
        for number in 0..<count {
            var vector = random.vector(Self.storedWidth)
            if number % 5 == 4 { vector = rows[number / 2].vector }
            if number % 97 == 50 { vector = [Float](repeating: 0, count: Self.storedWidth) }
            rows.append(.init(id: Int64(number * 7 % 1009) - 300, version: UInt32(number % 4), vector: vector))
        }
        return rows
    }

    @Test(
        "a scan of the probed lists equals the oracle over the rows in them, to the bit, while rows come, change and go",
        arguments: ShardShape.all
    )
    func equalsOracle(shape: ShardShape) {
        let table = ListedTable(shape)
        for row in rows(900, seed: 6) { table.write(row) }
        table.check("before the seal")
        for (_, shard) in table.shards { shard.seal() }
        table.check("sealed")
        for number in 0..<700 { table.writeRandom(Int64(number) - 300, version: 9) }
        table.check("every row moved to another list")
        for id in stride(from: Int64(-300), to: 300, by: 3) { table.remove(id) }
        table.check("a third is gone")
        for number in 0..<200 { table.writeRandom(Int64(number) - 300, version: 10) }
        table.check("some came back")
        #expect(table.shards.reduce(0) { $0 + $1.1.rowCount } == table.held.count)
    }

    @Test("probing all lists is an exhaustive scan")
    func allLists() {
        var random = SeededGenerator(seed: 8)
        let centroids = random.vector(9 * Self.coarse)
        let lists = CoarseLists(centroids: centroids, count: 9)
        let plain = ResidentShard(storedHeadWidth: 40, residentWidth: 24, precision: .int8, similarity: .cosine)
        let listed = ResidentShard(
            storedHeadWidth: 40,
            residentWidth: 24,
            precision: .int8,
            similarity: .cosine,
            lists: lists
        )
        for row in rows(3000, seed: 9) {
            plain.upsert(id: row.id, version: row.version, head: row.vector.span)
            listed.upsert(id: row.id, version: row.version, head: row.vector.span)
        }
        plain.seal()
        listed.seal()
        let queries = random.vector(70 * 40)
        let step = ResolvedPlan.Step(dimensions: 24, keep: 100, precision: .int8)
        let probed = lists.probed(by: queries.span, width: 40, probes: 9)
        #expect(
            scanShortlist(shards: [(0, listed)], queries: queries.span, queryCount: 70, steps: [step], probed: probed)
                == scanShortlist(shards: [(0, plain)], queries: queries.span, queryCount: 70, steps: [step])
        )
    }

    @Test("centroids find the clusters of the data, and few probes find most neighbours")
    func training() {
        var random = SeededGenerator(seed: 10)
        var centres: [[Float]] = []
        for _ in 0..<20 { centres.append(random.vector(Self.storedWidth)) }
        var rows: [[Float]] = []
        for _ in 0..<4050 {
            let noise = random.vector(Self.storedWidth)
            rows.append(zip(centres[Int(random.next() % 20)], noise).map { $0 + 0.3 * $1 })
        }
        let queries = rows.suffix(50).flatMap { $0 }
        rows.removeLast(50)
        let flat = rows.flatMap { $0 }
        let found = CoarseLists.trainCentroids(
            flat.span,
            width: Self.storedWidth,
            dimensions: 24,
            lists: 32
        )
        #expect(found.values.count == 32 * 24)
        #expect(found.meanCosine > 0.9)
        let lists = CoarseLists(centroids: found.values, count: 32)
        let plain = ResidentShard(storedHeadWidth: 40, residentWidth: 24, precision: .int8, similarity: .cosine)
        let listed = ResidentShard(
            storedHeadWidth: 40,
            residentWidth: 24,
            precision: .int8,
            similarity: .cosine,
            lists: lists
        )
        for (id, row) in rows.enumerated() {
            plain.upsert(id: Int64(id), version: 1, head: row.span)
            listed.upsert(id: Int64(id), version: 1, head: row.span)
        }
        listed.seal()
        let step = ResolvedPlan.Step(dimensions: 24, keep: 10, precision: .int8)
        let probed = lists.probed(by: queries.span, width: 40, probes: 4)
        let exact = scanShortlist(shards: [(0, plain)], queries: queries.span, queryCount: 50, steps: [step])
        let got = scanShortlist(
            shards: [(0, listed)],
            queries: queries.span,
            queryCount: 50,
            steps: [step],
            probed: probed
        )
        let hits = zip(exact, got).reduce(0) { $0 + Set($1.0.ids).intersection($1.1.ids).count }
        #expect(hits >= 450)
    }

    @Test("rows of zeros, one list, and fewer rows than lists are no trouble to training")
    func corners() {
        let zeros = [Float](repeating: 0, count: 80)
        #expect(CoarseLists.trainCentroids(zeros.span, width: 8, dimensions: 4, lists: 3).values.isEmpty)
        var random = SeededGenerator(seed: 3)
        let few = random.vector(24) + zeros.prefix(8)
        #expect(CoarseLists.trainCentroids(few.span, width: 8, dimensions: 8, lists: 100).values.count == 3 * 8)
        #expect(CoarseLists.trainCentroids(few.span, width: 8, dimensions: 5, lists: 1).values.count == 5)
        #expect(CoarseLists.standardCount(rows: 0) == 16)
        #expect(CoarseLists.standardCount(rows: 63_000) == 512)
        #expect(CoarseLists.standardCount(rows: 1_000_000) == 2048)
    }
}

/// Rows in three listed shards, and beside them as the rule has them.
private final class ListedTable {
    typealias Tests = InvertedListsTests

    static let rotationSeed: UInt64 = 77

    let shape: ShardShape
    let centroids: [[Float]]
    let lists: CoarseLists
    let shards: [(UInt16, ResidentShard)]
    var held: [Int64: Oracle.Row] = [:]
    var random = SeededGenerator(seed: 5)

    init(_ shape: ShardShape) {
        self.shape = shape
        var random = SeededGenerator(seed: 4)
        var centroids: [[Float]] = []
        for _ in 0..<16 { centroids.append(random.vector(Tests.coarse)) }
        centroids.append([Float](repeating: 0, count: Tests.coarse))
        let lists = CoarseLists(centroids: centroids.flatMap { $0 }, count: centroids.count)
        self.centroids = centroids
        self.lists = lists
        shards = (0..<3).map { number in
            let shard = ResidentShard(
                storedHeadWidth: Tests.storedWidth,
                residentWidth: Tests.residentWidth,
                precision: shape.precision,
                similarity: shape.similarity,
                rotation: BitRotation(seed: Self.rotationSeed, width: Tests.storedWidth),
                lists: lists
            )
            return (UInt16(number), shard)
        }
    }

    private func shard(_ id: Int64) -> ResidentShard { shards[Int(id + 300) % 3].1 }

    func write(_ row: Oracle.Row) {
        shard(row.id).upsert(id: row.id, version: row.version, head: row.vector.span)
        if row.version >= held[row.id]?.version ?? 0 { held[row.id] = row }
    }

    func writeRandom(_ id: Int64, version: UInt32) {
        write(.init(id: id, version: version, vector: random.vector(Tests.storedWidth)))
    }

    func remove(_ id: Int64) {
        shard(id).remove(id: id)
        held[id] = nil
    }

    func check(_ note: Comment) {
        var queries: [[Float]] = []
        for _ in 0..<9 { queries.append(random.vector(Tests.storedWidth)) }
        let flat = queries.flatMap { $0 }
        for (probes, dimensions, keep, precision) in [
            (1, 24, 10, shape.precision), (4, 7, 50, shape.precision), (17, 23, 400, shape.precision),
            (1, 40, 10, .bit), (5, 30, 60, .bit), (17, 40, 400, .bit),
        ] {
            let step = ResolvedPlan.Step(dimensions: dimensions, keep: keep, precision: precision)
            let probed = lists.probed(by: flat.span, width: Tests.storedWidth, probes: probes)
            let got = scanShortlist(
                shards: shards,
                queries: flat.span,
                queryCount: queries.count,
                steps: [step],
                probed: probed,
                path: shape.path
            )
            for (query, vector) in queries.enumerated() {
                let wanted = Set(Oracle.lists(near: vector, centroids).prefix(probes))
                #expect(Set(probed[query].map { Int($0) }) == wanted, note)
                let inside = held.values.filter { wanted.contains(Oracle.lists(near: $0.vector, centroids)[0]) }
                let oracle = Oracle(
                    rows: inside,
                    storedHeadWidth: Tests.storedWidth,
                    similarity: shape.similarity,
                    rotationSeed: Self.rotationSeed
                )
                let expected = oracle.stages(query: vector, steps: [step])[0]
                #expect(got[query].ids == expected.map(\.id), note)
                #expect(got[query].scores[0] == expected.map { $0.scores[0] }, note)
                #expect(got[query].versions == expected.map(\.version), note)
            }
        }
    }
}
