import ArgumentParser
import DocumentStore
import Glibc
import ServiceRuntime
import ZeroMQ

/// `mrl migrate`.
struct MigrateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Bring the database's schema to this version.",
        discussion: """
            mrl up does it too; this is for servers of your own, with the rights of the schema's owner.

            EXAMPLES
              DATABASE_URL=postgresql://owner@db/mrl mrl migrate
            """
    )

    @OptionGroup var home: HomeOption

    func run() throws {
        let store = Store(try DatabaseAddress.connect(try home.resolved()))
        do {
            let before = try store.schemaVersion()
            try store.migrate { Output.note("  \($0)") }
            let after = try store.schemaVersion()
            Output.line(before == after ? "The schema is at version \(after)." : "Migrated from \(before) to \(after).")
        } catch {
            throw StartupFailure("\(error)")
        }
    }
}

/// `mrl keys`.
struct KeysCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys",
        abstract: "Make CURVE keys, which sockets beyond this machine need.",
        subcommands: [Generate.self, Public.self]
    )

    struct Generate: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a pair: the secret key in NAME.secret (mode 0600), the public key in NAME.public.",
            discussion: """
                EXAMPLES
                  mrl keys generate coordinator
                  mrl keys generate worker-1 && cat worker-1.public >> allowed-workers
                """
        )

        @Argument(help: "Path without the ending.") var name: String

        func run() throws {
            let path = absolutePath(name)
            guard !exists(path + ".secret") else { throw StartupFailure("\(path).secret exists already") }
            do {
                let keys = try CurveKeyPair.generate()
                try keys.write(secretKeyFile: path + ".secret")
                try replaceFile(path + ".public", with: keys.publicKey + "\n")
            } catch {
                throw StartupFailure("\(error)")
            }
            Output.line("\(path).secret  keep it; name it in curve.secret_key_file")
            Output.line("\(path).public  give it to the other side, for its curve.allow_list or curve.server_key")
        }
    }

    struct Public: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the public key of a secret one.",
            discussion: """
                EXAMPLES
                  mrl keys public coordinator.secret
                """
        )

        @Argument(help: "File with the secret key.") var file: String

        func run() throws {
            do {
                Output.line(try CurveKeyPair(secretKeyFile: absolutePath(file)).publicKey)
            } catch {
                throw StartupFailure("\(error)")
            }
        }
    }
}

/// `mrl settings`.
struct SettingsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "settings",
        abstract: "List every setting: type, default, allowed values, unit.",
        discussion: """
            A flag counts before the environment, the environment before the file, the file before the default.

            EXAMPLES
              mrl settings
              mrl settings --markdown
            """
    )

    @Flag(help: "Print the table of the README.") var markdown = false

    func run() throws {
        if markdown { return Output.write(Setting.markdownTable(), to: 1) }
        for setting in Setting.all {
            Output.line("\(setting.name)  (\(setting.environment.joined(separator: ", ")), \(setting.flag))")
            let unit = setting.unit.isEmpty ? "" : " \(setting.unit)"
            Output.line("    \(setting.meaning)")
            Output.line("    \(setting.typeName), \(setting.allowed)\(unit); default \(setting.defaultText ?? "none")")
        }
    }
}
