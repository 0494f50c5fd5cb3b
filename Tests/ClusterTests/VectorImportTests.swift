import DocumentStore
import FoundationEssentials
import Glibc
import Matryoshka
import PostgreSQL
import RetrievalTesting
import Testing
import VectorFiles
import WireProtocol

extension ClusterTests {
    @Suite("mrl import vectors", .serialized, .timeLimit(.minutes(2)))
    struct VectorImports {
        private static func start(_ cluster: TestCluster, _ file: String, _ more: [String]) throws -> ChildProcess {
            try ChildProcess(
                "mrl",
                executable: executable("mrl"),
                arguments: [
                    "import", "vectors", file, "--collection", "vectors", "--front", cluster.front(),
                ] + more,
                environment: cluster.environment.merging(["MRL_HOME": cluster.folder]) { $1 },
                logPath: "\(cluster.folder)/import-\(UInt32.random(in: 0...UInt32.max)).log"
            )
        }

        private static func write(_ corpus: SyntheticCorpus, to path: String) throws {
            try MatrixFile.create(path, rows: corpus.count, columns: corpus.dimensions, element: .float32) { place in
                for row in 0..<corpus.count {
                    let vector = corpus[row]
                    (place + row * corpus.dimensions * 4).copyMemory(from: vector, byteCount: corpus.dimensions * 4)
                }
            }
        }

        @Test("stores a matrix with its documents; killed in the middle it goes on, and the rows are found")
        func matrix() throws {
            let cluster = try TestCluster()
            let corpus = SyntheticCorpus(rows: 12_000, dimensions: 48, seed: 1)
            let file = "\(cluster.folder)/vectors.npy"
            try Self.write(corpus, to: file)
            let documents = "\(cluster.folder)/documents.jsonl"
            let lines = (0..<corpus.count).map { #"{"id":"d-\#($0)","text":"t","payload":{"row":\#($0)}}"# }
            try lines.joined(separator: "\n").write(toFile: documents, atomically: true, encoding: .utf8)
            let options = ["--create", "--smallest", "8", "--documents", documents, "--model", "elsewhere"]

            let first = try Self.start(cluster, file, options)
            let sql = try cluster.database.connection()
            func stored() throws -> Int {
                let number = try sql.execute("SELECT id FROM matryoshka.collections WHERE name = 'vectors'")
                guard number.rowCount == 1 else { return 0 }
                return Int(
                    try sql.execute("SELECT count(*) FROM matryoshka.documents_\(number.int32(0, 0))").int64(0, 0)
                )
            }
            let isUnderWay = try poll(seconds: 30, every: 0.002) { try stored() > 0 || !first.isRunning }
            #expect(isUnderWay && first.isRunning, "\(first.log)")
            first.kill()
            #expect(try stored() < corpus.count)

            let second = try Self.start(cluster, file, options)
            #expect(second.waitForExit(seconds: 60) == 0, "\(second.log)")
            #expect(second.log.contains("Going on where"), "\(second.log)")
            #expect(try stored() == corpus.count)
            let shape = try #require(try cluster.database.store().collections().first).shape
            #expect(shape.model == "elsewhere" && shape.dimensions == 48 && shape.smallestDimensions == 8)
            let versions = try sql.execute(
                "SELECT count(*) FROM matryoshka.documents_\(shape.collection) WHERE version <> 1"
            )
            #expect(versions.int64(0, 0) == 0, "a row was stored twice")
            try cluster.waitUntilServing(shape, rows: corpus.count)
            let reply = try cluster.client().search(
                SearchRequest(
                    "vectors",
                    [corpus[7_777]],
                    plan: [Stage(dimensions: 16, keep: 50), Stage(dimensions: 48, keep: 3)]
                )
            )
            #expect(reply.hits[0].first?.id == "d-7777")

            let third = try Self.start(cluster, file, options)
            #expect(third.waitForExit(seconds: 60) == 0 && third.log.contains("is stored in vectors already"))
            let other = try Self.start(cluster, file, ["--documents", documents, "--model", "another"])
            #expect(other.waitForExit(seconds: 60) != 0)
            #expect(other.log.contains("holds vectors of the model elsewhere, not of another"), "\(other.log)")
        }

        @Test("stops at a row that cannot be stored and goes on behind it when told to")
        func badRows() throws {
            let cluster = try TestCluster()
            let file = "\(cluster.folder)/vectors.jsonl"
            let lines = (1...30).map { row in
                row == 20 ? #"{"id":"bad","vector":[1,2,null]}"# : #"{"id":"r\#(row)","vector":[1,2,\#(row)]}"#
            }
            try lines.joined(separator: "\n").write(toFile: file, atomically: true, encoding: .utf8)
            let missing = try Self.start(cluster, file, [])
            #expect(missing.waitForExit(seconds: 30) != 0)
            #expect(missing.log.contains("there is no collection vectors: create it with --create"), "\(missing.log)")

            let first = try Self.start(cluster, file, ["--create"])
            #expect(first.waitForExit(seconds: 30) != 0)
            #expect(
                first.log.contains("row 20, id \"bad\": vector[2] is no number; stopped there, with 19 vectors"),
                "\(first.log)"
            )
            let rejects = "\(cluster.folder)/rejects"
            let second = try Self.start(cluster, file, ["--on-error", "skip", "--rejects", rejects])
            #expect(second.waitForExit(seconds: 30) == 0, "\(second.log)")
            #expect(try String(contentsOfFile: rejects, encoding: .utf8).hasPrefix(#"{"row":20,"id":"bad""#))
            let shape = try #require(try cluster.database.store().collections().first).shape
            #expect(!shape.isMatryoshka && shape.dimensions == 3)
            try cluster.waitUntilExhaustive(shape, rows: 29)

            // A file of another size is refused before anything of it is stored.
            let wide = "\(cluster.folder)/wide.npy"
            try Self.write(SyntheticCorpus(rows: 5, dimensions: 16, seed: 1), to: wide)
            let third = try Self.start(cluster, wide, [])
            #expect(third.waitForExit(seconds: 30) != 0)
            #expect(third.log.contains("its vectors have 16 dimensions, those of the collection 3"), "\(third.log)")
        }
    }
}
