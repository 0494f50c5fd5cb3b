import Glibc

/// Processor time of this thread from a moment on: other work on the machine does not count.
struct ThreadClock {
    private var start = Self.now()

    /// Seconds since it began.
    var seconds: Double { Self.now() - start }

    /// Seconds since it began; it begins anew.
    mutating func lap() -> Double {
        let now = Self.now()
        defer { start = now }
        return now - start
    }

    private static func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}
