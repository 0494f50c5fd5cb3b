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

        static func run(_ script: String, _ cluster: TestCluster?, _ arguments: [String] = []) throws -> (Int32, String)
        {
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
            let shape = try cluster.serve("python", corpus)
            let query = corpus.queries(1, seed: 92)
            let known = try cluster.truth(shape).answer(
                to: SearchRequest(
                    "python",
                    query,
                    plan: [Stage(dimensions: 16, keep: 100), Stage(dimensions: 64, keep: 5)]
                )
            )
            let script = """
                import struct, sys
                from matryoshka_client import Client, MatryoshkaError
                client = Client(sys.argv[1])
                vector = [float(x) for x in sys.argv[2].split(",")]
                def bits(score):
                    return struct.unpack("<I", struct.pack("<f", score))[0]
                try:
                    for hit in client.search("python", vectors=[vector], plan=[[16, 100], [64, 5]]).hits[0]:
                        print(hit["id"], bits(hit["score"]))
                    written = client.upsert("python", [{"id": "by-vector"}], vectors=[vector], wait="searchable")
                    print("wrote", written["state"])
                    print("top", client.search("python", vectors=[vector], k=1).hits[0][0]["score"] > 0.99)
                except ImportError:
                    print("no numpy")
                try:
                    client.search("no-such", text="play chess")
                except MatryoshkaError as error:
                    print("error", error.code, error.field)
                tickets = [client.submit_search("python", text="play chess", k=3) for _ in range(20)]
                print("texts", sum(len(client.wait(ticket).hits[0]) for ticket in reversed(tickets)))
                client.upsert("python", [{"id": "by-text", "text": "play chess", "payload": {"a": 1}}], wait="searchable")
                hit = client.search("python", text="play chess", k=1, with_payload=True).hits[0][0]
                print("found", hit["id"], hit["payload"])
                print("read", client.get("python", ["by-text"]).documents[0]["text"])
                print("gone", client.delete("python", ["by-text"], wait="searchable")["applied"])
                """
            let vector = query[0].map { "\($0)" }.joined(separator: ",")
            let (code, log) = try Self.run(script, cluster, [cluster.front(), vector])
            #expect(code == 0, "\(log)")
            let lines = log.split(separator: "\n").map(String.init)
            if !lines.contains("no numpy") {
                #expect(Array(lines.prefix(5)) == known.hits[0].map { "\($0.id) \($0.scores.last ?? 0)" })
                #expect(lines.contains("wrote searchable") && lines.contains("top True"))
            }
            #expect(
                lines.suffix(5) == [
                    "error UNKNOWN_COLLECTION collection", "texts 60", "found by-text {'a': 1}", "read play chess",
                    "gone 1",
                ]
            )
        }
    }
}
