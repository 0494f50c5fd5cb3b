import DocumentStore
import FoundationEssentials
import Glibc
import Matryoshka
import PostgreSQL
import RetrievalTesting
import Testing
import WireProtocol

/// A whole cluster of real processes over a database of its own.
final class TestCluster {
    /// Private to this cluster; short, since ipc paths end at 107 bytes.
    let folder: String
    let database: TestDatabase
    /// What every process gets.
    var settings: [String: String]
    private(set) var coordinators: [ChildProcess] = []
    private(set) var shortlists: [ChildProcess] = []
    private(set) var rerankers: [ChildProcess] = []
    private(set) var encoders: [ChildProcess] = []
    private var started = 0
    private let extraFronts: String
    /// What the processes connect to; the test itself is superuser.
    private let databaseURL: String
    /// Its sockets are TCP and admit these keys; nil: ipc without keys.
    let keys: Keyring?

    /// Starts the processes; ``waitUntilServing(_:rows:)`` says when they serve.
    ///
    /// With a `serviceUser`, a member of matryoshka_service of that name is what they connect as. Before, `prepare` may
    /// change the database.
    init(
        shortlists: Int = 1,
        rerankers: Int = 1,
        encoders: Int = 0,
        coordinators: Int = 1,
        settings: [String: String] = [:],
        server: PrivateCluster? = nil,
        extraFront: String? = nil,
        keys: Keyring? = nil,
        serviceUser: String? = nil,
        prepare: (TestDatabase) throws -> Void = { _ in }
    ) throws {
        self.keys = keys
        extraFronts = extraFront.map { "," + $0 } ?? ""
        database = try TestDatabase(on: server)
        try prepare(database)
        if let serviceUser {
            try database.connection().run(script: "CREATE ROLE \(serviceUser) LOGIN IN ROLE matryoshka_service")
        }
        databaseURL = serviceUser.map(database.url(as:)) ?? database.url
        folder = try makePrivateFolder()
        self.settings = ["MRL_LOG_LEVEL": "info"].merging(settings) { $1 }
        for number in 0..<coordinators { self.coordinators.append(try startCoordinator(number)) }
        for _ in 0..<encoders { try addEncoder() }
        for _ in 0..<rerankers { try addReranker() }
        for _ in 0..<shortlists { try addShortlist() }
    }

