import ArgumentParser
import CommandHelp
import ServiceRuntime
import Testing

@testable import CommandLine
@testable import Coordinator
@testable import EncoderWorker
@testable import RerankWorker
@testable import ShortlistWorker

/// One command of an executable, with the words that call it.
struct NamedCommand: CustomTestStringConvertible, Sendable {
    var words: String
    var root: any ParsableCommand.Type
    var type: any ParsableCommand.Type

    var testDescription: String { words }

    /// The help at so many columns, line by line.
    func help(columns: Int) -> [Substring] {
        root.helpMessage(for: type, columns: columns).split(separator: "\n", omittingEmptySubsequences: false)
    }

    static let all: [NamedCommand] = [
        MatryoshkaCommand.self, CoordinatorCommand.self, EncoderCommand.self, ShortlistCommand.self,
        RerankCommandLine.self,
    ].flatMap { tree(of: $0) }

    static func tree(of root: any ParsableCommand.Type) -> [NamedCommand] {
        func below(_ type: any ParsableCommand.Type, _ words: String) -> [NamedCommand] {
            [NamedCommand(words: words, root: root, type: type)]
                + type.configuration.subcommands.flatMap { below($0, words + " " + $0._commandName) }
        }
        return below(root, root._commandName)
    }
}

@Suite("The help")
struct HelpTests {
    @Test("of every command has an example of it", arguments: NamedCommand.all)
    func examples(command: NamedCommand) throws {
        let lines = command.help(columns: 80)
        let header = try #require(lines.firstIndex(of: "EXAMPLES:"), "\(lines.joined(separator: "\n"))")
        #expect(lines.filter { $0 == "EXAMPLES:" }.count == 1)
        let examples = lines[header...].dropFirst().prefix { $0.hasPrefix("  ") }
        #expect(examples.contains { $0.contains(command.words) }, "\(examples.joined(separator: "\n"))")
    }

    @Test("is as wide as the terminal, and breaks no line that its author broke", arguments: NamedCommand.all)
    func width(command: NamedCommand) {
        for columns in [80, 100] {
            let lines = command.help(columns: columns)
            // The library breaks every line but the usage.
            for line in lines { #expect(line.count <= (line.hasPrefix("USAGE: ") ? 100 : columns), "\(line)") }
            let fixed = command.type.configuration.discussion.split(separator: "\n").filter { $0.hasPrefix(" ") }
            for line in fixed { #expect(lines.contains(line), "\(line)") }
        }
    }

    @Test("of options that set settings tells their variables and defaults, as the list of settings has them")
    func settings() {
        let services: [any ParsableCommand.Type] = [
            CoordinatorCommand.self, EncoderCommand.self, ShortlistCommand.self, RerankCommandLine.self,
        ]
        var told: Set<String> = []
        for service in services {
            let help = service.helpMessage(columns: 1_000).split(separator: "\n").map(String.init)
            for setting in Setting.all {
                guard let line = help.firstIndex(where: { $0.hasPrefix("  \(setting.flag) ") }) else { continue }
                told.insert(setting.name)
                let text = help[line...].prefix(2).joined()
                #expect(text.contains(setting.meaning) && text.contains(setting.origins), "\(text)")
            }
        }
        #expect(told == Set(Setting.all.map(\.name)))
    }

    @Test("joins the lines of a paragraph and keeps lists")
    func paragraphs() {
        let text = helpDiscussion(
            """
            One sentence that
            goes on.
              a  list
              b  of two
            Another.

            A third.
            """,
            examples: """
                mrl up
                  indented
                """
        )
        #expect(
            text == """
                One sentence that goes on.
                  a  list
                  b  of two
                Another.

                A third.

                EXAMPLES:
                  mrl up
                    indented
                """
        )
    }
}
