/// Which of the published and expected claims about nested representations hold on real data.
///
/// Definitions and claims: Kusupati et al., Matryoshka Representation Learning, 2022.
public struct Study {
    /// Numbers of all claims.
    public static let claimNumbers = all.map(\.number)

    private static let all: [any StudyClaim] = [
        NestingCostsNothing(), NestingBeatsCutting(), SizesBetween(), Spacing(), LossWeights(),
        AdaptiveClassification(),
        RoutingAndGroups(), AdaptiveRetrievalClaim(), FineTuningClaim(), CoarserNumbers(), TrainingCost(),
        ZeroShot(),
    ]

    private let claims: [any StudyClaim]
    private let seeds: Int
    private let library: StudyLibrary
    private let cache: StudyCache

    /// Makes a study.
    ///
    /// - Parameters:
    ///   - claims: Their numbers, from 1; numbers that there are not are ignored.
    ///   - seeds: How often everything is trained, 1 or more.
    ///   - sources: The data.
    ///   - folder: Where results are kept from run to run.
    public init(claims: [Int], seeds: Int, sources: StudySources, folder: String) {
        precondition(seeds > 0, "a seed or more")
        self.claims = Self.all.filter { claims.contains($0.number) }
        self.seeds = seeds
        library = StudyLibrary(sources)
        cache = StudyCache(folder: folder)
    }

    /// Runs what was not run before, and judges.
    ///
    /// - Parameters:
    ///   - runsMissing: Whether anything is run; else the report is of what earlier runs found.
    ///   - clock: Seconds of a steady clock.
    ///   - onProgress: Looks on.
    /// - Returns: The report.
    /// - Throws: Where data cannot be read, or results not be kept.
    public func report(
        runsMissing: Bool,
        clock: @escaping () -> Double,
        onProgress: (StudyProgress) -> Void
    ) throws -> StudyReport {
        let runner = StudyRunner(claims: claims, seeds: seeds, library: library, cache: cache, clock: clock)
        let results = try runner.run(runsMissing: runsMissing, onProgress: onProgress)
        return StudyReport(claims: claims, results: results, seeds: seeds)
    }
}
