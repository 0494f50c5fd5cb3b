import Glibc
import Testing

@testable import CommandLine

@Suite("Children of mrl")
struct SpawnTests {
    @Test("hold none of the files that the caller has open, such as the lock of a script")
    func noInheritedFiles() throws {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        defer { close(ends[0]) }
        let child = try Spawn(arguments: ["sleep", "60"], log: "/dev/null").start()
        defer {
            kill(child, SIGKILL)
            waitpid(child, nil, 0)
        }
        close(ends[1])

        // The pipe ends only if nobody else can write to it.
        var poller = pollfd(fd: ends[0], events: Int16(POLLIN), revents: 0)
        #expect(poll(&poller, 1, 5_000) == 1)
        #expect(poller.revents & Int16(POLLHUP) != 0)
    }
}
