import Testing
import WireProtocol

@testable import WorkerRuntime

@Suite("One worker with one coordinator")
struct LinkStateTests {
    private let answer = Registered(
        incarnation: 7,
        heartbeatMilliseconds: 500,
        leaseMilliseconds: 5000,
        coordinator: "c"
    )

    @Test("registers at once, and every second until it is registered")
    func registers() {
        var state = LinkState(now: 0, leaseMicroseconds: 5_000_000)
        #expect(state.due(now: 0) == .register)
        state.sentRegister(now: 0, wasAccepted: true)
        #expect(state.due(now: 999_999) == nil)
        #expect(state.nextDue == 1_000_000)
        #expect(state.due(now: 1_000_000) == .register)
    }

    @Test("tries again soon while the socket has no connection")
    func connects() {
        var state = LinkState(now: 0, leaseMicroseconds: 5_000_000)
        state.sentRegister(now: 0, wasAccepted: false)
        #expect(state.due(now: 50_000) == .register)
    }

    @Test("beats at once when registered, then at the interval it was told")
    func beats() {
        var state = LinkState(now: 0, leaseMicroseconds: 5_000_000)
        let registration = state.registered(answer, carried: 0, isOnly: true, now: 100)
        #expect(registration == .carries(7))
        #expect(state.due(now: 100) == .beat)
        state.sentBeat(now: 100, wasAccepted: true)
        #expect(state.due(now: 500_099) == nil)
        #expect(state.due(now: 500_100) == .beat)
        #expect(state.beatsSent == 1)
        state.beatWasAnswered()
        #expect(state.beatsAnswered == 1)
    }

    @Test("gives the socket up when nothing was heard for the lease")
    func silence() {
        var state = LinkState(now: 0, leaseMicroseconds: 9_000_000)
        _ = state.registered(answer, carried: 0, isOnly: true, now: 0)
        state.sentBeat(now: 4_999_000, wasAccepted: true)
        #expect(state.due(now: 4_999_999) == nil)
        state.heard(now: 4_999_999)
        #expect(state.due(now: 5_000_000) == nil)
        #expect(state.due(now: 9_999_999) == .reopen)
        state.reopened(now: 9_999_999)
        #expect(!state.isRegistered)
        #expect(state.due(now: 9_999_999) == .register)
    }

    @Test(
        "makes a socket whose key was refused anew after pauses that double up to a bound, and start again once admitted"
    )
    func refused() {
        var state = LinkState(now: 0, leaseMicroseconds: 5_000_000)
        var now: UInt64 = 0
        var pauses: [UInt64] = []
        for _ in 0..<6 {
            state.refused(now: now)
            #expect(state.due(now: now) == nil)
            pauses.append((state.nextDue - now) / 1_000_000)
            now = state.nextDue
            #expect(state.due(now: now) == .reopen)
            state.reopened(now: now)
            #expect(state.due(now: now) == .register)
        }
        #expect(pauses == [1, 2, 4, 8, 15, 15])
        state.admitted()
        state.refused(now: now)
        #expect(state.nextDue == now + 1_000_000)
    }

    @Test("tells of a coordinator that is away after 3 s and then each minute, however often it connects anew")
    func missed() {
        var state = LinkState(now: 0, leaseMicroseconds: 5_000_000)
        var told: [Int] = []
        func pass(_ seconds: ClosedRange<UInt64>) {
            for second in seconds {
                if let missed = state.missedSeconds(now: second * 1_000_000) { told.append(missed) }
                if second % 5 == 0 { state.reopened(now: second * 1_000_000) }
            }
        }
        pass(0...130)
        #expect(told == [3, 63, 123])
        _ = state.registered(answer, carried: 0, isOnly: true, now: 131_000_000)
        told = []
        for second in UInt64(131)...200 where state.missedSeconds(now: second * 1_000_000) != nil { told.append(0) }
        #expect(told == [])
        // Lost again.
        state.reopened(now: 200_000_000)
        pass(201...270)
        #expect(told == [3, 63])
    }

    @Test("registers anew when asked who it is")
    func forgotten() {
        var state = LinkState(now: 0, leaseMicroseconds: 5_000_000)
        _ = state.registered(answer, carried: 0, isOnly: true, now: 0)
        state.wasForgotten(now: 10)
        #expect(state.due(now: 10) == .register)
    }

    @Test("keeps the first coordinator's incarnation", arguments: [true, false])
    func incarnations(isOnly: Bool) {
        var state = LinkState(now: 0, leaseMicroseconds: 5_000_000)
        let registration = state.registered(answer, carried: 3, isOnly: isOnly, now: 0)
        #expect(registration == (isOnly ? .carries(7) : .registerAgain))
        #expect(state.isRegistered == isOnly)
    }
}
