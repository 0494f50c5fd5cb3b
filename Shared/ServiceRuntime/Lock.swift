import CPlatform
import Glibc

/// A mutual exclusion lock for a few fields; no work and no call into another module while it is held.
///
/// A pthread mutex and not `Synchronization.Mutex`, whose futex the thread sanitizer cannot see.
public final class Lock: @unchecked Sendable {
    fileprivate let mutex: UnsafeMutablePointer<pthread_mutex_t>

    /// Makes an open lock.
    public init() {
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    /// Runs `body` while no other thread is in a `withLock` of this lock; not recursive.
    @inline(__always)
    public func withLock<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body()
    }

    /// Runs `body` while no other thread is in a `withLock` of any of `locks`; all callers must name them in the same
    /// order.
    public static func withAll<Result>(_ locks: [Lock], _ body: () throws -> Result) rethrows -> Result {
        for lock in locks { pthread_mutex_lock(lock.mutex) }
        defer { for lock in locks.reversed() { pthread_mutex_unlock(lock.mutex) } }
        return try body()
    }
}

/// A condition variable that belongs to one lock.
public final class Condition: @unchecked Sendable {
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private let lock: Lock

    /// Makes a condition on what `lock` guards.
    public init(_ lock: Lock) {
        self.lock = lock
        condition = .allocate(capacity: 1)
        condition.initialize(to: pthread_cond_t())
        platform_condition_init(condition)
    }

    deinit {
        pthread_cond_destroy(condition)
        condition.deallocate()
    }

    /// Waits to be signalled; call it inside `withLock`, in a loop that tests the condition again.
    public func wait() {
        pthread_cond_wait(condition, lock.mutex)
    }

    /// Waits to be signalled, or until the time on the monotonic clock; call it inside `withLock`.
    ///
    /// - Returns: False when the time came first.
    @discardableResult
    public func wait(untilMicroseconds deadline: UInt64) -> Bool {
        platform_condition_wait_until(condition, lock.mutex, deadline) == 0
    }

    /// Wakes one waiter.
    public func signal() {
        pthread_cond_signal(condition)
    }

    /// Wakes all waiters.
    public func broadcast() {
        pthread_cond_broadcast(condition)
    }
}
