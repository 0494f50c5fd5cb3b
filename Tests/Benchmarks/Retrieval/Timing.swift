import Dispatch
import Glibc
import Matryoshka
import VectorMath

/// Two clocks: what passed, and what the processor spent on us.
struct Stopwatch {
    private let clock: clockid_t
    private let wall = Self.read(CLOCK_MONOTONIC)
    private let processor: Double

    /// Counts the processor time of this thread, or of the whole process.
    init(ofThread: Bool) {
        clock = ofThread ? CLOCK_THREAD_CPUTIME_ID : CLOCK_PROCESS_CPUTIME_ID
        processor = Self.read(clock)
    }

    var seconds: Double { Self.read(CLOCK_MONOTONIC) - wall }
    var processorSeconds: Double { Self.read(clock) - processor }

    private static func read(_ clock: clockid_t) -> Double {
        var time = timespec()
        clock_gettime(clock, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}

/// How long each part of a measurement may take.
struct TimeLimits {
    var singleSeconds = 2.0
    var batchedSeconds = 2.0
    /// Even where the time is over.
    static let fewestSingle = 20
}

func quantile(_ values: [Double], _ share: Double) -> Double {
    let sorted = values.sorted()
    return sorted[min(sorted.count - 1, max(0, Int((share * Double(sorted.count)).rounded(.up)) - 1))]
}

extension SearchMethod {
    /// One query after another on this thread.
    func measureSingle(_ queries: [Float], dimensions: Int, limits: TimeLimits, into row: inout ResultRow) {
        let count = queries.count / dimensions
        var (walls, processors): ([Double], [Double]) = ([], [])
        let whole = Stopwatch(ofThread: true)
        // The first ones warm the caches and count for nothing.
        for number in -3..<count {
            if number >= TimeLimits.fewestSingle, whole.seconds > limits.singleSeconds { break }
            let query = (number + count) % count
            let watch = Stopwatch(ofThread: true)
            _ = search(queries.span.extracting(query * dimensions..<(query + 1) * dimensions), count: 1)
            let (processor, wall) = (watch.processorSeconds, watch.seconds)
            guard number >= 0 else { continue }
            walls.append(wall * 1e3)
            processors.append(processor * 1e3)
        }
        row.singleP50Milliseconds = quantile(walls, 0.5)
        row.singleP99Milliseconds = quantile(walls, 0.99)
        row.singleProcessorMilliseconds = quantile(processors, 0.5)
    }

    /// All queries in batches, again until the time is over.
    ///
    /// - Returns: The rows found for the first queries; for all of them unless the time was over before.
    func measureBatched(
        _ queries: [Float],
        dimensions: Int,
        batch: Int,
        threads: Int,
        limits: TimeLimits,
        into row: inout ResultRow
    ) -> [[Int]] {
        let count = queries.count / dimensions
        let starts = Array(stride(from: 0, to: count, by: batch))
        nonisolated(unsafe) var found = [[[Int]]](repeating: [], count: starts.count)
        var (done, passes) = (0, 0)
        let watch = Stopwatch(ofThread: false)
        repeat {
            for group in stride(from: 0, to: starts.count, by: threads) {
                if done >= batch * threads, watch.seconds > limits.batchedSeconds * 5 { break }
                let numbers = Array(group..<min(group + threads, starts.count))
                nonisolated(unsafe) var answers = [[[Int]]](repeating: [], count: numbers.count)
                answers.withUnsafeMutableBufferPointer { answers in
                    // Each iteration writes an entry of its own.
                    nonisolated(unsafe) let answers = answers
                    @Sendable func run(_ place: Int) {
                        let range = starts[numbers[place]]..<min(starts[numbers[place]] + batch, count)
                        answers[place] = search(
                            queries.span.extracting(range.lowerBound * dimensions..<range.upperBound * dimensions),
                            count: range.count
                        )
                    }
                    if numbers.count == 1 {
                        run(0)
                    } else {
                        DispatchQueue.concurrentPerform(iterations: numbers.count, execute: run)
                    }
                }
                for (number, answer) in zip(numbers, answers) {
                    found[number] = answer
                    done += answer.count
                }
            }
            passes += 1
        } while watch.seconds < limits.batchedSeconds
        let (wall, processor) = (watch.seconds, watch.processorSeconds)
        row.threads = threads
        row.batch = batch
        row.batchedPerSecond = Double(done) / wall
        row.batchedPerCoreSecond = Double(done) / processor
        return Array(found.prefix { !$0.isEmpty }.joined())
    }
}

/// A remark beside the data.
func note(_ text: String) {
    let bytes = Array((text + "\n").utf8)
    _ = write(2, bytes, bytes.count)
}
