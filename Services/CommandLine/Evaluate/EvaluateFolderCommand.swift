import ArgumentParser
import CommandHelp
import Corpora
import Encoding
import Evaluation
import FoundationEssentials
import Learning
import ServiceRuntime
import VectorMath

/// `mrl evaluate folder`.
struct EvaluateFolderCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "folder",
        abstract: "Measure a model on a folder of labelled texts or of judged queries, in this process.",
        usage: "mrl evaluate folder <folder> [--model <DIR>] [<options>]",
        discussion: helpDiscussion(
            """
            The folder's files say what it is. Labelled: train, and val and test if there are, as .tsv (label, text),
            .jsonl, .json or .txt (labels alone), as CLINC150 is laid out; groups of labels may stand in domains.json
            or meta.json. Judged: corpus.jsonl (or docs), queries.jsonl with {"id", "text"}, and qrels.tsv with query,
            document and grade, as Cranfield or a BEIR folder. Texts are encoded by --model; without it their vectors
            are read from train.npy, corpus.npy and so on beside them (.npy, .fvecs, .parquet).

            Of labels it reports for each size linear probe, neighbours, mAP, few-shot, cascades, oracle routing,
            disagreement, trends and superclasses; of judgements nDCG, MRR, mAP, P and recall; of both neighbour
            recall against full size, and the cost, time and quality of single shots, of adaptive retrieval by
            (Ds, K, Dr) and of funnels. mAP@k is given divided by k, as the paper's code does, and by
            min(k, R) of R relevant ones.
            """,
            examples: """
                mrl evaluate folder clinc150 --model MiniLM
                mrl evaluate folder clinc150 --model MiniLM --method mrl --output plots
                mrl evaluate folder cranfield --model MODEL --sizes 16,64,256 --json
                """
        )
    )

    @Argument(help: "The folder.", completion: .directory) var folder: String
    @Option(help: ArgumentHelp("The encoder of the texts.", valueName: "DIR")) var model: String?
    @Option(
        help: ArgumentHelp(
            "Labelled: first teach an adapter on the training part by this method (mrl, mrl-e, pca, …; not ff or slimmable).",
            valueName: "method"
        )
    )
    var method: TrainingMethod?
    @Option(help: "Labelled: seeds of whatever is trained, for the intervals.") var seeds = 5
    @Option(help: ArgumentHelp("Keep the encoder's vectors there, for the next run.", valueName: "DIR"))
    var cache: String?
    @OptionGroup(title: "What is measured") var options: EvaluationOptions

    func validate() throws {
        guard (1...100).contains(seeds) else { throw ValidationError("--seeds is \(seeds), allowed are 1 to 100") }
        if let method, !LabelledEvaluation.methods.contains(method) {
            throw ValidationError(
                "--method \(method.rawValue) has a network for each size; allowed are "
                    + LabelledEvaluation.methods.map(\.rawValue).joined(separator: ", ")
            )
        }
    }

    func run() throws {
        try options.makeOutput()
        let layout: DataFolder
        do { layout = try DataFolder(path: folder) } catch { throw StartupFailure("\(error)") }
        switch layout {
        case .labelled(let files): try options.show(try labelled(files))
        case .judged(let files):
            if method != nil { throw StartupFailure("--method learns from labels, and \(folder) has judgements") }
            try options.show(try judged(files))
        }
    }

    // MARK: Labels

    private func labelled(_ files: DataFolder.Labelled) throws -> LabelledReport {
        let encoder = try model.map(frozenEncoder)
        let data = try LabelledParts(
            files.training.texts,
            validation: files.validation.map { .file($0.texts) },
            test: files.test?.texts,
            isTextFirst: false,
            mayLackTexts: encoder == nil
        )
        var vectors: LabelledVectors
        if let encoder {
            vectors = try LabelledVectors(data, encodedBy: FrozenVectors(encoder: encoder, cache: cache))
        } else {
            vectors = try LabelledVectors(
                data,
                vectors: try given(files.training),
                validation: try files.validation.map(given),
                test: try files.test.map(given)
            )
        }
        guard var validation = vectors.validation else {
            throw StartupFailure("\(folder): no validation example has a vector")
        }
        let part = vectors.test == nil ? "half of the validation part" : "test part"
        if vectors.test == nil {
            // Files tend to be sorted by label.
            let places = Array(validation.labels.indices)
            vectors.test = Self.selecting(places.filter { $0 % 2 == 1 }, of: validation)
            validation = Self.selecting(places.filter { $0 % 2 == 0 }, of: validation)
        }
        guard let test = vectors.test, !test.labels.isEmpty else {
            throw StartupFailure("\(folder): no test example has a vector")
        }
        let width = vectors.training.input.columns
        let evaluation = LabelledEvaluation(
            parts: .init(training: vectors.training, validation: validation, test: test),
            labels: data.labels,
            groups: try groups(files, data.labels),
            sizes: try options.sizes(nesting: encoder?.model.nesting ?? [width], dimensions: width, smallest: 1),
            method: method,
            seeds: seeds,
            options: options
        )
        return try evaluation.report(folder: folder, model: name(encoder, files.training), part: part)
    }

    private static func selecting(_ places: [Int], of part: Labelled<Matrix>) -> Labelled<Matrix> {
        Labelled(part.input.selecting(places), labels: places.map { part.labels[$0] })
    }

    private func given(_ part: DataFolder.Part) throws -> String {
        guard let vectors = part.vectors else {
            throw StartupFailure(
                "no vectors lie beside \(part.texts) (.npy, .fvecs or .parquet): encode its texts by --model DIR"
            )
        }
        return vectors
    }

    private func name(_ encoder: (any TextEncoder)?, _ part: DataFolder.Part) -> String {
        encoder.map { "\($0.model.name) (\($0.model.dimensions) dimensions)" } ?? fileName(part.vectors ?? part.texts)
    }

    /// Number of each label's group; empty where no file names groups.
    private func groups(_ files: DataFolder.Labelled, _ labels: [String]) throws -> [Int?] {
        guard let path = files.groups else { return [] }
        do {
            guard let named = try DataFolder.groups(of: try trainingData(path), path: path) else { return [] }
            let names = Set(labels.compactMap { named[$0] }).sorted()
            return names.isEmpty ? [] : labels.map { named[$0].flatMap(names.firstIndex) }
        } catch let error as TextFileError {
            throw StartupFailure("\(error)")
        }
    }

    // MARK: Judgements

    private func judged(_ files: DataFolder.Judged) throws -> JudgedReport {
        let encoder = try model.map(frozenEncoder)
        let (documents, queries, judgements): (IdentifiedTexts, IdentifiedTexts, RelevanceJudgements)
        do {
            documents = try IdentifiedTexts(lines: try trainingData(files.documents.texts), path: files.documents.texts)
            queries = try IdentifiedTexts(lines: try trainingData(files.queries.texts), path: files.queries.texts)
            judgements = try RelevanceJudgements(lines: try trainingData(files.judgements), path: files.judgements)
        } catch let error as TextFileError {
            throw StartupFailure("\(error)")
        }
        let judged = JudgedEvaluation.judged(queries.ids, documents.ids, judgements)
        guard !judged.isEmpty else {
            throw StartupFailure("\(files.judgements) judges nothing relevant for a query of \(files.queries.texts)")
        }
        let lost = judged.reduce(0) { $0 + $1.grades.count { $0.key < 0 && $0.value > 0 } }
        if lost > 0 {
            Output.note("\(grouped(lost)) relevant documents are not in \(files.documents.texts): never found")
        }
        func matrix(_ part: DataFolder.Part, _ texts: IdentifiedTexts, role: String, _ label: String) throws -> Matrix {
            if let encoder {
                return try FrozenVectors(encoder: encoder, cache: cache).encode(texts.texts, role: role, label: label)
            }
            let path = try given(part)
            let matrix = try FrozenVectors.read(path)
            guard matrix.rows == texts.ids.count else {
                throw StartupFailure(
                    "\(path) has \(grouped(matrix.rows)) vectors for \(grouped(texts.ids.count)) lines of \(part.texts)"
                )
            }
            return matrix
        }
        let rows = try matrix(files.documents, documents, role: "document", "encoding documents")
        let asked = try matrix(files.queries, queries, role: "query", "encoding queries")
        guard rows.columns == asked.columns else {
            throw StartupFailure("documents have \(rows.columns) dimensions, queries \(asked.columns)")
        }
        let evaluation = JudgedEvaluation(
            documents: rows,
            queries: asked.selecting(judged.map(\.place)),
            judgements: judged.map(\.grades),
            sizes: try options.sizes(
                nesting: encoder?.model.nesting ?? [rows.columns],
                dimensions: rows.columns,
                smallest: 1
            ),
            options: options
        )
        return evaluation.report(source: folder, model: name(encoder, files.documents))
    }
}
