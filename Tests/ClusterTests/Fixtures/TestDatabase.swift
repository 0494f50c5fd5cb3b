import DocumentStore
import PostgreSQL
import RetrievalTesting

/// A database on the test process's private server, with the schema of this build.
final class TestDatabase {
    let name: String
    let url: String
    private let server: PrivateCluster

    init(on server: PrivateCluster? = nil, isMigrated: Bool = true) throws {
        self.server = try server ?? PrivateCluster.shared()
        url = try self.server.makeDatabase()
        name = String(url.split(separator: "/")[2].prefix { $0 != "?" })
        if isMigrated { try store().migrate() }
    }

    /// A new connection.
    func connection() throws -> Connection { try Connection(ConnectionSettings(url: url)) }

    /// A store on a new connection.
    func store() throws -> Store { try Store(connection()) }

    /// As another role.
    func url(as user: String) -> String { server.url(database: name, user: user) }

    /// Drops the database with whatever is still connected.
    func drop() {
        let settings = ConnectionSettings(url: server.url(database: "postgres"))
        try? Connection(settings).run(script: "DROP DATABASE IF EXISTS \(name) WITH (FORCE)")
    }
}
