public import ArgumentParser
import CommandHelp
import Matryoshka
import ServiceRuntime
import WireProtocol

/// `mrl collections`.
struct CollectionsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "collections",
        abstract: "List, create, drop, rename by alias, and configure collections.",
        discussion: helpDiscussion(
            "Without a subcommand it lists them.",
            examples: """
                mrl collections
                mrl collections create articles
                mrl collections configure articles --resident 32
                mrl collections alias latest articles
                """
        ),
        subcommands: [List.self, Create.self, Drop.self, Alias.self, Configure.self],
        defaultSubcommand: List.self
    )

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the collections.",
            discussion: helpDiscussion(
                examples: """
                    mrl collections list
                    mrl collections list --json
                    """
            )
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
            discussion: helpDiscussion(
                """
                Sizes default to those of the model that the encoder serves.

                Every row is scanned (flat) unless --index says otherwise. Of ivf, only the lists nearest to the query are
                scanned; a worker learns them from a sample once there are rows. Of hnsw, a graph is walked: fast where
                few rows are kept, approximate, dear to build and in memory (8 M bytes a row and more beside the
                numbers). All can be changed later, see mrl collections configure; exact searches find the true best
                with each.
                """,
                examples: """
                    mrl collections create articles
                    mrl collections create photos --dimensions 768 --similarity dot
                    mrl collections create notes --dimensions 512 --index hnsw --m 24
                    """
            )
        )

        @OptionGroup var front: FrontOptions
        @Argument(help: "1 to 63 of a–z, 0–9, - and _, starting with a letter.") var name: String
        @Option(help: "Full size of the vectors.") var dimensions: Int?
        @Option(help: "Smallest prefix that plans may use.") var smallest: Int?
        @Option(help: "cosine or dot.") var similarity: Similarity = .cosine
        @Option(help: "Id of the model that the vectors come from.") var model: String?
        @Option(help: "Dimensions stored in line, at most 128 by default; fixed.") var storedHead: Int?
        @Option(help: "pca: learn a rotation that makes prefixes of any vectors worth comparing; fixed.")
        var rotation: Rotation = .none
        @OptionGroup(title: "In memory; can be changed later") var residency: ResidencyOptions

        func run() throws {
            let definition = CreateCollection(
                name: name,
                dimensions: dimensions,
                smallestDimensions: smallest,
                similarity: similarity,
                model: model,
                storedHeadWidth: storedHead,
                rotation: rotation,
                residency: residency.change
            )
            _ = try front.client().object(.collections(.create(definition)))
            Output.line("Created \(name).")
        }
    }

    struct Drop: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Drop a collection with all its documents.",
            discussion: helpDiscussion(
                examples: """
                    mrl collections drop articles --yes
                    """
            )
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
            usage: "mrl collections alias [<options>] <alias> [<collection>]",
            discussion: helpDiscussion(
                examples: """
                    mrl collections alias articles articles-2
                    mrl collections alias articles --remove
                    """
            )
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
            abstract: "Change what is held in memory and how it is searched, while the collection serves.",
            discussion: helpDiscussion(
                examples: """
                    mrl collections configure articles --resident 32
                    mrl collections configure articles --precision float32
                    mrl collections configure articles --index ivf --lists 1024
                    mrl collections configure articles --index hnsw
                    mrl collections configure articles --signs true
                    """
            )
        )

        @OptionGroup var front: FrontOptions
        @Argument(help: "Collection.") var name: String
        @OptionGroup var residency: ResidencyOptions

        func validate() throws {
            guard residency.change != ResidencyChange() else {
                throw ValidationError("give one option or more: what is to be changed?")
            }
        }

        func run() throws {
            let request = CollectionsRequest.configure(name: name, residency.change)
            _ = try front.client().object(.collections(request))
            Output.line("Asked for. Shards load the new form beside the old one; see mrl status.")
        }
    }
}

/// Options of what shortlist workers hold.
struct ResidencyOptions: ParsableArguments {
    @Option(help: "Dimensions, at most the stored head's.") var resident: Int?
    @Option(help: "int8 or float32.", transform: residentPrecision) var precision: Precision?
    @Option(help: "true: sign bits too, for plan stages of precision bit (64:4000:bit,64:400,256:10).") var signs: Bool?
    @Option(help: "flat (scan all), ivf (scan the nearest lists) or hnsw (walk a graph; approximate).")
    var index: CollectionIndex.Kind?
    @Option(help: "ivf: number of lists; by default chosen by the number of rows.") var lists: Int?
    @Option(help: "ivf: dimensions that choose the lists.") var coarseDimensions: Int?
    @Option(help: "hnsw: links of a row (M), 2 to 128; default 16.") var m: Int?
    @Option(help: "hnsw: rows that an insertion keeps in view, 2 to 2000; default 100.") var efConstruction: Int?

    @Flag(help: "ivf: learn the lists anew from the rows as they are now.") var retrain = false

    var change: ResidencyChange {
        ResidencyChange(
            width: resident,
            precision: precision,
            holdsSigns: signs,
            index: index,
            lists: lists,
            coarseDimensions: coarseDimensions,
            links: m,
            constructionEffort: efConstruction,
            retrains: retrain ? true : nil
        )
    }
}

extension Similarity: ExpressibleByArgument {}
extension CollectionIndex.Kind: ExpressibleByArgument {}
extension Rotation: ExpressibleByArgument {}
extension Precision: ExpressibleByArgument {}

/// Of the precisions, those that heads can be held in.
private func residentPrecision(_ argument: String) throws -> Precision {
    guard let precision = Precision(rawValue: argument), [.int8, .float32].contains(precision) else {
        throw ValidationError("--precision is \(argument); allowed: int8 or float32")
    }
    return precision
}
