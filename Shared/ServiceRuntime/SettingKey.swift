/// What a value of a setting may be.
public enum SettingKind: Sendable, Hashable {
    /// Any text, or one of those listed.
    case text(oneOf: [String]? = nil)
    /// A whole number. With the unit `bytes` it may end in KiB, MiB, GiB or TiB.
    case integer(ClosedRange<Int>)
    /// Texts: comma-separated in flags and environment, an array of strings in the file.
    case list
}

/// One documented setting of the services.
public struct Setting: Sendable, Hashable {
    /// Dotted name, as in the file and in messages, such as `coordinator.front`.
    public let name: String
    /// Environment variables that set it, the first one counts.
    public let environment: [String]
    /// What its values may be.
    public let kind: SettingKind
    /// The default as it would be written; nil for none.
    public let defaultText: String?
    /// Unit of a number, or empty.
    public let unit: String
    /// One sentence for the reader of `--help`.
    public let meaning: String

    /// The flag of a command line: `--coordinator-front`.
    public var flag: String { "--" + name.map { $0 == "." || $0 == "_" ? "-" : String($0) }.joined() }
}

/// A setting together with the Swift type of its value: `String`, `String?`, `Int` or `[String]`.
public struct SettingKey<Value: Sendable>: Sendable {
    /// The documented setting.
    public let setting: Setting

    init(
        _ name: String,
        _ kind: SettingKind,
        default defaultText: String?,
        unit: String = "",
        also: [String] = [],
        _ meaning: String
    ) {
        let environment = "MRL_" + name.uppercased().split(separator: ".").joined(separator: "_")
        setting = Setting(
            name: name,
            environment: [environment] + also,
            kind: kind,
            defaultText: defaultText,
            unit: unit,
            meaning: meaning
        )
    }
}

extension SettingKey where Value == String {
    /// Private folder of the cluster.
    public static let runDirectory = SettingKey(
        "run.directory",
        .text(),
        default: "$XDG_RUNTIME_DIR/matryoshka, ~/.local/share/matryoshka/run, or as root /var/lib/matryoshka/run",
        "Private folder of the cluster, made with mode 0700."
    )
    /// Where the vector cache is.
    public static let rerankCacheDirectory = SettingKey(
        "rerank.cache_directory",
        .text(),
        default: "/var/tmp",
        "Folder of the files of that cache; they have no names and are gone with the process."
    )
    /// Precision of the encoder's linear layers.
    public static let encoderPrecision = SettingKey(
        "encoder.precision",
        .text(oneOf: ["float32", "bfloat16"]),
        default: "float32",
        "Of a transformer's linear layers: bfloat16 takes about half the time on processors that have it, and moves vectors by "
            + "less than 0.005 (cosine above 0.9998 for all-MiniLM-L6-v2)."
    )
    /// Least severe level that is logged.
    public static let logLevel = SettingKey(
        "log.level",
        .text(oneOf: ["trace", "debug", "info", "notice", "warning", "error", "critical"]),
        default: "info",
        "Least severe level that is logged."
    )
    /// Form of the log lines.
    public static let logFormat = SettingKey(
        "log.format",
        .text(oneOf: LogFormat.allCases.map(\.rawValue)),
        default: "text",
        "Form of the log lines on standard error."
    )
}

