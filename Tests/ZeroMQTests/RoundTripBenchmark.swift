import Glibc
import ServiceRuntime
import Testing

@testable import ZeroMQ

/// Round trips between two event loops; run in release with `MRL_BENCHMARK=1`.
@Suite("Round trip benchmark", .serialized, .enabled(if: ServiceProcess.environment["MRL_BENCHMARK"] != nil))
struct RoundTripBenchmark {
    @Test("DEALER to ROUTER and back", arguments: ["ipc", "tcp"], [1, 64])
    func roundTrip(transport: String, inFlight: Int) throws {
        let folder = TemporaryFolder()
        let endpoint = transport == "ipc" ? folder.endpoint() : "tcp://127.0.0.1:\(freePort())"
        let context = Context()
        let loop = try EventLoop(name: "server")
        let server = ServiceThread(name: "server") {
            let router = try! Socket(context, .router)
            try! router.bind(endpoint)
            loop.watch(router) {
                try! router.drain { _ = try router.send($0.frames) }
            }
            loop.run()
        }
        let clientLoop = try EventLoop(name: "client")
        let dealer = try Socket(context, .dealer)
        try dealer.connect(endpoint)
        let payload = [UInt8](repeating: 1, count: 64)
        #expect(try dealer.sendEventually([payload, payload]))
        _ = try dealer.received()

        let total = 100_000
        var times: [UInt64] = []
        times.reserveCapacity(total)
        var sent: [UInt64] = []
        var answered = 0
        func send() {
            sent.append(EventLoop.nowMicroseconds())
            _ = try! dealer.send([payload, payload])
        }
        clientLoop.watch(dealer) {
            try! dealer.drain { _ in
                times.append(EventLoop.nowMicroseconds() - sent[answered])
                answered += 1
                if sent.count < total { send() }
                if answered == total { clientLoop.stop() }
            }
        }
        let started = EventLoop.nowMicroseconds()
        for _ in 0..<inFlight { send() }
        clientLoop.run()
        let elapsed = EventLoop.nowMicroseconds() - started
        loop.stop()
        server.join()
        times.sort()
        print(
            "\(transport) in flight \(inFlight): p50 \(times[total / 2]) µs, p99 \(times[total * 99 / 100]) µs, "
                + "\(UInt64(total) * 1_000_000 / elapsed) round trips a second"
        )
    }
}
