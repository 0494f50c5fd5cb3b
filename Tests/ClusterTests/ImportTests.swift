import DocumentStore
import FoundationEssentials
import Glibc
import Matryoshka
import PostgreSQL
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("mrl import", .serialized, .timeLimit(.minutes(2)))
    struct Imports {
        /// A file of documents whose texts are words of the tiny model.
        private static func corpus(_ count: Int, in cluster: TestCluster, shift: Int = 0) throws -> String {
            let words = TinyModel.words
            var lines = ""
            for row in 0..<count {
                let number = row + shift
                let text = (0..<4).map { words[(number / Int(pow(10, Double($0)))) % 10] }.joined(separator: " ")
                lines += "{\"id\": \"doc-\(row)\", \"text\": \"\(text)\"}\n"
            }
            let path = "\(cluster.folder)/corpus-\(shift).jsonl"
            try lines.write(toFile: path, atomically: true, encoding: .utf8)
            return path
        }

        private static func start(_ cluster: TestCluster, _ file: String, _ more: [String] = []) throws -> ChildProcess
        {
            try ChildProcess(
                "mrl",
                executable: executable("mrl"),
                arguments: [
                    "import", "documents", file, "--collection", "imported", "--create", "--front", cluster.front(),
                ] + more,
                environment: cluster.environment.merging(["MRL_HOME": cluster.folder]) { $1 },
                logPath: "\(cluster.folder)/import-\(UInt32.random(in: 0...UInt32.max)).log"
            )
        }

        private static func count(_ sql: Connection, _ condition: String = "true") throws -> Int {
            let number = try sql.execute("SELECT id FROM matryoshka.collections WHERE name = 'imported'")
            guard number.rowCount == 1 else { return 0 }
            return Int(
                try sql.execute(
                    "SELECT count(*) FROM matryoshka.documents_\(number.int32(0, 0)) WHERE \(condition)"
                ).int64(0, 0)
            )
        }

        /// All is there, once, searchable, and nothing waits in staging.
        private static func expectAll(_ rows: Int, _ cluster: TestCluster) throws {
            let sql = try cluster.database.connection()
            #expect(try count(sql) == rows)
            #expect(try count(sql, "version = 1") == rows)
            #expect(try sql.execute("SELECT count(*) FROM matryoshka.staging").int64(0, 0) == 0)
            let shape = try cluster.database.store().collections()[0].shape
            try cluster.waitUntilServing(shape, rows: rows, seconds: 20)
        }

        @Test("ends once what it changed is found, also where no row is new")
        func changedVectors() throws {
            let cluster = try TestCluster(encoders: 1)
            try cluster.waitUntilEncoders()
            let first = try Self.start(cluster, try Self.corpus(200, in: cluster))
            #expect(first.waitForExit(seconds: 30) == 0, "\(first.log)")
            let client = try cluster.client()
            let sql = try cluster.database.connection()
            // Document 0 is "chess chess chess chess" first, then of other words; nothing else is of chess alone.
            let before = try client.search(
                SearchRequest(
                    collection: "imported",
                    query: .texts(["chess"]),
                    plan: Plan(stages: [Stage(dimensions: 16, keep: 100), Stage(dimensions: 64, keep: 10)])
                )
            )
            #expect(before.hits[0].first?.id == "doc-0")

            cluster.shortlists[0].signal(SIGSTOP)
            let second = try Self.start(cluster, try Self.corpus(200, in: cluster, shift: 5_000))
            let isCommitted = try poll(seconds: 10) { try Self.count(sql, "version = 2") == 200 }
            #expect(isCommitted, "\(second.log)")
            pause(0.5)
            #expect(second.isRunning, "it took rows that are not applied for searchable: \(second.log)")
            cluster.shortlists[0].signal(SIGCONT)
            #expect(second.waitForExit(seconds: 20) == 0, "\(second.log)")
            #expect(second.log.contains("searchable in"), "\(second.log)")
            let after = try client.search(
                SearchRequest(
                    collection: "imported",
                    query: .texts(["chess"]),
                    plan: Plan(stages: [Stage(dimensions: 16, keep: 100), Stage(dimensions: 64, keep: 10)])
                )
            )
            #expect(after.degraded.isEmpty)
            #expect(after.hits[0].first.map { $0.score < 0.999 } == true, "\(after.hits)")
        }

        @Test("goes on by itself when the server's process dies in the middle of a COPY; nothing is lost or doubled")
        func copyDies() throws {
            let server = try FragileServer()
            let cluster = try TestCluster(encoders: 1, server: server.server)
            try cluster.waitUntilEncoders()
            let child = try Self.start(cluster, try Self.corpus(9_900, in: cluster))
            let sql = try cluster.database.connection()
            // The second batch: the first is committed and must not come again.
            let isUnderWay = try poll(seconds: 60, every: 0.005) { try Self.count(sql) >= 4_096 || !child.isRunning }
            #expect(isUnderWay && child.isRunning, "\(child.log)")
            var killed: Int32?
            let isKilled = try poll(seconds: 20, every: 0.001) {
                let found = try sql.execute(
                    """
                    SELECT pid FROM pg_stat_activity
                        WHERE query LIKE '%COPY matryoshka.staging%' AND state = 'active' AND pid <> pg_backend_pid()
                            AND datname = current_database()
                    """
                )
                guard found.rowCount > 0 else { return !child.isRunning }
                killed = found.int32(0, 0)
                kill(found.int32(0, 0), SIGKILL)
                return true
            }
            #expect(isKilled && killed != nil, "\(child.log)")
            #expect(child.waitForExit(seconds: 60) == 0, "\(child.log)")
            #expect(child.log.contains("The database is away"), "\(child.log)")
            try Self.expectAll(9_900, cluster)
        }

        @Test("pending goes on behind a batch of texts without a word that the model knows")
        func pending() throws {
            let cluster = try TestCluster(encoders: 1)
            try cluster.waitUntilEncoders()
            let client = try cluster.client()
            _ = try client.object(.collections(.create(CreateCollection(name: "imported", dimensions: 64))))
            let store = try cluster.database.store()
            let collection = try store.collections()[0].shape.collection
            let strange = (0..<4_100).map { UpsertRow(externalID: "x-\($0)", text: "xyzzy", vector: nil) }
            _ = try store.stageAndUpsert(collection: collection, rows: strange)
            _ = try store.upsert(
                collection: collection,
                rows: [UpsertRow(externalID: "known", text: "chess", vector: nil)]
            )
            let child = try ChildProcess(
                "mrl",
                executable: executable("mrl"),
                arguments: ["import", "pending", "--front", cluster.front()],
                environment: cluster.environment.merging(["MRL_HOME": cluster.folder]) { $1 },
                logPath: "\(cluster.folder)/pending.log"
            )
            #expect(child.waitForExit(seconds: 60) == 0, "\(child.log)")
            let sql = try cluster.database.connection()
            #expect(try Self.count(sql, "NOT pending AND external_id = 'known'") == 1, "\(child.log)")
            #expect(try Self.count(sql, "pending") == 4_100)
        }

        @Test("killed in the middle, the same command goes on; nothing is lost or doubled")
        func importDies() throws {
            let cluster = try TestCluster(encoders: 1)
            try cluster.waitUntilEncoders()
            let file = try Self.corpus(9_900, in: cluster)
            let sql = try cluster.database.connection()
            let first = try Self.start(cluster, file)
            let isUnderWay = try poll(seconds: 60, every: 0.005) { try Self.count(sql) > 0 || !first.isRunning }
            #expect(isUnderWay && first.isRunning, "\(first.log)")
            first.kill()
            #expect(try Self.count(sql) < 9_900)
            let second = try Self.start(cluster, file)
            #expect(second.waitForExit(seconds: 60) == 0, "\(second.log)")
            #expect(second.log.contains("Going on where"), "\(second.log)")
            try Self.expectAll(9_900, cluster)
        }
    }
}
