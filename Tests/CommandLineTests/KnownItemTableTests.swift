import Matryoshka
import Testing

@testable import CommandLine

@Suite("The table of mrl evaluate")
struct KnownItemTableTests {
    @Test("tells how much less each plan multiplies than full search, whichever plans were asked for")
    func comparedWithFullSearch() {
        let rows = [100, 25].map { multiplied in
            KnownItemTable.Row(
                kind: "plan",
                plan: Plan(stages: [Stage(dimensions: 8, keep: 10)]),
                meanReciprocalRank: 0,
                recall: 0,
                multiplied: multiplied,
                milliseconds: 1
            )
        }
        let lines = KnownItemTable.text(rows, full: 200).split(separator: "\n").suffix(2)
        #expect(lines.map { $0.contains(" 2.0 ") } == [true, false])
        #expect(lines.map { $0.contains(" 8.0 ") } == [false, true])
    }
}
