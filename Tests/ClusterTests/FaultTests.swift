import Glibc
import Matryoshka
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("Processes die and stall", .serialized, .timeLimit(.minutes(2)))
    struct Faults {
        static let collection = CreateCollection(
            name: "faults",
            dimensions: 64,
            smallestDimensions: 8,
            residency: ResidencyChange(width: 32)
        )
        static let plan = [Stage(dimensions: 16, keep: 100), Stage(dimensions: 64, keep: 10)]

        static func makeCluster(
            shortlists: Int,
            rerankers: Int = 1,
            coordinators: Int = 1,
            settings: [String: String] = [:],
            rows: Int = 2_000,
            residentWidth: Int = 32
        ) throws -> (TestCluster, CollectionShape, SyntheticCorpus, KnownSearch) {
            let cluster = try TestCluster(
                shortlists: shortlists,
                rerankers: rerankers,
                coordinators: coordinators,
                settings: settings
            )
            let corpus = SyntheticCorpus(rows: rows, dimensions: 64, seed: 41)
            var create = collection
            create.residency.width = residentWidth
            let shape = try cluster.fill(create, corpus)
            let known = try cluster.truth(shape).answer(
                to: SearchRequest("faults", corpus.queries(1, seed: 42), plan: plan)
            )
            try cluster.waitUntilServing(shape, rows: corpus.count)
            return (cluster, shape, corpus, known)
        }

        /// Searches with `min_coverage` 0 and 1 until the answer is whole again.
        ///
        /// Every answer comes in time and is either whole and right or says what is missing.
        static func watchRecovery(
            _ client: TestClient,
            _ known: KnownSearch,
            within seconds: Double
        ) throws -> (seconds: Double, partial: Int, unavailable: Int)? {
            let start = now()
            var partial = 0
            var unavailable = 0
            var tolerant = known.request
            tolerant.minCoverage = 0
            while now() - start < seconds {
                let asked = now()
                let reply = try client.search(tolerant, deadline: 400)
                #expect(now() - asked < 0.6)
                let coverage = reply.coverage
                if coverage.isComplete {
                    if reply.degraded.isEmpty { #expect(known.fault(in: reply) == nil) }
                } else {
                    partial += 1
                    #expect(coverage.missing.count == coverage.shardsTotal - coverage.shardsOK)
                    // Rows that the shortlist saw and nobody could rerank count as missing too.
                    #expect(coverage.rowsSearched < known.rows || reply.degraded.contains("rerank_skipped"))
                    #expect(!reply.degraded.isEmpty)
                }
                let askedStrictly = now()
                do {
                    let strict = try client.search(known.request, deadline: 400)
                    #expect(known.fault(in: strict) == nil)
                    if coverage.isComplete && reply.degraded.isEmpty { return (now() - start, partial, unavailable) }
                } catch let error as FrontError {
                    unavailable += 1
                    #expect(error.code == .unavailable, "\(error)")
                    #expect(error.coverage != nil)
                }
                #expect(now() - askedStrictly < 0.6)
                pause(0.03)
            }
            return nil
        }

        @Test("kill -9 of a shortlist worker: answers name what is missing, and all is back within 7 s")
        func killShortlist() throws {
            let (cluster, _, corpus, known) = try Self.makeCluster(shortlists: 2)
            let client = try cluster.client()
            try cluster.waitUntilBalanced(client, holders: 2, rows: corpus.count)
            cluster.shortlists[0].kill()
            let recovery = try Self.watchRecovery(client, known, within: 10)
            #expect(recovery != nil)
            #expect(recovery.map { $0.seconds < 7 } == true)
            print("killed shortlist: \(recovery as Any)")
            // It comes back and takes its part.
            try cluster.addShortlist()
            try cluster.waitUntilBalanced(client, holders: 2, rows: corpus.count)
            #expect(known.fault(in: try client.search(known.request)) == nil)
        }

        @Test("a stopped worker (SIGSTOP) is passed over, and registers again when it goes on")
        func stallShortlist() throws {
            let (cluster, _, corpus, known) = try Self.makeCluster(shortlists: 2)
            let client = try cluster.client()
            try cluster.waitUntilBalanced(client, holders: 2, rows: corpus.count)
            cluster.shortlists[0].signal(SIGSTOP)
            let recovery = try Self.watchRecovery(client, known, within: 10)
            #expect(recovery.map { $0.seconds < 7 && $0.partial > 0 } == true)
            print("stalled shortlist: \(recovery as Any)")
            cluster.shortlists[0].signal(SIGCONT)
            try cluster.waitUntilBalanced(client, holders: 2, rows: corpus.count)
            #expect(known.fault(in: try client.search(known.request)) == nil)
        }

        @Test("kill -9 of a rerank worker: within the deadline always, whole again within 7 s")
        func killReranker() throws {
            let (cluster, _, _, known) = try Self.makeCluster(shortlists: 1, rerankers: 2)
            let client = try cluster.client()
            try cluster.waitUntilRerankers(client, holders: 2)
            cluster.rerankers[0].kill()
            let end = now() + 10
            var isWhole = false
            while now() < end && !isWhole {
                let asked = now()
                let body = try client.reply(to: client.post(.search(known.request), deadline: 400))
                #expect(now() - asked < 0.6)
                if case .search(let reply) = body { isWhole = known.fault(in: reply) == nil }
                if case .error(let error) = body { #expect(error.code.isRetryable, "\(error)") }
            }
            #expect(isWhole)
            #expect(now() < end - 3)
            // Exhaustive plans need all its slots again.
            let exhaustive = SearchRequest(
                "faults",
                [[Float](repeating: 1, count: 64)],
                plan: [Stage(dimensions: 64, keep: 3)]
            )
            #expect(poll(seconds: 7) { (try? client.search(exhaustive))?.coverage.isComplete == true })
        }

        @Test("shards beyond all capacity stay missing and say so; another worker makes the answer whole")
        func capacity() throws {
            // 20,000 rows at 64 dimensions take 1.7 MB or so; 1 MiB has room for some shards, not for all.
            let (cluster, shape, corpus, known) = try Self.makeCluster(
                shortlists: 1,
                settings: ["MRL_WORKER_CAPACITY_BYTES": "256MiB"],
                rows: 20_000,
                residentWidth: 64
            )
            let client = try cluster.client()
            cluster.shortlists[0].kill()
            try cluster.addShortlist(["MRL_WORKER_CAPACITY_BYTES": "1MiB"])
            var tolerant = known.request
            tolerant.minCoverage = 0
            var last: SearchReply?
            let isPartial = try poll(seconds: 10) {
                let reply = try client.search(tolerant, deadline: 500)
                last = reply
                return reply.coverage.shardsOK > 0 && reply.coverage.missing.contains { $0.reason == .noCapacity }
            }
            #expect(isPartial, "\(last?.coverage as Any)")
            let error = try client.refusal(.search(known.request))
            #expect(error?.code == .unavailable)
            #expect(error?.coverage?.missing.contains { $0.reason == .noCapacity } == true)
            // Half the answer is asked for, half is enough.
            if let ok = last?.coverage.fraction, ok > 0 {
                tolerant.minCoverage = ok
                #expect(try client.search(tolerant, deadline: 500).coverage.fraction >= ok)
            }
            // What it holds is within its capacity.
            let full = try ClusterStatus(client).shortlists[0]
            #expect(full.rows < corpus.count && full.bytes <= 1 << 20, "\(full)")
            try cluster.addShortlist()
            try cluster.waitUntilServing(shape, rows: corpus.count)
            #expect(known.fault(in: try client.search(known.request)) == nil)
        }

        @Test("kill -9 in the middle of a drain: the rest is loaded elsewhere, all is back within 7 s")
        func killDuringDrain() throws {
            let (cluster, _, corpus, known) = try Self.makeCluster(shortlists: 2)
            let client = try cluster.client()
            try cluster.waitUntilBalanced(client, holders: 2, rows: corpus.count)
            cluster.shortlists[1].signal(SIGTERM)
            pause(0.05)
            cluster.shortlists[1].kill()
            let recovery = try Self.watchRecovery(client, known, within: 10)
            #expect(recovery.map { $0.seconds < 7 } == true)
            try cluster.waitUntilBalanced(client, holders: 1, rows: corpus.count)
        }

        @Test("a stopped rerank worker (SIGSTOP) is passed over; answers come within their deadline")
        func stallReranker() throws {
            let (cluster, shape, corpus, known) = try Self.makeCluster(shortlists: 1, rerankers: 2)
            let client = try cluster.client()
            try cluster.waitUntilRerankers(client, holders: 2)
            cluster.rerankers[1].signal(SIGSTOP)
            let recovery = try Self.watchRecovery(client, known, within: 10)
            #expect(recovery.map { $0.seconds < 7 } == true)
            try cluster.waitUntilServing(shape, rows: corpus.count, seconds: 7)
            cluster.rerankers[1].signal(SIGCONT)
            try cluster.waitUntilRerankers(client, holders: 2)
            #expect(known.fault(in: try client.search(known.request)) == nil)
        }

        @Test("text search needs an encoder: UNAVAILABLE without one, served again with another")
        func encoders() throws {
            let cluster = try TestCluster(encoders: 2)
            let corpus = SyntheticCorpus(rows: 200, dimensions: 64, seed: 43)
            let shape = try cluster.fill(Self.collection, corpus)
            try cluster.waitUntilServing(shape, rows: corpus.count)
            let client = try cluster.client()
            let text = FrontRequestBody.search(SearchRequest(collection: "faults", query: .texts(["play chess"])))
            #expect(try client.refusal(text) == nil)
            cluster.encoders[0].kill()
            // Whoever asks while it dies is served by the other, within the deadline.
            for _ in 0..<10 { #expect(try client.refusal(text, deadline: 1_000) == nil) }
            cluster.encoders[1].kill()
            let start = now()
            let error = try client.refusal(text, deadline: 1_000)
            #expect(error?.code == .unavailable, "\(error as Any)")
            #expect(now() - start < 1.5)
            try cluster.addEncoder()
            #expect(try poll(seconds: 5) { try client.refusal(text) == nil })
        }

        @Test("63,000 documents are whole again within 7 s of kill -9")
        func recoversLargeCollection() throws {
            let cluster = try TestCluster(shortlists: 2)
            let corpus = SyntheticCorpus(rows: 63_000, dimensions: 32, seed: 44)
            let shape = try cluster.serve("faults", corpus)
            let client = try cluster.client()
            try cluster.waitUntilBalanced(client, holders: 2, rows: corpus.count)
            let known = try cluster.truth(shape).answer(
                to: SearchRequest(
                    "faults",
                    corpus.queries(1, seed: 45),
                    plan: [Stage(dimensions: 16, keep: 100), Stage(dimensions: 32, keep: 10)]
                )
            )
            cluster.shortlists[1].kill()
            let recovery = try Self.watchRecovery(client, known, within: 10)
            #expect(recovery.map { $0.seconds < 7 } == true)
            print("63,000 rows: \(recovery as Any)")
        }

        @Test("a coordinator killed and started again has its workers back, and answers no one twice")
        func coordinatorRestart() throws {
            let (cluster, shape, corpus, known) = try Self.makeCluster(shortlists: 2)
            cluster.coordinators[0].kill()
            try cluster.restartCoordinator()
            let start = now()
            try cluster.waitUntilServing(shape, rows: corpus.count, seconds: 10)
            print("coordinator back: \(now() - start) s")
            let client = try cluster.client()
            #expect(known.fault(in: try client.search(known.request)) == nil)
            #expect(try client.next(seconds: 0.3) == nil)
            // And it can still move shards.
            try cluster.addShortlist()
            try cluster.waitUntilBalanced(client, holders: 3, rows: corpus.count)
        }

        @Test("two coordinators both serve, and the second goes on when the leader dies")
        func twoCoordinators() throws {
            let (cluster, shape, corpus, known) = try Self.makeCluster(shortlists: 2, coordinators: 2)
            for number in 0..<2 {
                try cluster.waitUntilServing(shape, rows: corpus.count, coordinator: number)
                #expect(known.fault(in: try cluster.client(number).search(known.request)) == nil)
            }
            cluster.coordinators[0].kill()
            let second = try cluster.client(1)
            #expect(known.fault(in: try second.search(known.request)) == nil)
            // It takes the lease over and moves shards.
            try cluster.addShortlist()
            try cluster.waitUntilBalanced(second, holders: 3, rows: corpus.count, seconds: 20)
            #expect(known.fault(in: try second.search(known.request)) == nil)
        }
    }
}
