import FoundationEssentials
import Glibc
import Matryoshka
import PostgreSQL
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("mrl goes over to another coordinator", .serialized, .timeLimit(.minutes(2)))
    struct Failover {
        private static let collection = CreateCollection(name: "failover", dimensions: 64)

        /// Two coordinators whose workers are patient with what the tests stop.
        private static func makeCluster() throws -> TestCluster {
            let cluster = try TestCluster(encoders: 1, coordinators: 2, settings: ["MRL_COORDINATOR_DEAD_MS": "20000"])
            try cluster.waitUntilEncoders()
            return cluster
        }

        private static func mrl(_ cluster: TestCluster, _ arguments: [String]) throws -> ChildProcess {
            try ChildProcess(
                "mrl",
                executable: executable("mrl"),
                arguments: arguments + ["--front", cluster.front(0), "--front", cluster.front(1)],
                environment: cluster.environment.merging(["MRL_HOME": cluster.folder]) { $1 },
                logPath: "\(cluster.folder)/\(arguments[0]).log"
            )
        }

        @Test("a search whose coordinator stops or dies is answered through the other", arguments: [SIGSTOP, SIGKILL])
        func search(signal: Int32) throws {
            let cluster = try Self.makeCluster()
            let corpus = SyntheticCorpus(rows: 300, dimensions: 64, seed: 71)
            let shape = try cluster.fill(Self.collection, corpus)
            for number in 0..<2 { try cluster.waitUntilServing(shape, rows: corpus.count, coordinator: number) }
            let first = try cluster.client()

            // The handshake with a stopped one does not end: the client begins with the first coordinator.
            cluster.coordinators[1].signal(SIGSTOP)
            cluster.encoders[0].signal(SIGSTOP)
            let search = try Self.mrl(
                cluster,
                ["search", "chess", "--collection", "failover", "--deadline", "20000"]
            )
            let isUnderWay = try poll(seconds: 10) {
                let workers = try first.object(.status)["workers"]?.elements ?? []
                return workers.contains { $0["role"]?.text == "encoder" && ($0["in_flight"]?.int ?? 0) > 0 }
            }
            #expect(isUnderWay, "\(search.log)")
            cluster.coordinators[1].signal(SIGCONT)
            try cluster.waitUntilServing(shape, rows: corpus.count, coordinator: 1)
            #expect(search.isRunning, "\(search.log)")
            cluster.coordinators[0].signal(signal)
            cluster.encoders[0].signal(SIGCONT)
            #expect(search.waitForExit(seconds: 8) == 0, "\(search.log)")
            #expect(search.log.contains("10 hits of 300 rows"), "\(search.log)")
        }

        @Test("an import whose coordinator stops or dies goes on through the other", arguments: [SIGSTOP, SIGKILL])
        func importing(signal: Int32) throws {
            let cluster = try Self.makeCluster()
            let words = TinyModel.words
            let rows = 9_900
            let lines = (0..<rows).map {
                "{\"id\": \"doc-\($0)\", \"text\": \"\(words[$0 % 10]) \(words[$0 / 10 % 10])\"}\n"
            }
            let file = "\(cluster.folder)/corpus.jsonl"
            try lines.joined().write(toFile: file, atomically: true, encoding: .utf8)
            let sql = try cluster.database.connection()
            func stored() throws -> Int {
                let number = try sql.execute("SELECT id FROM matryoshka.collections WHERE name = 'failover'")
                guard number.rowCount == 1 else { return 0 }
                return Int(
                    try sql.execute("SELECT count(*) FROM matryoshka.documents_\(number.int32(0, 0))").int64(0, 0)
                )
            }

            cluster.coordinators[1].signal(SIGSTOP)
            let child = try Self.mrl(
                cluster,
                ["import", "documents", file, "--collection", "failover", "--create"]
            )
            let isUnderWay = try poll(seconds: 60, every: 0.005) { try stored() > 0 || !child.isRunning }
            #expect(isUnderWay && child.isRunning, "\(child.log)")
            // What is not encoded yet waits for whoever comes next.
            cluster.encoders[0].signal(SIGSTOP)
            cluster.coordinators[0].signal(signal)
            cluster.coordinators[1].signal(SIGCONT)
            cluster.encoders[0].signal(SIGCONT)
            #expect(child.waitForExit(seconds: 60) == 0, "\(child.log)")
            #expect(child.log.contains("searchable in"), "\(child.log)")
            #expect(try stored() == rows)
        }
    }
}
