import DocumentStore
import FoundationEssentials
import Glibc
import Matryoshka
import PostgreSQL
import ServiceRuntime

/// A cluster in an empty folder of its own, for a measurement.
struct OwnCluster: Sendable {
    let home: Home
    /// Held while it is taken away: once is enough, and what fails meanwhile is no news.
    private let removal = Lock()

    /// Nothing runs yet.
    ///
    /// - Parameters:
    ///   - folder: Must not exist; a short path under /var/tmp where nil, for the sockets' sake.
    ///   - purpose: Part of that path.
    /// - Throws: ``StartupFailure``.
    init(folder: String?, purpose: String) throws {
        guard !DatabaseAddress.isGiven else {
            throw StartupFailure("it makes a cluster of its own: run it without DATABASE_URL and libpq's variables")
        }
        let path = folder.map(absolutePath) ?? "/var/tmp/mrl-\(purpose)-\(getpid())"
        guard !exists(path) else { throw StartupFailure("\(path) exists already") }
        home = try Home(path)
        removeWhenToldToEnd()
    }

    /// What this process starts is no child of it, and would go on after Ctrl-C or SIGTERM.
    private func removeWhenToldToEnd() {
        let signals = TerminationSignals()
        let cluster = self
        _ = ServiceThread(name: "signals") {
            var waiting = pollfd(fd: signals.fileDescriptor, events: Int16(POLLIN), revents: 0)
            while true {
                guard poll(&waiting, 1, -1) > 0, let signal = signals.next() else { continue }
                Output.note("\nStopping, and removing \(cluster.home.path).")
                cluster.removal.withLock {
                    cluster.takeAway()
                    TerminationSignals.exitAtOnce(signal)
                }
            }
        }
    }

    /// Runs mrl with this cluster's folder.
    func mrl(_ arguments: [String]) throws {
        try Spawn(arguments: [try executableFolder() + "/mrl"] + arguments + ["--home", home.path], log: "/dev/null")
            .run()
    }

    /// Stops what runs and takes the folder away.
    func remove() { removal.withLock { takeAway() } }

    private func takeAway() {
        try? mrl(["down"])
        try? FileManager.default.removeItem(atPath: home.path)
    }

    /// Connects to its coordinator.
    func client() throws -> FrontClient {
        try FrontClient(try clientSettings(home: home))
    }

    /// Stores vectors under their numbers, as one collection that is made where it is missing.
    ///
    /// - Parameters:
    ///   - definition: The collection.
    ///   - range: The numbers.
    ///   - vectors: The vectors of a range of numbers.
    /// - Returns: The collection as it is stored.
    /// - Throws: ``StartupFailure``.
    func fill(
        _ definition: CollectionDefinition,
        _ range: Range<Int>,
        vectors: (Range<Int>) -> [[Float]]
    ) throws -> CollectionShape {
        let store = Store(try DatabaseAddress.connect(home))
        return try reportingStoreErrors {
            let found = try store.collections().first { $0.shape.name == definition.name }?.shape
            let shape = try found ?? store.createCollection(definition).shape
            var progress = ProgressLine("fill", total: range.count, at: now())
            for start in stride(from: range.lowerBound, to: range.upperBound, by: Store.bulkRowsMax) {
                let part = start..<min(start + Store.bulkRowsMax, range.upperBound)
                let rows = zip(part, vectors(part)).map { UpsertRow(externalID: String($0), vector: $1) }
                _ = try store.stageAndUpsert(collection: shape.collection, rows: rows)
                progress.update(part.upperBound - range.lowerBound, at: now())
            }
            progress.finish(range.count, at: now())
            _ = try store.connection.execute("CHECKPOINT")
            return shape
        }
    }

    /// Processor seconds that the processes have used, by kind: `shortlist`, `rerank`, `coordinator`, ….
    func processorSeconds() -> [String: Double] {
        var out: [String: Double] = [:]
        let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
        for process in ClusterState.read(home)?.processes ?? [] {
            // After the name in parentheses: state is field 3, utime and stime are 14 and 15.
            let fields = (readFile("/proc/\(process.pid)/stat") ?? "").split(separator: ")").last?.split(separator: " ")
            guard let fields, fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else {
                continue
            }
            out[String(process.name.prefix { $0.isLetter }), default: 0] += (user + system) / ticks
        }
        return out
    }

    /// Memory that a process takes.
    static func residentBytes(_ pid: Int) -> Int {
        for line in (readFile("/proc/\(pid)/status") ?? "").split(separator: "\n") where line.hasPrefix("VmRSS:") {
            return (Int(line.filter(\.isNumber)) ?? 0) * 1024
        }
        return 0
    }
}
