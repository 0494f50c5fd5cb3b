import Glibc
import Matryoshka
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("Requests to workers are paid back", .serialized, .timeLimit(.minutes(2)))
    struct Credit {
        /// Waits until nothing is under way anywhere.
        static func isIdle(_ client: TestClient, seconds: Double = 5) throws -> Bool {
            try poll(seconds: seconds) {
                let status = try ClusterStatus(client)
                return status.json["coordinator"]?["in_flight"]?.int == 0
                    && status.json["coordinator"]?["queue_depth"]?.int == 0
                    && status.json["workers"]?.elements.allSatisfy { $0["in_flight"]?.int == 0 } == true
            }
        }

        @Test("a stopped rerank worker holds no search beyond its deadline, and none for ever")
        func stoppedReranker() throws {
            let (cluster, _, _, known) = try Faults.makeCluster(
                shortlists: 1,
                settings: ["MRL_WORKER_CREDIT": "4", "MRL_COORDINATOR_DEAD_MS": "60000"]
            )
            let client = try cluster.client()
            cluster.rerankers[0].signal(SIGSTOP)
            var tolerant = known.request
            tolerant.minCoverage = 0
            let start = now()
            let ids = try (0..<16).map { _ in try client.post(.search(tolerant), deadline: 500) }
            for id in ids {
                guard case .search(let reply) = try client.reply(to: id, seconds: 2) else {
                    Issue.record("\(id) has no hits")
                    continue
                }
                #expect(reply.degraded.contains("timeout"))
                #expect(!reply.coverage.isComplete)
            }
            #expect(now() - start < 0.8)
            #expect(poll(seconds: 2) { (try? ClusterStatus(client))?.json["coordinator"]?["in_flight"]?.int == 0 })
            cluster.rerankers[0].signal(SIGCONT)
            #expect(try Self.isIdle(client))
            for _ in 0..<20 { #expect(known.fault(in: try client.search(known.request)) == nil) }
        }

        @Test("a text that takes two encoders down is not tried a third time: POISON")
        func poison() throws {
            let cluster = try TestCluster(encoders: 3, settings: ["MRL_COORDINATOR_DEAD_MS": "60000"])
            let corpus = SyntheticCorpus(rows: 200, dimensions: 64, seed: 43)
            let shape = try cluster.fill(Faults.collection, corpus)
            try cluster.waitUntilServing(shape, rows: corpus.count)
            let client = try cluster.client()
            for encoder in cluster.encoders { encoder.signal(SIGSTOP) }
            let id = try client.post(
                .search(SearchRequest(collection: "faults", query: .texts(["play chess"]))),
                deadline: 20_000
            )
            /// Pid of the encoder that has the request.
            func holder(other: Int) throws -> Int {
                var pid = 0
                _ = try poll(seconds: 5) {
                    let workers = try ClusterStatus(client).json["workers"]?.elements ?? []
                    let busy = workers.first {
                        $0["role"]?.text == "encoder" && $0["in_flight"]?.int ?? 0 > 0 && $0["pid"]?.int != other
                    }
                    pid = busy?["pid"]?.int ?? 0
                    return pid != 0
                }
                return pid
            }
            let first = try holder(other: 0)
            cluster.encoders.first { Int($0.pid) == first }?.kill()
            let second = try holder(other: first)
            cluster.encoders.first { Int($0.pid) == second }?.kill()
            guard case .error(let error) = try client.reply(to: id, seconds: 10) else { throw TestFailure("hits") }
            #expect(error.code == .poison, "\(error)")
            for encoder in cluster.encoders where encoder.isRunning { encoder.signal(SIGCONT) }
            #expect(try Self.isIdle(client))
        }

        @Test("answers that are late by a restart of the coordinator fit no request; the worker serves on")
        func restartWithAnswersOutstanding() throws {
            let cluster = try TestCluster(shortlists: 0, rerankers: 0)
            let model = ModelReport(id: "m", name: "m", dimensions: 2, smallestDimensions: 1, nesting: [1, 2])
            let worker = try FakeWorker(cluster.back(0), .encoder, model: model)
            try worker.register()
            let encode = FrontRequestBody.encode(EncodeRequest(model: "m", role: .query, texts: ["a"]))
            let first = try cluster.client()
            try first.post(encode)
            let old = try #require(try worker.next(.encode)).header.request
            cluster.coordinators[0].kill()
            try cluster.restartCoordinator()
            let client = try cluster.client()
            _ = try client.object(.status)
            // It beats at a coordinator that does not know it, and registers again.
            _ = try worker.next(.whoAreYou, seconds: 10)
            try worker.register()
            let id = try client.post(encode)
            let new = try #require(try worker.next(.encode)).header.request
            #expect(old != new && old >> 32 != new >> 32)
            func answer(_ value: Float, _ request: UInt64) throws {
                let body = Vectors(dimensions: 2, values: [value, 0], queuedMicroseconds: 0, computeMicroseconds: 0)
                try worker.send(.vectors(body), request: request)
            }
            try answer(1, old)
            try answer(2, new)
            guard case .vectors(_, let values, _) = try client.reply(to: id) else { throw TestFailure("no vectors") }
            #expect(values == [2, 0])
            let status = try ClusterStatus(client).json
            #expect(status["coordinator"]?["late_answers"]?.int == 1)
            #expect(try Self.isIdle(client))
        }

        @Test("a worker that comes back over another connection has its whole credit, and what it owed is told lost")
        func reconnect() throws {
            let cluster = try TestCluster(shortlists: 0, rerankers: 0)
            let model = ModelReport(id: "m", name: "m", dimensions: 2, smallestDimensions: 1, nesting: [1, 2])
            let worker = try FakeWorker(cluster.back(0), .encoder, credit: 2, model: model)
            try worker.register()
            let client = try cluster.client()
            let encode = FrontRequestBody.encode(EncodeRequest(model: "m", role: .query, texts: ["a"]))
            // Two are with the worker, two wait for its credit.
            let ids = try (0..<4).map { _ in try client.post(encode, deadline: 20_000) }
            let lost = try (0..<2).map { _ in try #require(try worker.next(.encode)).header.request }
            let again = try FakeWorker(cluster.back(0), .encoder, credit: 2, model: model)
            again.registration = worker.registration
            again.incarnation = worker.incarnation
            try again.register()
            #expect(again.incarnation == worker.incarnation)
            for id in ids[..<2] {
                guard case .error(let error) = try client.reply(to: id) else { throw TestFailure("no error") }
                #expect(error.code == .unavailable)
            }
            let body = BackBody.vectors(
                Vectors(dimensions: 2, values: [1, 2], queuedMicroseconds: 0, computeMicroseconds: 0)
            )
            // Answers to what is lost give no credit.
            for number in lost { try again.send(body, request: number) }
            for id in ids[2...] {
                let number = try #require(try again.next(.encode)).header.request
                try again.send(body, request: number)
                guard case .vectors = try client.reply(to: id) else { throw TestFailure("no vectors") }
            }
            #expect(try Self.isIdle(client))
        }

        @Test("an encode that nobody waits for any more is cancelled at the worker, at its deadline and when asked")
        func cancelled() throws {
            let cluster = try TestCluster(shortlists: 0, rerankers: 0)
            let model = ModelReport(id: "m", name: "m", dimensions: 2, smallestDimensions: 1, nesting: [1, 2])
            let worker = try FakeWorker(cluster.back(0), .encoder, credit: 1, model: model)
            try worker.register()
            let client = try cluster.client()
            let encode = FrontRequestBody.encode(EncodeRequest(model: "m", role: .query, texts: ["a"]))
            for isAsked in [false, true] {
                let id = try client.post(encode, deadline: isAsked ? 5_000 : 300)
                let number = try #require(try worker.next(.encode)).header.request
                if isAsked { try client.post(.cancel(target: id)) }
                #expect(try worker.next(.cancel)?.header.request == number)
                guard case .error(let error) = try client.reply(to: id) else { throw TestFailure("no error") }
                #expect(error.code == (isAsked ? .cancelled : .deadlineExceeded))
                // Its credit comes back with the answer, and not before.
                #expect(try ClusterStatus(client).json["workers"]?.elements.first?["in_flight"]?.int == 1)
                try worker.send(.failed(Failed(code: "CANCELLED", message: "")), request: number)
                #expect(try Self.isIdle(client))
            }
        }

        @Test("a worker that computes without progress is passed over, its shards move, and it comes back")
        func hung() throws {
            let cluster = try TestCluster(shortlists: 0, rerankers: 0)
            let model = ModelReport(id: "m", name: "m", dimensions: 2, smallestDimensions: 1, nesting: [1, 2])
            let encoders = try (0..<2).map { _ in try FakeWorker(cluster.back(0), .encoder, model: model) }
            for encoder in encoders { try encoder.register() }
            let client = try cluster.client()
            let encode = FrontRequestBody.encode(EncodeRequest(model: "m", role: .query, texts: ["a"]))
            func states(_ role: String) throws -> [String] {
                try ClusterStatus(client).workers.filter { $0.role == role }.map(\.state)
            }
            let first = try client.post(encode, deadline: 20_000)
            let old = try #require(try encoders[0].next(.encode)).header.request
            encoders[0].progressAge = 30_000
            try encoders[0].beat()
            guard case .error(let error) = try client.reply(to: first, seconds: 3) else { throw TestFailure("vectors") }
            #expect(error.code == .unavailable)
            #expect(try states("encoder") == ["hung", "up"])
            #expect(try encoders[0].next(.cancel)?.header.request == old)
            func serve(_ encoder: FakeWorker) throws {
                let id = try client.post(encode)
                let number = try #require(try encoder.next(.encode)).header.request
                let body = Vectors(dimensions: 2, values: [1, 2], queuedMicroseconds: 0, computeMicroseconds: 0)
                try encoder.send(.vectors(body), request: number)
                guard case .vectors = try client.reply(to: id) else { throw TestFailure("no vectors") }
            }
            for encoder in encoders { try encoder.beat() }
            // Passed over for the other, although that has as much to do.
            try serve(encoders[1])
            try encoders[0].send(.failed(Failed(code: "CANCELLED", message: "")), request: old)
            encoders[0].progressAge = 0
            for encoder in encoders { try encoder.beat() }
            #expect(try poll(seconds: 2) { try states("encoder") == ["up", "up"] })
            try serve(encoders[0])
            #expect(try Self.isIdle(client))

            // Shards. Nobody loads them here, so the collection's creation is not waited for.
            let holder = try FakeWorker(cluster.back(0), .shortlist)
            try holder.register()
            try client.post(
                .collections(
                    .create(CreateCollection(name: "hung", dimensions: 4, residency: ResidencyChange(width: 4)))
                )
            )
            /// Waits for a map that lists all shards of the collection.
            func isGivenAll(_ worker: FakeWorker) throws -> Bool {
                try poll(seconds: 10) {
                    try holder.beat()
                    guard case .map(let map)? = try worker.next(.map, seconds: 1)?.body else { return false }
                    return map.collections.first?.shards.count == Slots.shardCount
                }
            }
            #expect(try isGivenAll(holder))
            holder.progressAge = 30_000
            try holder.beat()
            let heir = try FakeWorker(cluster.back(0), .shortlist)
            try heir.register()
            #expect(try isGivenAll(heir))
            holder.progressAge = 0
            try holder.beat()
            #expect(try holder.next(.map) != nil)
            #expect(try states("shortlist") == ["up", "up"])
        }

        @Test("after a storm of cancels, deadlines, kills and stalls nothing is in flight and all credit is whole")
        func storm() throws {
            let (cluster, shape, corpus, known) = try Faults.makeCluster(
                shortlists: 2,
                rerankers: 2,
                settings: ["MRL_WORKER_CREDIT": "4", "MRL_COORDINATOR_DEAD_MS": "1500"]
            )
            let client = try cluster.client()
            try cluster.waitUntilBalanced(client, holders: 2, rows: corpus.count)
            var random = SeededGenerator(seed: 7)
            var tolerant = known.request
            tolerant.minCoverage = 0
            var ids: [String] = []
            for round in 0..<600 {
                let deadline = Int([1, 3, 10, 50, 400][Int(random.next() % 5)])
                ids.append(try client.post(.search(round % 2 == 0 ? tolerant : known.request), deadline: deadline))
                if random.next() % 4 == 0, let target = ids.dropLast().last {
                    ids.append(try client.post(.cancel(target: target)))
                }
                switch round {
                case 100: cluster.rerankers[0].signal(SIGSTOP)
                case 200: cluster.shortlists[0].kill()
                case 300: cluster.rerankers[0].signal(SIGCONT)
                case 350: try cluster.addShortlist()
                case 400: cluster.shortlists[1].signal(SIGSTOP)
                case 500: cluster.shortlists[1].signal(SIGCONT)
                case 550: cluster.rerankers[1].kill()
                default: break
                }
                if round % 8 == 0 { pause(0.02) }
            }
            for id in ids { _ = try client.reply(to: id, seconds: 5) }
            try cluster.addReranker()
            try cluster.waitUntilServing(shape, rows: corpus.count)
            #expect(try Self.isIdle(client))
            // More at once than any worker takes: all come through.
            let last = try (0..<40).map { _ in try client.post(.search(known.request)) }
            for id in last {
                guard case .search(let reply) = try client.reply(to: id) else { throw TestFailure("no hits") }
                #expect(known.fault(in: reply) == nil)
            }
            #expect(try Self.isIdle(client))
        }
    }
}
