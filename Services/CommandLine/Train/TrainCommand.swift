import ArgumentParser
import CommandHelp

/// `mrl train`.
struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Train models and classifiers whose every prefix is good, or the baselines they are measured by.",
        discussion: helpDiscussion(
            """
            Without a subcommand it trains a static model. Runs of equal options, data and seed give the same bits on
            one kind of processor (OPENBLAS_CORETYPE). What is made is served with mrl up --model, classifiers with
            mrl up --set encoder.classifier.
            """,
            examples: """
                mrl train --corpus debian.jsonl --output model
                mrl train adapter --corpus pairs.jsonl --model MiniLM --output adapted
                mrl train classifier --texts train.tsv --model MiniLM --output intents
                """
        ),
        subcommands: [TrainStaticCommand.self, TrainAdapterCommand.self, TrainClassifierCommand.self],
        defaultSubcommand: TrainStaticCommand.self
    )
}
