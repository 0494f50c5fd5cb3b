import FoundationEssentials
import Glibc
import Matryoshka
import PostgreSQL
import RetrievalTesting
import Testing
import WireProtocol
import ZeroMQ

extension ClusterTests {
    @Suite("Bad input and overload", .serialized, .timeLimit(.minutes(2)))
    struct BadInput {
        static let collection = CreateCollection(
            name: "inputs",
            dimensions: 64,
            smallestDimensions: 8,
            residency: ResidencyChange(width: 32)
        )

        static func makeCluster(
            encoders: Int = 0,
            rows: Int = 400,
            settings: [String: String] = [:]
        ) throws -> (TestCluster, CollectionShape, KnownSearch) {
            let cluster = try TestCluster(encoders: encoders, settings: settings)
            let corpus = SyntheticCorpus(rows: rows, dimensions: 64, seed: 61)
            let shape = try cluster.fill(collection, corpus)
            let known = try cluster.truth(shape).answer(to: SearchRequest("inputs", corpus.queries(1, seed: 62)))
            try cluster.waitUntilServing(shape, rows: rows)
            return (cluster, shape, known)
        }

        /// A search whose header is given, with one vector of `values`.
        static func frames(_ header: String, _ values: [Float]? = nil) -> [[UInt8]] {
            var frames = [FrontCodec.magic, Array(header.utf8)]
            if let values { frames.append(values.withUnsafeBytes { [UInt8]($0) }) }
            return frames
        }

        static func vectorBuffer(_ rows: Int = 1, _ width: Int = 64, bytes: Int? = nil, dtype: String = "f32") -> String
        {
            "\"buffers\":[{\"name\":\"vectors\",\"dtype\":\"\(dtype)\",\"shape\":[\(rows),\(width)],"
                + "\"nbytes\":\(bytes ?? rows * width * 4)}]"
        }

