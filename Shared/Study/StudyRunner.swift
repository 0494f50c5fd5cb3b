import VectorMath

/// How far a study is.
public struct StudyProgress: Sendable, Hashable {
    /// Numbers of the claims that the present experiment is for.
    public var claims: [Int]
    /// The present experiment.
    public var title: String
    /// Of the present experiment, from 1; 0 where no seed changes it.
    public var seed: Int
    /// Seeds of the study.
    public var seeds: Int
    /// Of all work, 0 to 1.
    public var share: Double
    /// Seconds to go, at the pace so far; nil before one is known.
    public var secondsLeft: Double?
}

/// Runs the experiments of claims, each one once for each seed, and keeps what they find.
struct StudyRunner {
    let claims: [any StudyClaim]
    let seeds: Int
    let library: StudyLibrary
    let cache: StudyCache
    /// Seconds of a steady clock.
    let clock: () -> Double

    private struct Work {
        let experiment: any Experiment
        let seed: Int
        let data: [String: String]
    }

    /// Experiments in the order in which claims name them, each once.
    private var experiments: [any Experiment] {
        var seen: Set<String> = []
        return claims.flatMap(\.experiments).filter { seen.insert($0.name).inserted }
    }

    /// Collects what was found before, and finds the rest.
    ///
    /// All experiments of a seed come before those of the next, so that a study that is cut short says something of each.
    ///
    /// - Parameters:
    ///   - runsMissing: Whether to find the rest.
    ///   - onProgress: Looks on.
    /// - Returns: All results.
    /// - Throws: Where data cannot be read or results not be kept.
    func run(runsMissing: Bool, onProgress: (StudyProgress) -> Void) throws -> StudyResults {
        var results = StudyResults()
        var missing: [Work] = []
        var absent: Set<String> = []
        for experiment in experiments {
            if let reason = experiment.needs.lazy.compactMap(library.absence).first {
                results.add(absence: reason, of: experiment)
                absent.insert(experiment.name)
            }
        }
        for seed in 1...seeds {
            for experiment in experiments where !absent.contains(experiment.name) {
                guard experiment.isSeeded || seed == 1 else { continue }
                var data: [String: String] = [:]
                for need in experiment.needs { data[need.rawValue] = try library.digest(of: need) }
                if let entry = cache.entry(of: experiment, seed: seed, data: data) {
                    results.add(entry.figures, of: experiment, seed: seed, seconds: entry.seconds, core: entry.core)
                } else {
                    missing.append(Work(experiment: experiment, seed: seed, data: data))
                }
            }
        }
        guard runsMissing else { return results }
        let total = missing.reduce(0) { $0 + $1.experiment.cost }
        let began = clock()
        var done = 0.0
        for work in missing {
            let experiment = work.experiment
            let concerned = claims.filter { $0.experiments.contains { $0.name == experiment.name } }.map(\.number)
            let doneBefore = done
            func tell(_ share: Double) {
                let doneNow = doneBefore + share * experiment.cost
                let pace = (clock() - began) / max(doneNow, 1e-9)
                onProgress(
                    StudyProgress(
                        claims: concerned,
                        title: experiment.title,
                        seed: experiment.isSeeded ? work.seed : 0,
                        seeds: seeds,
                        share: total > 0 ? doneNow / total : 1,
                        secondsLeft: doneNow > 0.02 * experiment.cost ? (total - doneNow) * pace : nil
                    )
                )
            }
            // Another process may have been at work in the same folder.
            if let entry = cache.entry(of: experiment, seed: work.seed, data: work.data) {
                results.add(entry.figures, of: experiment, seed: work.seed, seconds: entry.seconds, core: entry.core)
            } else {
                tell(0)
                let processor = ThreadClock()
                // The closure ends with the measurement, but experiments hand it on to monitors.
                let figures = try withoutActuallyEscaping(tell) { tell in
                    try experiment.measure(library, seed: work.seed, progress: tell)
                }
                let seconds = processor.seconds
                try cache.keep(figures, of: experiment, seed: work.seed, data: work.data, seconds: seconds)
                results.add(figures, of: experiment, seed: work.seed, seconds: seconds, core: BLAS.coreType)
            }
            done += experiment.cost
        }
        return results
    }
}
