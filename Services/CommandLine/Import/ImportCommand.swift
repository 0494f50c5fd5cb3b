import ArgumentParser
import CommandHelp
import DocumentStore
import Glibc
import Matryoshka
import PostgreSQL
import ServiceRuntime
import WireProtocol

/// `mrl import`.
struct ImportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Make corpora, and fill collections from them.",
        discussion: helpDiscussion(
            examples: """
                mrl import debian --output debian.jsonl
                mrl import documents debian.jsonl --collection debian --create
                mrl import vectors photos.npy --collection photos --create
                mrl import pending
                """
        ),
        subcommands: [
            ImportDebianCommand.self, ImportWordNetCommand.self, ImportDocumentsCommand.self,
            ImportVectorsCommand.self, ImportPendingCommand.self,
        ]
    )
}

/// `mrl import documents`.
struct ImportDocumentsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "documents",
        abstract: "Encode the documents of a JSON-lines file and store them, searchable.",
        usage: "mrl import documents [<options>] <file> --collection <collection>",
        discussion: helpDiscussion(
            """
            A line is {"id", "text", "payload"} or a package {"name", "source", "section", "short", "long"}. An import
            that was cut short goes on where it stopped, unless the file was changed; Ctrl-C stops it after the
            current batch. A line that is no document stops it too, once all before it is stored.
            """,
            examples: """
                mrl import documents corpus.jsonl --collection debian --create
                mrl import documents corpus.jsonl --collection eval --create --fields long
                mrl import documents corpus.jsonl --collection debian \\
                  --on-error skip --rejects bad.jsonl
                """
        )
    )

    @OptionGroup var front: FrontOptions
    @Argument(help: "File of JSON lines.") var file: String
    @Option(help: "Collection to fill.") var collection: String
    @Option(help: ArgumentHelp("Fields that make up the text, for example long or short,long.", valueName: "names"))
    var fields: String?
    @Flag(help: "Create the collection where it is missing, for the encoder's model.") var create = false
    @Flag(help: "Begin at the first line even if an earlier import came further.") var restart = false
    @OptionGroup var bad: BadLineOptions
    @Flag(help: "Print figures as JSON at the end.") var json = false

    /// What became of the lines.
    private struct Outcome {
        var stored = 0
        var withoutText: [String] = []
        var unknownText: [String] = []
        var bad = 0
        /// The line that ended the import.
        var refusal: BadLine?

        var leftOut: Int { withoutText.count + unknownText.count + bad }
    }

    func run() throws {
        // Before any thread starts, so that all of them leave the signals to us.
        let stop = StopRequest()
        let home = try front.home.resolved()
        let client = try front.client()
        let store = Store(try DatabaseAddress.connect(home))
        try reportingStoreErrors { try store.checkSchema() }
        let shape = try target(client, store)

        var source = try DocumentFile(path: file, fields: fields?.split(separator: ",").map(String.init))
        let name = source.fingerprint
        if !restart,
            let offset = try reportingStoreErrors({
                try store.importOffset(collection: shape.collection, source: name)
            })
        {
            source.seek(to: Int(offset))
            if source.offset > 0, source.offset < source.size {
                Output.note("Going on where an earlier import stopped.")
            }
        }
        let total = source.remainingLines
        let started = now()
        var outcome = Outcome()
        if total > 0 {
            let log = try RejectLog(path: bad.rejects, appends: source.offset > 0)
            outcome = try importAll(&source, total: total, name: name, into: shape, client, store, home, stop, log)
            report(outcome)
        } else if source.size == 0 {
            Output.note("\(file) is empty.")
        } else {
            Output.note("All of \(file) is stored in \(collection) already; --restart imports it once more.")
        }
        try bad.end(file, stored: outcome.stored, "documents", refusal: outcome.refusal, stop)
        try waitUntilSearchable(client, shape, isCancelled: { stop.isRequested })
        let seconds = now() - started
        let rate = outcome.stored > 0 ? Double(outcome.stored) / seconds : 0
        if json {
            Output.json(
                .object([
                    .init("collection", .string(shape.name)), .init("documents", .integer(Int64(outcome.stored))),
                    .init("without_text", .integer(Int64(outcome.withoutText.count))),
                    .init("without_known_word", .integer(Int64(outcome.unknownText.count))),
                    .init("rejected", .integer(Int64(outcome.bad))),
                    .init("seconds", .number(seconds)), .init("documents_per_second", .number(rate)),
                ])
            )
        } else if total > 0 {
            Output.line(
                "\(grouped(outcome.stored)) documents of \(file) are stored in \(shape.name), searchable in "
                    + "\(durationText(seconds)) (\(grouped(Int(rate))) a second)"
                    + (outcome.leftOut > 0 ? "; \(grouped(outcome.leftOut)) left out." : ".")
            )
        }
    }

    /// Names what was left out, and why.
    private func report(_ outcome: Outcome) {
        for (ids, reason) in [
            (outcome.withoutText, "have no text and were left out"),
            (outcome.unknownText, "have no word that the model knows and were left out"),
        ] where !ids.isEmpty {
            let names = ids.prefix(5).joined(separator: ", ") + (ids.count > 5 ? ", …" : "")
            Output.note("\(grouped(ids.count)) documents \(reason): \(names)")
        }
        if outcome.bad > 0 {
            Output.note("\(grouped(outcome.bad)) bad lines were passed over" + (bad.rejects.map { ": \($0)" } ?? "."))
        }
    }

    private func target(_ client: FrontClient, _ store: Store) throws -> CollectionShape {
        func find() throws -> CollectionShape? {
            try reportingStoreErrors { try store.collection(collection)?.shape }
        }
        if let shape = try find() { return shape }
        guard create else { throw missingCollection(collection) }
        _ = try client.object(.collections(.create(CreateCollection(name: collection))))
        guard let shape = try find() else {
            throw StartupFailure(
                "\(collection) was created, but not in this database: does DATABASE_URL name the coordinator's?"
            )
        }
        return shape
    }

    private func importAll(
        _ source: inout DocumentFile,
        total: Int,
        name: String,
        into shape: CollectionShape,
        _ client: FrontClient,
        _ store: Store,
        _ home: Home,
        _ stop: StopRequest,
        _ log: RejectLog
    ) throws -> Outcome {
        let number = shape.collection
        let batches = ImportStore(store, collection: number, source: name) {
            Store(try DatabaseAddress.connect(home))
        }
        let writer = BatchWriter(batches.write)
        var progress = ProgressLine("import", total: total, at: now())
        var refusal: BadLine?
        let pipeline = ImportPipeline(
            client: client,
            collection: shape.name,
            isCancelled: { stop.isRequested },
            writer: writer.submit
        )
        var file = source
        try pipeline.run(
            next: {
                progress.update(writer.written + log.count, at: now())
                while refusal == nil {
                    do throws(BadLine) {
                        return try file.next()
                    } catch {
                        if bad.onError == .skip { try log.add(error) } else { refusal = error }
                    }
                }
                return nil
            },
            // The next import begins with the line that ended this one.
            offset: { refusal?.offset ?? file.offset }
        )
        try writer.finish()
        let outcome = Outcome(
            stored: writer.written,
            withoutText: pipeline.emptyText,
            unknownText: pipeline.unknownText,
            bad: log.count,
            refusal: refusal
        )
        if !stop.isRequested, refusal == nil, outcome.leftOut > 0, file.offset == file.size {
            // The end of the file, past lines that left no rows.
            try batches.write([], file.offset)
        }
        progress.finish(writer.written, at: now())
        source = file
        return outcome
    }
}

