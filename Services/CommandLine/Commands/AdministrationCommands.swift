import ArgumentParser
import CommandHelp
import DocumentStore
import ServiceRuntime

/// `mrl migrate`.
struct MigrateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Bring the database's schema to this version.",
        discussion: helpDiscussion(
            """
            mrl up does it too; this is for servers of your own, with the rights of the schema's owner.
            """,
            examples: """
                DATABASE_URL=postgresql://owner@db/mrl mrl migrate
                """
        )
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

/// `mrl settings`.
struct SettingsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "settings",
        abstract: "List every setting: type, default, allowed values, unit.",
        discussion: helpDiscussion(
            """
            A flag counts before the environment, the environment before the file, the file before the default.
            """,
            examples: """
                mrl settings
                mrl settings --markdown
                """
        )
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
