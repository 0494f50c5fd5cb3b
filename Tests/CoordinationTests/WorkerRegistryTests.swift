import Coordination
import Testing
import WireProtocol

private func registration(_ shards: [ShardReport] = []) -> Register {
    Register(role: .shortlist, host: "h", pid: 1, build: "t", capacityBytes: 1, credit: 4, shards: shards)
}

@Suite("Workers that a coordinator knows")
struct WorkerRegistryTests {
    @Test("owe nothing any more after they come back over another route; over the same one they do")
    func newRoute() {
        var registry = WorkerRegistry()
        func register(_ route: UInt8) -> WorkerRegistry.Registration {
            registry.register(registration(), route: [route], proposed: 5, fresh: 5, now: 0)
        }
        #expect(register(1) == .accepted(incarnation: 5, hasNewRoute: false))
        registry.sent(to: 5)
        #expect(register(1) == .accepted(incarnation: 5, hasNewRoute: false))
        #expect(registry.workers[5]?.inFlight == 1)
        #expect(register(2) == .accepted(incarnation: 5, hasNewRoute: true))
        #expect(registry.workers[5]?.inFlight == 0)
        #expect(registry.heard(route: [1], now: 1) == nil)
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
