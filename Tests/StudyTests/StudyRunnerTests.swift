import FoundationEssentials
import Testing

@testable import Study

/// Counts what was measured.
private final class Log: @unchecked Sendable {
    // Tests of one suite use it from one thread.
    var seeds: [Int] = []
    var failsAt: Int?
}

private struct Broken: Error {}

private struct Counted: Experiment {
    let log: Log
    var name = "counted"
    var isSeeded = true
    var recipe = "first"
    var needs: [StudyData] = []
    let title = "Counted"
    let cost = 2.0

    func measure(_ library: StudyLibrary, seed: Int, progress: @escaping (Double) -> Void) throws -> Figures {
        if seed == log.failsAt { throw Broken() }
        log.seeds.append(seed)
        progress(0.5)
        var figures = Figures()
        figures["value"] = Double(seed)
        return figures
    }
}

private struct Claim: StudyClaim {
    let number: Int
    let title = "A <claim>"
    let statement = "It \"holds\" & so on."
    let method = "By counting."
    let experiments: [any Experiment]

    func findings(_ results: StudyResults) -> ClaimFindings {
        ClaimFindings(parts: [
            results.part("values", of: experiments) {
                [Finding("value", results.values(experiments[0], "value"), .atLeast(0))]
            }
        ])
    }
}

@Suite("Study runner")
struct StudyRunnerTests {
    private let folder = FileManager.default.temporaryDirectory.path + "/study-\(UInt64.random(in: 0 ... .max))"
    private let log = Log()

    private func run(
        _ experiment: Counted,
        claims: Int = 1,
        seeds: Int = 3,
        runsMissing: Bool = true,
        onProgress: (StudyProgress) -> Void = { _ in }
    ) throws -> StudyResults {
        var time = 0.0
        return try StudyRunner(
            claims: (1...claims).map { Claim(number: $0, experiments: [experiment]) },
            seeds: seeds,
            library: StudyLibrary(StudySources()),
            cache: StudyCache(folder: folder),
            clock: {
                time += 1
                return time
            }
        ).run(runsMissing: runsMissing, onProgress: onProgress)
    }

    @Test("measures what claims share once for each seed, and never again")
    func once() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let experiment = Counted(log: log)
        #expect(try run(experiment, claims: 2).values(experiment, "value") == [1, 2, 3])
        #expect(log.seeds == [1, 2, 3])
        #expect(try run(experiment).values(experiment, "value") == [1, 2, 3])
        #expect(try run(experiment, seeds: 4).values(experiment, "value") == [1, 2, 3, 4])
        #expect(log.seeds == [1, 2, 3, 4])
    }

    @Test("goes on after it was cut short")
    func resumed() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let experiment = Counted(log: log)
        log.failsAt = 2
        #expect(throws: Broken.self) { try run(experiment) }
        log.failsAt = nil
        #expect(try run(experiment, runsMissing: false).values(experiment, "value") == [1])
        #expect(try run(experiment).values(experiment, "value") == [1, 2, 3])
        #expect(log.seeds == [1, 2, 3])
    }

    @Test("measures anew what has another recipe or a damaged file")
    func void() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var experiment = Counted(log: log)
        _ = try run(experiment, seeds: 1)
        experiment.recipe = "second"
        #expect(try run(experiment, seeds: 1, runsMissing: false).absence(of: experiment) == "not run yet")
        _ = try run(experiment, seeds: 1)
        #expect(log.seeds == [1, 1])
        for name in try FileManager.default.contentsOfDirectory(atPath: folder) {
            try Data("{\"experiment\": ".utf8).write(to: URL(fileURLWithPath: folder + "/" + name))
        }
        #expect(try run(experiment, seeds: 1).values(experiment, "value") == [1])
        #expect(log.seeds == [1, 1, 1])
    }

    @Test("runs what no seed changes once, and leaves out what has no data")
    func kinds() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var experiment = Counted(log: log)
        experiment.isSeeded = false
        #expect(try run(experiment).values(experiment, "value") == [1])
        experiment.name = "other"
        experiment.needs = [.cranfield]
        #expect(try run(experiment).absence(of: experiment) == "no Cranfield was given")
        #expect(log.seeds == [1])
    }

    @Test("tells for which claims it works, how far it is, and how long it will take")
    func progress() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var told: [StudyProgress] = []
        _ = try run(Counted(log: log), claims: 2, seeds: 2) { told.append($0) }
        #expect(told.map(\.share) == [0, 0.25, 0.5, 0.75])
        #expect(told.allSatisfy { $0.claims == [1, 2] && $0.title == "Counted" && $0.seeds == 2 })
        #expect(told.map(\.seed) == [1, 1, 2, 2])
        // The clock goes on by a second at each look: began at 1, and the first quarter was over at 3.
        #expect(told[0].secondsLeft == nil && told[1].secondsLeft == 6)
    }
}

@Suite("Study report")
struct StudyReportTests {
    private func report(seeds: Int) throws -> StudyReport {
        let experiment = Counted(log: Log())
        var results = StudyResults()
        for seed in 1...seeds {
            results.add(
                try experiment.measure(StudyLibrary(StudySources()), seed: seed) { _ in },
                of: experiment,
                seed: seed,
                seconds: 90
            )
        }
        var absent = Counted(log: Log())
        absent.name = "absent"
        results.add(absence: "no data were given", of: absent)
        return StudyReport(
            claims: [Claim(number: 1, experiments: [experiment]), Claim(number: 2, experiments: [absent])],
            results: results,
            seeds: seeds
        )
    }

    @Test("says of each claim what became of it, with figures, intervals and limits")
    func text() throws {
        let text = try report(seeds: 4).text(isColoured: false)
        #expect(text.contains("1 hold, 1 skipped"))
        // 1, 2, 3, 4: deviation 1.291, 3.182 / √4.
        #expect(text.contains("value  2.5 ± 2.1 points  (claimed ≥ 0) ✔"))
        #expect(text.contains("skipped: no data were given"))
        #expect(!text.contains("\u{1B}"))
        #expect(try report(seeds: 4).text(isColoured: true).contains("\u{1B}[32m"))
    }

    @Test("is one page that needs nothing from elsewhere")
    func html() throws {
        let html = try report(seeds: 4).html
        #expect(html.contains("A &lt;claim&gt;") && html.contains("It &quot;holds&quot; &amp; so on."))
        #expect(html.contains("<section id=\"claim-2\">") && html.contains("href=\"#claim-2\""))
        for foreign in ["<script", "<link", "<img", "@import", "url("] { #expect(!html.contains(foreign)) }
        #expect(html.contains("2.5 ± 2.1 points") && html.contains("n = 4"))
    }

    @Test("as JSON has the figures of every seed")
    func json() throws {
        struct File: Decodable {
            struct Claim: Decodable {
                struct Part: Decodable {
                    struct Figure: Decodable {
                        var values: [Double]
                        var limit: String?
                    }
                    var verdict: Verdict
                    var absence: String?
                    var figures: [Figure]
                }
                var verdict: Verdict
                var parts: [Part]
            }
            var claims: [Claim]
        }
        let file = try JSONDecoder().decode(File.self, from: Data(report(seeds: 3).json().utf8))
        #expect(file.claims.map(\.verdict) == [.undecided, .skipped])
        #expect(file.claims[0].parts[0].figures[0].values == [1, 2, 3])
        #expect(file.claims[0].parts[0].figures[0].limit == "≥ 0")
        #expect(file.claims[1].parts[0].absence == "no data were given")
    }
}
