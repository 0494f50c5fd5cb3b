import Glibc
import Matryoshka
import RetrievalTesting
import Testing
import WireProtocol
import ZeroMQ

extension ClusterTests {
    @Suite("Strangers and quitters", .serialized, .timeLimit(.minutes(1)))
    struct Strangers {
        static let collection = CreateCollection(
            name: "open",
            dimensions: 64,
            smallestDimensions: 8,
            residency: ResidencyChange(width: 32)
        )

        static func makeCluster(extraFront: String? = nil) throws -> (TestCluster, CollectionShape, KnownSearch) {
            let cluster = try TestCluster(extraFront: extraFront)
            let corpus = SyntheticCorpus(rows: 300, dimensions: 64, seed: 101)
            let shape = try cluster.fill(collection, corpus)
            let known = try cluster.truth(shape).answer(to: SearchRequest("open", corpus.queries(1, seed: 102)))
            try cluster.waitUntilServing(shape, rows: corpus.count)
            return (cluster, shape, known)
        }

        @Test("garbage, unknown workers and stale incarnations on the back socket harm nobody")
        func backSocket() throws {
            let (cluster, _, known) = try Self.makeCluster()
            let load = SearchLoad(cluster.front(), [known], perSecond: 50)
            let stranger = try TestClient(cluster.back(0))
            var random = SeededGenerator(seed: 4)
            for round in 0..<200 {
                stranger.tryPost(
                    (0..<1 + round % 4).map { _ in (0..<round).map { _ in UInt8(truncatingIfNeeded: random.next()) } }
                )
            }
            // Cut and flipped messages of every kind that a worker sends.
            let bodies: [(BackType, BackBody)] = [
                (
                    .heartbeat,
                    .heartbeat(
                        Heartbeat(
                            inFlight: 0,
                            progressAgeMilliseconds: 0,
                            shards: [],
                            residentBytes: 0,
                            answered: 0,
                            draining: false,
                            databaseReachable: true
                        )
                    )
                ),
                (.drained, .drained),
                (.hits, .hits(Hits(shards: [], results: [], queuedMicroseconds: 0, computeMicroseconds: 0))),
                (.failed, .failed(Failed(code: "INTERNAL", message: "no"))),
                (.documents, .documents(Documents(documents: []))),
            ]
            for incarnation in [0, 1, 2, 1_001, UInt64.max] {
                for (type, body) in bodies {
                    let header = BackHeader(type: type, request: 1, incarnation: incarnation, epoch: UInt64(Int64.max))
                    let frames = BackMessage(header: header, body: body).encode()
                    stranger.tryPost(frames)
                    var flipped = frames
                    flipped[0][Int(random.next() % UInt64(flipped[0].count))] ^= 0x41
                    stranger.tryPost(flipped)
                    stranger.tryPost([Array(frames[0].dropLast(3))] + frames.dropFirst())
                }
            }
            // A beat of an incarnation that nobody has is asked who it is.
            var isAsked = false
            while let frames = try stranger.nextFrames(seconds: 0.3) {
                if let message = try? BackMessage.decode(frames: frames), case .whoAreYou = message.body {
                    isAsked = true
                }
            }
            #expect(isAsked)
            pause(1)
            let result = load.stop(after: 20)
            #expect(result.faults.isEmpty, "\(result.faults.prefix(3))")
            #expect(result.answered == result.sent && result.answered > 20)
            #expect(try ClusterStatus(cluster.client()).workers.count == 2)
            #expect(cluster.children.allSatisfy { $0.isRunning })
        }

        @Test("clients that leave in the middle of requests leave nothing behind")
        func quitters() throws {
            let (cluster, _, known) = try Self.makeCluster()
            let client = try cluster.client()
            for _ in 0..<200 { _ = try client.search(known.request) }
            let before = cluster.coordinators[0].residentBytes
            for round in 0..<300 {
                let quitter = try cluster.client()
                for _ in 0..<1 + round % 5 { try quitter.post(.search(known.request)) }
            }
            let isIdle = try poll(seconds: 5) { try ClusterStatus(client).json["coordinator"]?["in_flight"]?.int == 0 }
            #expect(isIdle)
            let grown = cluster.coordinators[0].residentBytes - before
            print("300 clients that left: coordinator grew by \(grown >> 10) KiB")
            #expect(grown < 24 << 20)
            #expect(known.fault(in: try client.search(known.request)) == nil)
        }

        @Test("raw TCP garbage and half-open connections do not keep clients from being served")
        func rawTCP() throws {
            let port = UInt16(22_000 + Int(getpid()) % 5_000)
            let endpoint = "tcp://127.0.0.1:\(port)"
            let (cluster, _, known) = try Self.makeCluster(extraFront: endpoint)
            let texts = [
                "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0",
                "MRL1{\"type\":\"hello\"}", "\0",
                String(repeating: "A", count: 100_000),
            ]
            var open: [Int32] = []
            defer { for descriptor in open { close(descriptor) } }
            for round in 0..<200 {
                let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
                var address = sockaddr_in()
                address.sin_family = sa_family_t(AF_INET)
                address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
                address.sin_port = port.bigEndian
                let result = withUnsafePointer(to: &address) {
                    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                    }
                }
                #expect(result == 0)
                // Every fifth says nothing at all and stays.
                if round % 5 > 0 {
                    let text = Array(texts[round % texts.count].utf8)
                    _ = text.withUnsafeBytes {
                        send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
                    }
                }
                open.append(descriptor)
            }
            let client = try TestClient(endpoint)
            for _ in 0..<20 { #expect(known.fault(in: try client.search(known.request)) == nil) }
            #expect(cluster.coordinators[0].isRunning)
        }

        @Test("the same id twice is answered twice alike, or refused")
        func sameID() throws {
            let (cluster, _, known) = try Self.makeCluster()
            let client = try cluster.client()
            for round in 0..<10 {
                try client.post(.search(known.request), id: "same-\(round)")
                try client.post(.search(known.request), id: "same-\(round)")
                for _ in 0..<2 {
                    guard let reply = try client.next(seconds: 3) else { throw TestFailure("one reply is missing") }
                    #expect(reply.id == "same-\(round)")
                    switch reply.body {
                    case .search(let reply): #expect(known.fault(in: reply) == nil)
                    case .error(let error): #expect(error.code == .conflict)
                    default: Issue.record("odd reply")
                    }
                }
            }
            #expect(try client.next(seconds: 0.1) == nil)
        }
    }
}