        @Test("every bad request gets its typed error, and nobody else notices")
        func typedErrors() throws {
            let (cluster, _, known) = try Self.makeCluster(encoders: 1)
            let client = try cluster.client()
            let bystander = SearchLoad(cluster.front(), [known], perSecond: 40)
            let ones = [Float](repeating: 1, count: 64)
            var notANumber = ones
            notANumber[3] = .nan
            var infinite = ones
            infinite[63] = -.infinity
            let zero = [Float](repeating: 0, count: 64)

            func search(
                _ vectors: [[Float]] = [[Float](repeating: 1, count: 64)],
                _ plan: [(Int, Int, Precision?)]? = nil,
                _ collection: String = "inputs",
                k: Int = 10
            ) -> FrontRequestBody {
                .search(
                    SearchRequest(
                        collection,
                        vectors,
                        plan: plan?.map { Stage(dimensions: $0.0, keep: $0.1, precision: $0.2) },
                        k: k
                    )
                )
            }
            let cases: [(FrontErrorCode, String?, FrontRequestBody)] = [
                (.badPlan, "plan[1].dimensions", search([ones], [(32, 100, nil), (16, 10, nil)])),
                (.badPlan, "plan[1].keep", search([ones], [(16, 10, nil), (64, 20, nil)])),
                (.badPlan, "plan[0].dimensions", search([ones], [(4, 100, nil), (64, 10, nil)])),
                (.badPlan, "plan[1].dimensions", search([ones], [(16, 100, nil), (65, 10, nil)])),
                (.badPlan, "plan[0].precision", search([ones], [(64, 10, .int8)])),
                (.unsupported, "plan[0].precision", search([ones], [(16, 100, .bit), (64, 10, nil)])),
                (.badDimension, nil, search([[Float](repeating: 1, count: 63)])),
                (.badDimension, nil, search([[Float](repeating: 1, count: 65)])),
                (.nonFinite, "vectors[0]", search([notANumber])),
                (.nonFinite, "vectors[2]", search([ones, ones, infinite])),
                (.zeroVector, "vectors[1]", search([ones, zero])),
                (.unknownCollection, "collection", search([ones], nil, "no-such")),
                (.zeroVector, nil, .search(SearchRequest(collection: "inputs", query: .texts(["xyzzy qwrtp"])))),
                (
                    .modelMismatch, "model",
                    .search(
                        SearchRequest(
                            collection: "inputs",
                            query: .vectors(values: ones, count: 1, width: 64),
                            model: "another-model"
                        )
                    )
                ),
                (.unknownCollection, "collection", .get(GetRequest(collection: "no-such", ids: ["a"]))),
                (.unknownCollection, "collection", .delete(DeleteRequest(collection: "no-such", ids: ["a"]))),
                (.alreadyExists, "name", .collections(.create(Self.collection))),
                (.unknownCollection, "name", .collections(.drop(name: "no-such"))),
                (
                    .unknownCollection, "name",
                    .collections(.configure(name: "no-such", ResidencyChange(width: 8)))
                ),
            ]
            for (code, field, body) in cases {
                let error = try client.refusal(body)
                #expect(error?.code == code, "\(body) got \(error as Any)")
                if let field { #expect(error?.field == field, "\(body) got \(error as Any)") }
                #expect(error.map { !$0.message.isEmpty } == true)
            }

            // Sizes that do not fit: the field and the range are told, and nothing of SQL.
            let sizes: [(String, String, CollectionsRequest)] = [
                (
                    "smallest_dimensions", "1 to 8",
                    .create(CreateCollection(name: "more", dimensions: 8, smallestDimensions: 9))
                ),
                (
                    "stored_head_width", "1 to 8",
                    .create(CreateCollection(name: "more", dimensions: 8, storedHeadWidth: 9))
                ),
                (
                    "resident_width", "1 to 40",
                    .create(
                        CreateCollection(
                            name: "more",
                            dimensions: 64,
                            storedHeadWidth: 40,
                            residency: ResidencyChange(width: 41)
                        )
                    )
                ),
                ("resident_width", "1 to 64", .configure(name: "inputs", ResidencyChange(width: 65))),
                ("coarse_dimensions", "1 to 64", .configure(name: "inputs", ResidencyChange(coarseDimensions: 65))),
            ]
            for (field, allowed, request) in sizes {
                let error = try client.refusal(.collections(request))
                #expect(error?.code == .badHeader, "\(request) got \(error as Any)")
                #expect(error?.field == field, "\(request) got \(error as Any)")
                #expect(error?.allowed == allowed, "\(request) got \(error as Any)")
            }

            // What our own encoder would not write.
            let plain = "\"collection\":\"inputs\",\(Self.vectorBuffer())"
            let raw: [(FrontErrorCode, String?, [[UInt8]])] = [
                (.badPlan, "k", Self.frames("{\"type\":\"search\",\"id\":\"x\",\"k\":0,\(plain)}", ones)),
                (.badPlan, "k", Self.frames("{\"type\":\"search\",\"id\":\"x\",\"k\":10001,\(plain)}", ones)),
                (.badPlan, "k", Self.frames("{\"type\":\"search\",\"id\":\"x\",\"k\":-1,\(plain)}", ones)),
                (
                    .badPlan, "k",
                    Self.frames("{\"type\":\"search\",\"id\":\"x\",\"k\":99999999999999999999,\(plain)}", ones)
                ),
                (
                    .badPlan, "k",
                    Self.frames("{\"type\":\"search\",\"id\":\"x\",\"k\":5,\"plan\":[[16,100],[64,10]],\(plain)}", ones)
                ),
                (.badPlan, "plan", Self.frames("{\"type\":\"search\",\"id\":\"x\",\"plan\":[],\(plain)}", ones)),
                (
                    .badPlan, "plan[0].keep",
                    Self.frames("{\"type\":\"search\",\"id\":\"x\",\"plan\":[[16,70000],[64,10]],\(plain)}", ones)
                ),
                (
                    .unsupported, "recall_target",
                    Self.frames("{\"type\":\"search\",\"id\":\"x\",\"recall_target\":0.9,\(plain)}", ones)
                ),
                (
                    .unsupported, "filter",
                    Self.frames("{\"type\":\"search\",\"id\":\"x\",\"filter\":{\"a\":1},\(plain)}", ones)
                ),
                (
                    .badHeader, "fliter",
                    Self.frames("{\"type\":\"search\",\"id\":\"x\",\"fliter\":1,\(plain)}", ones)
                ),
                (.badHeader, nil, Self.frames("{\"type\":\"search\",\"id\":\"x\",\"id\":\"x\",\(plain)}", ones)),
                (.badHeader, nil, Self.frames("{\"type\":\"search\",\"id\":\"x\",", ones)),
                (.badHeader, nil, Self.frames("[1,2,3]")),
                (.badHeader, nil, Self.frames(String(repeating: "[", count: 8_000))),
                (.badHeader, nil, [FrontCodec.magic, [0x7B, 0xFF, 0xFE, 0x7D]]),
                (.unsupported, "type", Self.frames("{\"type\":\"explode\",\"id\":\"x\"}")),
                (.badHeader, nil, Self.frames("{\"id\":\"x\"}")),
                (
                    .tooLarge, nil,
                    Self.frames("{\"id\":\"x\",\"x-\":\"" + String(repeating: "a", count: 20_000) + "\"}")
                ),
                (
                    .badDtype, nil,
                    Self.frames(
                        "{\"type\":\"search\",\"id\":\"x\",\"collection\":\"inputs\",\(Self.vectorBuffer(dtype: "f64"))}",
                        ones
                    )
                ),
                (
                    .badFrame, nil,
                    Self.frames(
                        "{\"type\":\"search\",\"id\":\"x\",\"collection\":\"inputs\",\(Self.vectorBuffer(2, bytes: 256))}",
                        ones
                    )
                ),
                (.badFrame, nil, Self.frames("{\"type\":\"search\",\"id\":\"x\",\(plain)}")),
                (.badFrame, nil, Self.frames("{\"type\":\"search\",\"id\":\"x\",\(plain)}", ones) + [[1, 2, 3]]),
                (.badFrame, nil, [FrontCodec.magic]),
                (.badFrame, nil, [Array("hello".utf8)]),
                (.unsupportedVersion, nil, [Array("MRL2".utf8), Array("{\"type\":\"hello\",\"id\":\"x\"}".utf8)]),
                (
                    .badHeader, nil,
                    Self.frames("{\"type\":\"search\",\"id\":\"\(String(repeating: "i", count: 65))\",\(plain)}", ones)
                ),
            ]
            for (code, field, frames) in raw {
                try client.post(frames: frames)
                let header = frames.count > 1 ? String(decoding: frames[1].prefix(120), as: UTF8.self) : "no header"
                guard let reply = try client.next(seconds: 3), case .error(let error) = reply.body else {
                    Issue.record("no error for \(header)")
                    continue
                }
                #expect(error.code == code, "\(header) got \(error)")
                if let field { #expect(error.field == field, "\(header) got \(error)") }
            }
            // n × keep beyond the limit, with vectors that are there.
            let wide = SearchRequest(
                "inputs",
                [[Float]](repeating: ones, count: 200),
                plan: [Stage(dimensions: 16, keep: 6_000), Stage(dimensions: 64, keep: 1)]
            )
            #expect(try client.refusal(.search(wide))?.code == .tooLarge)

            // Messages that cannot be answered are dropped, whatever they are.
            for frames in [
                [[]], [[], []], [[], [0]], [[UInt8]](repeating: [1], count: 40),
                [[UInt8](repeating: 7, count: 100_000)],
            ] {
                try client.post(frames: frames)
            }
            _ = try client.nextFrames(seconds: 0.3)
            while try client.nextFrames(seconds: 0.05) != nil {}
            #expect(known.fault(in: try client.search(known.request)) == nil)
            let result = bystander.stop(after: 40)
            #expect(result.faults.isEmpty, "\(result.faults.prefix(3))")
            #expect(result.answered == result.sent && result.answered > 40)
            #expect(cluster.children.allSatisfy { $0.isRunning })
        }

        @Test("random and cut frames never harm the process")
        func garbage() throws {
            let (cluster, _, known) = try Self.makeCluster(rows: 100)
            let client = try cluster.client()
            let valid = FrontRequest(id: "g", deadlineMilliseconds: 1_000, body: .search(known.request)).encode()
            var random = SeededGenerator(seed: 99)
            for _ in 0..<400 {
                var frames = valid
                for _ in 0...random.next() % 4 {
                    let frame = Int(random.next() % UInt64(frames.count))
                    if frames[frame].isEmpty { continue }
                    let place = Int(random.next() % UInt64(frames[frame].count))
                    switch random.next() % 3 {
                    case 0: frames[frame][place] = UInt8(truncatingIfNeeded: random.next())
                    case 1: frames[frame].removeSubrange(place...)
                    default: frames.insert(frames[frame], at: frame)
                    }
                }
                try client.post(frames: frames)
            }
            let other = try cluster.client()
            #expect(known.fault(in: try other.search(known.request)) == nil)
            // libzmq aborts a process that closes a socket with half a message under way when its peer goes too
            // (zeromq/libzmq#3442): all has left before this test ends.
            while try client.nextFrames(seconds: 0.3) != nil {}
            #expect(known.fault(in: try client.search(known.request)) == nil)
            #expect(cluster.children.allSatisfy { $0.isRunning })
        }

        @Test("a REQ socket works, request by request, also after an error")
        func reqSocket() throws {
            let (cluster, _, known) = try Self.makeCluster(rows: 100)
            let client = try TestClient(cluster.front(), kind: .req)
            for _ in 0..<3 {
                #expect(known.fault(in: try client.search(known.request)) == nil)
                try client.post(frames: Self.frames("{bad"))
                guard let reply = try client.next(seconds: 3), case .error(let error) = reply.body else {
                    throw TestFailure("no error")
                }
                #expect(error.code == .badHeader)
            }
            let welcome = try client.object(.hello)
            #expect(welcome["limits"]?["k_max"]?.int == SearchLimits.hitsMax)
        }

        @Test("many in flight are each answered once, whatever the order; text and encode work beside them")
        func manyInFlight() throws {
            let (cluster, _, known) = try Self.makeCluster(encoders: 1)
            let client = try cluster.client()
            var waiting: Set<String> = []
            for number in 0..<300 {
                let body: FrontRequestBody =
                    switch number % 4 {
                    case 0: .search(known.request)
                    case 1: .search(SearchRequest(collection: "inputs", query: .texts(["play chess", "text editor"])))
                    case 2: .encode(EncodeRequest(collection: "inputs", role: .query, texts: ["music player"]))
                    default: .hello
                    }
                waiting.insert(try client.post(body, deadline: 10_000, id: "many-\(number)"))
            }
            while !waiting.isEmpty {
                guard let reply = try client.next(seconds: 10) else { break }
                #expect(waiting.remove(reply.id) != nil)
                switch reply.body {
                case .search(let reply) where reply.hits.count == 1: #expect(known.fault(in: reply) == nil)
                case .search(let reply): #expect(reply.hits.count == 2 && reply.hits.allSatisfy { $0.count == 10 })
                case .vectors(let dimensions, let values, _): #expect(dimensions == 64 && values.count == 64)
                case .object(let type, _): #expect(type == "welcome")
                default: Issue.record("\(reply)")
                }
            }
            #expect(waiting.isEmpty)
        }

        @Test("a request that was cancelled is answered once: CANCELLED or its reply")
        func cancel() throws {
            let (cluster, _, known) = try Self.makeCluster(rows: 100)
            let client = try cluster.client()
            for round in 0..<20 {
                let target = try client.post(.search(known.request), id: "target-\(round)")
                let cancel = try client.post(.cancel(target: target), id: "cancel-\(round)")
                switch try client.reply(to: target, seconds: 5) {
                case .search(let reply): #expect(known.fault(in: reply) == nil)
                case .error(let error): #expect(error.code == .cancelled)
                default: Issue.record("odd reply")
                }
                switch try client.reply(to: cancel, seconds: 5) {
                case .object: break
                case .error(let error): #expect(error.code == .notFound)
                default: Issue.record("odd reply")
                }
            }
            // Somebody else's request is not mine to cancel.
            let other = try cluster.client()
            let target = try client.post(.search(known.request), id: "mine")
            _ = try other.refusal(.cancel(target: target))
            guard case .search = try client.reply(to: target) else { throw TestFailure("was cancelled by a stranger") }
        }

        @Test("clients that never read cost the coordinator no more than a bound, and harm nobody")
        func neverReading() throws {
            let (cluster, _, known) = try Self.makeCluster(rows: 400)
            let client = try cluster.client()
            let coordinator = cluster.coordinators[0]
            for _ in 0..<20 { _ = try client.search(known.request) }
            let before = coordinator.residentBytes
            let silent = try TestClient(cluster.front())
            var heavy = known.request
            heavy.plan = Plan(stages: [Stage(dimensions: 16, keep: 400), Stage(dimensions: 64, keep: 400)])
            heavy.k = 400
            heavy.withPayload = true
            let end = now() + 6
            var sent = 0
            while now() < end && sent < 6_000 {
                try silent.post(.search(heavy), deadline: 1_000)
                sent += 1
                if sent % 100 == 0 {
                    let start = now()
                    let body = try client.reply(to: client.post(.search(known.request), deadline: 3_000))
                    if case .search(let reply) = body { #expect(known.fault(in: reply) == nil) }
                    #expect(now() - start < 3.5)
                }
            }
            pause(1)
            let grown = coordinator.residentBytes - before
            print("never-reading client: \(sent) requests, coordinator grew by \(grown >> 10) KiB")
            // What waits for one client is bounded, whatever it asks for.
            #expect(grown < 64 << 20)
            // Many of them, again and again: what they took comes back once they are gone.
            var left: [Int] = []
            for bout in 0..<3 {
                do {
                    let many = try (0..<12).map { _ in try TestClient(cluster.front()) }
                    for _ in 0..<60 { for one in many { try one.post(.search(heavy), deadline: 1_000) } }
                    pause(2)
                    print("bout \(bout): \((coordinator.residentBytes - before) >> 10) KiB more")
                    #expect(coordinator.residentBytes - before < 320 << 20)
                }
                let isGivenBack = poll(seconds: 20) { coordinator.residentBytes - before < 96 << 20 }
                #expect(isGivenBack)
                left.append(coordinator.residentBytes - before)
            }
            print("left after each bout: \(left.map { $0 >> 10 }) KiB")
            // What the gone clients asked for is still being worked off.
            let isServed = try poll(seconds: 10) {
                let body = try client.reply(to: client.post(.search(known.request), deadline: 2_000))
                if case .search(let reply) = body { return known.fault(in: reply) == nil }
                return false
            }
            #expect(isServed)
            #expect(cluster.children.allSatisfy { $0.isRunning })
        }

        @Test("more than a reply can hold is refused before it takes memory, in the coordinator and in the workers")
        func tooMuch() throws {
            let (cluster, shape, known) = try Self.makeCluster(rows: 400)
            // A hundred documents of 1 MiB text and 1 MiB payload, which the database keeps compressed.
            try cluster.database.connection().run(
                script: """
                    UPDATE matryoshka.documents_\(shape.collection) SET text = repeat('text ', 200000),
                        payload = jsonb_build_object('p', repeat('p', 1000000)) WHERE id <= (
                            SELECT id FROM matryoshka.documents_\(shape.collection) ORDER BY id OFFSET 99 LIMIT 1)
                    """
            )
            let client = try cluster.client()
            let processes = cluster.coordinators + cluster.rerankers
            let before = processes.map(\.residentBytes)
            let ids = SyntheticCorpus(rows: 400, dimensions: 64, seed: 61).ids
            var all = known.request
            all.plan = Plan(stages: [Stage(dimensions: 16, keep: 400), Stage(dimensions: 64, keep: 400)])
            all.k = 400
            all.withPayload = true
            var exhaustive = all
            exhaustive.plan = Plan(stages: [Stage(dimensions: 64, keep: 400)])
            let requests: [FrontRequestBody] = [
                .get(GetRequest(collection: "inputs", ids: ids)), .search(all), .search(exhaustive),
            ]
            for request in requests {
                let error = try client.refusal(request, deadline: 20_000)
                #expect(error?.code == .tooLarge, "\(error as Any)")
                #expect(error?.allowed != nil)
            }
            for (process, bytes) in zip(processes, before) {
                #expect(process.residentBytes - bytes < 48 << 20, "\(process.name)")
            }
            // What fits is given.
            #expect(try client.refusal(.get(GetRequest(collection: "inputs", ids: [ids[0], ids[399]]))) == nil)
        }

        @Test("beyond what is allowed in flight the answer is OVERLOADED at once")
        func overloaded() throws {
            let (cluster, _, known) = try Self.makeCluster(
                settings: ["MRL_COORDINATOR_INFLIGHT_MAX": "16", "MRL_COORDINATOR_CLIENT_INFLIGHT_MAX": "12"]
            )
            // Nothing can be answered while the worker stands still.
            cluster.shortlists[0].signal(SIGSTOP)
            let greedy = try cluster.client()
            var asked: [String: Double] = [:]
            for number in 0..<40 {
                asked[try greedy.post(.search(known.request), deadline: 1_500, id: "o-\(number)")] = now()
            }
            var codes: [FrontErrorCode: Int] = [:]
            while !asked.isEmpty, let reply = try greedy.next(seconds: 4) {
                guard let start = asked.removeValue(forKey: reply.id), case .error(let error) = reply.body else {
                    Issue.record("\(reply)")
                    continue
                }
                codes[error.code, default: 0] += 1
                if error.code == .overloaded {
                    #expect(now() - start < 0.7)
                    #expect(error.retryAfterMilliseconds != nil)
                }
            }
            #expect(asked.isEmpty)
            #expect(codes[.overloaded] == 28, "\(codes)")
            #expect((codes[.unavailable] ?? 0) + (codes[.deadlineExceeded] ?? 0) == 12, "\(codes)")
            cluster.shortlists[0].signal(SIGCONT)
            let isBack = try poll(seconds: 10) {
                guard case .search(let reply) = try greedy.reply(to: greedy.post(.search(known.request))) else {
                    return false
                }
                return known.fault(in: reply) == nil
            }
            #expect(isBack)
        }

        @Test("searches that ask for too many rows beside others are OVERLOADED at once; one that is alone is served")
        func tooManyRows() throws {
            let (cluster, _, known) = try Self.makeCluster(settings: ["MRL_COORDINATOR_ROWS_MAX": "1000"])
            let client = try cluster.client()
            let wide = SearchRequest(
                "inputs",
                SyntheticCorpus(rows: 1, dimensions: 64, seed: 63).queries(16, seed: 64),
                plan: [Stage(dimensions: 16, keep: 100), Stage(dimensions: 64, keep: 10)]
            )
            func rowsInFlight() throws -> Int? {
                try ClusterStatus(client).json["coordinator"]?["rows_in_flight"]?.int
            }
            _ = try client.search(wide)
            cluster.shortlists[0].signal(SIGSTOP)
            let first = try client.post(.search(wide), deadline: 1_500)
            #expect(try rowsInFlight() == 1_600)
            let start = now()
            for request in [wide, known.request] {
                let error = try client.refusal(.search(request))
                #expect(error?.code == .overloaded)
                #expect(error?.retryAfterMilliseconds != nil)
            }
            #expect(now() - start < 0.7)
            guard case .error = try client.reply(to: first, seconds: 4) else { throw TestFailure("hits") }
            #expect(try rowsInFlight() == 0)
            cluster.shortlists[0].signal(SIGCONT)
            #expect(try poll(seconds: 10) { try client.refusal(.search(wide)) == nil })
            #expect(known.fault(in: try client.search(known.request)) == nil)
        }
    }
}
