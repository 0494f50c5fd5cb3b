import ArgumentParser
import CommandHelp
import Corpora
import Foundation

/// Makes a corpus of WordNet's synsets.
struct ImportWordNetCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "wordnet",
        abstract: "Make a corpus: words with examples, and definition, of every synset of WordNet.",
        discussion: helpDiscussion(
            """
            Reads data.noun, data.verb, data.adj and data.adv, for example those of Debian's package wordnet-base, which
            need not be installed:

              apt-get download wordnet-base && dpkg -x wordnet-base_*.deb wordnet
            """,
            examples: """
                mrl import wordnet wordnet/usr/share/wordnet --output wordnet.jsonl
                """
        )
    )

    @Argument(help: ArgumentHelp("Folder with WordNet's data files.", valueName: "DIR"))
    var folder: String
    @Option(help: ArgumentHelp("Where the corpus goes.", valueName: "FILE.jsonl"))
    var output: String

    func run() throws {
        var data = WordNetData()
        for part in ["noun", "verb", "adj", "adv"] {
            let path = "\(folder)/data.\(part)"
            guard let bytes = FileManager.default.contents(atPath: path) else {
                throw CorpusError.unreadable(path: path)
            }
            let refused = data.add([UInt8](bytes), part: part)
            if refused > 0 { Output.note("\(path): \(refused) lines are no synsets") }
        }
        try data.corpus().write(to: output)
        Output.line("\(data.count) synsets in \(output)")
    }
}
