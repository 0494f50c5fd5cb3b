import FoundationEssentials
import Matryoshka
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("mrl evaluate collection", .serialized, .timeLimit(.minutes(2)))
    struct Evaluations {
        private func report(_ cluster: TestCluster, _ arguments: [String]) throws -> JSONValue {
            let out = "\(cluster.folder)/out-\(UInt32.random(in: 0...UInt32.max))"
            let run = try ChildProcess(
                "mrl",
                executable: executable("mrl"),
                arguments: ["evaluate", "collection", "numbers", "--front", cluster.front(), "--output", out]
                    + arguments,
                environment: cluster.environment.merging(["MRL_HOME": cluster.folder]) { $1 },
                logPath: out + ".log"
            )
            #expect(run.waitForExit(seconds: 60) == 0, "\(run.log)")
            #expect(try String(contentsOfFile: out + "/plans.svg", encoding: .utf8).contains("</svg>"))
            return try JSONValue(parsing: [UInt8](try Data(contentsOf: URL(fileURLWithPath: out + "/report.json"))))
        }

        private func number(_ json: JSONValue?) -> Double {
            switch json {
            case .number(let value)?: value
            case .integer(let value)?: Double(value)
            default: .nan
            }
        }

        private func items(_ json: JSONValue?) -> [JSONValue] {
            if case .array(let items)? = json { return items }
            return []
        }

        @Test("rows search the others, and judged queries are told how much they found")
        func collection() throws {
            let cluster = try TestCluster()
            let corpus = SyntheticCorpus(rows: 600, dimensions: 48, seed: 3)
            _ = try cluster.serve("numbers", corpus)

            let sampled = try report(cluster, ["--sample", "40", "--keep", "20,100"])
            #expect(number(sampled["queries"]) == 40 && number(sampled["documents"]) == 600)
            let sizes = items(sampled["sizes"])
            #expect(number(sizes.last?["size"]) == 48 && number(sizes.last?["neighbour_recall"]) == 1)
            #expect(number(sizes.first?["neighbour_recall"]) < 1)
            #expect(sizes.allSatisfy { $0["ndcg"] == nil })
            let plans = items(sampled["plans"]?["rows"])
            for kind in ["single shot", "adaptive", "funnel", "full search"] {
                #expect(plans.contains { $0["search"] == .string(kind) }, "\(kind)")
            }
            let full = try #require(plans.last)
            #expect(number(full["recall"]) == 1 && number(full["dimensions_multiplied"]) == 600 * 48)
            #expect(plans.allSatisfy { number($0["median_ms"]) > 0 })

            // Each query is a row of the collection, and that row alone is relevant.
            let queries = cluster.folder + "/queries.jsonl"
            let chosen = [5, 50, 500]
            let lines = chosen.map {
                #"{"id":"q\#($0)","vector":[\#(corpus[$0].map { "\($0)" }.joined(separator: ","))]}"#
            }
            try lines.joined(separator: "\n").write(toFile: queries, atomically: true, encoding: .utf8)
            let qrels = cluster.folder + "/qrels.tsv"
            let judged = chosen.map { "q\($0)\t\(corpus.ids[$0])\t2" }
            try judged.joined(separator: "\n").write(toFile: qrels, atomically: true, encoding: .utf8)
            let answered = try report(cluster, ["--queries", queries, "--qrels", qrels, "--keep", "100"])
            let best = try #require(items(answered["sizes"]).last)
            #expect(number(best["ndcg"]) == 1 && number(best["mrr"]) == 1)
            #expect(abs(number(best["map_by_k"]) - 0.1) < 1e-9 && abs(number(best["map_by_min_k_r"]) - 1) < 1e-9)
            #expect(number(items(answered["plans"]?["rows"]).last?["quality"]) == 1)
        }
    }
}
