import Logging
import ServiceRuntime
import Testing
import WireProtocol
import ZeroMQ

@testable import WorkerRuntime

// Written on the link's thread, read on the test's.
private final class FakeHolding: ShardHolding, @unchecked Sendable {
    private let lock = Lock()
    private var maps: [ShardAssignments] = []

    func apply(_ map: ShardAssignments) { lock.withLock { maps.append(map) } }
    func forgetEpoch() {}
    var epoch: UInt64 { lock.withLock { maps.last?.epoch ?? 0 } }
    var holdings: Holdings {
        let isNothingListed = lock.withLock { maps.last?.collections.isEmpty ?? true }
        return Holdings(isNothingListed: isNothingListed)
    }
}

/// A coordinator's ROUTER that answers as told.
private final class FakeCoordinator {
    let socket: Socket
    var route: [UInt8] = []

    init(_ context: Context, _ endpoint: String) throws {
        socket = try Socket(context, .router)
        try socket.bind(endpoint)
    }

    /// The next message of the type; others are skipped, beats are answered.
    func next(_ type: BackType, withinMilliseconds limit: Int = 5000) throws -> BackMessage? {
        let end = ServiceProcess.monotonicMicroseconds() + UInt64(limit) * 1000
        while ServiceProcess.monotonicMicroseconds() < end {
            guard let received = try socket.receive() else {
                pause()
                continue
            }
            let message = try BackMessage.decode(frames: Array(received.frames.dropFirst()))
            route = received.frames[0]
            if case .heartbeat = message.body { try send(.heartbeatReply) }
            if message.header.type == type { return message }
        }
        return nil
    }

    /// The next answer: its request, and what it is.
    func nextAnswer(withinMilliseconds limit: Int = 5000) throws -> (UInt64, String)? {
        let end = ServiceProcess.monotonicMicroseconds() + UInt64(limit) * 1000
        while ServiceProcess.monotonicMicroseconds() < end {
            guard let received = try socket.receive() else {
                pause()
                continue
            }
            let message = try BackMessage.decode(frames: Array(received.frames.dropFirst()))
            if case .failed(let failure) = message.body { return (message.header.request, failure.code) }
            if case .vectors = message.body { return (message.header.request, "vectors") }
        }
        return nil
    }

    func send(_ body: BackBody, request: UInt64 = 0, deadline: UInt64 = 0) throws {
        let header = BackHeader(type: body.type, request: request, deadlineMicroseconds: deadline, collection: 1)
        _ = try socket.send([route] + BackMessage(header: header, body: body).encode())
    }

    private func pause() {
        let lock = Lock()
        let condition = Condition(lock)
        lock.withLock { _ = condition.wait(untilMicroseconds: ServiceProcess.monotonicMicroseconds() + 1000) }
    }
}

@Suite("A worker on the wire", .serialized, .timeLimit(.minutes(1)))
struct CoordinatorLinkTests {
    private static let encode = BackBody.encode(EncodeCommand(role: .query, isUrgent: true, texts: ["a"]))
    private static let registered = BackBody.registered(
        Registered(incarnation: 9, heartbeatMilliseconds: 50, leaseMilliseconds: 400, coordinator: "c")
    )

    private static func code(_ message: BackMessage) -> String? {
        if case .failed(let failure) = message.body { failure.code } else { nil }
    }

    private static func vectors(_ request: WorkerRequest) -> WorkerAnswer {
        request.answer(
            .vectors(Vectors(dimensions: 1, values: [1], queuedMicroseconds: 0, computeMicroseconds: 0))
        )
    }

    // Guarded by the lock.
    private final class Ended: @unchecked Sendable {
        let lock = Lock()
        var value: CoordinatorLink.Ending?
    }

    /// Runs a worker's link beside `body`, which plays the coordinator.
    private func withWorker(
        serve: @escaping @Sendable ([WorkerRequest], RequestDesk) -> Void = { batch, desk in
            desk.answer(batch.map(CoordinatorLinkTests.vectors))
        },
        credit: Int = 4,
        _ body: (FakeCoordinator, EventLoop, CoordinatorLink) throws -> Void
    ) throws -> CoordinatorLink.Ending? {
        let context = Context()
        let endpoint = "inproc://back"
        let coordinator = try FakeCoordinator(context, endpoint)
        let loop = try EventLoop(name: "worker")
        let desk = RequestDesk(
            threads: ThreadPlacement(count: 1),
            creditPerLink: credit,
            take: { queue, now in queue.take(limit: 1, now: now) },
            serve: serve
        )
        let ended = Ended()
        let link = CoordinatorLink(
            loop: loop,
            context: context,
            endpoints: [endpoint],
            options: SocketOptions(),
            registration: Register(
                role: .encoder,
                host: "h",
                pid: 1,
                process: .random(),
                build: "t",
                capacityBytes: 0,
                credit: credit
            ),
            desk: desk,
            host: FakeHolding(),
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            ended: { ending in
                ended.lock.withLock { ended.value = ending }
                loop.stop()
            }
        )
        loop.enqueue {
            do { try link.start() } catch { Issue.record("\(error)") }
        }
        let thread = ServiceThread(name: "worker") { loop.run() }
        defer {
            loop.stop()
            thread.join()
        }
        try body(coordinator, loop, link)
        let end = ServiceProcess.monotonicMicroseconds() + 500_000
        while ServiceProcess.monotonicMicroseconds() < end, ended.lock.withLock({ ended.value }) == nil {}
        return ended.lock.withLock { ended.value }
    }

