import Evaluation

/// What was measured of one method at one setting; peers write the same keys.
struct ResultRow: Codable {
    /// Whose method it is: ours, or a library with its version.
    var engine: String
    /// Settings that share a line of the plot.
    var method: String
    /// The one setting, for example the plan.
    var setting: String
    var rows: Int
    var dimensions: Int
    /// Threads of the batched run; single queries use one.
    var threads: Int
    /// Wall time of one query after another.
    var singleP50Milliseconds: Double?
    var singleP99Milliseconds: Double?
    /// Processor time of one query, the median.
    var singleProcessorMilliseconds: Double?
    /// Queries of a batch, or requests in flight.
    var batch: Int?
    /// By the clock on the wall.
    var batchedPerSecond: Double?
    /// By processor time: not inflated by other work on the cores.
    var batchedPerCoreSecond: Double?
    /// Memory of the index; of a peer, growth of the process.
    var memoryBytes: Double?
    var buildSeconds: Double?
    var buildProcessorSeconds: Double?
    /// File beside the results with the rows found for the first queries.
    var found: String?
    var recall: Recall?
    var note: String?

    /// Core seconds of a query, one at a time; an end-to-end run tells none.
    var singleRate: Double? { singleProcessorMilliseconds.map { 1_000 / $0 } }
}

/// A file of results.
struct ResultFile: Codable {
    /// How the rows were measured: versions, settings, core types.
    var environment: [String: String]
    var results: [ResultRow]
}