    deinit {
        for child in children { child.kill() }
        database.drop()
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// All processes, also those that ended.
    var children: [ChildProcess] { coordinators + encoders + rerankers + shortlists }

    /// Front endpoint of a coordinator.
    func front(_ number: Int = 0) -> String { keys?.front ?? "ipc://\(folder)/front\(number).sock" }
    /// Back endpoint of a coordinator.
    func back(_ number: Int) -> String { keys?.back ?? "ipc://\(folder)/back\(number).sock" }

    /// A new client.
    func client(_ number: Int = 0) throws -> TestClient {
        try TestClient(front(number), curve: keys?.options("client"))
    }

    private func start(_ program: String, _ name: String, _ extra: [String: String]) throws -> ChildProcess {
        started += 1
        return try ChildProcess(
            name,
            executable: executable(program),
            environment: environment.merging(extra) { $1 },
            logPath: "\(folder)/\(started)-\(name).log"
        )
    }

    /// The environment of every process.
    var environment: [String: String] {
        baseEnvironment.merging(["DATABASE_URL": databaseURL, "MRL_RUN_DIRECTORY": folder]) { $1 }
            .merging(settings) { $1 }
    }

    private func startCoordinator(_ number: Int) throws -> ChildProcess {
        try start(
            "mrl-coordinator",
            "coordinator\(number)",
            ["MRL_COORDINATOR_FRONT": front(number) + extraFronts, "MRL_COORDINATOR_BACK": back(number)]
                .merging(keys?.coordinatorSettings ?? [:]) { $1 }
        )
    }

    /// Starts a killed coordinator anew on the same sockets.
    func restartCoordinator(_ number: Int = 0) throws { coordinators[number] = try startCoordinator(number) }

    private var workerEndpoints: [String: String] {
        // Workers connect to every coordinator.
        ["MRL_COORDINATOR_BACK": coordinators.indices.map(back).joined(separator: ",")]
            .merging(keys?.settings("worker") ?? [:]) { $1 }
    }

    /// Starts one more shortlist worker.
    @discardableResult
    func addShortlist(_ extra: [String: String] = [:]) throws -> ChildProcess {
        let child = try start(
            "mrl-shortlist",
            "shortlist\(shortlists.count)",
            workerEndpoints.merging(extra) { $1 }
        )
        shortlists.append(child)
        return child
    }

    /// Starts one more rerank worker.
    @discardableResult
    func addReranker(_ extra: [String: String] = [:]) throws -> ChildProcess {
        let child = try start("mrl-rerank", "rerank\(rerankers.count)", workerEndpoints.merging(extra) { $1 })
        rerankers.append(child)
        return child
    }

    /// Starts one more encoder.
    @discardableResult
    func addEncoder(_ extra: [String: String] = [:]) throws -> ChildProcess {
        let child = try start(
            "mrl-encoder",
            "encoder\(encoders.count)",
            workerEndpoints.merging(["MRL_ENCODER_MODEL": try modelDirectory()]) { $1 }.merging(extra) { $1 }
        )
        encoders.append(child)
        return child
    }

    /// The model that encoders load.
    private func modelDirectory() throws -> String {
        let path = "\(folder)/model"
        if !FileManager.default.fileExists(atPath: path) { try TinyModel.write(to: path) }
        return path
    }

    // MARK: Data

    /// Makes a collection through the front socket and fills it with COPY.
    func fill(_ create: CreateCollection, _ corpus: SyntheticCorpus) throws -> CollectionShape {
        // A collection is bound to the model of the encoder that runs.
        try waitUntilEncoders()
        _ = try client().object(.collections(.create(create)), deadline: 20_000)
        let store = try database.store()
        guard let record = try store.collections().first(where: { $0.shape.name == create.name }) else {
            throw TestFailure("\(create.name) is not in the store")
        }
        try stage(corpus, into: record.shape.collection, store)
        return record.shape
    }

    /// A collection of the corpus with 32 dimensions in memory, once all of it is served.
    func serve(_ name: String, _ corpus: SyntheticCorpus) throws -> CollectionShape {
        let shape = try fill(
            CreateCollection(
                name: name,
                dimensions: corpus.dimensions,
                smallestDimensions: 8,
                residency: ResidencyChange(width: 32)
            ),
            corpus
        )
        try waitUntilServing(shape, rows: corpus.count)
        return shape
    }

    /// COPY and `upsert_staged`, in batches.
    func stage(_ corpus: SyntheticCorpus, into collection: UInt32, _ store: Store) throws {
        for first in stride(from: 0, to: corpus.count, by: 5_000) {
            let rows = (first..<min(first + 5_000, corpus.count)).map { row in
                UpsertRow(
                    externalID: corpus.ids[row],
                    text: "text of \(corpus.ids[row])",
                    payload: "{\"row\": \(row)}",
                    vector: corpus[row]
                )
            }
            _ = try store.stageAndUpsert(collection: collection, rows: rows)
        }
        try store.notifyWritten(collection: collection)
    }

    /// The table's rows and the right answers over them.
    func truth(_ shape: CollectionShape) throws -> Truth { try Truth(database.store(), shape) }

    // MARK: Waiting

    /// Waits until a search covers exactly `rows` at both kinds of workers.
    func waitUntilServing(
        _ shape: CollectionShape,
        rows: Int,
        seconds: Double = 20,
        coordinator: Int = 0,
        location: SourceLocation = #_sourceLocation
    ) throws {
        let client = try client(coordinator)
        let probe = [Float](repeating: 1, count: shape.dimensions)
        let first = max(shape.smallestDimensions, min(shape.residentWidth, shape.dimensions - 1))
        let adaptive = SearchRequest(
            shape.name,
            [probe],
            plan: [Stage(dimensions: first, keep: 1), Stage(dimensions: shape.dimensions, keep: 1)]
        )
        let exhaustive = SearchRequest(shape.name, [probe], plan: [Stage(dimensions: shape.dimensions, keep: 1)])
        var last = "nothing"
        let isServing = try poll(seconds: seconds, every: 0.03) {
            do {
                for request in [adaptive, exhaustive] {
                    let reply = try client.search(request, deadline: 1_000)
                    last = "\(reply.coverage) \(reply.degraded)"
                    guard reply.coverage.isComplete, reply.degraded.isEmpty, reply.coverage.rowsSearched == rows else {
                        return false
                    }
                }
                return true
            } catch let error as FrontError {
                last = "\(error)"
                return false
            }
        }
        if !isServing { throw failure("\(shape.name) does not serve \(rows) rows; last: \(last)") }
    }

    /// As ``waitUntilServing(_:rows:seconds:coordinator:location:)`` for a collection that allows the full size alone.
    func waitUntilExhaustive(_ shape: CollectionShape, rows: Int, seconds: Double = 20) throws {
        let client = try client()
        let probe = [Float](repeating: 1, count: shape.dimensions)
        let request = SearchRequest(shape.name, [probe], plan: [Stage(dimensions: shape.dimensions, keep: 1)])
        let isServing = poll(seconds: seconds, every: 0.03) {
            (try? client.search(request, deadline: 1_000))?.coverage.rowsSearched == rows
        }
        if !isServing { throw failure("\(shape.name) does not serve \(rows) rows") }
    }

    /// Waits until exactly `holders` running shortlist workers hold rows and no shard is on its way.
    func waitUntilBalanced(_ client: TestClient, holders: Int, rows: Int, seconds: Double = 20) throws {
        var last = ClusterStatus()
        let isBalanced = try poll(seconds: seconds) {
            last = try ClusterStatus(client)
            let held = last.shortlists.filter { $0.rows > 0 }
            return held.count == holders && held.allSatisfy { $0.isSettled } && held.map(\.rows).reduce(0, +) == rows
        }
        if !isBalanced { throw failure("no balance over \(holders) shortlist workers: \(last)") }
    }

    /// Waits until all encoders are registered.
    func waitUntilEncoders() throws {
        guard !encoders.isEmpty else { return }
        let client = try client()
        let areThere = try poll(seconds: 15) {
            try ClusterStatus(client).workers.filter { $0.role == "encoder" }.count == encoders.count
        }
        if !areThere { throw failure("encoders are missing") }
    }

    /// Waits until exactly `holders` rerank workers hold rows.
    func waitUntilRerankers(_ client: TestClient, holders: Int, seconds: Double = 20) throws {
        let areReady = try poll(seconds: seconds) {
            let held = try ClusterStatus(client).workers.filter { $0.role == "rerank" && $0.rows > 0 }
            return held.count == holders && held.allSatisfy { $0.isSettled }
        }
        if !areReady { throw failure("not \(holders) rerank workers: \(try ClusterStatus(client))") }
    }

    /// A failure with the ends of all logs.
    func failure(_ sentence: String) -> TestFailure {
        var text = sentence
        for child in children {
            let lines = child.log.split(separator: "\n").suffix(12).joined(separator: "\n    ")
            text += "\n  \(child.name) (\(child.exitCode.map { "exit \($0)" } ?? "running")):\n    \(lines)"
        }
        return TestFailure(text)
    }
}

/// What `status` says, as far as tests look at it.
struct ClusterStatus {
    struct Worker {
        var pid: Int
        var role: String
        var state: String
        var rows: Int
        var bytes: Int
        var shards: Int
        /// All its shards are ready.
        var isSettled: Bool
    }

