import ArgumentParser
import Evaluation
import FoundationEssentials
import Glibc
import Matryoshka
import Shortlist
import VectorFiles
import VectorMath

/// Measures our engines in process, over one data set.
struct MeasureCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "measure",
        abstract: "Measure our engines in process, on one thread each for single queries."
    )

    /// Each makes its index and measures its settings.
    enum Method: String, ExpressibleByArgument, CaseIterable {
        case flat
        case bits
        case ivf
        case hnsw
        case exact
        case full
    }

    @Argument(help: "Folder of the data set.") var data: String
    @Option(help: "Folder of results.") var output: String
    @Option(help: "Take the first rows alone.") var rows: Int?
    @Option(help: "Methods: \(Method.allCases.map(\.rawValue).joined(separator: ", ")).", transform: Self.methods)
    var methods = Method.allCases
    @Option(
        help: "A plan for flat, bits and ivf in place of the usual ones, 64:200,768:10; may be repeated.",
        transform: Self.plan
    )
    var plan: [[Stage]] = []
    @Option(parsing: .upToNextOption, help: "Lists to look into, for ivf.") var probes = [1, 2, 4, 8, 16, 32, 64]
    @Flag(help: "Take heads in principal axes, as a collection of rotation: pca does, for models without nesting.")
    var pca = false
    @Option(help: "Queries of a batch.") var batch = 128
    @Option(help: "Threads of batched runs.") var threads = 1
    @Option(help: "Seconds of each single and each batched run.") var seconds = 2.0

    private static func methods(_ text: String) throws -> [Method] {
        try text.split(separator: ",").map { name in
            guard let method = Method(rawValue: String(name)) else {
                throw ValidationError("there is no method \(name)")
            }
            return method
        }
    }

    private static func plan(_ text: String) throws -> [Stage] {
        try text.split(separator: ",").map { stage in
            let parts = stage.split(separator: ":")
            guard parts.count >= 2, let dimensions = Int(parts[0]), let keep = Int(parts[1]) else {
                throw ValidationError("a stage is dimensions:keep or dimensions:keep:precision, not \(stage)")
            }
            guard parts.count == 3 else { return Stage(dimensions: dimensions, keep: keep) }
            guard let precision = Precision(rawValue: String(parts[2])) else {
                throw ValidationError("there is no precision \(parts[2])")
            }
            return Stage(dimensions: dimensions, keep: keep, precision: precision)
        }
    }

    func run() throws {
        let data = try DataSet(self.data, rows: rows)
        try FileManager.default.createDirectory(atPath: output, withIntermediateDirectories: true)
        let watch = Stopwatch(ofThread: true)
        let vectors = FullVectors(data)
        note("full vectors: \(data.rows) rows, \(watch.seconds) s")
        var basis: VectorRotation?
        if pca {
            basis = data.principalBasis()
            guard basis != nil else { throw ValidationError("the rows have no principal axes") }
        }
        // Signs are held by heads of their own.
        let plans = plan.filter { $0[0].precision != .bit }
        let isUsual = plan.isEmpty
        let queries = data.queryValues
        var results: [ResultRow] = []

        func measure(_ method: some SearchMethod, build: (wall: Double, processor: Double)) throws {
            var row = ResultRow(
                engine: "ours",
                method: method.name,
                setting: method.setting,
                rows: data.rows,
                dimensions: data.dimensions,
                threads: threads
            )
            row.memoryBytes = Double(method.memoryBytes)
            (row.buildSeconds, row.buildProcessorSeconds) = build
            let limits = TimeLimits(singleSeconds: seconds, batchedSeconds: seconds)
            method.measureSingle(queries, dimensions: data.dimensions, limits: limits, into: &row)
            let found = method.measureBatched(
                queries,
                dimensions: data.dimensions,
                batch: batch,
                threads: threads,
                limits: limits,
                into: &row
            )
            row.found = "ours-\(data.rows)-\(results.count).npy"
            try write(found, to: "\(output)/\(row.found!)")
            note(
                "\(method.name) \(method.setting): \(row.singleProcessorMilliseconds ?? 0) ms, \(row.batchedPerCoreSecond ?? 0) q/s/core"
            )
            results.append(row)
        }

        for method in methods {
            switch method {
            case .flat:
                // Each width as a collection would hold it that always starts there.
                for (width, keeps) in [
                    (16, [200, 400, 1000]), (32, [100, 200, 400, 1000]), (64, [50, 100, 200, 400, 1000]),
                    (128, [50, 100, 200, 400, 1000]),
                ]
                where width < data.dimensions && (isUsual || plans.contains { $0[0].dimensions == width }) {
                    let watch = Stopwatch(ofThread: true)
                    let heads = Heads(data, residentWidth: width, basis: basis)
                    let build = (watch.seconds, watch.processorSeconds)
                    for stages in plans where stages[0].dimensions == width {
                        try measure(try FlatMethod(heads: heads, vectors: vectors, stages: stages), build: build)
                    }
                    guard isUsual else { continue }
                    for keep in keeps {
                        let stages = [
                            Stage(dimensions: width, keep: keep),
                            Stage(dimensions: data.dimensions, keep: DataSet.neighbours),
                        ]
                        try measure(try FlatMethod(heads: heads, vectors: vectors, stages: stages), build: build)
                    }
                    // And the funnel, which reads a part of each vector before it reads the whole of some; a rotated
                    // part takes the whole vector.
                    guard basis == nil else { continue }
                    let between = min(128, data.dimensions / 4)
                    for keep in keeps where keep > 200 || width < 64 {
                        for second in [30, 60, 100] where between > width {
                            let stages = [
                                Stage(dimensions: width, keep: keep), Stage(dimensions: between, keep: second),
                                Stage(dimensions: data.dimensions, keep: DataSet.neighbours),
                            ]
                            try measure(try FlatMethod(heads: heads, vectors: vectors, stages: stages), build: build)
                        }
                    }
                }
            case .bits:
                // A funnel of precisions: signs of the rotated head, then its codes, then all of the vector.
                guard isUsual || plans.count < plan.count else { continue }
                let watch = Stopwatch(ofThread: true)
                let width = min(128, data.dimensions / 2)
                let heads = Heads(data, residentWidth: width, basis: basis, holdsSigns: true)
                let build = (watch.seconds, watch.processorSeconds)
                for stages in plan where stages[0].precision == .bit {
                    try measure(try FlatMethod(heads: heads, vectors: vectors, stages: stages), build: build)
                }
                for signs in [64, 128] where signs <= width && isUsual {
                    for (first, second) in [(1000, 100), (2000, 100), (4000, 200), (8000, 400)] where first < data.rows
                    {
                        let stages = [
                            Stage(dimensions: signs, keep: first, precision: .bit),
                            Stage(dimensions: width, keep: second),
                            Stage(dimensions: data.dimensions, keep: DataSet.neighbours),
                        ]
                        try measure(try FlatMethod(heads: heads, vectors: vectors, stages: stages), build: build)
                    }
                }
            case .ivf:
                // As the peers get.
                let count = min(4096, CoarseLists.standardCount(rows: data.rows))
                for width in [64, 128]
                where width < data.dimensions && (isUsual || plans.contains { $0[0].dimensions == width }) {
                    let watch = Stopwatch(ofThread: true)
                    let heads = Heads(data, residentWidth: width, basis: basis, lists: count)
                    let build = (watch.seconds, watch.processorSeconds)
                    for stages in isUsual ? listPlans(width, data.dimensions) : plans
                    where stages[0].dimensions == width {
                        for probes in probes where probes <= count {
                            try measure(
                                try FlatMethod(heads: heads, vectors: vectors, stages: stages, effort: probes),
                                build: build
                            )
                        }
                    }
                }
            case .hnsw:
                for width in [64, 128] where width < data.dimensions {
                    let watch = Stopwatch(ofThread: false)
                    let heads = Heads(
                        data,
                        residentWidth: width,
                        basis: basis,
                        links: 16,
                        constructionEffort: 100,
                        threads: threads
                    )
                    let build = (watch.seconds, watch.processorSeconds)
                    for (keep, efforts) in [
                        (50, [50, 100, 200]), (100, [100, 200, 400]), (200, [200, 400]), (400, [400]),
                    ] {
                        for effort in efforts {
                            let stages = [
                                Stage(dimensions: width, keep: keep),
                                Stage(dimensions: data.dimensions, keep: DataSet.neighbours),
                            ]
                            try measure(
                                try FlatMethod(heads: heads, vectors: vectors, stages: stages, effort: effort),
                                build: build
                            )
                        }
                    }
                }
            case .exact:
                let watch = Stopwatch(ofThread: true)
                guard let method = ExactMethod(vectors, folder: output) else {
                    throw ValidationError("there is no room for the codes of an exact search in \(output)")
                }
                try measure(method, build: (watch.seconds, watch.processorSeconds))
                let share = "multiply-adds: \((method.workShare * 1000).rounded() / 10) % of a full scan's"
                results[results.count - 1].note = share
                note(share)
            case .full:
                try measure(FullScanMethod(vectors: vectors), build: (0, 0))
            }
        }
        let environment = ["kernels": KernelPath.current.rawValue, "rows": "float32 in memory"]
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        try encoder.encode(ResultFile(environment: environment, results: results))
            .write(to: URL(fileURLWithPath: "\(output)/ours-\(data.rows).json"))
    }

    /// A short list of the lists' best goes on at full size, or by way of a prefix of the full vectors.
    private func listPlans(_ width: Int, _ dimensions: Int) -> [[Stage]] {
        let full = Stage(dimensions: dimensions, keep: DataSet.neighbours)
        guard width == 64, dimensions > 128, !pca else {
            return [30, 50, 100, 200].map { [Stage(dimensions: width, keep: $0), full] }
        }
        return [(50, 20), (100, 30), (200, 40), (400, 60)].flatMap { keep, second in
            let first = Stage(dimensions: width, keep: keep)
            return [[first, full], [first, Stage(dimensions: 128, keep: second), full]]
        }
    }

    private func write(_ found: [[Int]], to path: String) throws {
        let width = DataSet.neighbours
        try MatrixFile.create(path, rows: found.count, columns: width, element: .int32) { place in
            let values = place.assumingMemoryBound(to: Int32.self)
            for (query, rows) in found.enumerated() {
                for rank in 0..<width { values[query * width + rank] = rank < rows.count ? Int32(rows[rank]) : -1 }
            }
        }
    }
}
