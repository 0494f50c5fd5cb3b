import CPlatform
import Glibc
import ServiceRuntime
import Testing

@testable import ZeroMQ

private let context = Context()

@Suite("Event loop", .timeLimit(.minutes(1)))
struct EventLoopTests {
    let folder = TemporaryFolder()

    @Test("runs timers in the order of their times, equal ones as they came")
    func timersInOrder() throws {
        let loop = try EventLoop(name: "timers")
        var order: [Int] = []
        for (index, delay) in [30_000, 10_000, 20_000, 0, 0].enumerated() {
            loop.schedule(afterMicroseconds: delay) { order.append(index) }
        }
        let dropped = loop.schedule(afterMicroseconds: 15_000) { order.append(99) }
        loop.cancel(dropped)
        loop.cancel(dropped)
        loop.schedule(afterMicroseconds: 40_000) { loop.stop() }
        let started = EventLoop.nowMicroseconds()
        loop.run()
        #expect(order == [3, 4, 1, 2, 0])
        #expect(EventLoop.nowMicroseconds() - started >= 40_000)
    }

    @Test("lets a timer set and cancel others")
    func timersInTimers() throws {
        let loop = try EventLoop(name: "timers")
        var ticks = 0
        let doomed = loop.schedule(afterMicroseconds: 5_000) { ticks = 100 }
        func tick() {
            ticks += 1
            if ticks == 1 { loop.cancel(doomed) }
            if ticks == 5 { loop.stop() } else { loop.schedule(afterMicroseconds: 2_000, tick) }
        }
        loop.schedule(afterMicroseconds: 0, tick)
        loop.run()
        #expect(ticks == 5)
    }

    @Test("loses no job of many threads and keeps each thread's order")
    func enqueueFromManyThreads() throws {
        let loop = try EventLoop(name: "jobs")
        let perThread = 20_000
        let seen = LoopBound([Int](repeating: 0, count: 4), to: loop)
        let remaining = LoopBound(4 * perThread, to: loop)
        let outOfOrder = LoopBound(0, to: loop)
        let threads = (0..<4).map { thread in
            ServiceThread(name: "producer") {
                for index in 0..<perThread {
                    loop.enqueue {
                        if seen.value[thread] != index { outOfOrder.value += 1 }
                        seen.value[thread] = index + 1
                        remaining.value -= 1
                        if remaining.value == 0 { loop.stop() }
                    }
                    // Now and then give the loop time to fall asleep.
                    if index % 1_000 == 0 { usleep(500) }
                }
            }
        }
        loop.run()
        threads.forEach { $0.join() }
        #expect(seen.value == [perThread, perThread, perThread, perThread])
        #expect(outOfOrder.value == 0)
    }

    @Test("wakes from sleep for a job of another thread")
    func wakeUp() throws {
        let loop = try EventLoop(name: "sleeper")
        let thread = ServiceThread(name: "waker") {
            usleep(50_000)
            loop.enqueue { loop.stop() }
        }
        loop.run()
        thread.join()
    }

    @Test("uses no processor time while idle")
    func idle() throws {
        let loop = try EventLoop(name: "idle")
        let router = try Socket(context, .router)
        try router.bind(folder.endpoint())
        loop.watch(router) {}
        loop.schedule(afterMicroseconds: 500_000) { loop.stop() }
        func threadMicroseconds() -> Int {
            var time = timespec()
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
            return time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
        }
        let before = threadMicroseconds()
        loop.run()
        #expect(threadMicroseconds() - before < 20_000)
    }

