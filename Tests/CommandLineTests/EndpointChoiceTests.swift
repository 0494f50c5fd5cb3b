import Testing

@testable import CommandLine

@Suite("The choice between coordinators")
struct EndpointChoiceTests {
    private let second: UInt64 = 1_000_000

    private func choice(of count: Int = 2) -> EndpointChoice {
        var choice = EndpointChoice(count: count)
        choice.choose(0, now: second)
        return choice
    }

    @Test("stays with one that answers, and asks nobody for a sign of life")
    func answers() {
        var choice = choice()
        for tenths in 10..<50 {
            let now = UInt64(tenths) * second / 10
            if tenths % 9 == 0 { choice.heard(0, now: now) }
            #expect(choice.next(now: now) == .stay)
        }
    }

    @Test("asks all after a second of silence, and moves after another one if somebody answers")
    func moves() {
        var choice = choice()
        #expect(choice.next(now: 2 * second - 1) == .stay)
        #expect(choice.next(now: 2 * second) == .probe)
        choice.heard(1, now: 2 * second + 100)
        #expect(choice.next(now: 3 * second - 1) == .stay)
        #expect(choice.next(now: 3 * second) == .move(to: 1))
        #expect(choice.chosen == 1)
        #expect(choice.next(now: 4 * second - 1) == .stay)
    }

    @Test("stays with one that answers the question, however long it takes for the rest")
    func slow() {
        var choice = choice()
        for turn in 2..<20 {
            #expect(choice.next(now: UInt64(turn) * second) == .probe)
            choice.heard(1, now: UInt64(turn) * second)
            choice.heard(0, now: UInt64(turn) * second)
        }
        #expect(choice.chosen == 0)
    }

    @Test("asks again each second while nobody answers, and moves as soon as another does")
    func nobody() {
        var choice = choice(of: 3)
        for turn in 2..<6 {
            #expect(choice.next(now: UInt64(turn) * second) == .probe)
            #expect(choice.next(now: UInt64(turn) * second + 1) == .stay)
        }
        choice.heard(2, now: 6 * second - 2)
        #expect(choice.next(now: 6 * second - 1) == .move(to: 2))
    }

    @Test("does not move to one that answered and was lost")
    func answeredAndLost() {
        var choice = choice()
        #expect(choice.next(now: 2 * second) == .probe)
        choice.heard(1, now: 2 * second)
        choice.lost(1)
        #expect(choice.next(now: 3 * second) == .probe)
        #expect(choice.chosen == 0)
    }

    @Test("counts silence from the first request that waits")
    func idle() {
        var choice = choice()
        choice.beginToWait(now: 60 * second)
        #expect(choice.next(now: 61 * second - 1) == .stay)
        #expect(choice.next(now: 61 * second) == .probe)
    }

    @Test("has nothing to ask where there is one alone")
    func alone() {
        var choice = choice(of: 1)
        #expect(choice.next(now: 60 * second) == .stay)
    }
}
