import CPlatform

/// How many threads compute in a process, and on which cores.
public struct ThreadPlacement: Sendable, Hashable {
    /// Number of threads, 1 or more.
    public let count: Int
    /// The core of each thread; empty where the system chooses.
    public let cores: [Int]

    /// So many threads wherever the system puts them.
    public init(count: Int) {
        self.count = count
        cores = []
    }

    /// Threads on cores of their own.
    ///
    /// - Parameters:
    ///   - count: Number of threads, 1 or more.
    ///   - list: Cores as `taskset` takes them, `0-3,6`; the first `count` of them are used. Nil: the system chooses.
    ///   - available: Cores that the process may run on, ascending.
    /// - Throws: ``StartupFailure`` that names `worker.cpus` and what is wrong with it.
    public init(count: Int, list: String?, available: [Int] = Self.available) throws {
        self.count = count
        guard let list else {
            cores = []
            return
        }
        guard let named = Self.parse(list) else {
            throw StartupFailure("worker.cpus: \"\(list)\" is not a list of cores, such as 0-3,6")
        }
        if let foreign = named.first(where: { !available.contains($0) }) {
            let all = available.map(String.init).joined(separator: ",")
            throw StartupFailure("worker.cpus: this process may not run on core \(foreign), but on \(all)")
        }
        guard named.count >= count else {
            throw StartupFailure(
                "worker.cpus names \(named.count) cores for worker.threads = \(count): name one for each"
            )
        }
        cores = Array(named.prefix(count))
    }

    /// The core of thread 0, 1, …; nil where the system chooses.
    public func core(of thread: Int) -> Int? { cores.isEmpty ? nil : cores[thread] }

    /// Fewer threads, on the first of the cores.
    public func prefix(_ count: Int) -> ThreadPlacement {
        ThreadPlacement(count: min(count, self.count), cores: Array(cores.prefix(count)))
    }

    private init(count: Int, cores: [Int]) {
        self.count = count
        self.cores = cores
    }

    /// Cores that this process may run on, ascending.
    public static var available: [Int] { (0..<4096).filter { platform_may_run_on(Int32($0)) } }

    /// Each core once, in the order of the list; nil where it is none.
    private static func parse(_ list: String) -> [Int]? {
        var cores: [Int] = []
        for part in list.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard let first = ends.first ?? nil, let last = ends.last ?? nil, ends.count <= 2,
                0 <= first, first <= last, last < 4096
            else { return nil }
            cores += (first...last).filter { !cores.contains($0) }
        }
        return cores
    }
}
