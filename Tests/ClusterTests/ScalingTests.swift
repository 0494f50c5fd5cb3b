import Glibc
import Matryoshka
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("Workers come and go", .serialized, .timeLimit(.minutes(2)))
    struct Scaling {
        static let collection = CreateCollection(
            name: "scaling",
            dimensions: 64,
            smallestDimensions: 8,
            residency: ResidencyChange(width: 32)
        )

        @Test("scale-out and drain under 200 searches a second: no reply fails, every one equals the oracle")
        func scaleOutAndDrainUnderLoad() throws {
            let cluster = try TestCluster(shortlists: 2, settings: ["MRL_WORKER_GRACE_SECONDS": "10"])
            let corpus = SyntheticCorpus(rows: 3_000, dimensions: 64, seed: 31)
            let shape = try cluster.fill(Self.collection, corpus)
            let truth = try cluster.truth(shape)
            let known = try corpus.queries(30, seed: 32).enumerated().map { number, query in
                let plan: [Stage] =
                    switch number % 3 {
                    case 0: [Stage(dimensions: 32, keep: 100), Stage(dimensions: 64, keep: 10)]
                    case 1:
                        [
                            Stage(dimensions: 16, keep: 200), Stage(dimensions: 32, keep: 50),
                            Stage(dimensions: 64, keep: 5),
                        ]
                    default:
                        [
                            Stage(dimensions: 24, keep: 60), Stage(dimensions: 48, keep: 20),
                            Stage(dimensions: 64, keep: 10),
                        ]
                    }
                return try truth.answer(to: SearchRequest("scaling", [query], plan: plan))
            }
            let client = try cluster.client()
            try cluster.waitUntilServing(shape, rows: corpus.count)
            try cluster.waitUntilBalanced(client, holders: 2, rows: corpus.count)

            let load = SearchLoad(cluster.front(), known, perSecond: 230)
            pause(4)
            try cluster.addShortlist()
            try cluster.waitUntilBalanced(client, holders: 3, rows: corpus.count)
            pause(3)
            let leaving = cluster.shortlists[0]
            let asked = now()
            leaving.signal(SIGTERM)
            #expect(leaving.waitForExit(seconds: 10) == 0)
            #expect(now() - asked < 10)
            try cluster.waitUntilBalanced(client, holders: 2, rows: corpus.count)
            _ = poll(seconds: 25) { load.result.secondsRunning > 21 }
            let status = try ClusterStatus(client)
            let result = load.stop()
            #expect(result.faults.isEmpty, "\(result.faults.count) faults: \(result.faults.prefix(3))")
            #expect(result.answered == result.sent)
            #expect(result.secondsRunning >= 20)
            // A busy machine does not send all 230; fewer than half would be no load.
            #expect(result.rate >= 115, "slowest \(result.slowestSeconds) s")
            let rows = status.shortlists.map(\.rows)
            #expect(rows.reduce(0, +) == corpus.count)
            #expect(rows.allSatisfy { $0 < corpus.count })
            print("load: \(result.answered) replies, \(result.rate)/s, slowest \(result.slowestSeconds * 1000) ms")
        }

        private static func growing(_ rows: Int) -> SyntheticCorpus {
            SyntheticCorpus(rows: rows, dimensions: 64, seed: 37)
        }

        private static func wide() -> CreateCollection {
            var create = collection
            create.residency.width = 64
            return create
        }

        @Test("a worker that outgrows its capacity hands shards to another without a failed reply")
        func growthMoves() throws {
            let cluster = try TestCluster(shortlists: 0)
            let small = try cluster.addShortlist(["MRL_WORKER_CAPACITY_BYTES": "1MiB"])
            try cluster.addShortlist(["MRL_WORKER_CAPACITY_BYTES": "64MiB"])
            let shape = try cluster.fill(Self.wide(), Self.growing(8_000))
            let client = try cluster.client()
            try cluster.waitUntilServing(shape, rows: 8_000)
            try cluster.waitUntilBalanced(client, holders: 2, rows: 8_000)
            // Half of 30,000 rows at 64 dimensions take more than 1 MiB.
            let grown = Self.growing(30_000)
            try cluster.stage(grown, into: shape.collection, cluster.database.store())
            let request = SearchRequest("scaling", [grown[0]], plan: IdenticalHits.funnel64)
            var last = ClusterStatus()
            let isRelieved = try poll(seconds: 30) {
                for _ in 0..<5 { #expect(try client.search(request).coverage.isComplete) }
                last = try ClusterStatus(client)
                guard let held = last.shortlists.first(where: { $0.pid == Int(small.pid) }) else { return false }
                return held.bytes <= 1 << 20 && last.shortlists.allSatisfy(\.isSettled)
                    && last.shortlists.map(\.rows).reduce(0, +) == grown.count
            }
            #expect(isRelieved, "\(last)")
            try cluster.waitUntilServing(shape, rows: grown.count)
        }

        @Test("a worker that outgrows its capacity alone names what it gave up; another one makes the answer whole")
        func growthWithoutRoom() throws {
            let cluster = try TestCluster(shortlists: 0)
            try cluster.addShortlist(["MRL_WORKER_CAPACITY_BYTES": "1MiB"])
            let shape = try cluster.fill(Self.wide(), Self.growing(8_000))
            let client = try cluster.client()
            try cluster.waitUntilServing(shape, rows: 8_000)
            let grown = Self.growing(18_000)
            try cluster.stage(grown, into: shape.collection, cluster.database.store())
            let request = SearchRequest("scaling", [grown[0]], plan: IdenticalHits.funnel64, minCoverage: 0)
            func missing() throws -> [UInt16] {
                try client.search(request).coverage.missing.filter { $0.reason == .noCapacity }.map(\.shard)
            }
            let oneShard = (1 << 20) / 32
            let isBounded = try poll(seconds: 20) {
                let held = try ClusterStatus(client).shortlists[0]
                return try !missing().isEmpty && held.bytes <= 1 << 20 && held.isSettled
            }
            let bounded = try ClusterStatus(client)
            #expect(isBounded, "\(bounded)")
            // It stays so.
            let named = try missing()
            for _ in 0..<10 {
                pause(0.3)
                #expect(try missing() == named)
                #expect(try ClusterStatus(client).shortlists[0].bytes <= (1 << 20) + oneShard)
            }
            let counts = try ClusterStatus(client).json["collections"]?.elements.first?["shards"]?["shortlist"]
            #expect(counts?["no_capacity"]?.int == named.count)
            try cluster.addShortlist()
            try cluster.waitUntilServing(shape, rows: grown.count)
        }

        @Test("a rerank worker drains without a failed reply")
        func rerankDrain() throws {
            let cluster = try TestCluster(shortlists: 1, rerankers: 2)
            let corpus = SyntheticCorpus(rows: 1_500, dimensions: 64, seed: 33)
            let shape = try cluster.fill(Self.collection, corpus)
            let truth = try cluster.truth(shape)
            let known = try corpus.queries(10, seed: 34).enumerated().map { number, query in
                try truth.answer(
                    to: SearchRequest(
                        "scaling",
                        [query],
                        plan: number % 3 == 2 ? [Stage(dimensions: 64, keep: 10)] : IdenticalHits.funnel64
                    )
                )
            }
            try cluster.waitUntilServing(shape, rows: corpus.count)
            try cluster.waitUntilRerankers(cluster.client(), holders: 2)
            let load = SearchLoad(cluster.front(), known, perSecond: 150)
            pause(1)
            cluster.rerankers[0].signal(SIGTERM)
            #expect(cluster.rerankers[0].waitForExit(seconds: 12) == 0)
            pause(1)
            let result = load.stop()
            #expect(result.faults.isEmpty, "\(result.faults.count) faults: \(result.faults.prefix(3))")
            #expect(result.answered == result.sent)
        }

        @Test("every process ends within its grace when asked, and at once when asked twice")
        func terminates() throws {
            let cluster = try TestCluster(shortlists: 2, encoders: 1, settings: ["MRL_WORKER_GRACE_SECONDS": "3"])
            let corpus = SyntheticCorpus(rows: 300, dimensions: 64, seed: 35)
            let shape = try cluster.fill(Self.collection, corpus)
            try cluster.waitUntilServing(shape, rows: corpus.count)
            for child in cluster.encoders + [cluster.shortlists[1]] {
                child.signal(SIGTERM)
                #expect(child.waitForExit(seconds: 5) == 0, "\(child.name): \(child.log.suffix(500))")
            }
            try cluster.waitUntilServing(shape, rows: corpus.count)

            // The last one cannot hand its shards to anybody: it goes after its grace, and they are named.
            let last = cluster.shortlists[0]
            last.signal(SIGTERM)
            #expect(last.waitForExit(seconds: 5) == 0)
            let client = try cluster.client()
            var request = SearchRequest("scaling", [corpus[0]], minCoverage: 0)
            let reply = try client.search(request, deadline: 1_000)
            #expect(reply.coverage.shardsOK == 0)
            #expect(reply.coverage.missing.map(\.shard) == [UInt16](0..<UInt16(Slots.shardCount)))
            #expect(reply.hits == [[]])
            request.minCoverage = 1
            #expect(try client.refusal(.search(request))?.code == .unavailable)

            // Twice is at once, whatever the grace is.
            let stubborn = try cluster.addShortlist(["MRL_WORKER_GRACE_SECONDS": "60"])
            try cluster.waitUntilServing(shape, rows: corpus.count)
            stubborn.signal(SIGTERM)
            pause(0.3)
            #expect(stubborn.isRunning)
            stubborn.signal(SIGTERM)
            #expect(stubborn.waitForExit(seconds: 1.5) != nil)

            cluster.coordinators[0].signal(SIGTERM)
            #expect(cluster.coordinators[0].waitForExit(seconds: 5) == 0)
            cluster.rerankers[0].signal(SIGTERM)
            #expect(cluster.rerankers[0].waitForExit(seconds: 5) == 0)
        }
    }
}
