import Encoding
import FoundationEssentials
import VectorMath

/// Results of experiments on disk, one file for each and seed, so that a study that was cut short goes on where it was.
struct StudyCache {
    /// One file.
    struct Entry: Codable {
        var experiment: String
        var seed: Int
        /// Digests of the data.
        var data: [String: String]
        var recipe: String
        /// Processor seconds that it took.
        var seconds: Double
        /// Core type of OpenBLAS; nil of results that were kept before it was told.
        var core: String?
        var figures: Figures
    }

    /// Where the files are.
    let folder: String

    /// Reads a result.
    ///
    /// - Returns: Nil where there is none of this recipe and these data, or the file is damaged.
    func entry(of experiment: any Experiment, seed: Int, data: [String: String]) -> Entry? {
        guard let bytes = FileManager.default.contents(atPath: path(experiment, seed, data)),
            let entry = try? JSONDecoder().decode(Entry.self, from: bytes),
            entry.experiment == experiment.name, entry.recipe == experiment.recipe, entry.data == data
        else { return nil }
        return entry
    }

    /// Keeps a result; the file is whole or not there.
    ///
    /// - Throws: What the file system says.
    func keep(
        _ figures: Figures,
        of experiment: any Experiment,
        seed: Int,
        data: [String: String],
        seconds: Double
    ) throws {
        let entry = Entry(
            experiment: experiment.name,
            seed: seed,
            data: data,
            recipe: experiment.recipe,
            seconds: seconds,
            core: BLAS.coreType,
            figures: figures
        )
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try encoder.encode(entry).write(to: URL(fileURLWithPath: path(experiment, seed, data)), options: .atomic)
    }

    private func path(_ experiment: any Experiment, _ seed: Int, _ data: [String: String]) -> String {
        let told = data.keys.sorted().map { "\($0)=\(data[$0] ?? "")" } + [experiment.recipe]
        let digest = SHA256.hexadecimal(Array(told.joined(separator: "\n").utf8)).prefix(12)
        let name = experiment.isSeeded ? "\(experiment.name)-seed-\(seed)" : experiment.name
        return "\(folder)/\(name)-\(digest).json"
    }
}