extension SettingKey where Value == String? {
    /// PostgreSQL connection.
    public static let databaseURL = SettingKey(
        "database.url",
        .text(),
        default: nil,
        also: ["DATABASE_URL"],
        "PostgreSQL, as a URL or libpq conninfo; without it libpq's own variables count."
    )
    /// Model of the encoder.
    public static let encoderModel = SettingKey(
        "encoder.model",
        .text(),
        default: nil,
        "Model directory that the encoder loads."
    )
    /// Classifier of the encoder.
    public static let encoderClassifier = SettingKey(
        "encoder.classifier",
        .text(),
        default: nil,
        "Classifier directory that the encoder serves beside its model; none: it classifies nothing."
    )
    /// Cores of a worker's compute threads.
    public static let workerCPUs = SettingKey(
        "worker.cpus",
        .text(),
        default: nil,
        "Cores that the compute threads keep to, one each, as 0-3,6; none: the system moves them as it likes."
    )
    /// Own CURVE secret key.
    public static let curveSecretKeyFile = SettingKey(
        "curve.secret_key_file",
        .text(),
        default: nil,
        "File with this process's CURVE secret key (Z85), readable by its owner alone."
    )
    /// Clients that may connect to a coordinator.
    public static let curveFrontAllowList = SettingKey(
        "curve.front_allow_list",
        .text(),
        default: nil,
        "File with the public keys (Z85, one a line) of the clients that a coordinator admits to coordinator.front."
    )
    /// Workers that may connect to a coordinator.
    public static let curveBackAllowList = SettingKey(
        "curve.back_allow_list",
        .text(),
        default: nil,
        "File with the public keys (Z85, one a line) of the workers that a coordinator admits to coordinator.back."
    )
    /// Public key of the coordinators.
    public static let curveServerKey = SettingKey(
        "curve.server_key",
        .text(),
        default: nil,
        "The coordinators' CURVE public key (Z85), or the file that holds it."
    )
}

extension SettingKey where Value == [String] {
    /// Endpoints for clients.
    public static let coordinatorFront = SettingKey(
        "coordinator.front",
        .list,
        default: "ipc://$RUN/front.sock",
        "Endpoints for clients: the coordinator binds them, clients connect. $RUN is run.directory."
    )
    /// Endpoints for workers.
    public static let coordinatorBack = SettingKey(
        "coordinator.back",
        .list,
        default: "ipc://$RUN/back.sock",
        "Endpoints for workers: the coordinator binds them, workers connect to each. $RUN is run.directory."
    )
}

extension SettingKey where Value == Int {
    /// Memory a worker offers.
    public static let workerCapacityBytes = SettingKey(
        "worker.capacity_bytes",
        .integer(1 << 20...1 << 50),
        default: "2GiB",
        unit: "bytes",
        "Memory that a worker offers for rows. Shortlist shards are placed up to 95 % of it, and leave what outgrows it."
    )
    /// Compute threads of a worker.
    public static let workerThreads = SettingKey(
        "worker.threads",
        .integer(1...256),
        default: "1",
        unit: "threads",
        "Threads that compute in a worker; in a shortlist worker as many build graphs beside them."
    )
    /// Unanswered requests a worker takes.
    public static let workerCredit = SettingKey(
        "worker.credit",
        .integer(1...65_536),
        default: "256",
        unit: "requests",
        "Unanswered requests that a worker takes, over all coordinators together."
    )
    /// Disk of the vector cache.
    public static let rerankCacheBytes = SettingKey(
        "rerank.cache_bytes",
        .integer(0...(1 << 50)),
        default: "4GiB",
        unit: "bytes",
        "Disk for rows that were read for shards without room in a rerank worker's memory, and for codes of exact searches; 0 keeps none."
    )
    /// Time to drain.
    public static let workerGraceSeconds = SettingKey(
        "worker.grace_seconds",
        .integer(0...3_600),
        default: "10",
        unit: "s",
        "How long a worker told to stop waits for its shards to move."
    )
    /// Leader lease.
    public static let coordinatorLeaseSeconds = SettingKey(
        "coordinator.lease_seconds",
        .integer(1...300),
        default: "5",
        unit: "s",
        "Length of the leader lease; a leader that vanished is replaced after it."
    )
    /// Heartbeat interval.
    public static let coordinatorHeartbeatMilliseconds = SettingKey(
        "coordinator.heartbeat_ms",
        .integer(50...60_000),
        default: "500",
        unit: "ms",
        "Interval of the workers' heartbeats, told to them at registration."
    )
    /// Silence that counts as death.
    public static let coordinatorDeadMilliseconds = SettingKey(
        "coordinator.dead_ms",
        .integer(100...600_000),
        default: "3000",
        unit: "ms",
        "Silence after which a worker counts as dead; at least 3 times coordinator.heartbeat_ms."
    )
    /// Standstill that counts as hanging.
    public static let coordinatorHungMilliseconds = SettingKey(
        "coordinator.hung_ms",
        .integer(100...3_600_000),
        default: "30000",
        unit: "ms",
        "Computing without progress after which a worker counts as hung and is passed over; longer than any scan takes."
    )
    /// Requests in flight.
    public static let coordinatorInflightMax = SettingKey(
        "coordinator.inflight_max",
        .integer(1...1_000_000),
        default: "4096",
        unit: "requests",
        "Requests in flight at a coordinator, a batch counting its queries; more are answered OVERLOADED."
    )
    /// Requests in flight of one client.
    public static let coordinatorClientInflightMax = SettingKey(
        "coordinator.client_inflight_max",
        .integer(1...1_000_000),
        default: "512",
        unit: "requests",
        "Requests in flight of one client, a batch counting its queries; more are answered OVERLOADED."
    )
    /// Rows of searches in flight.
    public static let coordinatorRowsMax = SettingKey(
        "coordinator.rows_max",
        .integer(1...1_000_000_000),
        default: "4000000",
        unit: "rows",
        "Rows that the searches in flight ask for, queries times the first keep; more are answered OVERLOADED, "
            + "but for a search that is alone."
    )
    /// Change log polling.
    public static let storePollMilliseconds = SettingKey(
        "store.poll_ms",
        .integer(10...60_000),
        default: "150",
        unit: "ms",
        "Interval at which the change log is read when no hint comes."
    )
    /// Slow search threshold.
    public static let slowSearchMilliseconds = SettingKey(
        "slow_search_ms",
        .integer(1...60_000),
        default: "100",
        unit: "ms",
        "Searches slower than this are kept in ops.slow_searches."
    )
}

