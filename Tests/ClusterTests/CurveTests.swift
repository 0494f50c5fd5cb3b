import FoundationEssentials
import Glibc
import Matryoshka
import RetrievalTesting
import Testing
import WireProtocol
import ZeroMQ

extension ClusterTests {
    @Suite("A cluster over TCP with CURVE", .serialized, .timeLimit(.minutes(2)))
    struct Curve {
        private static let rows = 400

        private static func makeCluster(_ keys: Keyring) throws -> (TestCluster, CollectionShape, [KnownSearch]) {
            let cluster = try TestCluster(keys: keys)
            let corpus = SyntheticCorpus(rows: rows, dimensions: 32, seed: 5)
            let shape = try cluster.fill(
                CreateCollection(name: "guarded", dimensions: 32, smallestDimensions: 8),
                corpus
            )
            try cluster.waitUntilServing(shape, rows: rows)
            let truth = try cluster.truth(shape)
            return (
                cluster, shape,
                try (0..<20).map { try truth.answer(to: SearchRequest("guarded", [corpus[$0 * 7]], k: 5)) }
            )
        }

        private static func mrl(_ keys: Keyring, _ settings: [String: String], _ arguments: [String]) throws
            -> (code: Int32?, output: String)
        {
            try Misconfiguration.run("mrl", ["MRL_HOME": keys.folder].merging(settings) { $1 }, arguments, seconds: 15)
        }

        private static func status(_ keys: Keyring, _ settings: [String: String]) throws
            -> (code: Int32?, output: String)
        {
            try mrl(keys, settings, ["status", "--json", "--front", keys.front])
        }

        @Test("answers its clients and admits nobody else to the front, who hears so in one sentence")
        func front() throws {
            let keys = try Keyring()
            try keys.add("stranger")
            let (cluster, _, searches) = try Self.makeCluster(keys)
            let load = SearchLoad(keys.front, searches, perSecond: 50, curve: keys.options("client"))
            for curve in [keys.options("stranger"), keys.options("worker"), nil] {
                let intruder = try TestClient(keys.front, curve: curve)
                intruder.tryPost(FrontRequest(id: "x", deadlineMilliseconds: 500, body: .status).encode())
                #expect(try intruder.nextFrames(seconds: 0.5) == nil)
            }
            for name in ["stranger", "worker"] {
                let (code, output) = try Self.status(keys, keys.settings(name))
                #expect(code == 1)
                #expect(output.split(separator: "\n").count == 1, "\(output)")
                #expect(output.contains("refuses this client's key \(keys.pair(name).publicKey)"), "\(output)")
            }
            let (code, output) = try Self.status(keys, [:])
            #expect(code == 1)
            #expect(output.contains("CURVE keys"), "\(output)")
            #expect(try Self.status(keys, keys.settings("client")).code == 0)
            let result = load.stop(after: 50)
            #expect(result.faults == [])
            #expect(result.answered > 50)
            #expect(cluster.children.allSatisfy { $0.isRunning })
        }

        @Test("registers only keys of workers; a key that is added later comes in without a restart")
        func back() throws {
            let keys = try Keyring()
            try keys.add("stranger")
            let (cluster, _, searches) = try Self.makeCluster(keys)
            let client = try cluster.client()
            let load = SearchLoad(keys.front, searches, perSecond: 50, curve: keys.options("client"))
            let strange = try cluster.addShortlist(keys.settings("stranger"))
            let asClient = try cluster.addShortlist(keys.settings("client"))
            let keyless = try cluster.addShortlist(["MRL_CURVE_SECRET_KEY_FILE": "", "MRL_CURVE_SERVER_KEY": ""])
            let misled = try cluster.addShortlist(["MRL_CURVE_SERVER_KEY": keys.pair("stranger").publicKey])
            let haveTold = poll(seconds: 10) {
                [strange, asClient].allSatisfy { $0.log.contains("refuses this worker's key") }
                    && keyless.log.contains("wants CURVE keys") && misled.log.contains("is not its public key")
            }
            if !haveTold { throw cluster.failure("the refused workers do not say so") }
            // Long enough for several new sockets.
            pause(4)
            for child in [strange, asClient, keyless, misled] {
                #expect(child.isRunning)
                #expect(child.log.split(separator: "\n").count { $0.contains("warning") } == 1, "\(child.log)")
            }
            #expect(try ClusterStatus(client).workers.count == 2)

            let (code, output) = try Self.mrl(
                keys,
                keys.coordinatorSettings,
                ["keys", "allow", "worker", keys.pair("stranger").publicKey, "--name", "late"]
            )
            #expect(code == 0, "\(output)")
            try cluster.waitUntilBalanced(client, holders: 2, rows: Self.rows, seconds: 30)
            #expect(strange.log.contains("admits this worker now"))
            #expect(try ClusterStatus(client).workers.count == 3)
            let result = load.stop()
            #expect(result.faults == [])
        }

        @Test("an idempotency key belongs to the CURVE key that sent it, whatever the client calls itself")
        func idempotency() throws {
            let keys = try Keyring()
            try keys.add("other")
            let (cluster, _, _) = try Self.makeCluster(keys)
            let (code, output) = try Self.mrl(
                keys,
                keys.coordinatorSettings,
                ["keys", "allow", "client", keys.pair("other").publicKey]
            )
            #expect(code == 0, "\(output)")
            func delete(_ id: String) -> FrontRequestBody {
                .delete(DeleteRequest(collection: "guarded", ids: [id], idempotencyKey: "once"))
            }
            #expect(try !cluster.client().write(delete("a")).replayed)
            let again = try cluster.client()
            again.name = "another name"
            #expect(try again.write(delete("a")).replayed)
            #expect(try again.refusal(delete("b"))?.code == .conflict)
            let other = try TestClient(keys.front, curve: keys.options("other"))
            other.name = "curve:" + keys.pair("client").publicKey
            #expect(try !other.write(delete("b")).replayed)
        }

        @Test("mrl keys makes pairs and keeps the two lists apart")
        func keysCommand() throws {
            let keys = try Keyring()
            let folder = keys.folder
            func run(_ arguments: String...) throws -> (code: Int32?, output: String) {
                try Self.mrl(keys, keys.coordinatorSettings, ["keys"] + arguments)
            }
            #expect(try run("generate", "\(folder)/new", "--allow", "worker").code == 0)
            let key = try CurveKeyPair.publicKey(textOrFile: "\(folder)/new.public")
            #expect(try run("public", "\(folder)/new.secret").output == key + "\n")
            #expect(try run("list").output.contains("worker       \(key)  new"))
            let refused = try run("allow", "client", "\(folder)/new.public")
            #expect(refused.code == 1)
            #expect(refused.output.contains(keys.list("workers")))
            #expect(try run("allow", "client", "\(folder)/client.secret").code == 1)
            #expect(try run("allow", "worker", "\(folder)/new.public").output.contains("already"))
            #expect(try run("revoke", "worker", "new").code == 0)
            #expect(try run("revoke", "worker", "new").code == 1)
            #expect(try run("allow", "client", "\(folder)/new.public").code == 0)
            #expect(try run("list").output.contains("client       \(key)  new"))
            #expect(try run("list").output.contains(keys.pair("worker").publicKey))
            #expect(try Self.mrl(keys, [:], ["keys", "allow", "client", key]).output.contains("--list"))
        }
    }
}
