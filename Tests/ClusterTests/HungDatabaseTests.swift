import Glibc
import Matryoshka
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("A database that hangs", .serialized, .timeLimit(.minutes(2)))
    struct HungDatabase {
        private static func create(_ name: String) -> FrontRequestBody {
            .collections(.create(CreateCollection(name: name, dimensions: 64, residency: ResidencyChange(width: 32))))
        }

        @Test(
            "changes of collections say STORE_UNAVAILABLE in time and what became of them, nothing piles up, and it goes on"
        )
        func changes() throws {
            let server = try FragileServer()
            let (cluster, shape, corpus) = try Writes.makeCluster(server: server.server)
            let client = try cluster.client()
            func names() throws -> [String] {
                let reply = try client.object(.collections(.list))
                return reply["collections"]?.elements.compactMap { $0["name"]?.text } ?? []
            }
            func jobsWaiting() throws -> Int {
                try #require(ClusterStatus(client).json["coordinator"]?["store_jobs_waiting"]?.int)
            }
            _ = try client.object(.collections(.alias(name: "early", collection: shape.name)))
            let before = cluster.coordinators[0].residentBytes
            try server.signalAll(SIGSTOP)
            do {
                defer { #expect(throws: Never.self) { try server.signalAll(SIGCONT) } }
                let start = now()
                // The first is given to the database, the others wait behind it.
                let asked: [(FrontRequestBody, String)] = [
                    (Self.create("sent"), "unknown whether the change was made"),
                    (Self.create("queued"), "nothing was changed"),
                    (.collections(.drop(name: shape.name)), "nothing was changed"),
                    (.collections(.alias(name: "late", collection: shape.name)), "nothing was changed"),
                    (.collections(.configure(name: shape.name, ResidencyChange(width: 16))), "nothing was changed"),
                ]
                for (request, outcome) in asked {
                    let began = now()
                    let error = try client.refusal(request, deadline: 600)
                    #expect(now() - began < 0.8)
                    #expect(error?.code == .storeUnavailable)
                    #expect(error?.message.contains(outcome) == true, "\(error as Any)")
                }
                var codes: [FrontErrorCode: Int] = [:]
                for _ in 0..<40 {
                    let ids = try (0..<50).map { try client.post(Self.create("storm-\($0)"), deadline: 20) }
                    for id in ids {
                        guard case .error(let error) = try client.reply(to: id, seconds: 2) else {
                            throw TestFailure("\(id) was done")
                        }
                        codes[error.code, default: 0] += 1
                    }
                }
                #expect(Set(codes.keys) == [.storeUnavailable, .overloaded], "\(codes)")
                // Many turns of all that the coordinator asks now and then.
                while now() - start < 9 {
                    #expect(try names() == [shape.name])
                    pause(0.2)
                }
                // The changes that wait are bounded, and there are a few recurring jobs.
                #expect(try jobsWaiting() < 80)
                let isReachable = try ClusterStatus(client).json["coordinator"]?["database_reachable"]
                #expect(isReachable == .bool(false))
                let grown = cluster.coordinators[0].residentBytes - before
                #expect(grown < 16 << 20, "\(grown)")
            }
            var last: FrontError?
            let isDone = try poll(seconds: 20, every: 0.2) {
                last = try client.refusal(Self.create("after"), deadline: 3_000)
                return last == nil || last?.code == .alreadyExists
            }
            #expect(isDone, "\(last as Any)")
            #expect(try poll(seconds: 5) { try jobsWaiting() == 0 })
            // What was told to be undone is undone, what was with the database may be done and is.
            #expect(try poll(seconds: 5) { try names() == ["after", "sent", shape.name].sorted() })
            try cluster.waitUntilServing(shape, rows: corpus.count)
            let left = try client.object(.collections(.list))["collections"]?.elements.first {
                $0["name"]?.text == shape.name
            }
            #expect(left?["aliases"]?.elements.compactMap(\.text) == ["early"])
            #expect(left?["resident_width"]?.int == 32)
            #expect(cluster.children.allSatisfy { $0.isRunning })
        }
    }
}