extension Setting {
    /// Every setting there is, in the order of the documentation.
    public static let all: [Setting] = [
        SettingKey.databaseURL.setting, SettingKey.runDirectory.setting,
        SettingKey.coordinatorFront.setting, SettingKey.coordinatorBack.setting,
        SettingKey.coordinatorLeaseSeconds.setting, SettingKey.coordinatorHeartbeatMilliseconds.setting,
        SettingKey.coordinatorDeadMilliseconds.setting, SettingKey.coordinatorHungMilliseconds.setting,
        SettingKey.coordinatorInflightMax.setting,
        SettingKey.coordinatorClientInflightMax.setting, SettingKey.coordinatorRowsMax.setting,
        SettingKey.slowSearchMilliseconds.setting,
        SettingKey.workerCapacityBytes.setting, SettingKey.workerThreads.setting, SettingKey.workerCPUs.setting,
        SettingKey.workerCredit.setting,
        SettingKey.workerGraceSeconds.setting, SettingKey.storePollMilliseconds.setting,
        SettingKey.rerankCacheBytes.setting, SettingKey.rerankCacheDirectory.setting,
        SettingKey.encoderModel.setting,
        SettingKey.encoderClassifier.setting, SettingKey.encoderPrecision.setting,
        SettingKey.curveSecretKeyFile.setting, SettingKey.curveFrontAllowList.setting,
        SettingKey.curveBackAllowList.setting, SettingKey.curveServerKey.setting,
        SettingKey.logLevel.setting, SettingKey.logFormat.setting,
    ]

    /// The list of settings as a Markdown table.
    public static func markdownTable(_ settings: [Setting] = all) -> String {
        var lines = [
            "| key | environment | type | default | allowed | unit | meaning |", "|---|---|---|---|---|---|---|",
        ]
        for setting in settings {
            let environment = setting.environment.map { "`\($0)`" }.joined(separator: ", ")
            lines.append(
                "| `\(setting.name)` | \(environment) | \(setting.typeName) | \(setting.defaultText ?? "none") "
                    + "| \(setting.allowed) | \(setting.unit) | \(setting.meaning) |"
            )
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// The type in words.
    public var typeName: String {
        switch kind {
        case .text: "text"
        case .integer: "integer"
        case .list: "list"
        }
    }

    /// The values that are allowed, in words.
    public var allowed: String {
        switch kind {
        case .text(nil): "any"
        case .text(let choices?): choices.joined(separator: ", ")
        case .integer(let range): "\(range.lowerBound) to \(range.upperBound)"
        case .list: "at least one"
        }
    }
}
