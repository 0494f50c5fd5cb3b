import Foundation
import Matryoshka
import PostgreSQL
import RetrievalTesting
import Synchronization
import Testing

@testable import DocumentStore

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
        let sentence =
            "the database has schema version 99, this build uses version \(Store.schemaVersions.upperBound): install a newer release"
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
        // Its own settings are defaults that it may change.
        try dashboard.run(script: "SET default_transaction_read_only = off")
        let object = try store.connection.execute("SELECT lo_from_bytea(0, 'secret')::bigint").int64(0, 0)
        for statement in [
            "SELECT matryoshka.upsert('docs', 'x', 'x', NULL, NULL)", "SELECT matryoshka.maintain()",
            "SELECT matryoshka.drop_tables(1)", "SELECT matryoshka.restrict_public()",
            "SELECT matryoshka.create_collection('x', NULL, 8, 2, true, 'cosine', 4, 2, 'int8')",
            "DELETE FROM ops.slow_searches", "CREATE TABLE ops.mine ()", "CREATE TABLE public.mine ()",
            "CREATE TEMP TABLE mine ()", "SELECT 1 INTO TEMP mine", "CREATE SCHEMA mine",
            "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "SELECT lo_create(0)", "SELECT lo_creat(-1)", "SELECT lo_from_bytea(0, 'x')", "SELECT lo_get(\(object))",
            "SELECT lo_open(\(object), 262144)", "SELECT lo_put(\(object), 0, 'x')", "SELECT lo_unlink(\(object))",
            "SELECT lo_import('/etc/hostname')", "SELECT lo_export(\(object), '/tmp/x')", "SELECT lowrite(0, 'x')",
            // What would hold a migration up, or fill the disk.
            "SELECT pg_advisory_lock(1298232434)", "SELECT pg_try_advisory_xact_lock_shared(1)",
            "SELECT pg_logical_emit_message(false, 'a', repeat('x', 1000))",
            "COPY (SELECT 1) TO '/tmp/x'", "COPY (SELECT 1) TO PROGRAM 'cat'", "SELECT pg_read_file('PG_VERSION')",
            "SET ROLE matryoshka_reader", "ALTER ROLE matryoshka_dashboard SUPERUSER",
        ] {
            let error = #expect(throws: PostgreSQLError.self, "\(statement)") { try dashboard.execute(statement) }
            // 55000: of a view that nobody can write to.
            #expect(["42501", "55000"].contains(error?.sqlState), "\(statement): \(error as Any)")
        }
        try store.connection.execute("SELECT lo_unlink(\(object))")
    }

    @Test("an owner who may not take everything from PUBLIC is told what is left, and has a schema all the same")
    func restrictedOwner() throws {
        let url = try PrivateCluster.shared().makeDatabase()
        let server = try Connection(ConnectionSettings(url: url))
        try server.run(script: "CREATE ROLE restricted_owner LOGIN CREATEROLE")
        try server.run(
            script: """
                DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO restricted_owner', current_database()); END $$
                """
        )
        func connection(_ user: String) throws -> Connection {
            try Connection(ConnectionSettings(url: url.replacing("postgres@", with: "\(user)@")))
        }
        let store = Store(try connection("restricted_owner"))
        var told: [String] = []
        try store.migrate { told.append($0) }
        #expect(told.last?.contains("large objects") == true)
        #expect(told.last?.contains("TEMPORARY") == false)
        #expect(try store.makeCollection().collection == 1)
        let dashboard = try connection("matryoshka_dashboard")
        try dashboard.execute("SELECT * FROM ops.workers")
        try dashboard.run(script: "SET default_transaction_read_only = off")
        #expect(throws: PostgreSQLError.self) { try dashboard.execute("CREATE TEMP TABLE mine ()") }
        // As superuser nothing is left.
        var later: [String] = []
        try Store(server).migrate { later.append($0) }
        #expect(later == [])
        #expect(throws: PostgreSQLError.self) { try dashboard.execute("SELECT lo_create(0)") }
        // And the owner still may what it needs.
        told = []
        try store.migrate { told.append($0) }
        #expect(told == [])
        try store.setAlias("live", collection: "docs")
    }

    @Test("an administrator may migrate a schema with data in it: what comes to it belongs to its owner")
    func administratorMigrates() throws {
        let url = try PrivateCluster.shared().makeDatabase()
        let server = try Connection(ConnectionSettings(url: url))
        try server.run(
            script: """
                CREATE ROLE former_owner LOGIN CREATEROLE;
                DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO former_owner', current_database()); END $$
                """
        )
        let connection = try Connection(ConnectionSettings(url: url.replacing("postgres@", with: "former_owner@")))
        let store = Store(connection)
        try store.migrate(to: 2) { _ in }
        try connection.run(
            script: """
                SELECT matryoshka.create_collection('old', NULL, 8, 2, true, 'cosine', 4, 2, 'int8');
                SELECT matryoshka.upsert('old', 'a', NULL, NULL, ARRAY[1, 2, 3, 4, 5, 6, 7, 8]::real[]);
                """
        )
        #expect(try store.schemaVersion() == 2)

        try Store(server).migrate()
        let strangers = try server.execute(
            """
            SELECT proname FROM pg_proc WHERE pronamespace = 'matryoshka'::regnamespace
                AND proowner <> 'former_owner'::regrole
            """
        )
        #expect((0..<strangers.rowCount).map { strangers.text($0, 0) } == [])
        let old = try #require(try store.collections().first?.shape)
        #expect(old.name == "old" && old.signSeed != 0)
        #expect(try store.table(old).count == 1)
        #expect(try store.makeCollection("new").name == "new")
        try store.migrate { Issue.record("ran: \($0)") }
        let service = try Connection(ConnectionSettings(url: url))
        try service.run(script: "SET ROLE matryoshka_service")
        #expect(try Store(service).table(old).count == 1)
        #expect(try Store(service).makeCollection("third").name == "third")
    }

    @Test("the service role does all that services do, and cannot drop or alter what it uses")
    func serviceRole() throws {
        let database = try TestDatabase()
        try database.connection().run(script: "CREATE ROLE service_login LOGIN IN ROLE matryoshka_service")
        let connection = try database.connection(user: "service_login")
        let store = Store(connection)
        try store.checkSchema()
        try store.migrate { Issue.record("ran: \($0)") }
        #expect(try store.reserveIncarnations(count: 2) == 1..<3)
        let term = try #require(try store.acquireLease(holder: "a", seconds: 5))
        #expect(try store.renewLease(term: term, holder: "a", seconds: 5))
        let row = AssignmentRow(collection: 1, generation: 1, role: "shortlist", shard: 0, worker: 1, state: "ready")
        #expect(try store.saveAssignments(term: term, epoch: 1, [row]))
        #expect(try store.loadAssignments().rows == [row])
        try store.registerModel(
            ModelRecord(id: "m", name: "m", dimensions: 8, smallestDimensions: 2, nesting: [2, 8])
        )
        let shape = try store.makeCollection()
        let number = shape.collection
        try store.setAlias("live", collection: "docs")
        let next = try store.configure("live", ResidencyChange(width: 4))
        #expect(try store.completeGeneration(collection: number, generation: next.generation, term: term))

        let vector = [Float](repeating: 1, count: 8)
        let start = try store.currentPosition()
        let key = IdempotencyKey(client: "c", key: "k", bodyHash: "h")
        _ = try store.upsert(
            collection: number,
            rows: [UpsertRow(externalID: "a", vector: vector), UpsertRow(externalID: "t", text: "t", vector: nil)],
            idempotency: key
        )
        let staged = [UpsertRow(externalID: "b", vector: vector)]
        #expect(try store.stageAndUpsert(collection: number, rows: staged, source: ("f", 1)).applied == 1)
        #expect(try store.delete(collection: number, externalIDs: ["b"]).applied == 1)
        try store.notifyWritten(collection: number)
        try connection.listen(Store.writtenChannel)
        #expect(try store.table(shape).values.map(\.externalID) == ["a"])
        #expect(try !store.changes(shape, shards: allShards, since: start, full: true).isEmpty)
        #expect(try store.pendingCounts() == ["docs": 1])
        try store.recordQuarantine(collection: number, [(shard: 1, id: 1, version: 1, reason: "r")])
        #expect(try store.connection.execute("SELECT count(*) FROM ops.quarantine").int64(0, 0) == 1)
        try store.recordCoverage([])
        try store.recordWorkers([])
        try store.recordSearchRollup([])
        try store.recordSlowSearches([])
        try store.maintain()

        for statement in [
            "DROP TABLE matryoshka.heads_\(number)", "DROP SCHEMA matryoshka CASCADE", "DROP VIEW ops.workers",
            "ALTER TABLE matryoshka.collections ADD mine int", "CREATE TABLE matryoshka.mine ()",
            "TRUNCATE matryoshka.documents_\(number)", "DELETE FROM matryoshka.heads_\(number)",
            "UPDATE matryoshka.documents_\(number) SET text = ''", "DELETE FROM matryoshka.collections",
            "UPDATE matryoshka.schema_version SET version = 1", "DELETE FROM matryoshka.changes",
            "SELECT matryoshka.grant_roles()", "SELECT matryoshka.create_tables(9, 8, 4)",
            "CREATE OR REPLACE FUNCTION matryoshka.slot(text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ] {
            let error = #expect(throws: PostgreSQLError.self, "\(statement)") { try connection.run(script: statement) }
            #expect(error?.sqlState == "42501", "\(statement): \(error as Any)")
        }
        // Dropping a collection goes by the function that leaves all others alone.
        try store.dropCollection("docs")
        #expect(
            try connection.execute("SELECT to_regclass('matryoshka.heads_\(number)') IS NULL").bool(0, 0)
        )
        try store.releaseLease(term: term)

        let owner = try database.store()
        try owner.connection.run(script: "DELETE FROM matryoshka.schema_version WHERE version > 1")
        let refusal = #expect(throws: StoreError.self) { try store.migrate() }
        #expect("\(refusal as Any)".contains("as the role that owns schema matryoshka"))
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
