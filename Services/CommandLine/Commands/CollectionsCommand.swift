public import ArgumentParser
import Matryoshka
import ServiceRuntime
import WireProtocol

/// `mrl collections`.
struct CollectionsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "collections",
        abstract: "List, create, drop, rename by alias, and configure collections.",
        subcommands: [List.self, Create.self, Drop.self, Alias.self, Configure.self],
        defaultSubcommand: List.self
    )

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the collections.",
            discussion: """
                EXAMPLES
                  mrl collections list
                  mrl collections list --json
                """
        )

        @OptionGroup var front: FrontOptions
        @Flag(help: "Print JSON.") var json = false

        func run() throws {
            let answer = try front.client().object(.collections(.list))
            if json { return Output.json(answer) }
            var table = Table([
                "name", "aliases", "dimensions", "smallest", "similarity", "stored head", "resident", "model",
            ])
            for collection in StatusReport.collections(answer["collections"]) {
                table.add([
                    collection.name, collection.aliases.joined(separator: ", "), "\(collection.dimensions)",
                    "\(collection.smallestDimensions)", collection.similarity, "\(collection.storedHeadWidth)",
                    "\(collection.residentWidth) \(collection.residentPrecision)",
                    String(collection.model.prefix(12)),
                ])
            }
            Output.line(table.isEmpty ? "There is no collection yet." : table.text)
        }
    }

    struct Create: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Create a collection.",
            discussion: """
                Sizes default to those of the model that the encoder serves.

                EXAMPLES
                  mrl collections create articles
                  mrl collections create photos --dimensions 768 --smallest 64 --similarity dot
                """
        )

        @OptionGroup var front: FrontOptions
        @Argument(help: "1 to 63 of a–z, 0–9, - and _, starting with a letter.") var name: String
        @Option(help: "Full size of the vectors.") var dimensions: Int?
        @Option(help: "Smallest prefix that plans may use.") var smallest: Int?
        @Option(help: "cosine or dot.") var similarity: Similarity = .cosine
        @Option(help: "Id of the model that the vectors come from.") var model: String?
        @Option(help: "Dimensions stored in line, at most 128 by default; fixed.") var storedHead: Int?
        @Option(help: "Dimensions in memory; can be changed later.") var resident: Int?
        @Option(help: "int8 or float32; can be changed later.") var precision: Precision?

        func run() throws {
            let definition = CreateCollection(
                name: name,
                dimensions: dimensions,
                smallestDimensions: smallest,
                similarity: similarity,
                model: model,
                storedHeadWidth: storedHead,
                residentWidth: resident,
                residentPrecision: precision
            )
            _ = try front.client().object(.collections(.create(definition)))
            Output.line("Created \(name).")
        }
    }

    struct Drop: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Drop a collection with all its documents.",
            discussion: """
                EXAMPLES
                  mrl collections drop articles --yes
                """
        )

        @OptionGroup var front: FrontOptions
        @Argument(help: "Name.") var name: String
        @Flag(help: "Do it: there is no way back.") var yes = false

        func run() throws {
            guard yes else { throw StartupFailure("\(name) and its documents would be gone for good: say --yes") }
            _ = try front.client().object(.collections(.drop(name: name)), deadlineMilliseconds: 60_000)
            Output.line("Dropped \(name).")
        }
    }

    struct Alias: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Point an alias at a collection, in one step; or remove it.",
            discussion: """
                EXAMPLES
                  mrl collections alias articles articles-2
                  mrl collections alias articles --remove
                """
        )

        @OptionGroup var front: FrontOptions
        @Argument(help: "Alias.") var alias: String
        @Argument(help: "Collection.") var collection: String?
        @Flag(help: "Remove the alias.") var remove = false

        func validate() throws {
            guard (collection == nil) == remove else { throw ValidationError("give a collection, or --remove") }
        }

        func run() throws {
            _ = try front.client().object(.collections(.alias(name: alias, collection: collection)))
            Output.line(collection.map { "\(alias) is now \($0)." } ?? "Removed \(alias).")
        }
    }

    struct Configure: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Change how much of each vector is held in memory, while the collection serves.",
            discussion: """
                EXAMPLES
                  mrl collections configure articles --resident 32
                  mrl collections configure articles --precision float32
                """
        )

        @OptionGroup var front: FrontOptions
        @Argument(help: "Collection.") var name: String
        @Option(help: "Dimensions in memory, at most the stored head's.") var resident: Int?
        @Option(help: "int8 or float32.") var precision: Precision?

        func validate() throws {
            guard resident != nil || precision != nil else { throw ValidationError("give --resident or --precision") }
        }

        func run() throws {
            let request = CollectionsRequest.configure(
                name: name,
                residentWidth: resident,
                residentPrecision: precision
            )
            _ = try front.client().object(.collections(request))
            Output.line("Asked for. Shards load the new form beside the old one; see mrl status.")
        }
    }
}

extension Similarity: ExpressibleByArgument {}
extension Precision: ExpressibleByArgument {}
