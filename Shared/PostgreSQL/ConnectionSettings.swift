#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// How to reach the server, and how long to wait for it.
public struct ConnectionSettings: Sendable, Hashable {
    /// URL or libpq connection string; nil leaves all to libpq's own environment (PGHOST, PGDATABASE, PGPASSFILE, …).
    public var url: String?
    /// Shown in pg_stat_activity.
    public var applicationName: String
    /// How long to try to connect.
    public var connectTimeoutSeconds: Int = 5
    /// After which the server gives a statement up; 0 for never.
    public var statementTimeoutMilliseconds: Int = 30_000
    /// After which the server gives up to wait for a lock; 0 for never.
    public var lockTimeoutMilliseconds: Int = 0
    /// After which we give up a server that says nothing at all, beyond the statement timeout.
    public var silenceTimeoutMilliseconds: Int = 5_000

    /// Makes settings; `url` nil means DATABASE_URL where that is set, or else libpq's own environment.
    public init(url: String? = nil, applicationName: String = "matryoshka") {
        let given = url ?? getenv("DATABASE_URL").map { String(cString: $0) }
        self.url = given?.isEmpty == true ? nil : given
        self.applicationName = applicationName
    }

    /// Keywords for libpq; those after the URL win over it, those before do not.
    var keywords: [(String, String)] {
        var words: [(String, String)] = [
            ("connect_timeout", String(connectTimeoutSeconds)),
            ("keepalives", "1"), ("keepalives_idle", "5"), ("keepalives_interval", "2"), ("keepalives_count", "3"),
            ("tcp_user_timeout", "10000"),
            // With several hosts in the URL: the primary, for readers and followers too.
            ("target_session_attrs", "primary"),
        ]
        if let url { words.append(("dbname", url)) }
        words.append(("fallback_application_name", applicationName))
        words.append(("client_encoding", "UTF8"))
        return words
    }
}
