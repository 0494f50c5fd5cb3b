internal import PostgreSQL

extension Store {
    /// Schema versions that this build can use.
    public static let schemaVersions: ClosedRange<Int> = 5...5

    /// In order; the number is the schema version that it leads to.
    private static var migrations: [(version: Int, name: String, sql: [UInt8])] {
        [
            (1, "foundation", PackageResources.v0001_foundation_sql),
            (2, "index", PackageResources.v0002_index_sql),
            (3, "coverage", PackageResources.v0003_coverage_sql),
            (4, "rights", PackageResources.v0004_rights_sql),
            (5, "signs", PackageResources.v0005_signs_sql),
        ]
    }

    /// Brings the schema to the newest version that this build knows.
    ///
    /// Safe to call again, and from several processes. `progress` is told each migration before it runs.
    public func migrate(progress: (String) -> Void = { _ in }) throws {
        try migrate(to: Self.schemaVersions.upperBound, progress: progress)
    }

    /// Stops at an older version, for tests of what migrations do to data.
    func migrate(to last: Int, progress: (String) -> Void = { _ in }) throws {
        try typed {
            try connection.withoutStatementTimeout {
                // Bounds the wait for the advisory lock too.
                try connection.run(script: "SET lock_timeout = '10s'")
                defer { try? connection.run(script: "RESET lock_timeout") }
                // "Matr" in ASCII; held by the session, so that it spans the migrations.
                try connection.execute("SELECT pg_advisory_lock(1298232434)")
                defer { _ = try? connection.execute("SELECT pg_advisory_unlock(1298232434)") }
                let version = try schemaVersion()
                guard version <= Self.schemaVersions.upperBound else { return try checkSchema() }
                if version > 0, try !isOwner() {
                    // Who may only use the schema can start a cluster over it, once its owner has migrated it.
                    if version == Self.schemaVersions.upperBound { return }
                    throw StoreError.schema(
                        "the schema's version \(version) is to become \(Self.schemaVersions.upperBound): run `mrl migrate` "
                            + "as the role that owns schema matryoshka"
                    )
                }
                for migration in Self.migrations where migration.version > version && migration.version <= last {
                    progress("migration \(migration.version): \(migration.name)")
                    try connection.transaction {
                        // What an administrator adds must belong to the owner as well.
                        if let owner = try schemaOwner() { try connection.run(script: "SET LOCAL ROLE \(owner)") }
                        try connection.run(script: String(decoding: migration.sql, as: UTF8.self))
                        try connection.run(
                            script: """
                                CREATE TABLE IF NOT EXISTS matryoshka.schema_version (
                                    version int PRIMARY KEY, name text NOT NULL, applied_at timestamptz DEFAULT now()
                                );
                                INSERT INTO matryoshka.schema_version (version, name)
                                    VALUES (\(migration.version), '\(migration.name)');
                                """
                        )
                    }
                }
                if last < Self.schemaVersions.upperBound { return }
                // Roles may have been created by an administrator since; and the change log's next days are due.
                try connection.run(
                    script: """
                        SELECT matryoshka.create_roles(); SELECT matryoshka.grant_roles();
                        SELECT matryoshka.maintain_changes();
                        """
                )
                let open = try connection.execute("SELECT matryoshka.restrict_public()").texts(0, 0)
                if !open.isEmpty {
                    progress(
                        "not taken from PUBLIC, for this user may not: \(open.joined(separator: ", ")) "
                            + "(deploy/postgresql/README.md)"
                    )
                }
            }
        }
    }

    /// The schema's owner, quoted for SQL; nil where there is no schema.
    private func schemaOwner() throws -> String? {
        let owner = try execute("SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'matryoshka'")
        return owner.rowCount == 1 ? owner.text(0, 0) : nil
    }

    /// This user, or a role that it is a member of, owns the schema.
    private func isOwner() throws -> Bool {
        try execute("SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'matryoshka'").bool(0, 0)
    }

    /// The version of the database's schema; 0 where there is none.
    public func schemaVersion() throws -> Int {
        let isThere = try execute("SELECT to_regclass('matryoshka.schema_version') IS NOT NULL").bool(0, 0)
        guard isThere else { return 0 }
        return Int(try execute("SELECT coalesce(max(version), 0) FROM matryoshka.schema_version").int32(0, 0))
    }

    /// Throws ``StoreError/schema(_:)`` unless this build can use the schema.
    public func checkSchema() throws {
        let version = try schemaVersion()
        let range = Self.schemaVersions
        if range.contains(version) { return }
        let usable =
            range.count == 1 ? "version \(range.lowerBound)" : "versions \(range.lowerBound) to \(range.upperBound)"
        if version == 0 {
            throw StoreError.schema("the database has no Matryoshka schema: run `mrl migrate`")
        }
        throw StoreError.schema(
            "the database has schema version \(version), this build uses \(usable): "
                + (version < range.lowerBound ? "run `mrl migrate`" : "install a newer release")
        )
    }

    /// Upkeep that one process does about once an hour.
    ///
    /// Partitions and retention of the change log, old reports, tables of dropped collections. What finds a lock taken
    /// is left for the next time.
    public func maintain() throws {
        try execute("SELECT matryoshka.maintain()")
    }
}
