import FoundationEssentials
import Glibc
import Matryoshka
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("The Python client", .serialized, .timeLimit(.minutes(1)))
    struct PythonClient {
        static let python = "/usr/bin/python3"
        /// proto-docs/clients/python, found from this file.
        static var folder: String {
            let parts = #filePath.split(separator: "/").dropLast(3)
            return "/" + parts.joined(separator: "/") + "/proto-docs/clients/python"
        }

        static func run(_ script: String, _ cluster: TestCluster?, _ arguments: [String] = []) throws -> (Int32, String) {
            let folder = try makePrivateFolder()
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let child = try ChildProcess(
                "python",
                executable: python,
                arguments: ["-c", script] + arguments,
                environment: baseEnvironment.merging(["PYTHONPATH": Self.folder]) { $1 },
                logPath: "\(folder)/log"
            )
            guard let code = child.waitForExit(seconds: 30) else { throw TestFailure("Python hangs: \(child.log)") }
            return (code, child.log)
        }

        static let hasZMQ = (try? run("import zmq", nil))?.0 == 0

        @Test("searches by vector, writes, reads and sees errors", .enabled(if: hasZMQ, "python3-zmq is not installed"))
        func drivesTheCluster() throws {
            let cluster = try TestCluster(encoders: 1)
            let corpus = SyntheticCorpus(rows: 200, dimensions: 64, seed: 91)
            let shape = try cluster.fill(
                CreateCollection(name: "python", dimensions: 64, smallestDimensions: 8, residentWidth: 32),
                corpus
            )
            try cluster.waitUntilServing(shape, rows: 200)
            let query = corpus.queries(1, seed: 92)
            let known = try cluster.truth(shape).answer(
                to: SearchRequest("python", query, plan: [Stage(dimensions: 16, keep: 100), Stage(dimensions: 64, keep: 5)])
            )
            let script = """
                import struct, sys
                from matryoshka import Client, MatryoshkaError
                client = Client(sys.argv[1])
                vector = [float.fromhex(x) for x in sys.argv[2].split(",")]
                reply = client.search("python", vectors=[vector], plan=[[16, 100], [64, 5]])
                for hit in reply.hits[0]:
                    print(hit["id"], struct.unpack("<I", struct.pack("<f", hit["score"]))[0])
                try:
                    client.search("no-such", vectors=[vector])
                except MatryoshkaError as error:
                    print("error", error.code)
                print("text", len(client.search("python", text="play chess", k=3).hits[0]))
                client.upsert("python", [{"id": "from-python", "payload": {"a": 1}}], vectors=[vector], wait="searchable")
                print("top", client.search("python", vectors=[vector], k=1).hits[0][0]["id"])
                """
            let hexadecimal = query[0].map { "\(($0 < 0) ? "-" : "")0x\(String($0.magnitude.bitPattern, radix: 16))" }
            _ = hexadecimal
            let (code, log) = try Self.run(script, cluster, [cluster.front(), query[0].map { "\($0)" }.joined(separator: ",")])
            #expect(code == 0, "\(log)")
            let lines = log.split(separator: "\n").map(String.init)
            let expected = known.hits[0].map { "\($0.id) \($0.scores.last ?? 0)" }
            #expect(Array(lines.prefix(expected.count)) == expected)
            #expect(lines.contains("error UNKNOWN_COLLECTION"))
            #expect(lines.contains("text 3"))
        }
    }
}
