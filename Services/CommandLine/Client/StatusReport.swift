import Matryoshka
import WireProtocol

/// The answer to `status`, read leniently: what a newer or older coordinator leaves out is zero or empty.
struct StatusReport {
    struct Worker {
        var incarnation: Int
        var role: String
        var host: String
        var pid: Int
        var state: String
        var shards: Int
        var readyShards: Int
        var rows: Int
        var residentBytes: Int
        var capacityBytes: Int
        var inFlight: Int
        var heartbeatAge: Int
        var databaseReachable: Bool
        var draining: Bool
        var model: String
    }

    struct Shards {
        var ready = 0
        /// On their way; they count as missing too.
        var loading = 0
        var missing = 0
        var noCapacity = 0
        var rows = 0
        /// With those of shards on their way.
        var loadedRows = 0
    }

    /// The form that a collection is changing to.
    struct Change {
        var index: String
        var resident: String
        var state: String
        var readyShards: Int
        var loadedRows: Int
    }

    struct Collection {
        var name: String
        var aliases: [String]
        var model: String
        var dimensions: Int
        var smallestDimensions: Int
        var similarity: String
        var isRotated: Bool
        var storedHeadWidth: Int
        var residentWidth: Int
        var residentPrecision: String
        var index: String
        var generation: Int
        var next: Change?
        var rows: Int
        var shards: [String: Shards]
        var pending: Int
        var lagMilliseconds: Int
    }

    let json: JSONValue
    let workers: [Worker]
    let collections: [Collection]

    init(_ json: JSONValue) {
        self.json = json
        workers = json["workers"].items.map { worker in
            Worker(
                incarnation: worker["incarnation"].integer,
                role: worker["role"].text,
                host: worker["host"].text,
                pid: worker["pid"].integer,
                state: worker["state"].text,
                shards: worker["shards"].integer,
                readyShards: worker["ready_shards"].integer,
                rows: worker["rows"].integer,
                residentBytes: worker["resident_bytes"].integer,
                capacityBytes: worker["capacity_bytes"].integer,
                inFlight: worker["in_flight"].integer,
                heartbeatAge: worker["heartbeat_age_ms"].integer,
                databaseReachable: worker["database_reachable"].flag,
                draining: worker["draining"].flag,
                model: worker["model"].text
            )
        }
        collections = Self.collections(json["collections"])
    }

    /// The entries of a list of collections, in `status` and in `collections`.
    static func collections(_ list: JSONValue?) -> [Collection] {
        list.items.map { collection in
            var shards: [String: Shards] = [:]
            if case .object(let roles)? = collection["shards"] {
                for role in roles {
                    shards[role.key] = Shards(
                        ready: role.value["ready"].integer,
                        loading: role.value["loading"].integer,
                        missing: role.value["missing"].integer,
                        noCapacity: role.value["no_capacity"].integer,
                        rows: role.value["rows"].integer,
                        loadedRows: role.value["loaded_rows"].integer
                    )
                }
            }
            return Collection(
                name: collection["name"].text,
                aliases: collection["aliases"].items.map { JSONValue?.some($0).text },
                model: collection["model"].text,
                dimensions: collection["dimensions"].integer,
                smallestDimensions: collection["smallest_dimensions"].integer,
                similarity: collection["similarity"].text,
                isRotated: !["", "none"].contains(collection["rotation"].text),
                storedHeadWidth: collection["stored_head_width"].integer,
                residentWidth: collection["resident_width"].integer,
                residentPrecision: collection["resident_precision"].text,
                index: collection["index"].text,
                generation: collection["generation"].integer,
                next: change(collection["next"]),
                rows: collection["rows"].integer,
                shards: shards,
                pending: collection["pending"].integer,
                lagMilliseconds: collection["lag_ms"].integer
            )
        }
    }

    private static func change(_ json: JSONValue?) -> Change? {
        guard case .object? = json else { return nil }
        return Change(
            index: json["index"].text,
            resident: "\(json["resident_width"].integer) \(json["resident_precision"].text)",
            state: json["state"].text,
            readyShards: json["ready_shards"].integer,
            loadedRows: json["loaded_rows"].integer
        )
    }

    /// What a cluster of that size still lacks, in words; empty when all is there and every shard is ready.
    func missing(for size: ClusterSize) -> String {
        var parts: [String] = []
        let encoders = size.model == nil ? 0 : size.encoders
        for (role, wanted) in [("encoder", encoders), ("shortlist", size.shortlists), ("rerank", size.rerankers)] {
            let live = workers.count { $0.role == role && !$0.draining && $0.state != "dead" }
            if live < wanted { parts.append("\(wanted - live) \(role)") }
        }
        for collection in collections {
            for (role, wanted) in [("shortlist", size.shortlists), ("rerank", size.rerankers)] where wanted > 0 {
                guard let shards = collection.shards[role] else { continue }
                if shards.missing > 0 { parts.append("\(shards.missing) \(role) shards of \(collection.name)") }
            }
        }
        return parts.joined(separator: ", ")
    }

    /// Shards are not on their way to workers of that kind, and each of these has its share.
    func isSettled(_ role: String) -> Bool {
        guard role != "encoder", !collections.isEmpty else { return true }
        return !json["coordinator"]["moving"].flag
            && workers.allSatisfy { $0.role != role || ($0.shards > 0 && $0.shards == $0.readyShards) }
    }

    /// One line.
    var summary: String {
        let roles = ["encoder", "shortlist", "rerank"].map { role in
            "\(workers.count { $0.role == role && !$0.draining }) \(role)"
        }
        let rows = collections.map(\.rows).reduce(0, +)
        return "Ready: \(roles.joined(separator: ", ")); \(collections.count) "
            + "collection\(collections.count == 1 ? "" : "s"), \(grouped(rows)) rows."
    }
}

extension JSONValue? {
    /// The text, or empty.
    var text: String {
        switch self {
        case .string(let text)?: text
        case .integer(let value)?: String(value)
        default: ""
        }
    }

    /// The number without its fraction, or 0; of an array the number of its items.
    var integer: Int {
        switch self {
        case .integer(let value)?: Int(value)
        case .number(let value)? where abs(value) < 1e18: Int(value)
        case .array(let items)?: items.count
        default: 0
        }
    }

    /// The number, or 0.
    var double: Double {
        switch self {
        case .integer(let value)?: Double(value)
        case .number(let value)?: value
        default: 0
        }
    }

    /// True only for true.
    var flag: Bool { self == .bool(true) }

    /// The member of that key, where this is an object that has it.
    subscript(key: String) -> JSONValue? { self?[key] }

    /// The items of an array, or none.
    var items: [JSONValue] {
        if case .array(let items)? = self { return items }
        return []
    }
}
