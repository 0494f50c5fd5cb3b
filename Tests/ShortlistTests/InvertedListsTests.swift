import Matryoshka
import RetrievalTesting
import Shortlist
import Synchronization
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

    static func shape(
        _ precision: Precision = .int8,
        _ similarity: Similarity = .cosine,
        holdsSigns: Bool = false
    ) -> CollectionShape {
        CollectionShape(
            collection: 1,
            name: "c",
            model: "",
            dimensions: storedWidth,
            smallestDimensions: 1,
            isMatryoshka: true,
            similarity: similarity,
            storedHeadWidth: storedWidth,
            residentWidth: residentWidth,
            residentPrecision: precision,
            holdsSigns: holdsSigns,
            signSeed: ListedTable.rotationSeed,
            index: CollectionIndex(kind: .ivf),
            generation: 1
        )
    }

    @Test(
        "a search of the probed lists equals the oracle over the rows in them, to the bit, while rows come, change and go",
        arguments: ShardShape.all
    )
    func equalsOracle(shape: ShardShape) {
        let table = ListedTable(shape)
        for row in rows(900, seed: 6) { table.write(row) }
        table.check("before the seal")
        for shard in table.shards { shard.seal() }
        table.check("sealed")
        for number in 0..<700 { table.writeRandom(Int64(number) - 300, version: 9) }
        table.check("every row moved to another list")
        for id in stride(from: Int64(-300), to: 300, by: 3) { table.remove(id) }
        table.check("a third is gone")
        for number in 0..<200 { table.writeRandom(Int64(number) - 300, version: 10) }
        table.check("some came back")
        table.lists.putInOrder()
        table.check("in order")
        #expect(table.shards.reduce(0) { $0 + $1.rowCount } == table.held.count)
        #expect(table.lists.rowCount == table.held.count)
        for (id, row) in table.held { #expect(table.shard(id).version(of: id) == row.version) }
    }

    @Test("rows of shards that are not asked for are no answers, and go with their shard")
    func someShards() {
        let table = ListedTable(ShardShape(precision: .int8, similarity: .cosine, path: .current))
        for row in rows(900, seed: 6) { table.write(row) }
        table.check("the first and the last", among: [0, 2])
        table.check("one", among: [1])
        table.check("none", among: [])
        let before = table.lists.rowCount
        let gone = table.shards[1].rowCount
        #expect(gone > 200)
        table.letGo(1)
        #expect(table.lists.rowCount == before - gone)
        table.check("two are left", among: [0, 2])
        // Its number goes to the next shard.
        let next = ListShard(in: table.lists)
        next.upsert(id: 5_000, version: 1, head: table.random.vector(Self.storedWidth).span)
        next.settle()
        #expect(next.rowCount == 1 && table.lists.rowCount == before - gone + 1)
        table.check("two are asked for", among: [0, 2])
    }

    @Test("lists that are searched in parts find together what they find at once")
    func parts() {
        let table = ListedTable(ShardShape(precision: .int8, similarity: .cosine, path: .current))
        for row in rows(900, seed: 6) { table.write(row) }
        let queries = table.random.vector(5 * Self.storedWidth)
        let step = ResolvedPlan.Step(dimensions: 24, keep: 40, precision: table.shape.precision)
        for count in [1, 5] {
            let heads = Array(queries[..<(count * Self.storedWidth)])
            let probed = table.coarse.probed(by: heads.span, width: Self.storedWidth, probes: 7)
            func search(_ part: Int, of parts: Int) -> [ShortlistColumns] {
                table.lists.search(
                    shards: table.named(),
                    queries: heads.span,
                    queryCount: count,
                    steps: [step],
                    probed: probed,
                    part: part,
                    of: parts
                )
            }
            let whole = search(0, of: 1)
            let parts = (0..<3).map { search($0, of: 3) }
            for query in 0..<count {
                let together = parts.flatMap { part in
                    zip(part[query].scores[0], part[query].ids).map { (-$0, $1) }
                }
                #expect(together.sorted(by: <).prefix(40).map(\.1) == whole[query].ids)
                #expect(Set(parts.flatMap { $0[query].ids }).count == parts.reduce(0) { $0 + $1[query].ids.count })
            }
        }
    }

    @Test("the blocks of a list follow each other after a load, and what is free is given back")
    func order() {
        let table = ListedTable(ShardShape(precision: .int8, similarity: .cosine, path: .current))
        for number in 0..<20_000 { table.writeRandom(Int64(number), version: 1) }
        let scattered = table.lists.byteCount
        for shard in table.shards { shard.seal() }
        #expect(table.lists.isInOrder)
        table.check("in order")
        for id in Int64(0)..<20_000 where id % 4 != 0 { table.remove(id) }
        table.check("few are left")
        #expect(table.askedForOrder == 1)
        table.lists.putInOrder()
        #expect(table.lists.isInOrder)
        #expect(table.lists.byteCount < scattered / 3)
        table.check("few are left, in order")
    }

    @Test("searches see each write whole while rows change, move between lists and are put in order")
    func together() {
        let table = ListedTable(ShardShape(precision: .int8, similarity: .cosine, path: .current))
        let count = 3_000
        // The rows of a version have one score: a torn row has another.
        var random = SeededGenerator(seed: 21)
        let vectors = (0..<4).map { _ in random.vector(Self.storedWidth) }
        let query = vectors[0]
        for id in 0..<count { table.write(.init(id: Int64(id), version: 0, vector: vectors[0])) }
        for shard in table.shards { shard.seal() }
        let step = ResolvedPlan.Step(dimensions: 24, keep: count, precision: table.shape.precision)
        let expected = vectors.map { vector in
            let row = QuantisedVector(head: vector.span)
            return QuantisedVector(head: query.span).score(row: row, dimensions: 24, similarity: .cosine)
        }
        let named = table.named()
        let (lists, coarse) = (table.lists, table.coarse)
        let probed = coarse.probed(by: query.span, width: Self.storedWidth, probes: coarse.count)
        let watch = Watch()
        let searchers = ThreadGroup()
        for _ in 0..<2 {
            searchers.start {
                while !watch.isOver.load(ordering: .relaxed) {
                    let found = lists.search(
                        shards: named,
                        queries: query.span,
                        queryCount: 1,
                        steps: [step],
                        probed: probed
                    )[0]
                    let isWhole = zip(found.versions, found.scores[0]).allSatisfy { $1 == expected[Int($0) % 4] }
                    if !isWhole || Set(found.ids).count != count { watch.faults.add(1, ordering: .relaxed) }
                    watch.searches.add(1, ordering: .relaxed)
                }
            }
        }
        for version in UInt32(1)...6 {
            for id in 0..<count {
                table.write(.init(id: Int64(id), version: version, vector: vectors[Int(version) % 4]))
            }
            for shard in table.shards { shard.settle() }
            lists.putInOrder()
        }
        watch.isOver.store(true, ordering: .relaxed)
        searchers.join()
        #expect(watch.faults.load(ordering: .relaxed) == 0)
        #expect(watch.searches.load(ordering: .relaxed) > 0)
    }

    private final class Watch: Sendable {
        let isOver = Atomic<Bool>(false)
        let faults = Atomic<Int>(0)
        let searches = Atomic<Int>(0)
    }

    @Test("probing all lists is an exhaustive scan")
    func allLists() {
        var random = SeededGenerator(seed: 8)
        let coarse = CoarseLists(centroids: random.vector(9 * Self.coarse), count: 9)
        let lists = InvertedLists(shape: Self.shape(), coarse: coarse)
        let listed = ListShard(in: lists)
        let plain = ResidentShard(storedHeadWidth: 40, residentWidth: 24, precision: .int8, similarity: .cosine)
        for row in rows(3000, seed: 9) {
            plain.upsert(id: row.id, version: row.version, head: row.vector.span)
            listed.upsert(id: row.id, version: row.version, head: row.vector.span)
        }
        plain.seal()
        listed.seal()
        let queries = random.vector(70 * 40)
        let step = ResolvedPlan.Step(dimensions: 24, keep: 100, precision: .int8)
        #expect(
            lists.search(
                shards: [(0, listed.owner)],
                queries: queries.span,
                queryCount: 70,
                steps: [step],
                probed: coarse.probed(by: queries.span, width: 40, probes: 9)
            ) == scanShortlist(shards: [(0, plain)], queries: queries.span, queryCount: 70, steps: [step])
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
        let coarse = CoarseLists(centroids: found.values, count: 32)
        let lists = InvertedLists(shape: Self.shape(), coarse: coarse)
        let listed = ListShard(in: lists)
        let plain = ResidentShard(storedHeadWidth: 40, residentWidth: 24, precision: .int8, similarity: .cosine)
        for (id, row) in rows.enumerated() {
            plain.upsert(id: Int64(id), version: 1, head: row.span)
            listed.upsert(id: Int64(id), version: 1, head: row.span)
        }
        listed.seal()
        let step = ResolvedPlan.Step(dimensions: 24, keep: 10, precision: .int8)
        let exact = scanShortlist(shards: [(0, plain)], queries: queries.span, queryCount: 50, steps: [step])
        let got = lists.search(
            shards: [(0, listed.owner)],
            queries: queries.span,
            queryCount: 50,
            steps: [step],
            probed: coarse.probed(by: queries.span, width: 40, probes: 4)
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

/// Rows of three shards in lists, and beside them as the rule has them.
private final class ListedTable {
    typealias Tests = InvertedListsTests

    static let rotationSeed: UInt64 = 77

    let shape: ShardShape
    let centroids: [[Float]]
    let coarse: CoarseLists
    let lists: InvertedLists
    private(set) var shards: [ListShard]
    private let numbers: [UInt16] = [0, 1, 2]
    var held: [Int64: Oracle.Row] = [:]
    var random = SeededGenerator(seed: 5)
    private let orders = Orders()
    var askedForOrder: Int { orders.count.load(ordering: .relaxed) }

    private final class Orders: Sendable {
        let count = Atomic<Int>(0)
    }

    init(_ shape: ShardShape) {
        self.shape = shape
        var random = SeededGenerator(seed: 4)
        var centroids: [[Float]] = []
        for _ in 0..<16 { centroids.append(random.vector(Tests.coarse)) }
        centroids.append([Float](repeating: 0, count: Tests.coarse))
        let coarse = CoarseLists(centroids: centroids.flatMap { $0 }, count: centroids.count)
        self.centroids = centroids
        self.coarse = coarse
        let lists = InvertedLists(
            shape: Tests.shape(shape.precision, shape.similarity, holdsSigns: true),
            coarse: coarse,
            path: shape.path,
            needsOrder: { [orders] in orders.count.add(1, ordering: .relaxed) }
        )
        self.lists = lists
        shards = (0..<3).map { _ in ListShard(in: lists) }
    }

    private func place(_ id: Int64) -> Int { Int(id + 300) % 3 }

    func shard(_ id: Int64) -> ListShard { shards[place(id)] }

    /// The shards with these places, as searches name them.
    func named(_ among: [Int] = [0, 1, 2]) -> [(shard: UInt16, owner: UInt16)] {
        among.map { (numbers[$0], shards[$0].owner) }
    }

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

    /// A shard goes with all its rows; those of an empty one follow.
    func letGo(_ number: Int) {
        for id in held.keys where place(id) == number { held[id] = nil }
        shards[number] = shards[(number + 1) % 3]
    }

    func check(_ note: Comment, among: [Int] = [0, 1, 2]) {
        for shard in shards { shard.settle() }
        var queries: [[Float]] = []
        for _ in 0..<9 { queries.append(random.vector(Tests.storedWidth)) }
        let flat = queries.flatMap { $0 }
        let asked = held.values.filter { among.contains(place($0.id)) }
        for (probes, dimensions, keep, precision) in [
            (1, 24, 10, shape.precision), (4, 7, 50, shape.precision), (17, 23, 400, shape.precision),
            (1, 40, 10, .bit), (5, 30, 60, .bit), (17, 40, 400, .bit),
        ] {
            let step = ResolvedPlan.Step(dimensions: dimensions, keep: keep, precision: precision)
            let probed = coarse.probed(by: flat.span, width: Tests.storedWidth, probes: probes)
            let got = lists.search(
                shards: named(among),
                queries: flat.span,
                queryCount: queries.count,
                steps: [step],
                probed: probed
            )
            for (query, vector) in queries.enumerated() {
                func near(_ vector: [Float]) -> [Int] {
                    Oracle.lists(near: vector, storedHeadWidth: Tests.storedWidth, centroids)
                }
                let wanted = Set(near(vector).prefix(probes))
                #expect(Set(probed[query].map { Int($0) }) == wanted, note)
                let inside = asked.filter { wanted.contains(near($0.vector)[0]) }
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
                #expect(got[query].shards == got[query].ids.map { numbers[place($0)] }, note)
            }
        }
    }
}
