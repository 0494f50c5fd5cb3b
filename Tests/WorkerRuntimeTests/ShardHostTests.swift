import DocumentStore
import Logging
import Matryoshka
import PostgreSQL
import RetrievalTesting
import ServiceRuntime
import Testing
import WireProtocol

@testable import WorkerRuntime

@Suite("Shards held from a real store", .serialized, .timeLimit(.minutes(2)))
struct ShardHostTests {
    private let url: String
    private let store: Store
    private let shape: CollectionShape
    private var key: HoldingKey { HoldingKey(collection: shape.collection, generation: shape.generation) }

    init() throws {
        url = try PrivateCluster.shared().makeDatabase()
        store = Store(try Connection(ConnectionSettings(url: url)))
        try store.migrate()
        shape = try store.createCollection(
            CollectionDefinition(
                name: "docs",
                dimensions: 8,
                smallestDimensions: 2,
                storedHeadWidth: 4,
                residency: ResidencyChange(width: 2)
            )
        ).shape
    }

    private func write(_ ids: Range<Int>) throws {
        let rows = ids.map { UpsertRow(externalID: "d\($0)", vector: [1, 2, 3, 4, 5, 6, 7, Float($0)]) }
        _ = try store.upsert(collection: shape.collection, rows: rows)
    }

    private func makeHost(pollMilliseconds: Int = 20, capacityBytes: Int = 1 << 30) throws -> ShardHost<CountedRows> {
        let host = try ShardHost<CountedRows>(
            database: ConnectionSettings(url: url),
            capacityBytes: capacityBytes,
            pollMilliseconds: pollMilliseconds,
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            changed: {}
        )
        host.start()
        return host
    }

    private func assign(_ host: ShardHost<CountedRows>, _ shards: Range<UInt16>, epoch: UInt64 = 1) {
        let assigned = ShardAssignments.Assigned(shape: WireShape(shape), shards: Array(shards))
        host.apply(ShardAssignments(epoch: epoch, collections: [assigned]))
    }

    private func rows(_ host: ShardHost<CountedRows>) -> Int? {
        let reports = host.holdings.shards
        return reports.allSatisfy { $0.state == .ready } ? reports.reduce(0) { $0 + $1.rows } : nil
    }

    /// Microseconds until it is so; nil after 10 s.
    private func wait(_ isSo: () throws -> Bool) rethrows -> UInt64? {
        let start = ServiceProcess.monotonicMicroseconds()
        while true {
            let spent = ServiceProcess.monotonicMicroseconds() - start
            if try isSo() { return spent }
            if spent > 10_000_000 { return nil }
            let lock = Lock()
            let condition = Condition(lock)
            lock.withLock { _ = condition.wait(untilMicroseconds: ServiceProcess.monotonicMicroseconds() + 500) }
        }
    }

    @Test("are loaded, follow writes and deletes, and start anew after TRUNCATE")
    func follows() throws {
        try write(0..<500)
        let host = try makeHost()
        assign(host, 0..<64)
        #expect(wait { rows(host) == 500 } != nil)
        try write(400..<600)
        #expect(wait { rows(host) == 600 } != nil)
        _ = try store.delete(collection: shape.collection, externalIDs: (0..<100).map { "d\($0)" })
        #expect(wait { rows(host) == 500 } != nil)
        try store.connection.run(script: "TRUNCATE matryoshka.heads_\(shape.collection)")
        #expect(wait { rows(host) == 0 } != nil)
        #expect(host.holdings.shards.allSatisfy { $0.state == .ready })
    }

    @Test("notice a hint at once")
    func hints() throws {
        let host = try makeHost(pollMilliseconds: 5000)
        assign(host, 0..<64)
        #expect(wait { rows(host) == 0 } != nil)
        try write(0..<10)
        try store.notifyWritten(collection: shape.collection)
        let spent = try #require(wait { rows(host) == 10 })
        #expect(spent < 1_000_000, "took \(spent) µs")
    }

    @Test("are gone with their collection, and come back with a new connection")
    func gone() throws {
        try write(0..<50)
        let host = try makeHost()
        assign(host, 0..<64)
        #expect(wait { rows(host) == 50 } != nil)
        try store.connection.run(
            script: """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE pid <> pg_backend_pid() AND datname = current_database()
                """
        )
        try write(50..<60)
        #expect(wait { rows(host) == 60 } != nil)
        #expect(wait { host.holdings.isDatabaseReachable } != nil)
        try store.connection.run(
            script: "DROP TABLE matryoshka.heads_\(shape.collection), matryoshka.tails_\(shape.collection) CASCADE"
        )
        try store.connection.run(
            script: """
                INSERT INTO matryoshka.changes (collection, shard, slots, ids, xid)
                    VALUES (\(shape.collection), 0, '{1}', '{1}', pg_current_xact_id())
                """
        )
        #expect(wait { host.holdings.shards.isEmpty } != nil)
    }

    @Test("that take long to build are loaded a few at a time, and others in between")
    func portions() throws {
        try write(0..<500)
        let host = try ShardHost<OpenRows>(
            database: ConnectionSettings(url: url),
            capacityBytes: 1 << 30,
            pollMilliseconds: 20,
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            changed: {}
        )
        host.start()
        let assigned = ShardAssignments.Assigned(shape: WireShape(shape), shards: Array(0..<64))
        host.apply(ShardAssignments(epoch: 1, collections: [assigned]))
        let isLoaded = wait {
            let reports = host.holdings.shards
            return reports.count == 64 && reports.allSatisfy { $0.state == .ready }
                && reports.reduce(0) { $0 + $1.rows } == 500
        }
        #expect(isLoaded != nil)
    }

    @Test("are refused beyond the capacity")
    func capacity() throws {
        try write(0..<1000)
        let host = try makeHost(capacityBytes: 5000)
        assign(host, 0..<64)
        #expect(wait { host.holdings.shards.contains { $0.state == .ready } } != nil)
        #expect(host.holdings.residentBytes <= 5000)
        #expect(host.holdings.shards.contains { $0.state == .loading })
    }

    @Test("of two collections in one map stay within the capacity together")
    func capacityOfTwo() throws {
        let other = try store.createCollection(
            CollectionDefinition(
                name: "more",
                dimensions: 8,
                smallestDimensions: 2,
                storedHeadWidth: 4,
                residency: ResidencyChange(width: 2)
            )
        ).shape
        for shape in [shape, other] {
            let rows = (0..<400).map { UpsertRow(externalID: "d\($0)", vector: [1, 2, 3, 4, 5, 6, 7, Float($0)]) }
            _ = try store.upsert(collection: shape.collection, rows: rows)
        }
        let host = try makeHost(capacityBytes: 5000)
        host.apply(
            ShardAssignments(
                epoch: 1,
                collections: [shape, other].map { .init(shape: WireShape($0), shards: Array(0..<64)) }
            )
        )
        var most = 0
        func ready(_ shape: CollectionShape) -> Int {
            host.holdings.shards.count { $0.collection == shape.collection && $0.state == .ready }
        }
        let isLoaded = wait {
            most = max(most, host.holdings.residentBytes)
            return ready(shape) + ready(other) > 64 && (ready(shape) == 64 || ready(other) == 64)
        }
        #expect(isLoaded != nil)
        #expect(most <= 5000)
    }
}