    var workers: [Worker] = []
    var json: JSONValue = .null
    var shortlists: [Worker] { workers.filter { $0.role == "shortlist" } }

    init() {}

    init(_ client: TestClient) throws {
        json = try client.object(.status)
        guard case .array(let entries)? = json["workers"] else { throw TestFailure("status has no workers: \(json)") }
        workers = entries.map { entry in
            Worker(
                pid: entry["pid"]?.int ?? 0,
                role: entry["role"]?.text ?? "",
                state: entry["state"]?.text ?? "",
                rows: entry["rows"]?.int ?? 0,
                bytes: entry["resident_bytes"]?.int ?? 0,
                shards: entry["shards"]?.int ?? 0,
                isSettled: (entry["ready_shards"]?.int) == entry["shards"]?.int
            )
        }
    }
}

extension JSONValue {
    var int: Int? {
        if case .integer(let value) = self { return Int(value) }
        if case .number(let value) = self { return Int(value) }
        return nil
    }
    var text: String? {
        if case .string(let value) = self { return value }
        return nil
    }
    var elements: [JSONValue] {
        if case .array(let values) = self { return values }
        return []
    }
}

/// A folder of mode 0700 with a short path.
func makePrivateFolder() throws -> String {
    var template = Array("/tmp/mrl-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw TestFailure("no folder under /tmp") }
    return String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
}

/// An executable of the package: they are built beside the test binary.
func executable(_ name: String) -> String {
    let path = ProcessInfo.processInfo.environment["MRL_TEST_EXECUTABLES"] ?? executableFolder
    return "\(path)/\(name)"
}

private let executableFolder: String = {
    var buffer = [CChar](repeating: 0, count: 4096)
    let length = readlink("/proc/self/exe", &buffer, buffer.count - 1)
    let path = String(decoding: buffer[..<max(length, 0)].map(UInt8.init(bitPattern:)), as: UTF8.self)
    return String(path[..<(path.lastIndex(of: "/") ?? path.endIndex)])
}()

/// What children inherit: nothing that could point them at another cluster.
let baseEnvironment: [String: String] = {
    let kept = ["PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "MRL_KERNELS"]
    return ProcessInfo.processInfo.environment.filter { kept.contains($0.key) }
        .merging(["OPENBLAS_NUM_THREADS": "1"]) { $1 }
}()
