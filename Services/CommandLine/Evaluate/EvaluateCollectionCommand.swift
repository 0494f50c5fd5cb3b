import ArgumentParser
import CommandHelp
import Corpora
import DocumentStore
import Evaluation
import FoundationEssentials
import Matryoshka
import ServiceRuntime
import VectorFiles
import VectorMath
import WireProtocol

/// `mrl evaluate collection`.
struct EvaluateCollectionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "collection",
        abstract: "Measure a collection that serves: sizes, plans, and what each costs in time.",
        usage: "mrl evaluate collection <name> [--queries <FILE> --qrels <FILE>] [<options>]",
        discussion: helpDiscussion(
            """
            Without --queries some rows of the collection, chosen by a hash, search the others; these are read by way
            of the database. --queries names lines of {"id", "text"}, which the collection's model encodes, or a file
            of vectors (.npy, .fvecs, .parquet, .jsonl), whose rows have numbers from 0 where it has no ids; --qrels
            says which documents are relevant for which of them (query, document and grade in a line).

            For each size it reports the share of full search's first hits that are kept and, with --qrels, nDCG, MRR,
            mAP, P and recall; then the same with multiply-adds and time for plans by (Ds, K, Dr) and for funnels, all
            with real requests.
            """,
            examples: """
                mrl evaluate collection debian
                mrl evaluate collection debian --sample 200 --grid-sizes 16,32 --keep 100,400
                mrl evaluate collection articles --queries queries.jsonl \\
                  --qrels qrels.tsv --output plots
                """
        )
    )

    @OptionGroup var front: FrontOptions
    @Argument(help: "Collection or alias.") var name: String
    @Option(help: ArgumentHelp("Texts or vectors that ask.", valueName: "FILE")) var queries: String?
    @Option(help: ArgumentHelp("Judgements of what they should find.", valueName: "FILE")) var qrels: String?
    @OptionGroup(title: "What is measured") var options: EvaluationOptions

    /// What asks, with the rows' own ids where queries are rows, or the queries' judgements.
    private struct Asked {
        var vectors: QueryVectors
        var ownIDs: [String]?
        var judgements: [[String: Int]] = []
        var nesting: [Int]?
    }

    func validate() throws {
        if qrels != nil, queries == nil { throw ValidationError("--qrels goes with --queries FILE") }
    }

    func run() throws {
        try options.makeOutput()
        let client = try front.client()
        let found = try findCollection(name, client)
        guard found.rows > 1 else { throw StartupFailure("\(found.name) has \(found.rows) rows: nothing to search") }
        let asked = try queries.map { try read($0, found, client) } ?? rows(of: found, client)
        guard asked.vectors.count > 0 else { throw StartupFailure("no query has a vector that is not zero") }
        guard asked.vectors.dimensions == found.dimensions else {
            throw StartupFailure(
                "queries have \(asked.vectors.dimensions) dimensions, \(found.name) has \(found.dimensions)"
            )
        }
        let sizes = try options.sizes(
            nesting: asked.nesting ?? [found.dimensions],
            dimensions: found.dimensions,
            smallest: found.isRotated ? 1 : found.smallestDimensions
        )
        // Hits are ranked by the vector as it is stored, of which nothing but the whole may be legal.
        let legal =
            found.smallestDimensions == found.dimensions
            ? EvaluatedSizes(chosen: [], nesting: sizes.trained.sorted(), dimensions: found.dimensions) : sizes
        let evaluation = CollectionEvaluation(
            runs: SearchRuns(client: client, collection: found.name),
            queries: asked.vectors,
            ownIDs: asked.ownIDs,
            judgements: asked.judgements,
            rows: found.rows,
            sizes: legal,
            knowsTrained: asked.nesting != nil,
            plans: options.plans(
                legal,
                rows: found.rows,
                extra: CollectionEvaluation.extraHits(queriesAreRows: asked.ownIDs != nil),
                first: sizes.main.filter { $0 <= min(128, found.residentWidth) }
            ),
            k: min(options.k, found.rows - 1)
        )
        let model = found.model.isEmpty ? "a model without a name" : "model \(found.model.prefix(16))"
        try options.show(try evaluation.report(source: found.name, model: model))
    }

    /// Vectors of some rows.
    private func rows(of collection: StatusReport.Collection, _ client: FrontClient) throws -> Asked {
        let home = try front.home.resolved()
        let store = Store(try DatabaseAddress.connect(home))
        let count = options.sample > 0 ? min(options.sample, collection.rows) : collection.rows
        let (ids, nesting): ([String], [Int]?) = try reportingStoreErrors {
            guard let shape = try store.collections().first(where: { $0.shape.name == collection.name })?.shape else {
                throw StartupFailure(
                    "the database has no collection \(collection.name): is it that of the coordinator?"
                )
            }
            let model = try store.models().first { $0.id == collection.model }
            return (try store.sampleExternalIDs(shape, count: count), model?.nesting)
        }
        var vectors = QueryVectors(values: [], dimensions: collection.dimensions)
        var own: [String] = []
        for start in stride(from: 0, to: ids.count, by: 100) {
            let part = Array(ids[start..<min(start + 100, ids.count)])
            let request = GetRequest(collection: collection.name, ids: part, withVector: true)
            guard
                case .documents(let documents, _, let width, let values) = try client.call(
                    .get(request),
                    deadlineMilliseconds: 30_000
                ), values.count == documents.count * width
            else { throw StartupFailure("the coordinator's answer is of another kind than the request") }
            for (place, document) in documents.enumerated() {
                append(values[place * width..<(place + 1) * width], document.id, to: &vectors, &own)
            }
        }
        return Asked(vectors: vectors, ownIDs: own, nesting: nesting)
    }

    /// Vectors of zeros ask for nothing.
    private func append(_ row: ArraySlice<Float>, _ id: String, to vectors: inout QueryVectors, _ ids: inout [String]) {
        guard row.contains(where: { $0 != 0 }) else { return }
        vectors.values += row
        ids.append(id)
    }

    /// Queries of a file, those that are judged where there are judgements.
    private func read(_ path: String, _ collection: StatusReport.Collection, _ client: FrontClient) throws -> Asked {
        var judgements: RelevanceJudgements?
        var texts: IdentifiedTexts?
        do {
            judgements = try qrels.map { try RelevanceJudgements(lines: try trainingData($0), path: $0) }
            if try isTexts(path) { texts = try IdentifiedTexts(lines: try trainingData(path), path: path) }
        } catch let error as TextFileError {
            throw StartupFailure("\(error)")
        }
        let ids: [String]
        let given: QueryVectors
        if let texts {
            ids = texts.ids
            given = try QueryVectors.encode(texts.texts, collection: collection.name, client)
        } else {
            let read = try FrozenVectors.readIdentified(path)
            ids = read.ids
            given = QueryVectors(values: read.vectors.values, dimensions: read.vectors.columns)
        }
        let judged = ids.indices.filter { place in
            judgements.map { $0.grades(of: ids[place]).values.contains { $0 > 0 } } ?? true
        }
        guard !judged.isEmpty else {
            throw StartupFailure("\(qrels ?? "") judges nothing relevant for a query of \(path)")
        }
        var asked = Asked(vectors: QueryVectors(values: [], dimensions: given.dimensions))
        var kept: [String] = []
        for place in options.sampled(of: judged.count).map({ judged[$0] }) {
            let row = given.values[place * given.dimensions..<(place + 1) * given.dimensions]
            append(row, ids[place], to: &asked.vectors, &kept)
        }
        if let judgements { asked.judgements = kept.map(judgements.grades) }
        return asked
    }

    /// Whether a file of queries has texts: JSON lines of which the first one has no vector.
    private func isTexts(_ path: String) throws -> Bool {
        guard VectorFormat(path: path) == .jsonl else { return false }
        let first = try trainingData(path).split(separator: UInt8(ascii: "\n")).first ?? Data()
        guard let json = try? JSONValue(parsing: Array(first)) else { return true }
        return json["vector"] == nil && json["embedding"] == nil
    }
}
