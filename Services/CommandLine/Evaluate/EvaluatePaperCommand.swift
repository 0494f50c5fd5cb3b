import ArgumentParser
import CommandHelp
import Encoding
import FoundationEssentials
import ServiceRuntime
import Study
import VectorMath

/// `mrl evaluate paper`.
struct EvaluatePaperCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "paper",
        abstract: "Judge the published claims on real data, and write a report.",
        usage: "mrl evaluate paper [<options>]",
        discussion: helpDiscussion(
            """
            Trains nested models and honest baselines with several seeds and says of each claim whether it holds, is
            contradicted, or cannot be decided by so many seeds. Results are kept in --output: a run that is cut short
            goes on where it was, and changed data or recipes are measured anew. Writes report.html (one page, with
            plots) and report.json there (report-6-8.html of claims 6 and 8 alone), and the report to the terminal.
            With five seeds it takes about an hour of one core. --report-only needs the data too: by them it knows
            which results are theirs.

            Data: Debian's descriptions (mrl import debian), WordNet (Debian's package wordnet-base), and, where they
            are given, CLINC150 (train.tsv, val.tsv, test.tsv, meta.json) with a frozen encoder (deploy/fetch-minilm)
            and Cranfield (docs.jsonl, queries.jsonl, qrels.tsv). Claims without their data are skipped.
            """,
            examples: """
                mrl evaluate paper
                mrl evaluate paper --clinc150 DIR --cranfield DIR --model MINILM
                mrl evaluate paper --claims 2,3,4 --seeds 3
                mrl evaluate paper --clinc150 DIR --cranfield DIR --report-only --json
                """
        )
    )

    @OptionGroup var home: HomeOption
    @Option(help: "Numbers of the claims, with commas; default: all.", transform: Self.claims) var claims =
        Study.claimNumbers
    @Option(help: "How often everything is trained.") var seeds = 5
    @Option(help: ArgumentHelp("Results and report; default: study in the home.", valueName: "DIR")) var output: String?
    @Option(help: ArgumentHelp("Debian's descriptions; default: corpus/debian.jsonl in the home.", valueName: "FILE"))
    var debian: String?
    @Option(help: ArgumentHelp("WordNet's data files.", valueName: "DIR")) var wordnet = "/usr/share/wordnet"
    @Option(help: ArgumentHelp("CLINC150; default: none.", valueName: "DIR")) var clinc150: String?
    @Option(help: ArgumentHelp("Cranfield; default: none.", valueName: "DIR")) var cranfield: String?
    @Option(
        help: ArgumentHelp(
            "The frozen encoder; default: all-MiniLM-L6-v2 where deploy/fetch-minilm put it.",
            valueName: "DIR"
        )
    )
    var model: String?
    @Flag(help: "Run nothing: report what earlier runs found.") var reportOnly = false
    @Flag(help: "Print JSON.") var json = false

    private static func claims(_ text: String) throws -> [Int] {
        try text.split(separator: ",", omittingEmptySubsequences: false).map { part in
            guard let number = Int(part.filter { $0 != " " }), Study.claimNumbers.contains(number) else {
                throw ValidationError(
                    "--claims takes numbers from \(Study.claimNumbers.first ?? 1) to \(Study.claimNumbers.last ?? 1), got \"\(part)\""
                )
            }
            return number
        }
    }

    func validate() throws {
        guard (1...30).contains(seeds) else { throw ValidationError("--seeds must be 1 to 30") }
    }

    func run() throws {
        BLAS.useOneThread()
        if !reportOnly, let advice = BLAS.advice { Output.note(advice) }
        let home = try home.resolved()
        let folder = output ?? home.path + "/study"
        try makeFolder(folder)
        let study = Study(
            claims: claims,
            seeds: seeds,
            sources: try sources(home, folder),
            folder: folder + "/results"
        )
        var line = StudyLine()
        let report: StudyReport
        do {
            report = try study.report(runsMissing: !reportOnly, clock: now) { line.show($0) }
        } catch {
            // Files that cannot be read, and results that cannot be kept: each error says so in a sentence.
            throw error as? StartupFailure ?? StartupFailure("\(error)")
        }
        line.finish()
        if reportOnly, report.isEmpty {
            throw StartupFailure(
                "\(folder) has no result of these data: name the same files and folders as the run did; reports stay as they are"
            )
        }
        // A report on some claims does not take the place of one on all.
        let some =
            Set(claims).count == Study.claimNumbers.count ? "" : "-" + claims.map(String.init).joined(separator: "-")
        let name = folder + "/report" + some
        let file = try report.json()
        try replaceFile(name + ".html", with: report.html)
        try replaceFile(name + ".json", with: file + "\n")
        if json { return Output.line(file) }
        Output.line(report.text(isColoured: Output.isColoured))
        Output.line("\n\(name).html shows the same with plots, \(name).json every seed's figures.")
    }

    /// The data that are there.
    private func sources(_ home: Home, _ folder: String) throws -> StudySources {
        var sources = StudySources()
        func given(_ path: String, _ files: [String]) throws -> String {
            for file in files where !FileManager.default.fileExists(atPath: path + "/" + file) {
                throw StartupFailure("\(path) has no \(file)")
            }
            return path
        }
        let corpus = debian ?? home.corpus + "/debian.jsonl"
        if FileManager.default.fileExists(atPath: corpus) {
            sources.debian = corpus
        } else if debian != nil {
            throw StartupFailure("\(corpus) is missing")
        } else {
            sources.absences[.debian] = "\(corpus) is missing (mrl import debian --output \(corpus) makes it)"
        }
        if FileManager.default.fileExists(atPath: wordnet + "/data.noun") {
            sources.wordNet = wordnet
        } else {
            sources.absences[.wordNet] = "\(wordnet) has no data.noun (Debian's package wordnet-base, or --wordnet)"
        }
        sources.clinc150 = try clinc150.map { try given($0, ["train.tsv", "val.tsv", "test.tsv", "meta.json"]) }
        if clinc150 == nil { sources.absences[.clinc150] = "CLINC150 was not given (--clinc150 DIR)" }
        sources.cranfield = try cranfield.map { try given($0, ["docs.jsonl", "queries.jsonl", "qrels.tsv"]) }
        if cranfield == nil { sources.absences[.cranfield] = "Cranfield was not given (--cranfield DIR)" }
        guard let directory = model ?? Self.fetchedModel else {
            sources.absences[.encoder] = "there is no frozen encoder (deploy/fetch-minilm brings one, or --model DIR)"
            return sources
        }
        let encoder = try frozenEncoder(directory)
        let vectors = FrozenVectors(encoder: encoder, cache: folder + "/vectors")
        sources.encoder = StudySources.Encoder(id: encoder.model.id) { texts, role, label in
            try vectors.encode(texts, role: role, label: label)
        }
        return sources
    }

    /// Where `deploy/fetch-minilm` leaves the model.
    private static var fetchedModel: String? {
        let environment = ProcessInfo.processInfo.environment
        func setting(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        let cache = setting("XDG_CACHE_HOME") ?? setting("HOME").map { $0 + "/.cache" }
        return cache.map { $0 + "/matryoshka/all-MiniLM-L6-v2" }.flatMap {
            FileManager.default.fileExists(atPath: $0 + "/model.safetensors") ? $0 : nil
        }
    }
}

/// How far a study is, on one line.
private struct StudyLine {
    private var shownAt = 0.0

    mutating func show(_ progress: StudyProgress) {
        let time = now()
        guard time - shownAt >= (Output.isInteractive ? 0.2 : 15) else { return }
        shownAt = time
        let claims = progress.claims.map(String.init).joined(separator: ", ")
        let filled = Int(progress.share * 24)
        var text = String(repeating: "█", count: filled) + String(repeating: "░", count: 24 - filled)
        text += " \(Int(progress.share * 100)) %"
        if let left = progress.secondsLeft { text += "  \(durationText(left)) left" }
        if progress.seed > 0 { text += "  seed \(progress.seed) of \(progress.seeds)" }
        text += "  claim \(claims): \(progress.title)"
        if Output.isInteractive { Output.redraw(text) } else { Output.note(text) }
    }

    /// Ends the line.
    func finish() { if Output.isInteractive, shownAt > 0 { Output.note("") } }
}