    @Test("calls back until a socket is drained, and lets timers in between")
    func busySocket() throws {
        let loop = try EventLoop(name: "busy")
        let router = try Socket(context, .router)
        try router.bind(folder.endpoint())
        let dealer = try Socket(context, .dealer)
        try dealer.connect(folder.endpoint())
        #expect(try dealer.sendEventually([[0]]))
        for index in 1..<500 { #expect(try dealer.sendEventually([[UInt8(truncatingIfNeeded: index)]])) }
        var received = 0
        var roundsBeforeTimer = 0
        var timerRan = false
        loop.schedule(afterMicroseconds: 0) { timerRan = true }
        loop.watch(router) {
            try? router.drain { _ in received += 1 }
            if !timerRan { roundsBeforeTimer += 1 }
            if received == 500 { loop.stop() }
        }
        loop.run()
        #expect(received == 500)
        #expect(roundsBeforeTimer <= 1)
    }

    @Test("calls nothing of a socket that a callback unwatched and closed in the same round")
    func unwatch() throws {
        let loop = try EventLoop(name: "unwatch")
        let sockets = try ["a.sock", "b.sock"].map { name in
            let router = try Socket(context, .router)
            try router.bind(folder.endpoint(name))
            return router
        }
        let dealer = try ["a.sock", "b.sock"].map { name in
            let dealer = try Socket(context, .dealer)
            try dealer.connect(folder.endpoint(name))
            #expect(try dealer.sendEventually([[1]]))
            return dealer
        }
        usleep(50_000)
        var calls = 0
        for socket in sockets {
            loop.watch(socket) {
                calls += 1
                for socket in sockets {
                    loop.unwatch(socket)
                    socket.close()
                }
            }
        }
        loop.schedule(afterMicroseconds: 50_000) { loop.stop() }
        loop.run()
        #expect(calls == 1)
        dealer.forEach { $0.close() }
    }

    @Test("watches plain descriptors")
    func descriptor() throws {
        let loop = try EventLoop(name: "descriptor")
        let event = platform_eventfd()
        defer { close(event) }
        var calls = 0
        loop.watch(fileDescriptor: event) {
            platform_eventfd_clear(event)
            calls += 1
            if calls == 3 {
                loop.unwatch(fileDescriptor: event)
                loop.stop()
            } else {
                platform_eventfd_signal(event)
            }
        }
        platform_eventfd_signal(event)
        loop.run()
        #expect(calls == 3)
    }

    @Test("stopped before it runs returns after the jobs it has")
    func stoppedBefore() throws {
        let loop = try EventLoop(name: "stopped")
        let ran = Counter()
        loop.enqueue { _ = ran.next() }
        loop.stop()
        loop.run()
        #expect(ran.value == 1)
    }

    @Test("ends when the context is shut down")
    func contextGone() throws {
        let own = Context()
        let loop = try EventLoop(name: "gone")
        let socket = try Socket(own, .dealer)
        loop.watch(socket) {}
        let thread = ServiceThread(name: "closer") {
            usleep(20_000)
            own.shutdown()
        }
        loop.run()
        thread.join()
    }
}

@Suite("Timer queue")
struct TimerQueueTests {
    @Test("agrees with a sorted list under random adding, cancelling and running", arguments: 1...8)
    func model(seed: Int) {
        var state = UInt64(seed)
        func random(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        var queue = TimerQueue()
        var model: [(deadline: UInt64, number: Int, id: TimerID)] = []
        var stale: [TimerID] = []
        var ran: [Int] = []
        var now: UInt64 = 0
        for number in 0..<3_000 {
            switch random(10) {
            case 0..<6:
                let deadline = now + UInt64(random(500))
                model.append((deadline, number, queue.add(deadline: deadline) { ran.append(number) }))
            case 6..<9 where !model.isEmpty:
                let index = random(model.count)
                queue.cancel(model[index].id)
                stale.append(model.remove(at: index).id)
            default:
                now += UInt64(random(100))
                let due = model.filter { $0.deadline <= now }.sorted {
                    ($0.deadline, $0.number) < ($1.deadline, $1.number)
                }
                ran = []
                while let job = queue.popDue(now: now) { job() }
                #expect(ran == due.map(\.number))
                stale += due.map(\.id)
                model.removeAll { $0.deadline <= now }
            }
            // Names of timers that are gone never hit a later one.
            if !stale.isEmpty { queue.cancel(stale[random(stale.count)]) }
            #expect(queue.liveCount == model.count)
            #expect(queue.nextDeadline() == model.map(\.deadline).min())
        }
    }
}
