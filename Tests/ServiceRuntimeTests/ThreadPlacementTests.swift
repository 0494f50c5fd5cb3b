import Testing

@testable import ServiceRuntime

@Suite struct ThreadPlacementTests {
    @Test(arguments: [
        ("3", 1, [3]), ("0-3,6", 5, [0, 1, 2, 3, 6]), ("6,0-3", 2, [6, 0]), ("2,2,1-3", 3, [2, 1, 3]), ("5-5", 1, [5]),
    ])
    func `Threads take the cores of a list in its order, each once`(list: String, count: Int, cores: [Int]) throws {
        let placement = try ThreadPlacement(count: count, list: list, available: Array(0..<8))
        #expect(placement.cores == cores)
        #expect((0..<count).map { placement.core(of: $0) } == cores)
        #expect(placement.prefix(1).cores == [cores[0]])
    }

    @Test func `Without a list the system chooses`() throws {
        let placement = try ThreadPlacement(count: 3, list: nil)
        #expect(placement.count == 3 && placement.core(of: 2) == nil)
    }

    @Test(arguments: ["", "a", "1,", "-1", "3-1", "1-2-3", "0x1", " 1", "99999999999999999999", "4096"])
    func `What is no list of cores is refused by name`(list: String) {
        #expect { try ThreadPlacement(count: 1, list: list, available: [0, 1]) } throws: {
            "\($0)".contains("worker.cpus: \"\(list)\" is not a list of cores")
        }
    }

    @Test func `Cores that the process does not have, or too few for its threads, are refused`() {
        #expect { try ThreadPlacement(count: 1, list: "0,7", available: [0, 1]) } throws: {
            "\($0)".contains("may not run on core 7, but on 0,1")
        }
        #expect { try ThreadPlacement(count: 3, list: "0-1", available: [0, 1]) } throws: {
            "\($0)".contains("names 2 cores for worker.threads = 3")
        }
    }

    @Test func `A thread with a core of its own keeps to it`() async throws {
        let core = try #require(ThreadPlacement.available.last)
        let thread = SerialThread(name: "pinned", core: core)
        // On a thread, the cores are those that it may run on itself.
        let seen = await withCheckedContinuation { done in
            thread.async { done.resume(returning: ThreadPlacement.available) }
        }
        #expect(seen == [core])
    }
}