/// What an import does with a line or row that it cannot store.
struct BadLineOptions: ParsableArguments {
    /// What it does.
    enum OnError: String, ExpressibleByArgument, CaseIterable {
        case skip
        case stop
    }

    @Option(help: ArgumentHelp("At a line that is no document: skip it, or stop.", valueName: "skip|stop"))
    var onError = OnError.stop
    @Option(
        help: ArgumentHelp(
            "Write lines that were passed over here, as {\"line\", \"id\", \"problem\", \"content\"}.",
            valueName: "file"
        )
    )
    var rejects: String?

    func validate() throws {
        guard rejects == nil || onError == .skip else { throw ValidationError("--rejects goes with --on-error skip") }
    }

    /// Ends an import that a line or its user cut short.
    func end(_ file: String, stored: Int, _ what: String, refusal: BadLine?, _ stop: StopRequest) throws {
        if let refusal {
            throw StartupFailure(
                "\(file) \(refusal.sentence); stopped there, with \(grouped(stored)) \(what) before it stored: "
                    + "mend it, or pass over such \(refusal.unit)s with --on-error skip"
            )
        }
        if stop.isRequested {
            Output.line("Stopped. The same command goes on from here.")
            throw ExitCode(130)
        }
    }
}

extension Store {
    /// The collection of that name or alias.
    func collection(_ name: String) throws -> CollectionRecord? {
        try collections().first { $0.shape.name == name || $0.aliases.contains(name) }
    }
}

/// An import into nothing.
func missingCollection(_ name: String) -> StartupFailure {
    StartupFailure("there is no collection \(name): create it with --create, or with mrl collections create")
}

