import Evaluation
import Testing

@testable import Study

@Suite("Verdict")
struct VerdictTests {
    // Five values of deviation 1: 2.776 / √5 = 1.2415 either way of the mean.
    private func values(around mean: Double) -> [Double] {
        let deviation = 2.0.squareRoot()
        return [mean - deviation, mean, mean, mean, mean + deviation]
    }

    @Test("holds where the whole interval is within the limit, and is contradicted where none of it is")
    func sides() {
        let limit = Limit.atLeast(-2.5)
        #expect(limit.verdict(on: MeanInterval(values(around: -1.2)), isExact: false) == .holds)
        #expect(limit.verdict(on: MeanInterval(values(around: -1.3)), isExact: false) == .undecided)
        #expect(limit.verdict(on: MeanInterval(values(around: -3.7)), isExact: false) == .undecided)
        #expect(limit.verdict(on: MeanInterval(values(around: -3.8)), isExact: false) == .contradicted)
        #expect(Limit.atMost(40).verdict(on: MeanInterval(values(around: 38.7)), isExact: false) == .holds)
        #expect(Limit.atMost(40).verdict(on: MeanInterval(values(around: 41.3)), isExact: false) == .contradicted)
    }

    @Test("is undecided after one seed, unless no seed changes the figure")
    func oneSeed() {
        #expect(Limit.atLeast(0).verdict(on: MeanInterval([5]), isExact: false) == .undecided)
        #expect(Limit.atLeast(0).verdict(on: MeanInterval([5]), isExact: true) == .holds)
        #expect(Limit.atLeast(13).verdict(on: MeanInterval([12.9]), isExact: true) == .contradicted)
        #expect(Limit.atLeast(0).verdict(on: MeanInterval([]), isExact: true) == .skipped)
    }

    @Test("of a figure on the limit itself is that it holds")
    func equal() {
        #expect(Limit.atMost(0.5).verdict(on: MeanInterval([0.1 + 0.4, 0.5]), isExact: false) == .holds)
    }

    @Test("of a part is that of its worst figure, and figures without a limit do not count")
    func parts() {
        func part(_ findings: [Finding]) -> Verdict {
            StudyPart(statement: "s", findings: findings, absence: nil).verdict
        }
        let good = Finding("a", [1, 1], .atLeast(0))
        let open = Finding("b", [-1, 1], .atLeast(0))
        let bad = Finding("c", [-1, -1], .atLeast(0))
        #expect(part([good, Finding("d", [-9, -9])]) == .holds)
        #expect(part([good, open]) == .undecided)
        #expect(part([good, open, bad]) == .contradicted)
        #expect(part([Finding("d", [1])]) == .skipped)
        #expect(StudyPart(statement: "s", findings: [], absence: "no data").verdict == .skipped)
    }

    @Test(
        "comes with numbers that are short and have a true minus",
        arguments: [
            (-0.26, "−0.3"), (-0.04, "−0.04"), (0, "0.0"), (12.96, "13.0"), (-0.001, "0.0"),
        ]
    )
    func numbers(value: Double, text: String) { #expect(figure(value) == text) }
}

@Suite("Results")
struct StudyResultsTests {
    private struct Named: Experiment {
        var name: String
        var isSeeded = true
        let title = ""
        let needs: [StudyData] = []
        let recipe = ""
        let cost = 1.0
        func measure(_ library: StudyLibrary, seed: Int, progress: @escaping (Double) -> Void) -> Figures { Figures() }
    }

    private func figures(_ value: Double) -> Figures {
        var figures = Figures()
        figures["a", 8] = value
        return figures
    }

    @Test("are compared seed by seed, and seeds that one side lacks are left out")
    func pairs() {
        var results = StudyResults()
        let (left, right) = (Named(name: "left"), Named(name: "right"))
        for (seed, value) in [(1, 10.0), (2, 20), (4, 40)] {
            results.add(figures(value), of: left, seed: seed, seconds: 1)
        }
        for (seed, value) in [(2, 1.0), (3, 2), (4, 3)] {
            results.add(figures(value), of: right, seed: seed, seconds: 1)
        }
        #expect(results.differences(left, "a/8", less: right, "a/8") == [19, 37])
        #expect(results.values(left, "a", 8) == [10, 20, 40])
    }

    @Test("that no seed changes are compared with those of each seed")
    func unseeded() {
        var results = StudyResults()
        let (seeded, fixed) = (Named(name: "seeded"), Named(name: "fixed", isSeeded: false))
        for seed in 1...3 { results.add(figures(Double(seed)), of: seeded, seed: seed, seconds: 1) }
        results.add(figures(1), of: fixed, seed: 1, seconds: 1)
        #expect(results.differences(seeded, "a/8", less: fixed, "a/8") == [0, 1, 2])
        #expect(results.differences(fixed, "a/8", less: fixed, "a/8") == [0])
    }

    @Test("that are not there make a part skipped, which says why")
    func absent() {
        var results = StudyResults()
        let (here, away) = (Named(name: "here"), Named(name: "away"))
        results.add(figures(1), of: here, seed: 1, seconds: 1)
        #expect(results.part("p", of: [here, away]) { [] }.absence == "not run yet")
        results.add(absence: "no file", of: away)
        #expect(results.part("p", of: [here, away]) { [] }.absence == "no file")
        #expect(results.part("p", of: [here]) { [Finding("f", [1, 1], .atLeast(0))] }.verdict == .holds)
    }
}
