import Matryoshka
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("Incarnations of workers", .serialized, .timeLimit(.minutes(1)))
    struct IncarnationsOfWorkers {
        private static let model = ModelReport(
            id: "m",
            name: "m",
            dimensions: 2,
            smallestDimensions: 1,
            nesting: [1, 2]
        )

        /// The code of the REJECT that a worker gets.
        private static func rejection(_ worker: FakeWorker) throws -> String? {
            guard case .reject(let reject)? = try worker.register() else { return nil }
            return reject.code
        }

        @Test("that nobody was given are refused, another's and older ones are fenced, and the true worker serves on")
        func refused() throws {
            let cluster = try TestCluster(shortlists: 0, rerankers: 0, settings: ["MRL_COORDINATOR_DEAD_MS": "1500"])
            let client = try cluster.client()
            func makeWorker() throws -> FakeWorker { try FakeWorker(cluster.back(0), .encoder, model: Self.model) }
            func known() throws -> [Int] {
                try ClusterStatus(client).json["workers"]?.elements.compactMap { $0["incarnation"]?.int } ?? []
            }
            var older: FakeWorker? = try makeWorker()
            try older?.register()
            let (first, process) = try #require(older.map { ($0.incarnation, $0.registration.process) })
            // The same name, another process: it was started after the first had ended.
            let worker = try makeWorker()
            try worker.register()
            #expect(worker.incarnation > first)
            older = nil
            #expect(
                try poll(seconds: 5) {
                    try worker.beat()
                    return try known() == [Int(worker.incarnation)]
                }
            )

            let stranger = try makeWorker()
            for number in [worker.incarnation + 1, worker.incarnation + 1_000_000, UInt64(Int64.max)] {
                stranger.incarnation = number
                #expect(try Self.rejection(stranger) == "UNKNOWN_INCARNATION")
            }
            stranger.incarnation = worker.incarnation
            #expect(try Self.rejection(stranger) == "FENCED")
            let returned = try makeWorker()
            returned.registration.process = process
            returned.incarnation = first
            #expect(try Self.rejection(returned) == "FENCED")

            #expect(try known() == [Int(worker.incarnation)])
            let id = try client.post(.encode(EncodeRequest(model: "m", role: .query, texts: ["a"])))
            let number = try #require(try worker.next(.encode)).header.request
            let body = Vectors(dimensions: 2, values: [1, 2], queuedMicroseconds: 0, computeMicroseconds: 0)
            try worker.send(.vectors(body), request: number)
            guard case .vectors = try client.reply(to: id) else { throw TestFailure("no vectors") }
            // Over another connection it is still itself.
            let same = try makeWorker()
            same.registration = worker.registration
            same.incarnation = worker.incarnation
            try same.register()
            #expect(same.incarnation == worker.incarnation)
            // And who has left begins anew.
            stranger.incarnation = 0
            #expect(try Self.rejection(stranger) == nil)
            #expect(stranger.incarnation > worker.incarnation)
        }

        @Test("that one coordinator gave are taken by the others, whichever has started first")
        func otherCoordinators() throws {
            let cluster = try TestCluster(shortlists: 0, rerankers: 0, coordinators: 2)
            for number in 0..<2 { _ = try cluster.client(number).object(.status) }
            for (giver, other) in [(0, 1), (1, 0)] {
                let worker = try FakeWorker(cluster.back(giver), .encoder, model: Self.model)
                try worker.register()
                let link = try FakeWorker(cluster.back(other), .encoder, model: Self.model)
                link.registration = worker.registration
                link.incarnation = worker.incarnation
                #expect(try Self.rejection(link) == nil)
                #expect(link.incarnation == worker.incarnation)
            }
        }
    }
}