    @Test("registers, beats, answers, and registers anew when asked who it is")
    func lifecycle() throws {
        _ = try withWorker { coordinator, _, _ in
            #expect(try coordinator.next(.register)?.header.incarnation == 0)
            try coordinator.send(Self.registered)
            #expect(try coordinator.next(.heartbeat)?.header.incarnation == 9)
            try coordinator.send(Self.encode, request: 42, deadline: 1_000_000)
            let answer = try #require(try coordinator.next(.vectors))
            #expect(answer.header.request == 42)
            #expect(answer.header.collection == 1)
            try coordinator.send(.whoAreYou)
            #expect(try coordinator.next(.register)?.header.incarnation == 9)
        }
    }

    @Test("connects anew, with its incarnation, when the coordinator falls silent")
    func silence() throws {
        _ = try withWorker { coordinator, _, _ in
            _ = try coordinator.next(.register)
            try coordinator.send(Self.registered)
            let route = coordinator.route
            var message: BackMessage?
            let end = ServiceProcess.monotonicMicroseconds() + 3_000_000
            while ServiceProcess.monotonicMicroseconds() < end {
                guard let received = try coordinator.socket.receive() else { continue }
                message = try BackMessage.decode(frames: Array(received.frames.dropFirst()))
                if message?.header.type == .register, received.frames[0] != route { break }
            }
            #expect(message?.header.type == .register)
            #expect(message?.header.incarnation == 9)
        }
    }

    @Test("refuses what is beyond its credit, and answers what is cancelled or has expired exactly once")
    func credit() throws {
        let gate = Lock()
        _ = try withWorker(
            serve: { batch, desk in gate.withLock { desk.answer(batch.map(CoordinatorLinkTests.vectors)) } },
            credit: 2
        ) { coordinator, _, _ in
            _ = try coordinator.next(.register)
            try coordinator.send(Self.registered)
            _ = try coordinator.next(.heartbeat)
            try gate.withLock {
                // One is computed, two wait, one is too many.
                try coordinator.send(Self.encode, request: 1)
                _ = try coordinator.next(.heartbeat)
                for number in 2...4 { try coordinator.send(Self.encode, request: UInt64(number)) }
                let failed = try #require(try coordinator.next(.failed))
                #expect(failed.header.request == 4)
                guard case .failed(let reason) = failed.body else { return }
                #expect(reason.code == "OVERLOADED")
                try coordinator.send(.cancel, request: 2)
                let cancelled = try #require(try coordinator.next(.failed))
                #expect(cancelled.header.request == 2)
                #expect(Self.code(cancelled) == "CANCELLED")
                try coordinator.send(Self.encode, request: 5, deadline: 1)
                // Once cancelled, once answered.
                try coordinator.send(.cancel, request: 2)
                _ = try coordinator.next(.heartbeat)
                _ = try coordinator.next(.heartbeat)
            }
            var answers: [UInt64: String] = [:]
            while answers.count < 3, let (number, what) = try coordinator.nextAnswer() {
                #expect(answers.updateValue(what, forKey: number) == nil)
            }
            #expect(answers == [1: "vectors", 3: "vectors", 5: "DEADLINE_EXCEEDED"])
            #expect(try coordinator.nextAnswer(withinMilliseconds: 200) == nil)
        }
    }

    @Test("answers a request that it cannot read, which takes credit all the same")
    func unreadable() throws {
        _ = try withWorker { coordinator, _, _ in
            _ = try coordinator.next(.register)
            try coordinator.send(Self.registered)
            _ = try coordinator.next(.heartbeat)
            let frames = BackMessage(Self.encode, BackHeader(type: .encode, request: 7)).encode()
            var header = frames[0]
            header[64] = 3
            _ = try coordinator.socket.send([coordinator.route, header, [1, 2, 3]])
            let answer = try #require(try coordinator.nextAnswer())
            #expect(answer == (7, "BAD_FRAME"))
        }
    }

    @Test("drains: says so at once, and ends when nothing is left and all is answered")
    func drain() throws {
        let ending = try withWorker { coordinator, loop, link in
            _ = try coordinator.next(.register)
            try coordinator.send(Self.registered)
            _ = try coordinator.next(.heartbeat)
            let held = ShardAssignments.Assigned(shape: WireShape(shape()), shards: [3])
            try coordinator.send(.map(ShardAssignments(epoch: 1, collections: [held])))
            _ = try coordinator.next(.heartbeat)
            loop.enqueue { link.drain() }
            var isDraining = false
            while !isDraining, let beat = try coordinator.next(.heartbeat) {
                if case .heartbeat(let body) = beat.body { isDraining = body.draining }
            }
            #expect(isDraining)
            #expect(try coordinator.next(.drained, withinMilliseconds: 300) == nil)
            try coordinator.send(.map(ShardAssignments(epoch: 2, collections: [])))
            #expect(try coordinator.next(.drained) != nil)
        }
        #expect(ending == .drained)
    }

    @Test("ends when it is rejected")
    func reject() throws {
        let reject = Reject(code: "FENCED", message: "no")
        let ending = try withWorker { coordinator, _, _ in
            _ = try coordinator.next(.register)
            try coordinator.send(.reject(reject))
        }
        #expect(ending == .rejected(reject))
    }
}
