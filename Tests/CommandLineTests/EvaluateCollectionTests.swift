import ArgumentParser
import Matryoshka
import Testing

@testable import CommandLine
@testable import Evaluation

@Suite("mrl evaluate collection")
struct EvaluateCollectionTests {
    @Test("a row that asks is not among what it finds, and nothing beyond k is")
    func others() {
        #expect(CollectionEvaluation.others(["b", "a", "c", "d"], than: "a", at: 2) == ["b", "c"])
        #expect(CollectionEvaluation.others(["b", "a", "c"], than: nil, at: 2) == ["b", "a"])
        #expect(CollectionEvaluation.others(["b"], than: "a", at: 2) == ["b"])
    }

    @Test("the front has what no cheaper plan equals, and the table shows it with single shots and funnels")
    func plans() {
        func row(_ kind: PlanGrid.Kind, _ size: Int, _ cost: Int, _ recall: Double, _ quality: Double?)
            -> PlanFigures.Row
        {
            PlanFigures.Row(
                search: kind,
                plan: Plan(stages: [Stage(dimensions: size, keep: 10)]),
                multiplied: cost,
                lessBy: 100 / Double(cost),
                milliseconds: 1,
                recall: recall,
                quality: quality
            )
        }
        func figures(_ qualities: [Double?]) -> PlanFigures {
            PlanFigures(
                measure: qualities[0] == nil ? nil : "nDCG@10",
                k: 10,
                queries: 3,
                documents: 9,
                timing: "none",
                rows: [
                    row(.singleShot, 8, 10, 0.2, qualities[0]), row(.adaptive, 16, 20, 0.6, qualities[1]),
                    row(.adaptive, 24, 30, 0.5, qualities[2]), row(.full, 32, 100, 1, qualities[3]),
                ]
            )
        }
        let judged = figures([0.1, 0.3, 0.35, 0.35])
        #expect(judged.rows.map(\.isOnFront) == [true, true, true, false])
        let unjudged = figures([nil, nil, nil, nil])
        #expect(unjudged.rows.map(\.isOnFront) == [true, true, false, true])
        #expect(!unjudged.text(showsAll: false).contains("(24,10)"))
        #expect(unjudged.text(showsAll: false).contains("4 plans were tried"))
        #expect(unjudged.text(showsAll: true).contains("(24,10)"))
    }

    @Test("an axis of costs has round numbers")
    func roundNumbers() {
        #expect(PlanFigures.roundNumbers(0.3...6).map { Float($0) } == [0.5, 1, 2, 5])
        #expect(PlanFigures.roundNumbers(0.5...5000).map { Float($0) } == [1, 10, 100, 1000])
    }

    @Test("judgements need the queries that they are about")
    func contradiction() {
        #expect { try EvaluateCollectionCommand.parse(["debian", "--qrels", "x"]) } throws: { error in
            EvaluateCollectionCommand.message(for: error).contains("--queries FILE")
        }
    }
}
