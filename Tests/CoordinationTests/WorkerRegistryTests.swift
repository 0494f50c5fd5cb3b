import Coordination
import Testing
import WireProtocol

private func registration(
    role: WorkerRole = .shortlist,
    pid: Int32 = 1,
    process: UInt64 = 1,
    versions: [Int] = [1, 1]
) -> Register {
    Register(
        role: role,
        host: "h",
        pid: pid,
        process: ProcessToken(high: 0, low: process),
        build: "t",
        protocolVersions: versions,
        capacityBytes: 1,
        credit: 4
    )
}

@Suite("Workers that a coordinator knows")
struct WorkerRegistryTests {
    @Test("owe nothing any more after they come back over another route; over the same one they do")
    func newRoute() {
        var registry = WorkerRegistry()
        func register(_ route: UInt8) -> WorkerRegistry.Registration {
            registry.register(registration(), route: [route], proposed: 5, fresh: { 5 }, now: 0)
        }
        #expect(register(1) == .accepted(incarnation: 5, hasNewRoute: false))
        registry.sent(to: 5)
        #expect(register(1) == .accepted(incarnation: 5, hasNewRoute: false))
        #expect(registry.workers[5]?.inFlight == 1)
        #expect(register(2) == .accepted(incarnation: 5, hasNewRoute: true))
        #expect(registry.workers[5]?.inFlight == 0)
        #expect(registry.heard(route: [1], now: 1) == nil)
    }

    private static func code(_ outcome: WorkerRegistry.Registration) -> String? {
        if case .rejected(let reject) = outcome { reject.code } else { nil }
    }

    @Test("are fenced under the incarnation of another process, and below a later one of the same name")
    func fenced() {
        var registry = WorkerRegistry()
        func register(_ registration: Register, _ route: UInt8, _ proposed: UInt64) -> WorkerRegistry.Registration {
            registry.register(registration, route: [route], proposed: proposed, fresh: { 20 }, now: 0)
        }
        #expect(register(registration(), 1, 10) == .accepted(incarnation: 10, hasNewRoute: false))
        // The same number from another process, be its name the same or not.
        #expect(Self.code(register(registration(process: 2), 2, 10)) == "FENCED")
        #expect(Self.code(register(registration(pid: 2, process: 2), 2, 10)) == "FENCED")
        #expect(Self.code(register(registration(process: 2), 2, 9)) == "FENCED")
        // A higher one, another role, another process id.
        #expect(register(registration(process: 2), 2, 11) == .accepted(incarnation: 11, hasNewRoute: false))
        #expect(
            register(registration(role: .rerank, process: 3), 3, 9) == .accepted(incarnation: 9, hasNewRoute: false)
        )
        #expect(register(registration(pid: 4, process: 4), 4, 8) == .accepted(incarnation: 8, hasNewRoute: false))
        #expect(registry.workers[10]?.route == [1])
        // Another coordinator's block: which of them is the later one is not to be seen.
        #expect(register(registration(process: 6), 6, 1_001) == .accepted(incarnation: 1_001, hasNewRoute: false))
        #expect(register(registration(process: 7), 7, 12) == .accepted(incarnation: 12, hasNewRoute: false))
        // Now the first is the older one: it may not come back over another connection.
        #expect(Self.code(register(registration(), 5, 10)) == "FENCED")
        #expect(registry.heard(route: [2], now: 1) == 11)
    }

    @Test("are the same process by its token: its last number counts, and an answer that was lost is given again")
    func token() {
        var registry = WorkerRegistry()
        func register(_ route: UInt8, _ proposed: UInt64, fresh: UInt64? = 7) -> WorkerRegistry.Registration {
            registry.register(registration(), route: [route], proposed: proposed, fresh: { fresh }, now: 0)
        }
        #expect(register(1, 0, fresh: nil) == .postponed)
        #expect(register(1, 0) == .accepted(incarnation: 7, hasNewRoute: false))
        #expect(register(2, 0) == .accepted(incarnation: 7, hasNewRoute: true))
        // Another coordinator's number, lower than the one given here.
        #expect(register(3, 5) == .accepted(incarnation: 5, hasNewRoute: false, former: 7))
    }

    @Test("bring incarnations that were reserved and given, or are found out")
    func incarnations() {
        var incarnations = Incarnations(10..<12)
        #expect(
            [0, 9, 10, 11, 12].map { incarnations.standing(of: $0) } == [
                .none, .given, .neverGiven, .neverGiven, .unheardOf,
            ]
        )
        #expect((0..<3).map { _ in incarnations.next() } == [10, 11, nil])
        #expect(incarnations.standing(of: 11) == .given)
        incarnations.heard(reservedEnd: 20)
        incarnations.heard(reservedEnd: 15)
        #expect(incarnations.standing(of: 19) == .given)
        #expect(incarnations.standing(of: 20) == .unheardOf)
        #expect(incarnations.isLow)
        incarnations.add(30..<230)
        #expect(!incarnations.isLow)
        #expect(incarnations.standing(of: 30) == .neverGiven)
        #expect(incarnations.standing(of: 230) == .unheardOf)
        incarnations.add(300..<500)
        #expect(incarnations.next() == 30)
    }

    @Test("get a map again when their beats still carry an older epoch after a while, or when none left")
    func maps() {
        var maps = MapDeliveries()
        func isDue(_ carried: UInt64, now: UInt64) -> Bool {
            maps.isDue(7, carrying: carried, current: 3, now: now, patience: 100)
        }
        #expect(isDue(2, now: 0))
        maps.sent(2, to: 7, now: 0)
        #expect(isDue(2, now: 1))
        maps.sent(3, to: 7, now: 10)
        #expect(!isDue(2, now: 20))
        #expect(isDue(2, now: 110))
        #expect(!isDue(3, now: 110))
        maps.forget(7)
        #expect(isDue(2, now: 20))
    }
}
