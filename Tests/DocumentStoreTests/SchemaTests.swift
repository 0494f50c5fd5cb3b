import DocumentStore
import Foundation
import Matryoshka
import PostgreSQL
import RetrievalTesting
import Synchronization
import Testing

@Suite("Schema")
struct SchemaTests {
    @Test("migrating twice, and from several processes at once, is the same as once")
    func migratesOnce() throws {
        let url = try PrivateCluster.shared().makeDatabase()
        let failures = Mutex<[String]>([])
        DispatchQueue.concurrentPerform(iterations: 4) { _ in
            do {
                try Store(Connection(ConnectionSettings(url: url))).migrate()
            } catch {
                failures.withLock { $0.append("\(error)") }
            }
        }
        #expect(failures.withLock { $0 } == [])
        let store = Store(try Connection(ConnectionSettings(url: url)))
        try store.migrate { Issue.record("ran again: \($0)") }
        #expect(try store.schemaVersion() == Store.schemaVersions.upperBound)
        try store.checkSchema()
    }

    @Test("a schema outside the range of versions is refused with a sentence that says what to do")
    func refusesOtherVersions() throws {
        let empty = Store(try Connection(ConnectionSettings(url: try PrivateCluster.shared().makeDatabase())))
        #expect(throws: StoreError.schema("the database has no Matryoshka schema: run `mrl migrate`")) {
            try empty.checkSchema()
        }
        let store = try TestDatabase().store()
        try store.connection.execute("INSERT INTO matryoshka.schema_version VALUES (99, 'future')")
        let sentence = "the database has schema version 99, this build uses version \(Store.schemaVersions.upperBound): install a newer release"
        #expect(throws: StoreError.schema(sentence)) { try store.checkSchema() }
        #expect(throws: StoreError.schema(sentence)) { try store.migrate() }
    }

    @Test("collections are made, listed, aliased, reconfigured and dropped")
    func collections() throws {
        let store = try TestDatabase().store()
        try store.registerModel(
            ModelRecord(id: "m1", name: "test", dimensions: 16, smallestDimensions: 4, nesting: [4, 8, 16])
        )
        #expect(try store.models().map(\.nesting) == [[4, 8, 16]])
        let made = try store.createCollection(
            CollectionDefinition(name: "docs", model: "m1", dimensions: 16, smallestDimensions: 4)
        )
        #expect(made.shape.storedHeadWidth == 16)
        #expect(made.shape.residentWidth == 16)
        #expect(made.shape.model == "m1")
        #expect(made.targetShape == nil)
        #expect(throws: StoreError.alreadyExists("collection or alias \"docs\" exists already")) {
            try store.createCollection(CollectionDefinition(name: "docs", dimensions: 16))
        }
        #expect(throws: StoreError.self) {
            try store.createCollection(CollectionDefinition(name: "Docs!", dimensions: 16))
        }
        #expect(throws: StoreError.unknownModel("model \"m2\" is not registered")) {
            try store.createCollection(CollectionDefinition(name: "more", model: "m2", dimensions: 16))
        }
        #expect(throws: StoreError.invalidDefinition("model \"m1\" has 16 dimensions, not 8")) {
            try store.createCollection(CollectionDefinition(name: "more", model: "m1", dimensions: 8))
        }

        try store.setAlias("live", collection: "docs")
        #expect(try store.aliases() == ["live": "docs"])
        #expect(try store.collections().first?.aliases == ["live"])
        #expect(throws: StoreError.self) { try store.setAlias("docs", collection: "docs") }

        let target = try store.configure("live", ResidencyChange(width: 8, precision: .float32))
        #expect(target.generation == 2)
        #expect(try store.collections().first?.targetShape == target)
        #expect(try store.collections().first?.shape.generation == 1)
        let term = try #require(try store.acquireLease(holder: "a", seconds: 5))
        #expect(try !store.completeGeneration(collection: target.collection, generation: 2, term: term - 1))
        #expect(try store.completeGeneration(collection: target.collection, generation: 2, term: term))
        #expect(try store.collections().first?.shape == target)
        #expect(try store.collections().first?.targetShape == nil)
        #expect(throws: StoreError.self) { try store.configure("docs", ResidencyChange(width: 17)) }

        try store.dropCollection("docs")
        #expect(try store.collections().isEmpty)
        #expect(throws: StoreError.self) {
            try store.upsert(
                collection: made.shape.collection,
                rows: [UpsertRow(externalID: "a", text: "a", vector: nil)]
            )
        }
        let left = try store.connection.execute(
            "SELECT count(*) FROM pg_class WHERE relname ~ '_\(made.shape.collection)(_|$)' AND relkind IN ('r', 'p')"
        )
        #expect(left.int64(0, 0) == 0)
        #expect(try store.createCollection(CollectionDefinition(name: "docs", dimensions: 4)).shape.collection > 1)
    }

    @Test("the dashboard role reads the views of ops and nothing else")
    func dashboardRole() throws {
        let database = try TestDatabase()
        let store = try database.store()
        let shape = try store.makeCollection()
        _ = try store.upsert(
            collection: shape.collection,
            rows: [UpsertRow(externalID: "a", text: "wait", vector: nil)]
        )
        let dashboard = try database.connection(user: "matryoshka_dashboard")
        let views = [
            "workers", "shard_coverage", "search_per_minute", "slow_searches", "replication_lag", "pending",
            "quarantine",
        ]
        for view in views { try dashboard.execute("SELECT * FROM ops.\(view)") }
        #expect(try dashboard.execute("SELECT documents FROM ops.pending").int64(0, 0) == 1)
        let there = try dashboard.execute(
            "SELECT array_agg(table_name::text ORDER BY table_name) FROM information_schema.views WHERE table_schema = 'ops'"
        )
        #expect(there.texts(0, 0) == views.sorted())

        let tables = try store.connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'matryoshka'::regnamespace AND relkind IN ('r','p')"
        )
        #expect(tables.rowCount > 70)
        for row in 0..<tables.rowCount {
            let error = #expect(throws: PostgreSQLError.self) {
                try dashboard.execute("SELECT * FROM \(tables.text(row, 0))")
            }
            #expect(error?.sqlState == "42501")
        }
        for statement in [
            "SELECT matryoshka.upsert('docs', 'x', 'x', NULL, NULL)", "SELECT matryoshka.maintain()",
            "DELETE FROM ops.slow_searches", "CREATE TABLE ops.mine ()",
        ] {
            #expect(throws: PostgreSQLError.self) { try dashboard.execute(statement) }
        }
    }

    @Test("writers write through the functions, and not to heads, tails, documents or a partition")
    func writerRole() throws {
        let database = try TestDatabase()
        let shape = try database.store().makeCollection()
        let number = shape.collection
        let connection = try database.connection()
        try connection.run(script: "SET ROLE matryoshka_writer")
        for statement in [
            "INSERT INTO matryoshka.heads_\(number) VALUES (1, 1, 1, '\\x')", "DELETE FROM matryoshka.heads_\(number)",
            "DELETE FROM matryoshka.heads_\(number)_3", "UPDATE matryoshka.tails_\(number) SET tail = ''",
            "TRUNCATE matryoshka.heads_\(number)", "DELETE FROM matryoshka.documents_\(number)",
            "DELETE FROM matryoshka.changes", "SELECT matryoshka.maintain()", "SELECT * FROM matryoshka.staging",
            "INSERT INTO matryoshka.staging (xid, collection, external_id) VALUES ('1', \(number), 'x')",
        ] {
            let error = #expect(throws: PostgreSQLError.self) { try connection.run(script: statement) }
            #expect(error?.sqlState == "42501", "\(statement)")
        }
        try connection.execute("SELECT matryoshka.upsert('docs', 'a', 'text', '{}', '{1,2,3,4,5,6,7,8}')")
        let writer = Store(connection)
        let rows = [UpsertRow(externalID: "b", vector: [Float](repeating: 1, count: 8))]
        #expect(try writer.stageAndUpsert(collection: number, rows: rows, source: ("f", 1)).applied == 1)
        #expect(try writer.delete(collection: number, externalIDs: ["a", "z"]).unknown == ["z"])
        try connection.run(script: "SET ROLE matryoshka_reader")
        #expect(try writer.table(shape).values.map(\.externalID) == ["b"])
        #expect(try writer.changes(shape, shards: [1], since: writer.currentPosition(), full: true).isEmpty)
        #expect(throws: (any Error).self) { try writer.upsert(collection: number, rows: rows) }
    }
}
