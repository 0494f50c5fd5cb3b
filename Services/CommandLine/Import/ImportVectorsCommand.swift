public import ArgumentParser
import CommandHelp
import DocumentStore
import Matryoshka
import ServiceRuntime
public import VectorFiles
import WireProtocol

/// `mrl import vectors`.
struct ImportVectorsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vectors",
        abstract: "Store vectors that were made elsewhere, searchable.",
        usage: "mrl import vectors [<options>] <file> --collection <collection>",
        discussion: helpDiscussion(
            """
            The file's ending, or --format, says what it is:
              npy      a row-major matrix of float16, float32 or float64
              fvecs    each row an int32 with its length, then its float32
              parquet  a column of lists of numbers; SNAPPY or no compression (not
                       ZSTD, GZIP, …); encodings PLAIN, dictionary and
                       BYTE_STREAM_SPLIT (no delta encodings)
              jsonl    an object with an array of numbers a line
            Ids, texts and payloads come from columns of Parquet and JSON lines, or from the lines of --documents: ids,
            or {"id", "text", "payload"}. Without either a row's number, from 0, is its id. An import that was cut short
            goes on where it stopped, unless a file was changed; Ctrl-C stops it after the current batch. A row that
            cannot be stored stops it too, once all before it is stored.
            """,
            examples: """
                mrl import vectors photos.npy --collection photos --create \\
                  --documents ids.txt
                mrl import vectors sift.fvecs --collection sift --create --smallest 32
                mrl import vectors wiki.parquet --collection wiki --create \\
                  --vector-column emb --payload-columns title,url
                """
        )
    )

    @OptionGroup var front: FrontOptions
    @Argument(help: "File of vectors.") var file: String
    @Option(help: "Collection to fill.") var collection: String
    @Option(help: ArgumentHelp("What the file is; default: what its ending says.", valueName: "format"))
    var format: VectorFormat?
    @Option(help: ArgumentHelp("Ids or documents, a line for each vector.", valueName: "file"))
    var documents: String?
    @OptionGroup(title: "Columns of Parquet, members of JSON lines") var columns: ColumnOptions
    @OptionGroup(title: "A collection that is made") var creation: CreationOptions
    @Option(help: "Model that the vectors come from; another one than the collection's is refused.") var model: String?
    @Flag(help: "Begin at the first row even if an earlier import came further.") var restart = false
    @OptionGroup var bad: BadLineOptions
    @Flag(help: "Print figures as JSON at the end.") var json = false

    struct ColumnOptions: ParsableArguments {
        @Option(help: ArgumentHelp("Numbers; default: vector, or else embedding.", valueName: "name"))
        var vectorColumn: String?
        @Option(help: ArgumentHelp("Default: id, where there is one.", valueName: "name")) var idColumn: String?
        @Option(help: ArgumentHelp("Default: text, where there is one.", valueName: "name")) var textColumn: String?
        @Option(
            help: ArgumentHelp(
                "Make a payload of these; default: the object in payload, where there is one.",
                valueName: "names"
            )
        )
        var payloadColumns: String?

        var columns: VectorColumns {
            VectorColumns(
                vector: vectorColumn,
                id: idColumn,
                text: textColumn,
                payload: payloadColumns?.split(separator: ",").map(String.init)
            )
        }

        var isEmpty: Bool { columns == VectorColumns() }
    }

    struct CreationOptions: ParsableArguments {
        @Flag(help: "Create the collection where it is missing, with the vectors' dimensions.") var create = false
        @Option(help: "Smallest prefix that plans may use; without it the vectors are not Matryoshka.")
        var smallest: Int?
        @Option(help: "cosine or dot.") var similarity: Similarity = .cosine
    }

    /// Rows of one transaction, and what they may have in bytes of vectors.
    private static let batch = (rows: 4_096, bytes: 32 << 20)

    func validate() throws {
        guard let format = format ?? VectorFormat(path: file) else {
            let formats = VectorFormat.allCases.map(\.rawValue).joined(separator: ", ")
            throw ValidationError("\(file) does not say by its ending what it is: name it with --format (\(formats))")
        }
        if format == .npy || format == .fvecs, !columns.isEmpty {
            throw ValidationError("a \(format.rawValue) file has no columns: ids and payloads go with --documents")
        }
        if documents != nil, columns.idColumn != nil || columns.textColumn != nil || columns.payloadColumns != nil {
            throw ValidationError("ids, texts and payloads come from --documents or from columns, not from both")
        }
        if creation.smallest != nil, !creation.create { throw ValidationError("--smallest goes with --create") }
        if let smallest = creation.smallest, smallest < 1 { throw ValidationError("--smallest is 1 or more") }
    }

    func run() throws {
        // Before any thread starts, so that all of them leave the signals to us.
        let stop = StopRequest()
        let home = try front.home.resolved()
        let client = try front.client()
        let store = Store(try DatabaseAddress.connect(home))
        try reportingStoreErrors { try store.checkSchema() }

        let held = try reportingStoreErrors { try store.collection(collection)?.shape }
        var source = try VectorSource(
            path: file,
            format: format ?? VectorFormat(path: file) ?? .npy,
            columns: columns.columns,
            documents: documents,
            dimensions: held?.dimensions
        )
        let shape = try held ?? made(source.width, store)
        try refuseOtherModel(than: shape)
        try waitUntilKnown(shape, client)
        let name = try VectorSource.fingerprint([file] + [documents].compactMap { $0 }, columns: columns.columns)
        let offset = try reportingStoreErrors { try store.importOffset(collection: shape.collection, source: name) }
        if !restart, let offset { try source.seek(to: Int(offset)) }
        let first = source.position
        if first > 0, first < source.rows { Output.note("Going on where an earlier import stopped.") }

        let started = now()
        let batches = ImportStore(store, collection: shape.collection, source: name) {
            Store(try DatabaseAddress.connect(home))
        }
        let log = try RejectLog(path: bad.rejects, appends: first > 0)
        let (stored, refusal) = try importAll(&source, into: batches, stop, log)
        if log.count > 0 {
            Output.note("\(grouped(log.count)) bad rows were passed over" + (bad.rejects.map { ": \($0)" } ?? "."))
        }
        try bad.end(file, stored: stored, "vectors", refusal: refusal, stop)
        try waitUntilSearchable(client, shape, isCancelled: { stop.isRequested })
        report(shape, stored: stored, rejected: log.count, seconds: now() - started, isNew: first < source.rows)
    }

    private func report(_ shape: CollectionShape, stored: Int, rejected: Int, seconds: Double, isNew: Bool) {
        let rate = stored > 0 ? Double(stored) / seconds : 0
        if json {
            Output.json(
                .object([
                    .init("collection", .string(shape.name)), .init("vectors", .integer(Int64(stored))),
                    .init("rejected", .integer(Int64(rejected))), .init("seconds", .number(seconds)),
                    .init("vectors_per_second", .number(rate)),
                ])
            )
        } else if isNew {
            Output.line(
                "\(grouped(stored)) vectors of \(file) are stored in \(shape.name), searchable in "
                    + "\(durationText(seconds)) (\(grouped(Int(rate))) a second)"
                    + (rejected > 0 ? "; \(grouped(rejected)) left out." : ".")
            )
        } else {
            Output.note("All of \(file) is stored in \(collection) already; --restart imports it once more.")
        }
    }

    private func importAll(
        _ source: inout VectorSource,
        into batches: ImportStore,
        _ stop: StopRequest,
        _ log: RejectLog
    ) throws -> (stored: Int, refusal: BadLine?) {
        let writer = BatchWriter(batches.write)
        let first = source.position
        var progress = ProgressLine("import", total: source.rows, startedFrom: first, at: now())
        var refusal: BadLine?
        var rows: [UpsertRow] = []
        var isAtEnd = false
        let limit = max(1, min(Self.batch.rows, Self.batch.bytes / (4 * source.width)))
        while !isAtEnd, refusal == nil, !stop.isRequested {
            do {
                if let row = try source.next() { rows.append(row) } else { isAtEnd = true }
            } catch let line as BadLine {
                if bad.onError == .skip { try log.add(line) } else { refusal = line }
            }
            if rows.count == limit {
                try writer.submit(rows, source.position)
                rows.removeAll(keepingCapacity: true)
            }
            progress.update(first + writer.written + log.count, at: now())
        }
        // The next import begins with the row that ended this one.
        let end = refusal?.offset ?? source.position
        if !rows.isEmpty || end > first && log.count > 0 { try writer.submit(rows, end) }
        try writer.finish()
        progress.finish(first + writer.written + log.count, at: now())
        return (writer.written, refusal)
    }

    /// A new collection, of vectors that no running encoder makes unless `model` says so.
    private func made(_ dimensions: Int, _ store: Store) throws -> CollectionShape {
        guard creation.create else { throw missingCollection(collection) }
        return try reportingStoreErrors {
            var smallest = creation.smallest
            var bound: String?
            if let model {
                let known = try store.models().first { $0.id == model || $0.name == model }
                if let known, known.dimensions != dimensions {
                    throw StartupFailure(
                        "the model \(known.name) has \(known.dimensions) dimensions, the vectors have \(dimensions)"
                    )
                }
                smallest = smallest ?? known?.smallestDimensions
                bound = known?.id ?? model
                if known == nil {
                    // Of a model elsewhere the name is all that is known.
                    let least = smallest ?? dimensions
                    try store.registerModel(
                        ModelRecord(
                            id: model,
                            name: model,
                            dimensions: dimensions,
                            smallestDimensions: least,
                            nesting: [least, dimensions]
                        )
                    )
                }
            }
            return try store.createCollection(
                CollectionDefinition(
                    name: collection,
                    model: bound,
                    dimensions: dimensions,
                    smallestDimensions: smallest,
                    isMatryoshka: smallest != nil,
                    similarity: creation.similarity
                )
            ).shape
        }
    }

    /// The coordinator looks for new collections now and then.
    private func waitUntilKnown(_ shape: CollectionShape, _ client: FrontClient) throws {
        let deadline = now() + 15
        while true {
            let known = StatusReport.collections(try client.object(.collections(.list))["collections"])
            if known.contains(where: { $0.name == shape.name }) { return }
            guard now() < deadline else {
                throw StartupFailure(
                    "the coordinator does not know \(shape.name): does DATABASE_URL name the coordinator's database?"
                )
            }
            pause(milliseconds: 100)
        }
    }

    private func refuseOtherModel(than shape: CollectionShape) throws {
        guard let model, model != shape.model, !shape.model.hasPrefix(model) || model.count < 8 else { return }
        throw StartupFailure(
            "\(shape.name) holds vectors of "
                + (shape.model.isEmpty ? "no model that it names" : "the model \(shape.model)") + ", not of \(model)"
        )
    }
}

extension VectorFormat: ExpressibleByArgument {}
