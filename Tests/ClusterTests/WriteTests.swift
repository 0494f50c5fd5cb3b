import DocumentStore
import Glibc
import Matryoshka
import PostgreSQL
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("Writes become searchable", .serialized, .timeLimit(.minutes(2)))
    struct Writes {
        static let collection = CreateCollection(
            name: "writes",
            dimensions: 64,
            smallestDimensions: 8,
            residency: ResidencyChange(width: 32)
        )
        static let plan = [Stage(dimensions: 16, keep: 200), Stage(dimensions: 64, keep: 20)]

        static func makeCluster(
            rows: Int = 500,
            server: PrivateCluster? = nil
        ) throws -> (TestCluster, CollectionShape, SyntheticCorpus) {
            let cluster = try TestCluster(shortlists: 2, server: server)
            let corpus = SyntheticCorpus(rows: rows, dimensions: 64, seed: 51)
            let shape = try cluster.fill(collection, corpus)
            try cluster.waitUntilServing(shape, rows: rows)
            return (cluster, shape, corpus)
        }

        static func upsert(
            _ documents: [(id: String, vector: [Float])],
            wait: WriteWait = .searchable,
            onError: UpsertRequest.OnError = .reject,
            key: String? = nil
        ) -> FrontRequestBody {
            .upsert(
                UpsertRequest(
                    collection: "writes",
                    documents: documents.enumerated().map { index, document in
                        UpsertDocument(id: document.id, text: nil, payload: "{\"n\": \(index)}", vectorIndex: index)
                    },
                    vectors: documents.flatMap(\.vector),
                    width: 64,
                    wait: wait,
                    onError: onError,
                    idempotencyKey: key
                )
            )
        }

        /// A search near `vector` answers as the tables say, at once.
        static func expectTruth(_ cluster: TestCluster, _ shape: CollectionShape, near vectors: [[Float]]) throws {
            let truth = try cluster.truth(shape)
            let client = try cluster.client()
            for stages in [plan, [Stage(dimensions: 64, keep: 20)]] {
                let known = try truth.answer(to: SearchRequest(shape.name, vectors, plan: stages))
                #expect(known.fault(in: try client.search(known.request)) == nil)
            }
        }

        static func vector(_ seed: UInt64) -> [Float] {
            var random = SeededGenerator(seed: seed)
            return (0..<64).map { _ in random.centred() }
        }

        @Test("what is written with wait searchable is found at once; what is deleted is gone at once")
        func searchable() throws {
            let (cluster, shape, corpus) = try Self.makeCluster()
            let client = try cluster.client()
            let fresh = (0..<20).map { (id: "fresh-\($0)", vector: Self.vector(UInt64($0) + 900)) }
            let written = try client.write(Self.upsert(fresh))
            #expect(written.state == "searchable")
            #expect(written.applied == 20)
            try Self.expectTruth(cluster, shape, near: [fresh[0].vector, fresh[7].vector])

            // Changed in place: the old vector finds it no more.
            let changed = [(id: "fresh-0", vector: Self.vector(77)), (id: corpus.ids[3], vector: Self.vector(78))]
            #expect(try client.write(Self.upsert(changed)).state == "searchable")
            try Self.expectTruth(cluster, shape, near: [fresh[0].vector, changed[0].vector, changed[1].vector])

            let deleted = try client.write(
                .delete(
                    DeleteRequest(collection: "writes", ids: ["fresh-1", "no-such", corpus.ids[0]], wait: .searchable)
                )
            )
            #expect(deleted.applied == 2)
            #expect(deleted.state == "searchable")
            #expect(deleted.failures.map(\.index) == [1])
            try Self.expectTruth(cluster, shape, near: [fresh[1].vector, corpus[0]])

            guard
                case .documents(let documents, let missing, _, let vectors) = try client.call(
                    .get(GetRequest(collection: "writes", ids: ["fresh-0", "fresh-1"], withVector: true))
                )
            else { throw TestFailure("no documents") }
            #expect(documents.map(\.id) == ["fresh-0"])
            #expect(missing == ["fresh-1"])
            #expect(vectors.map(\.bitPattern) == changed[0].vector.map(\.bitPattern))
        }

        @Test("a write while readers stream is answered quickly")
        func latency() throws {
            let (cluster, _, _) = try Self.makeCluster()
            let client = try cluster.client()
            var slowest = 0.0
            for number in 0..<10 {
                let start = now()
                #expect(
                    try client.write(Self.upsert([(id: "quick-\(number)", vector: Self.vector(5))])).state
                        == "searchable"
                )
                slowest = max(slowest, now() - start)
            }
            #expect(slowest < 1)
            print("searchable within \(slowest * 1000) ms at most")
        }

        @Test("rows of plain SQL become searchable, a rollback leaves nothing, TRUNCATE empties")
        func plainSQL() throws {
            let (cluster, shape, corpus) = try Self.makeCluster()
            let sql = try cluster.database.connection()
            let vector = Self.vector(600)
            let array = "ARRAY[" + vector.map { "\($0)" }.joined(separator: ",") + "]::real[]"
            try sql.run(script: "SELECT matryoshka.upsert('writes', 'by-sql', 'a text', '{\"by\": \"sql\"}', \(array))")
            try cluster.waitUntilServing(shape, rows: corpus.count + 1, seconds: 3)
            try Self.expectTruth(cluster, shape, near: [vector])

            try sql.run(
                script: "BEGIN; SELECT matryoshka.upsert('writes', 'rolled-back', NULL, NULL, \(array)); ROLLBACK"
            )
            pause(0.6)
            try Self.expectTruth(cluster, shape, near: [vector])

            try sql.run(script: "SELECT matryoshka.delete('writes', 'by-sql')")
            try cluster.waitUntilServing(shape, rows: corpus.count, seconds: 3)

            let number = shape.collection
            try sql.run(
                script:
                    "TRUNCATE matryoshka.heads_\(number), matryoshka.tails_\(number), matryoshka.documents_\(number)"
            )
            try cluster.waitUntilServing(shape, rows: 0, seconds: 5)
            #expect(try cluster.client().search(SearchRequest("writes", [vector])).hits == [[]])
            let store = try cluster.database.store()
            try cluster.stage(corpus, into: number, store)
            try cluster.waitUntilServing(shape, rows: corpus.count, seconds: 5)
            try Self.expectTruth(cluster, shape, near: [corpus[1], vector])
        }

        @Test("an open transaction elsewhere delays nothing; commits out of order lose nothing")
        func openTransactions() throws {
            let (cluster, shape, corpus) = try Self.makeCluster()
            let idle = try cluster.database.connection()
            try idle.run(script: "BEGIN; SELECT pg_current_xact_id()")
            // A writer that began before the others and commits after them.
            let late = try cluster.database.connection()
            let array = "ARRAY[" + Self.vector(1).map { "\($0)" }.joined(separator: ",") + "]::real[]"
            try late.run(script: "BEGIN; SELECT matryoshka.upsert('writes', 'late', NULL, NULL, \(array))")
            let client = try cluster.client()
            let start = now()
            let written = try client.write(Self.upsert([(id: "prompt", vector: Self.vector(2))]))
            #expect(written.state == "searchable")
            #expect(now() - start < 1.5)
            try cluster.waitUntilServing(shape, rows: corpus.count + 1, seconds: 3)
            try late.run(script: "COMMIT")
            try cluster.waitUntilServing(shape, rows: corpus.count + 2, seconds: 3)
            try idle.run(script: "COMMIT")
            try Self.expectTruth(cluster, shape, near: [Self.vector(1), Self.vector(2)])
        }

        @Test("whatever is written while workers are killed and started, the tables' rows are what is served")
        func property() throws {
            let (cluster, shape, corpus) = try Self.makeCluster(rows: 300)
            var random = SeededGenerator(seed: 8)
            let client = try cluster.client()
            let sql = try cluster.database.connection()
            for round in 0..<40 {
                let id = "doc-\(random.next() % 400)"
                switch random.next() % 8 {
                case 0:
                    _ = try? client.write(.delete(DeleteRequest(collection: "writes", ids: [id])), deadline: 5_000)
                case 1:
                    try sql.run(script: "BEGIN; SELECT matryoshka.delete('writes', '\(id)'); ROLLBACK")
                case 2:
                    try sql.run(script: "BEGIN; SELECT matryoshka.delete('writes', '\(id)'); COMMIT")
                default:
                    let rows = (0..<3).map {
                        (id: "doc-\(random.next() % 400)", vector: Self.vector(UInt64(round * 3 + $0)))
                    }
                    _ = try? client.write(Self.upsert(rows, wait: .durable), deadline: 5_000)
                }
                if round == 10 { cluster.shortlists[0].kill() }
                if round == 14 { try cluster.addShortlist() }
                if round == 20 { cluster.rerankers[0].kill() }
                if round == 22 { try cluster.addReranker() }
            }
            let rows = try cluster.truth(shape).rows.count
            try cluster.waitUntilServing(shape, rows: rows, seconds: 15)
            try Self.expectTruth(cluster, shape, near: corpus.queries(4, seed: 9) + [Self.vector(5)])
        }

        @Test("a bad row rejects the upsert, or alone is skipped")
        func badRows() throws {
            let (cluster, shape, corpus) = try Self.makeCluster()
            let client = try cluster.client()
            var notANumber = Self.vector(1)
            notANumber[5] = .nan
            let rows = [
                (id: "good", vector: Self.vector(3)), (id: "nan", vector: notANumber),
                (id: "zero", vector: [Float](repeating: 0, count: 64)),
            ]
            let error = try client.refusal(Self.upsert(rows))
            #expect(error?.code == .nonFinite || error?.code == .zeroVector)
            #expect(error?.field?.contains("1") == true)
            try Self.expectTruth(cluster, shape, near: [rows[0].vector])
            let reply = try client.write(Self.upsert(rows, onError: .skip))
            #expect(reply.applied == 1)
            #expect(reply.failures.map(\.index) == [1, 2])
            #expect(reply.failures.map(\.error.code) == [.nonFinite, .zeroVector])
            try Self.expectTruth(cluster, shape, near: [rows[0].vector, corpus[4]])
        }

        @Test("the same key and body is applied once and answered alike; another body is a CONFLICT")
        func idempotency() throws {
            let (cluster, _, _) = try Self.makeCluster(rows: 50)
            let client = try cluster.client()
            let request = Self.upsert([(id: "once", vector: Self.vector(10))], key: "key-1")
            let first = try client.write(request)
            let second = try client.write(request)
            #expect(!first.replayed && second.replayed)
            #expect(first.token == second.token && first.applied == second.applied)
            let other = try client.refusal(Self.upsert([(id: "once", vector: Self.vector(11))], key: "key-1"))
            #expect(other?.code == .conflict)
            guard
                case .documents(let documents, _, _, _) = try client.call(
                    .get(GetRequest(collection: "writes", ids: ["once"]))
                )
            else { throw TestFailure("no documents") }
            #expect(documents.first?.version == 1)
        }

        @Test("an idempotency key belongs to the client that names itself, on whatever connection")
        func clientNames() throws {
            let (cluster, _, _) = try Self.makeCluster(rows: 50)
            func write(_ name: String, _ seed: UInt64) throws -> FrontReplyBody {
                let client = try cluster.client()
                client.name = name
                let rows = [(id: "of-\(name)", vector: Self.vector(seed))]
                return try client.reply(to: client.post(Self.upsert(rows, key: "key-1")))
            }
            for (name, seed) in [("", 1), ("loader-1", 2), ("loader-2", 3)] as [(String, UInt64)] {
                guard case .write(let first) = try write(name, seed), case .write(let second) = try write(name, seed)
                else {
                    throw TestFailure("\(name) was refused")
                }
                #expect(!first.replayed && second.replayed)
                guard case .error(let error) = try write(name, 9) else { throw TestFailure("no conflict for \(name)") }
                #expect(error.code == .conflict)
            }
        }

        @Test("with the database stopped, writes say STORE_UNAVAILABLE and searches serve on; then all goes on")
        func databaseStopped() throws {
            let server = try FragileServer()
            try Self.outage(
                server,
                codes: [.storeUnavailable],
                begin: { try server.stop() },
                end: { try server.start() }
            )
        }

        @Test("a database that hangs: writes say STORE_UNAVAILABLE and what became of them, and searches serve on")
        func databaseHangs() throws {
            let server = try FragileServer()
            try Self.outage(
                server,
                codes: [.storeUnavailable],
                begin: { try server.signalAll(SIGSTOP) },
                end: { try server.signalAll(SIGCONT) }
            )
        }

        @Test(
            "a write that a hung database was given may be applied, one that waits behind it is not; a key settles it"
        )
        func writesInAHungDatabase() throws {
            let server = try FragileServer()
            let (cluster, shape, corpus) = try Self.makeCluster(server: server.server)
            let client = try cluster.client()
            // The connection for writes stands before the database hangs.
            _ = try client.write(Self.upsert([(id: "before", vector: Self.vector(20))]))
            let sent = Self.upsert([(id: "sent", vector: Self.vector(21))], wait: .durable, key: "sent")
            let queued = Self.upsert([(id: "queued", vector: Self.vector(22))], wait: .durable)
            try server.signalAll(SIGSTOP)
            do {
                defer { #expect(throws: Never.self) { try server.signalAll(SIGCONT) } }
                let asked = now()
                let first = try client.refusal(sent, deadline: 1_000)
                #expect(now() - asked < 1.2)
                #expect(first?.code == .storeUnavailable)
                #expect(first?.message.contains("unknown whether the write was applied") == true, "\(first as Any)")
                #expect(first?.message.contains("idempotency key") == true)
                let second = try client.refusal(queued, deadline: 1_000)
                #expect(second?.code == .storeUnavailable)
                #expect(second?.message.contains("nothing was written") == true, "\(second as Any)")
                let get = try client.refusal(.get(GetRequest(collection: "writes", ids: ["before"])), deadline: 500)
                #expect(get?.code == .storeUnavailable)
            }
            var reply: WriteReply?
            let isWritten = poll(seconds: 20, every: 0.1) {
                reply = try? client.write(sent, deadline: 2_000)
                return reply != nil
            }
            #expect(isWritten)
            #expect(reply?.applied == 1)
            try cluster.waitUntilServing(shape, rows: corpus.count + 2, seconds: 10)
            guard
                case .documents(let found, let missing, _, _) = try client.call(
                    .get(GetRequest(collection: "writes", ids: ["sent", "queued"]))
                )
            else { throw TestFailure("no documents") }
            #expect(found.map(\.version) == [1])
            #expect(missing == ["queued"])
        }

        @Test("a coordinator ends within its grace though the database hangs, and at once on a second signal")
        func endsWhileDatabaseHangs() throws {
            let server = try FragileServer()
            let cluster = try TestCluster(settings: ["MRL_WORKER_GRACE_SECONDS": "4"], server: server.server)
            _ = try cluster.fill(Self.collection, SyntheticCorpus(rows: 10, dimensions: 64, seed: 51))
            try server.signalAll(SIGSTOP)
            defer { #expect(throws: Never.self) { try server.signalAll(SIGCONT) } }
            // Time for every thread that asks the database now and then to wait for it.
            pause(6)
            let first = cluster.coordinators[0]
            first.signal(SIGTERM)
            #expect(first.waitForExit(seconds: 8) == 0, "\(first.log)")
            try server.signalAll(SIGCONT)
            try cluster.restartCoordinator()
            let client = try cluster.client()
            #expect(try client.refusal(.status) == nil)
            try server.signalAll(SIGSTOP)
            pause(2)
            let second = cluster.coordinators[0]
            second.signal(SIGTERM)
            pause(0.5)
            second.signal(SIGTERM)
            #expect(second.waitForExit(seconds: 1) == 128 + SIGTERM, "\(second.log)")
        }

        private static func outage(
            _ server: FragileServer,
            codes: Set<FrontErrorCode>,
            begin: () throws -> Void,
            end: () throws -> Void
        ) throws {
            let (cluster, shape, corpus) = try makeCluster(server: server.server)
            let known = try cluster.truth(shape).answer(to: SearchRequest("writes", [corpus[8]], plan: plan))
            let client = try cluster.client()
            try begin()
            do {
                defer { #expect(throws: Never.self) { try end() } }
                let start = now()
                let error = try client.refusal(upsert([(id: "lost", vector: vector(12))]), deadline: 3_000)
                #expect(error.map { codes.contains($0.code) } == true, "\(error as Any)")
                #expect(error?.code.isRetryable == true)
                #expect(now() - start < 3.5)
                // Long enough for the lease to end: the map is frozen, not dropped.
                while now() - start < 8 {
                    #expect(known.fault(in: try client.search(known.request, deadline: 1_000)) == nil)
                    pause(0.1)
                }
                #expect(cluster.children.allSatisfy { $0.isRunning })
            }
            var last: FrontError?
            let isWritten = try poll(seconds: 20, every: 0.2) {
                last = try client.refusal(upsert([(id: "after", vector: vector(13))], wait: .durable))
                return last == nil
            }
            #expect(isWritten, "\(last as Any)")
            // What hung may have been committed after all; the tables say.
            let rows = try cluster.truth(shape).rows.count
            try cluster.waitUntilServing(shape, rows: rows, seconds: 15)
            try expectTruth(cluster, shape, near: [vector(12), vector(13), corpus[8]])
            #expect(cluster.children.allSatisfy { $0.isRunning })
        }
    }
}
