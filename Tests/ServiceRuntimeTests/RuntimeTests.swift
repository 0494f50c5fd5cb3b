import Glibc
import Logging
import Testing

@testable import ServiceRuntime

final class Recorder<Element: Sendable>: @unchecked Sendable {
    private let lock = Lock()
    private var items: [Element] = []
    func append(_ item: Element) { lock.withLock { items.append(item) } }
    var all: [Element] { lock.withLock { items } }
}

@Suite("Threads and locks", .timeLimit(.minutes(1)))
struct ThreadTests {
    @Test("a lock lets one thread in at a time")
    func lock() {
        final class Cell: @unchecked Sendable { var count = 0 }
        let lock = Lock()
        let cell = Cell()
        let threads = (0..<4).map { _ in
            ServiceThread(name: "adder") { for _ in 0..<50_000 { lock.withLock { cell.count += 1 } } }
        }
        threads.forEach { $0.join() }
        #expect(cell.count == 200_000)
    }

    @Test("a condition wakes its waiter, or the time does")
    func condition() {
        let lock = Lock()
        let condition = Condition(lock)
        let start = ServiceProcess.monotonicMicroseconds()
        lock.withLock {
            while condition.wait(untilMicroseconds: start + 20_000) {}
        }
        #expect(ServiceProcess.monotonicMicroseconds() - start >= 20_000)
    }

    @Test("a serial thread runs its jobs in order, on one thread of its name, and finishes them when stopped")
    func serial() {
        let thread = SerialThread(name: "serial-thread-with-a-long-name")
        let order = Recorder<Int>()
        let names = Recorder<String>()
        thread.async {
            let file = open("/proc/thread-self/comm", O_RDONLY)
            defer { close(file) }
            var name = [UInt8](repeating: 0, count: 16)
            let count = read(file, &name, 16)
            names.append(String(decoding: name.prefix(max(0, count - 1)), as: UTF8.self))
        }
        for index in 0..<10_000 { thread.async { order.append(index) } }
        thread.stop()
        #expect(order.all == Array(0..<10_000))
        #expect(names.all == ["serial-thread-w"])
        #expect(!thread.async {})
    }

    @Test("a bounded serial thread refuses jobs when full")
    func bounded() {
        let thread = SerialThread(name: "bounded", limit: 3)
        let gate = Lock()
        let (entered, ran) = (Recorder<Int>(), Recorder<Int>())
        gate.withLock {
            thread.async {
                entered.append(0)
                gate.withLock {}
            }
            while entered.all.isEmpty { usleep(1_000) }
            let taken = (0..<5).map { index in thread.async { ran.append(index) } }
            #expect(taken == [true, true, true, false, false])
            #expect(thread.waitingCount == 3)
        }
        thread.stop()
        #expect(ran.all == [0, 1, 2])
    }

    @Test("a serial thread may be stopped, and let go, by one of its own jobs")
    func stopFromWithin() {
        let done = Recorder<Bool>()
        do {
            let thread = SerialThread(name: "suicidal")
            thread.async {
                usleep(20_000)
                thread.stop()
                done.append(true)
            }
        }
        while done.all.isEmpty { usleep(1_000) }
    }
}

@Suite("Process")
struct ProcessTests {
    @Test("knows its memory and raises its limit of open files")
    func facts() {
        #expect(ServiceProcess.residentBytes() > 1 << 20)
        var limit = rlimit()
        #expect(ServiceProcess.raiseOpenFileLimit() > 0)
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        #expect(limit.rlim_cur == limit.rlim_max)
    }

    @Test("a failure to start is one line on standard error and status 1")
    func startupFailure() async throws {
        let result = try await #require(processExitsWith: .exitCode(1), observing: [\.standardErrorContent]) {
            runProcess { throw StartupFailure("the port\n7000 is taken") }
        }
        #expect(String(decoding: result.standardErrorContent, as: UTF8.self).contains(": the port 7000 is taken\n"))
    }

    @Test("the first signal is told, and so is the second")
    func signals() async {
        await #expect(processExitsWith: .exitCode(128 + SIGTERM)) {
            ServiceThread(name: "main") {
                let signals = TerminationSignals()
                precondition(signals.next() == nil)
                pthread_kill(pthread_self(), SIGINT)
                var watched = pollfd(fd: signals.fileDescriptor, events: Int16(POLLIN), revents: 0)
                precondition(poll(&watched, 1, 5_000) == 1)
                precondition(signals.next() == SIGINT)
                precondition(signals.next() == nil)
                pthread_kill(pthread_self(), SIGTERM)
                // Writing to a closed pipe must not end the process.
                var ends: [Int32] = [0, 0]
                pipe(&ends)
                close(ends[0])
                precondition(write(ends[1], "x", 1) == -1)
                TerminationSignals.exitAtOnce(signals.next()!)
            }.join()
        }
    }
}

@Suite("Logging")
struct LoggingTests {
    private func lines(_ format: LogFormat, level: Logger.Level = .info, _ body: (Logger) -> Void) -> [String] {
        let written = Recorder<String>()
        body(
            Logger(label: "test") { label in
                StandardErrorLog(label: label, logLevel: level, format: format, write: written.append)
            }
        )
        return written.all
    }

    @Test("text lines have time, level, label, message and sorted fields")
    func text() throws {
        let written = lines(.text) { logger in
            logger.warning("two\nlines", metadata: ["b": "with space", "a": "1"])
            logger.debug("not this")
        }
        #expect(written.count == 1)
        let line = try #require(written.first)
        #expect(line.hasSuffix("Z warning test: two lines a=1 b=\"with space\"\n"))
        #expect(line.prefix(24).wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/) != nil)
    }

    @Test("JSON lines escape what JSON must")
    func json() throws {
        let line = try #require(lines(.json) { $0.info("a \"b\"\u{1}", metadata: ["k": "ü\n"]) }.first)
        #expect(
            line.hasSuffix(
                #""level":"info","label":"test","message":"a \"b\"\u0001","fields":{"k":"ü\n"}}"# + "\n"
            )
        )
    }
}
