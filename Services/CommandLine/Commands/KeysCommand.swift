import ArgumentParser
import CommandHelp
import Glibc
import ServiceRuntime
import ZeroMQ

/// `mrl keys`.
struct KeysCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys",
        abstract: "Make CURVE keys, which sockets beyond this machine need, and say whom a coordinator admits.",
        discussion: helpDiscussion(
            """
            A coordinator has two allow-lists: curve.front_allow_list for clients and
            curve.back_allow_list for workers. A key on one opens nothing at the other.
            Changes need no restart: they count from the next connection on.
            """,
            examples: """
                Where the coordinator runs:
                  export MRL_CURVE_FRONT_ALLOW_LIST=/etc/matryoshka/clients
                  export MRL_CURVE_BACK_ALLOW_LIST=/etc/matryoshka/workers
                  mrl keys generate coordinator              its own pair
                  mrl keys generate worker-1 --allow worker  a worker's pair
                  mrl keys allow client laptop.public        somebody else's key
                  mrl keys list
                  mrl keys revoke worker worker-1
                Where a worker or client runs, with files from above:
                  export MRL_CURVE_SECRET_KEY_FILE=worker-1.secret
                  export MRL_CURVE_SERVER_KEY=coordinator.public
                """
        ),
        subcommands: [Generate.self, Allow.self, Revoke.self, List.self, Public.self]
    )

    struct Generate: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a pair: the secret key in NAME.secret (mode 0600), the public key in NAME.public.",
            discussion: helpDiscussion(
                examples: """
                    mrl keys generate coordinator
                    mrl keys generate worker-1 --allow worker
                    mrl keys generate laptop --allow client --list /etc/matryoshka/clients
                    """
            )
        )

        @Argument(help: "Path without the ending.") var name: String
        @Option(help: ArgumentHelp("Put it on the list of clients or of workers.", valueName: "client|worker"))
        var allow: PeerKind?
        @OptionGroup var place: AllowListPlace

        func run() throws {
            let path = absolutePath(name)
            guard !exists(path + ".secret") else { throw StartupFailure("\(path).secret exists already") }
            // Before anything is written, so that a missing list leaves no half-made pair.
            let list = try allow.map { try place.path($0) }
            let keys = try sentence { try CurveKeyPair.generate() }
            try sentence { try keys.write(secretKeyFile: path + ".secret") }
            try replaceFile(path + ".public", with: keys.publicKey + "\n")
            Output.line("\(path).secret  keep it; name it in curve.secret_key_file")
            Output.line("\(path).public  give it to the other side: a coordinator's is the others' curve.server_key")
            if let allow, let list {
                let name = String(path.split(separator: "/").last ?? "")
                try AllowListFile.add(keys.publicKey, name: name, to: list, unless: place.other(allow))
                Output.line("\(list)  admits it as a \(allow.rawValue)")
            }
        }
    }

    struct Allow: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Put a public key on the list of clients or of workers.",
            discussion: helpDiscussion(
                examples: """
                    mrl keys allow worker worker-1.public
                    mrl keys allow client laptop.public --name "Ada's laptop"
                    """
            )
        )

        @Argument(help: "client or worker.") var kind: PeerKind
        @Argument(help: "The public key, or the file that holds it.") var key: String
        @Option(help: "What the list calls it; default: the file's name.") var name: String?
        @OptionGroup var place: AllowListPlace

        func run() throws {
            guard !key.hasSuffix(".secret") else {
                throw StartupFailure("\(key) is a secret key, which belongs on no list: give the .public file")
            }
            let publicKey = try sentence { try CurveKeyPair.publicKey(textOrFile: key) }
            var called = name ?? ""
            if name == nil, publicKey != key, let file = key.split(separator: "/").last {
                called = String(file.hasSuffix(".public") ? file.dropLast(7) : file)
            }
            let list = try place.path(kind)
            let isNew = try AllowListFile.add(publicKey, name: called, to: list, unless: place.other(kind))
            Output.line(isNew ? "\(list) admits it as a \(kind.rawValue)." : "\(list) has this key already.")
        }
    }

    struct Revoke: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take a key off the list; connections that exist stay until they end.",
            discussion: helpDiscussion(
                examples: """
                    mrl keys revoke worker worker-1
                    mrl keys revoke client laptop.public
                    """
            )
        )

        @Argument(help: "client or worker.") var kind: PeerKind
        @Argument(help: "The name on the list, the public key, or the file that holds it.") var key: String
        @OptionGroup var place: AllowListPlace

        func run() throws {
            let list = try place.path(kind)
            let publicKey = try? CurveKeyPair.publicKey(textOrFile: key)
            let count = try AllowListFile.remove(from: list) { $0.key == publicKey || $0.name == key }
            guard count > 0 else { throw StartupFailure("\(list) has no key of that name: see mrl keys list") }
            Output.line("\(list) admits \(count == 1 ? "it" : "these \(count)") no more.")
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show the keys on both lists.",
            discussion: helpDiscussion(
                examples: """
                    mrl keys list
                    """
            )
        )

        @OptionGroup var place: AllowListSettings

        func run() throws {
            var table = Table(["admitted as", "key", "name"])
            for kind in PeerKind.allCases {
                guard let list = try place.path(kind) else { continue }
                for entry in try AllowListFile.entries(list) { table.add([kind.rawValue, entry.key, entry.name]) }
            }
            Output.line(table.isEmpty ? "No key is on a list." : table.text)
        }
    }

    struct Public: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the public key of a secret one.",
            discussion: helpDiscussion(
                examples: """
                    mrl keys public coordinator.secret
                    """
            )
        )

        @Argument(help: "File with the secret key.") var file: String

        func run() throws {
            Output.line(try sentence { try CurveKeyPair(secretKeyFile: absolutePath(file)).publicKey })
        }
    }
}

