import FoundationEssentials
import Matryoshka
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("Importing files", .serialized, .timeLimit(.minutes(1)))
    struct Importing {
        /// Runs `mrl` against a cluster: its exit code and what it printed.
        static func mrl(_ cluster: TestCluster, _ arguments: [String]) throws -> (code: Int32?, output: String) {
            let child = try ChildProcess(
                "mrl",
                executable: executable("mrl"),
                arguments: arguments,
                environment: cluster.environment.merging(
                    ["MRL_HOME": cluster.folder, "MRL_COORDINATOR_FRONT": cluster.front()]
                ) { $1 },
                logPath: "\(cluster.folder)/mrl-\(UUID().uuidString).log"
            )
            let code = child.waitForExit(seconds: 30)
            return (code, child.log)
        }

        @Test("a bad line stops an import behind the good ones before it, and can be passed over; what is told is so")
        func badLines() throws {
            let cluster = try TestCluster(encoders: 1)
            try cluster.waitUntilEncoders()
            let path = "\(cluster.folder)/documents.jsonl"
            let lines = [
                #"{"id":"a","text":"play chess"}"#, #"{"id":"b"}"#, #"{"id":"c","text":"play \u0000"}"#,
                #"{"id":"d","text":"image editor","payload":"str"}"#,
                #"{"id":"e","text":"music player","payload":{"n":1}}"#,
                #"{"id":"f","text":"zzz"}"#,
            ]
            try Data(lines.joined(separator: "\n").utf8).write(to: URL(filePath: path))
            let command = ["import", "documents", path, "--collection", "lines", "--create"]

            let stopped = try Self.mrl(cluster, command)
            #expect(stopped.code == 1)
            for words in ["line 3", #"id "c""#, "U+0000", "--on-error skip", "1 documents before it stored"] {
                #expect(stopped.output.contains(words), "\(stopped.output)")
            }
            let rejects = "\(cluster.folder)/rejects"
            let skipped = try Self.mrl(cluster, command + ["--on-error", "skip", "--rejects", rejects])
            #expect(skipped.code == 0, "\(skipped.output)")
            for words in [
                "Passed over line 3", #"line 4, id "d": payload is no JSON object"#, "2 bad lines were passed over",
                "1 documents have no word that the model knows and were left out: f", "1 documents of",
            ] {
                #expect(skipped.output.contains(words), "\(skipped.output)")
            }
            let records = try String(contentsOf: URL(filePath: rejects), encoding: .utf8).split(separator: "\n")
            #expect(
                try records.map { try JSONValue(parsing: Array($0.utf8))["content"] } == [
                    .string(lines[2]), .string(lines[3]),
                ]
            )

            let again = try Self.mrl(cluster, command)
            #expect(again.code == 0 && again.output.contains("is stored in lines already"), "\(again.output)")
            let restarted = try Self.mrl(cluster, command + ["--restart", "--on-error", "skip", "--json"])
            for words in [#""documents":2"#, #""without_text":1"#, #""without_known_word":1"#, #""rejected":2"#] {
                #expect(restarted.output.contains(words), "\(restarted.output)")
            }
            try Data().write(to: URL(filePath: path))
            let empty = try Self.mrl(cluster, command)
            #expect(empty.code == 0 && empty.output.contains("is empty"), "\(empty.output)")
            #expect(!empty.output.contains("already"))

            let texts = SearchRequest(collection: "lines", query: .texts(["play chess", "music player"]), k: 2)
            let reply = try cluster.client().search(texts)
            #expect(reply.hits.map { Set($0.map(\.id)) } == [["a", "e"], ["a", "e"]])
        }
    }
}
