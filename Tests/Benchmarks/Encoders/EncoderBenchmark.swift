import ArgumentParser
import COpenBLAS
import Encoding
import Foundation
import VectorMath

/// Measures how many tokens a transformer encodes in a second of one thread's time, at several shapes of batches.
@main
struct EncoderBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "encoder-benchmark",
        abstract: "Tokens per CPU second of a model, by shape of the batch and precision of its linear layers."
    )

    @Argument(help: "Model directory.") var model: String
    @Option(help: "Comma-separated: float32, bfloat16.") var precision = "float32,bfloat16"
    @Option(help: "Seconds of CPU time for each figure.") var seconds = 2.0
    @Flag(help: "One JSON object instead of a table.") var json = false

    /// Texts of so many tokens each; a search, a few searches, and imports of short, usual and long texts.
    static let shapes: [(texts: Int, tokens: Int)] = [
        (1, 12), (8, 12), (64, 12), (1, 76), (32, 76), (256, 76), (8, 256),
    ]

    struct Row: Encodable {
        var texts: Int
        /// Of a text; nil for texts of all lengths from 8 to 144 alike.
        var tokens: Int?
        var tokensPerSecond: [String: Double]
    }

    struct Report: Encodable {
        var machine: String
        var kernels: String
        var blasCore: String
        var model: String
        var rows: [Row]
    }

    func run() throws {
        BLAS.useOneThread()
        let precisions = try precision.split(separator: ",").map {
            guard let one = LinearPrecision(rawValue: String($0)) else {
                throw ValidationError("--precision \($0) is not one of \(LinearPrecision.allCases.map(\.rawValue))")
            }
            return one
        }
        let core = String(cString: openblas_get_corename())
        let asked = ProcessInfo.processInfo.environment["OPENBLAS_CORETYPE"].map { "OPENBLAS_CORETYPE=\($0)" }
        var report = Report(
            machine: machine,
            kernels: KernelPath.current.rawValue,
            blasCore: "\(core) (\(asked ?? "OPENBLAS_CORETYPE unset"))",
            model: model,
            rows: Self.shapes.map { Row(texts: $0.texts, tokens: $0.tokens, tokensPerSecond: [:]) }
        )
        report.rows.append(Row(texts: 256, tokens: nil, tokensPerSecond: [:]))
        for precision in precisions {
            let encoder = try loadEncoder(directory: model, precision: precision)
            for index in report.rows.indices {
                let row = report.rows[index]
                let lengths = (0..<row.texts).map { row.tokens ?? 8 + $0 * 37 % 137 }
                // With [CLS] and [SEP]; each word is one token.
                let texts = lengths.map { Array(repeating: "the", count: $0 - 2).joined(separator: " ") }
                report.rows[index].tokensPerSecond[precision.rawValue] =
                    Double(lengths.reduce(0, +)) / perRun { _ = encoder.encode(texts, role: "document") }
            }
        }
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys]
            print(String(decoding: try encoder.encode(report), as: UTF8.self))
            return
        }
        print(
            "\(report.machine), one thread, kernels \(report.kernels); OpenBLAS (not in the layers): \(report.blasCore)"
        )
        print("texts x tokens  " + precisions.map { pad("\($0) tokens/s", 22) }.joined())
        for row in report.rows {
            let shape = pad("\(row.texts) x \(row.tokens.map(String.init) ?? "8-144")", 14)
            print(shape + "  " + precisions.map { pad("\(Int(row.tokensPerSecond[$0.rawValue]!))", 22) }.joined())
        }
    }

    private func pad(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }

    private var machine: String {
        let text = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
        let line = text.split(separator: "\n").first { $0.hasPrefix("model name") }
        return line?.split(separator: ":").last.map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown processor"
    }

    /// The median of CPU seconds of a run.
    private func perRun(_ body: () -> Void) -> Double {
        body()
        var times: [Double] = []
        while times.reduce(0, +) < seconds || times.count < 3 {
            let start = Self.threadSeconds()
            body()
            times.append(Self.threadSeconds() - start)
        }
        return times.sorted()[times.count / 2]
    }

    private static func threadSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
