import ArgumentParser
import Corpora
import Dispatch
import Encoding
import Evaluation
import FoundationEssentials
import RetrievalTesting
import VectorFiles
import VectorMath

/// Writes the vectors of one data set, its queries, and the scores of their true neighbours.
struct DataCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "data",
        abstract: "Make a data set: profile A or H, or R from a corpus and a model (M is R with another model)."
    )

    enum Profile: String, ExpressibleByArgument, CaseIterable {
        case a = "A"
        case h = "H"
        case r = "R"
    }

    @Argument(help: "A, H or R.") var profile: Profile
    @Option(help: "Folder to make.") var output: String
    @Option(help: "Rows of A and H.") var rows = 1_000_000
    @Option(help: "Dimensions of A and H.") var dimensions = 768
    @Option(help: "Queries.") var queries = 1_000
    @Option(help: "Seed of A and H.") var seed: UInt64 = 1
    @Flag(help: "Store A and H in half precision: half the file, slower to read.") var half = false
    @Option(help: "Corpus of R.") var corpus: String?
    @Option(help: "Model of R, any directory that mrl-encoder serves.") var model: String?
    @Option(help: "Threads that encode.") var threads = ProcessInfo.processInfo.activeProcessorCount
    @Option(help: "Precision of a transformer's linear layers: float32 or bfloat16.") var precision = "float32"

    func run() throws {
        try FileManager.default.createDirectory(atPath: output, withIntermediateDirectories: true)
        if !FileManager.default.fileExists(atPath: output + "/queries.npy") {
            if profile == .r { try encode() } else { try generate() }
        }
        _ = try DataSet(output).bars()
    }

    private func generate() throws {
        let source = NestedClusters(profile: profile == .a ? .a : .h, dimensions: dimensions, seed: seed)
        try fill("base.npy", source, .base, rows: rows, element: half ? .float16 : .float32)
        try fill("queries.npy", source, .query, rows: queries, element: .float32)
    }

    private func fill(
        _ name: String,
        _ source: NestedClusters,
        _ split: NestedClusters.Split,
        rows: Int,
        element: MatrixFile.Element
    ) throws {
        let width = dimensions
        try MatrixFile.create("\(output)/\(name)", rows: rows, columns: width, element: element) { place in
            // Each iteration writes rows of its own.
            nonisolated(unsafe) let place = place
            let block = 4_096
            DispatchQueue.concurrentPerform(iterations: (rows + block - 1) / block) { number in
                for row in number * block..<min((number + 1) * block, rows) {
                    if element == .float32 {
                        source.make(row, of: split, into: (place + row * width * 4).assumingMemoryBound(to: Float.self))
                    } else {
                        let halves = (place + row * width * 2).assumingMemoryBound(to: Float16.self)
                        for (j, value) in source.vector(row, of: split).enumerated() { halves[j] = Float16(value) }
                    }
                }
            }
        }
    }

    /// Long texts are rows, in the order of a hash; short texts of the part that no training saw are queries.
    private func encode() throws {
        guard let corpus, let model else { throw ValidationError("R needs --corpus and --model") }
        BLAS.useOneThread()
        let documents = try Corpus(path: corpus)
        guard let precision = LinearPrecision(rawValue: precision) else {
            throw ValidationError("--precision is \(precision); allowed: float32, bfloat16")
        }
        let encoder = try loadEncoder(directory: model, precision: precision)
        let width = encoder.model.dimensions
        let threads = max(1, threads)
        func encoded(_ texts: ArraySlice<String>, role: String) -> [Float] {
            let size = 256
            let starts = Array(stride(from: texts.startIndex, to: texts.endIndex, by: size))
            nonisolated(unsafe) var parts = [[Float]](repeating: [], count: starts.count)
            parts.withUnsafeMutableBufferPointer { parts in
                // Each iteration writes an entry of its own.
                nonisolated(unsafe) let parts = parts
                DispatchQueue.concurrentPerform(iterations: threads) { lane in
                    for number in stride(from: lane, to: starts.count, by: threads) {
                        let start = starts[number]
                        parts[number] = encoder.encode(
                            Array(texts[start..<min(start + size, texts.endIndex)]),
                            role: role
                        )
                    }
                }
            }
            return Array(parts.joined())
        }
        func shuffled(_ indices: [Int]) -> [Int] {
            var random = SeededGenerator(seed: 1)
            return indices.shuffled(using: &random)
        }
        func write(_ name: String, _ texts: [String], role: String, limit: Int) throws {
            var values: [Float] = []
            let watch = Stopwatch(ofThread: false)
            let step = min(8_192, 1_024 * threads)
            for start in stride(from: 0, to: texts.count, by: step) where values.count / width < limit {
                let part = encoded(texts[start..<min(start + step, texts.count)], role: role)
                let done = min(start + step, texts.count)
                if texts.count > 8 * step {
                    let left = watch.seconds / Double(done) * Double(texts.count - done)
                    note("\(name): \(done) of \(texts.count) texts encoded, \(Int(left)) s left")
                }
                for row in 0..<part.count / width {
                    let vector = part[row * width..<(row + 1) * width]
                    // No known word, no direction.
                    if vector.contains(where: { $0 != 0 }) { values += vector }
                }
            }
            let count = min(limit, values.count / width)
            try MatrixFile.create("\(output)/\(name)", rows: count, columns: width, element: .float32) { place in
                place.copyMemory(from: values, byteCount: count * width * 4)
            }
        }
        let described = documents.documents.indices.filter { !documents.documents[$0].long.isEmpty }
        let held = documents.described(in: .test)
        try write(
            "base.npy",
            shuffled(described).map { documents.documents[$0].long },
            role: "document",
            limit: .max
        )
        try write(
            "queries.npy",
            shuffled(held).map { documents.documents[$0].short },
            role: "query",
            limit: queries
        )
    }
}
