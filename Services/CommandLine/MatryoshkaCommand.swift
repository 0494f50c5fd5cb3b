import ArgumentParser
import CommandHelp
import Glibc

@main
struct MatryoshkaCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mrl",
        abstract: "Adaptive retrieval with Matryoshka embeddings: run a cluster, fill it, search it, measure it.",
        discussion: helpDiscussion(
            """
            Where state is kept: --home, or $MRL_HOME, or /var/lib/matryoshka for root, or
            $XDG_DATA_HOME/matryoshka (~/.local/share/matryoshka). DATABASE_URL, or libpq's own variables, point
            everything at an existing PostgreSQL server instead of a private one.
            """,
            examples: """
                mrl up                             start everything on this machine
                mrl search "play chess"            search the default collection
                mrl status --watch                 see what runs where
                mrl down                           stop everything
                """
        ),
        version: buildVersion,
        subcommands: [
            UpCommand.self, DownCommand.self, ScaleCommand.self, StatusCommand.self, SearchCommand.self,
            ClassifyCommand.self,
            ImportCommand.self, EncodeCommand.self, TrainCommand.self, CollectionsCommand.self, EvaluateCommand.self,
            BenchmarkCommand.self,
            PlanCommand.self,
            MigrateCommand.self, KeysCommand.self, SettingsCommand.self,
        ]
    )

    static func main() {
        // A reader that goes away (mrl … | head) is seen by the write, and does not end what is being started.
        signal(SIGPIPE, SIG_IGN)
        main(nil)
    }
}

/// Version of this build, as `mrl --version` tells it.
let buildVersion = "0.1.0"
