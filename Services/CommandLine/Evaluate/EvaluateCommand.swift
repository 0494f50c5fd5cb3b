import ArgumentParser
import CommandHelp

/// `mrl evaluate`.
struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate",
        abstract: "Measure what every choice of dimensions costs and gains.",
        discussion: helpDiscussion(
            "Without a subcommand it is known-item.",
            examples: """
                mrl evaluate
                mrl evaluate --queries 0 --json
                mrl evaluate folder clinc150 --model MiniLM
                mrl evaluate collection debian
                mrl evaluate paper
                """
        ),
        subcommands: [
            EvaluateKnownItemCommand.self, EvaluateFolderCommand.self, EvaluateCollectionCommand.self,
            EvaluatePaperCommand.self,
        ],
        defaultSubcommand: EvaluateKnownItemCommand.self
    )
}