/// Who connects to a coordinator.
enum PeerKind: String, ExpressibleByArgument, CaseIterable {
    case client
    case worker

    var other: PeerKind { self == .client ? .worker : .client }
    var list: SettingKey<String?> { self == .client ? .curveFrontAllowList : .curveBackAllowList }
}

/// Where the settings say that the allow-lists are.
struct AllowListSettings: ParsableArguments {
    @Option(help: .configurationFile) var config: String?

    func path(_ kind: PeerKind) throws -> String? {
        try Settings(flags: config.map { ["config": $0] } ?? [:])[kind.list].map(absolutePath)
    }
}

/// Which allow-list a command changes.
struct AllowListPlace: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The list. (for clients \(PeerKind.client.list.setting.environment[0]), for workers "
                + "\(PeerKind.worker.list.setting.environment[0]))",
            valueName: "file"
        )
    )
    var list: String?
    @OptionGroup var settings: AllowListSettings

    func path(_ kind: PeerKind) throws -> String {
        if let list { return absolutePath(list) }
        if let list = try settings.path(kind) { return list }
        let setting = kind.list.setting
        throw StartupFailure(
            "which list? give --list, or set \(setting.environment[0]) or \(setting.name) as the coordinator has it"
        )
    }

    /// The list of the other kind of peers, where it is known.
    func other(_ kind: PeerKind) throws -> String? { try settings.path(kind.other) }
}

/// An allow-list as a file that people edit too: lines of others stay as they are.
enum AllowListFile {
    struct Entry {
        var key: String
        var name: String
    }

    static func entries(_ path: String) throws -> [Entry] {
        try lines(path).compactMap(entry)
    }

    /// Adds a key, unless it is there or on the list `forbidden`, which is an error; false where it was there.
    @discardableResult
    static func add(_ key: String, name: String, to path: String, unless forbidden: String?) throws -> Bool {
        guard !name.contains(where: \.isNewline) else { throw StartupFailure("a name is one line") }
        if let forbidden, forbidden != path, try entries(forbidden).contains(where: { $0.key == key }) {
            throw StartupFailure("\(forbidden) has this key: make another pair for the other kind of process")
        }
        let old = try lines(path)
        if old.compactMap(entry).contains(where: { $0.key == key }) { return false }
        try write(path, old + [name.isEmpty ? key : "\(key) \(name)"])
        return true
    }

    /// Takes out all that match and tells how many these were.
    static func remove(from path: String, where matches: (Entry) -> Bool) throws -> Int {
        let old = try lines(path)
        let kept = old.filter { line in entry(line).map { !matches($0) } ?? true }
        if kept.count < old.count { try write(path, kept) }
        return old.count - kept.count
    }

    private static func entry(_ line: String) -> Entry? {
        let words = line.split(maxSplits: 1, whereSeparator: \.isWhitespace)
        guard let key = words.first, !key.hasPrefix("#") else { return nil }
        return Entry(key: String(key), name: words.count > 1 ? String(words[1]) : "")
    }

    private static func lines(_ path: String) throws -> [String] {
        guard exists(path) else { return [] }
        guard let text = readFile(path) else { throw StartupFailure("cannot read \(path)") }
        return text.split(whereSeparator: \.isNewline).map(String.init)
    }

    /// In one step, since a coordinator reads it at any moment; the owner, who may be the coordinator's user, stays.
    private static func write(_ path: String, _ lines: [String]) throws {
        var status = stat()
        let isThere = stat(path, &status) == 0
        try replaceFile(path, with: lines.map { $0 + "\n" }.joined(), mode: isThere ? status.st_mode & 0o777 : 0o644)
        if isThere, geteuid() == 0 { chown(path, status.st_uid, status.st_gid) }
    }
}

/// An error of the network's library as one sentence.
private func sentence<R>(_ body: () throws -> R) throws -> R {
    do { return try body() } catch let error as ZeroMQError { throw StartupFailure("\(error)") }
}