/// `mrl import pending`.
struct ImportPendingCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pending",
        abstract: "Encode documents that were stored as text without a vector.",
        usage: "mrl import pending [<options>]",
        discussion: helpDiscussion(
            examples: """
                mrl import pending
                mrl import pending --collection articles
                """
        )
    )

    @OptionGroup var front: FrontOptions
    @Option(help: "Collection; default: all.") var collection: String?

    private static let batch = 4_096

    func run() throws {
        let stop = StopRequest()
        let client = try front.client()
        let store = Store(try DatabaseAddress.connect(try front.home.resolved()))
        try reportingStoreErrors { try store.checkSchema() }
        let shapes = try reportingStoreErrors { try store.collections().map(\.shape) }
        if let collection, !shapes.contains(where: { $0.name == collection }) {
            throw StartupFailure("there is no collection \(collection)")
        }
        for shape in shapes where collection == nil || shape.name == collection {
            let encoded = try encodePending(shape, client, store, stop)
            Output.line("\(shape.name): \(grouped(encoded)) documents encoded.")
            if stop.isRequested { throw ExitCode(130) }
            if encoded > 0 { try waitUntilSearchable(client, shape, isCancelled: { stop.isRequested }) }
        }
    }

    private func encodePending(
        _ shape: CollectionShape,
        _ client: FrontClient,
        _ store: Store,
        _ stop: StopRequest
    ) throws -> Int {
        var done = 0
        var left = 0
        var last: Int64 = 0
        while !stop.isRequested {
            var waiting = try reportingStoreErrors {
                try store.pending(collection: shape.collection, after: last, limit: Self.batch)
            }
            guard let end = waiting.last?.id else { break }
            // On behind what cannot be encoded, or all that comes after it would wait for ever.
            last = end
            let asked = waiting.count
            waiting.reverse()
            var encoded: [UpsertRow] = []
            let pipeline = ImportPipeline(
                client: client,
                collection: shape.name,
                isCancelled: { stop.isRequested },
                writer: { rows, _ in encoded += rows }
            )
            try pipeline.run(
                next: { waiting.popLast().map { ImportedDocument(id: $0.externalID, text: $0.text) } },
                offset: { 0 }
            )
            let written = try write(encoded, shape, store)
            done += written
            left += asked - encoded.count
        }
        if left > 0, !stop.isRequested {
            Output.note("\(shape.name): \(grouped(left)) documents have no word that the model knows.")
        }
        return done
    }

    /// Writes vectors for documents that still wait with the same text, and keeps their payloads.
    private func write(_ rows: [UpsertRow], _ shape: CollectionShape, _ store: Store) throws -> Int {
        guard !rows.isEmpty else { return 0 }
        let byID = Dictionary(rows.map { ($0.externalID, $0) }) { $1 }
        return try reportingStoreErrors {
            let written = try store.connection.transaction {
                let held = try store.connection.execute(
                    """
                    SELECT external_id, text, payload::text FROM matryoshka.documents_\(shape.collection)
                        WHERE external_id = ANY ($1) AND pending ORDER BY external_id FOR UPDATE
                    """,
                    [.texts(rows.map(\.externalID))]
                )
                let current = (0..<held.rowCount).compactMap { row -> UpsertRow? in
                    guard var document = byID[held.text(row, 0)], held.optionalText(row, 1) == document.text else {
                        return nil
                    }
                    document.payload = held.optionalText(row, 2)
                    return document
                }
                return try store.upsert(collection: shape.collection, rows: current).applied
            }
            try store.notifyWritten(collection: shape.collection)
            return written
        }
    }
}

/// Waits until all that was committed before the call can be found in a collection.
func waitUntilSearchable(
    _ client: FrontClient,
    _ shape: CollectionShape,
    seconds: Double = 120,
    isCancelled: () -> Bool = { false }
) throws {
    // Writes nothing: its transaction comes after all others, and is searchable when they are.
    let barrier = FrontRequestBody.upsert(UpsertRequest(collection: shape.name, documents: [], wait: .searchable))
    let deadline = now() + seconds
    var last = ""
    while now() < deadline, !isCancelled() {
        let ticket = try client.send(barrier, deadlineMilliseconds: 2_000)
        let completion = try client.next()
        guard completion.ticket == ticket else { continue }
        switch completion.body {
        case .write(let reply) where reply.state == "searchable": return
        case .write: last = "not all shards have it"
        case .error(let error) where error.code.isRetryable:
            last = error.message
            pause(milliseconds: 100)
        case .error(let error): throw error.asFailure
        default: throw StartupFailure("the coordinator's answer is of another kind than the request")
        }
        // Waiting would not help without an operator.
        let report = StatusReport(try client.object(.status))
        guard let collection = report.collections.first(where: { $0.name == shape.name }) else { continue }
        for role in ["shortlist", "rerank"] {
            guard report.workers.contains(where: { $0.role == role }) else {
                Output.note("Stored, but it cannot be found yet: no \(role) worker runs.")
                return
            }
            let without = collection.shards[role]?.noCapacity ?? 0
            if without > 0 {
                Output.note("Stored, but not all of it can be found: \(without) \(role) shards have no room.")
                return
            }
        }
    }
    Output.note("Stored, but not all of it can be found yet: \(last); see mrl status.")
}

/// Gives the store's errors as one sentence.
func reportingStoreErrors<R>(_ body: () throws -> R) throws -> R {
    do {
        return try body()
    } catch let error as StoreError {
        throw StartupFailure("\(error)")
    } catch let error as PostgreSQLError {
        throw StartupFailure("\(error)")
    }
}

func pause(milliseconds: Int) { usleep(UInt32(milliseconds) * 1_000) }

/// Ctrl-C or SIGTERM: the first asks for an end, the second ends at once.
final class StopRequest {
    private let signals = TerminationSignals()
    private var wasAsked = false

    var isRequested: Bool {
        while let signal = signals.next() {
            if wasAsked { TerminationSignals.exitAtOnce(signal) }
            wasAsked = true
            Output.note("\nStopping after the current batch; once more stops at once.")
        }
        return wasAsked
    }
}
