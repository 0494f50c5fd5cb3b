import FoundationEssentials
import Glibc
import Learning
import ServiceRuntime
import VectorMath

/// Shows how far the runs of a training are, and keeps their checkpoints.
final class TrainingWatch {
    private let runs: [String]
    private let title: String
    private let folder: String?
    private let steps: Int
    private var line = TrainingLine()
    private let clock = CPUClock()

    /// Makes a watch over some runs.
    ///
    /// - Parameters:
    ///   - runs: Their names; of a single one it is not shown.
    ///   - options: Where checkpoints go, and whether the runs go on from them; nil: there are none.
    ///   - title: What is done, before the bar.
    /// - Throws: ``StartupFailure`` where checkpoints are there that nobody wants to go on from, or none that can be.
    init(_ runs: [String], _ options: RunOptions?, title: String = "training") throws {
        self.runs = runs
        self.title = title
        folder = options?.checkpoint
        steps = options?.checkpointSteps ?? .max
        BLAS.useOneThread()
        if let advice = BLAS.advice { Output.note(advice) }
        guard let options, let folder else { return }
        let isThere = runs.indices.contains { FileManager.default.fileExists(atPath: Self.path(folder, $0)) }
        if isThere, !options.resume {
            throw StartupFailure("\(folder) holds a checkpoint: --resume goes on from it, removing it starts anew")
        }
        if options.resume, !isThere { Output.note("\(folder) holds no checkpoint yet: starting at the beginning") }
        try makeFolder(folder)
    }

    private func makeFolder(_ folder: String) throws {
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        } catch {
            throw StartupFailure("cannot make \(folder): \(systemError())")
        }
    }

    private static func path(_ folder: String, _ run: Int) -> String { "\(folder)/run-\(run + 1).safetensors" }

    /// Checkpoints that are there, read before the first run so that a bad one costs no time.
    private lazy var resumed: [Int: TrainingCheckpoint] = [:]

    /// Reads the checkpoints that are there.
    func readCheckpoints() throws {
        guard let folder else { return }
        for run in runs.indices {
            guard let data = FileManager.default.contents(atPath: Self.path(folder, run)) else { continue }
            do {
                let checkpoint = try TrainingCheckpoint(file: [UInt8](data))
                resumed[run] = checkpoint
                Output.note("going on after step \(grouped(checkpoint.stepsDone))" + ofRun(run))
            } catch {
                throw StartupFailure("\(Self.path(folder, run)): \(error)")
            }
        }
    }

    private func ofRun(_ run: Int) -> String { runs.count > 1 ? " of \(runs[run])" : "" }

    /// Looks on at a run.
    func monitor(_ run: Int) -> TrainingMonitor {
        var monitor = TrainingMonitor()
        let label = runs.count > 1 ? "\(runs[run]) (\(run + 1) of \(runs.count))" : title
        monitor.progress = { [self] in line.show(label, $0) }
        guard let folder else { return monitor }
        monitor.checkpointSteps = steps
        monitor.resumed = resumed[run]
        monitor.checkpoint = { checkpoint in
            do {
                try Data(checkpoint.file).write(to: URL(fileURLWithPath: Self.path(folder, run)), options: .atomic)
            } catch {
                Output.note("cannot write \(Self.path(folder, run)): \(error)")
            }
        }
        return monitor
    }

    /// Runs a training under this watch.
    ///
    /// - Throws: ``StartupFailure`` with what a checkpoint's error says.
    func training<Result>(_ body: () throws(CheckpointError) -> Result) throws -> Result {
        try readCheckpoints()
        do {
            let result = try body()
            line.finish()
            return result
        } catch {
            line.finish()
            throw StartupFailure("\(folder ?? ""): \(error)")
        }
    }

    /// The result is written, so nothing is to be gone on from.
    func removeCheckpoints() {
        guard let folder else { return }
        for run in runs.indices { try? FileManager.default.removeItem(atPath: Self.path(folder, run)) }
        rmdir(folder)
    }

    /// Processor time since it began.
    var cpuSeconds: Double { clock.seconds }

    /// Refuses what diverged.
    static func check(_ histories: [TrainingHistory]) throws {
        guard histories.allSatisfy({ ($0.trainingLoss + $0.validationLoss).allSatisfy(\.isFinite) }) else {
            throw StartupFailure("the loss is no finite number any more: lower the rate (--lr)")
        }
    }
}

/// Processor time of this process from a moment on.
struct CPUClock {
    private let start = Self.now()

    var seconds: Double { Self.now() - start }

    private static func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}

/// How far training is; a terminal's line rewrites itself, otherwise there is a line every five seconds.
private struct TrainingLine {
    /// When the run began, and after how many steps.
    private var began: (label: String, at: ContinuousClock.Instant, step: Int)?
    private var shown: ContinuousClock.Instant?

    mutating func show(_ label: String, _ progress: TrainingProgress) {
        let label = progress.isProbe ? "fitting heads" : label
        let now = ContinuousClock.now
        if began?.label != label { began = (label, now, progress.step) }
        // Of the first step alone no rate is known.
        guard let began, progress.step > began.step else { return }
        let isLast = progress.step == progress.steps
        let pause: Duration = Output.isInteractive ? .milliseconds(100) : .seconds(5)
        if let shown, now - shown < pause, !isLast { return }
        shown = now
        let rate = Double(progress.step - began.step) / max((now - began.at) / .seconds(1), 1e-9)
        let share = Double(progress.step) / Double(max(1, progress.steps))
        let filled = Int(share * 24)
        let text =
            "\(label) " + String(repeating: "█", count: filled) + String(repeating: "░", count: 24 - filled)
            + " \(Int(share * 100)) %  epoch \(progress.epoch)"
            + "  step \(grouped(progress.step)) of \(grouped(progress.steps))"
            + "  loss \(fixed(progress.loss, 3))  \(fixed(rate, 1)) steps/s"
            + "  \(durationText(Double(progress.steps - progress.step) / rate)) left"
        if Output.isInteractive { Output.redraw(text) } else { Output.note(text) }
    }

    /// Ends the terminal's line.
    func finish() {
        if Output.isInteractive, shown != nil { Output.note("") }
    }
}
