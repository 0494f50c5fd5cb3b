import ServiceRuntime
import Synchronization
import Testing
import WireProtocol

@testable import WorkerRuntime

@Suite("Requests under way")
struct RequestDeskTests {
    @Test("a thread that makes no progress shows, whatever the others do")
    func hungThread() {
        let isFree = Atomic(false)
        let served = Atomic(0)
        let desk = RequestDesk(
            threads: ThreadPlacement(count: 2),
            creditPerLink: 100,
            take: { queue, now in queue.take(limit: 1, now: now) },
            serve: { batch, desk in
                // The first request hangs until the test lets it go.
                while batch[0].origin.request == 1, !isFree.load(ordering: .acquiring) {}
                desk.answer(batch.map { $0.failed("CANCELLED", "of no interest") })
                desk.progressed()
                served.add(1, ordering: .relaxed)
            }
        )
        desk.connect { _ in }
        _ = desk.receive(search(1))
        let start = ServiceProcess.monotonicMicroseconds()
        var number: UInt64 = 2
        while ServiceProcess.monotonicMicroseconds() < start + 200_000 || served.load(ordering: .relaxed) < 2 {
            if desk.load.inFlight < 3, desk.receive(search(number)) { number += 1 }
        }
        #expect(desk.load.progressAgeMilliseconds >= 150)
        isFree.store(true, ordering: .releasing)
        while desk.load.inFlight > 0 {}
        #expect(desk.load.answered == number - 1)
    }

    @Test("a long computation can take requests that came after it, and answers them first")
    func between() {
        let order = Mutex<[UInt64]>([])
        let desk = RequestDesk(
            threads: ThreadPlacement(count: 1),
            creditPerLink: 100,
            take: { queue, now in queue.take(limit: 1, now: now) },
            serve: { batch, desk in
                if batch[0].origin.request == 1 {
                    var more: [WorkerRequest] = []
                    while more.isEmpty { more = desk.takeBetween { queue, now in queue.take(limit: 1, now: now) } }
                    #expect(desk.load.inFlight >= 2)
                    desk.answer(more.map { $0.failed("CANCELLED", "of no interest") })
                }
                desk.answer(batch.map { $0.failed("CANCELLED", "of no interest") })
            }
        )
        desk.connect { answers in order.withLock { $0 += answers.map(\.origin.request) } }
        for number in 1...3 as ClosedRange<UInt64> { _ = desk.receive(search(number)) }
        while desk.load.inFlight > 0 {}
        #expect(order.withLock { $0 } == [2, 1, 3])
        #expect(desk.load.answered == 3)
    }
}
