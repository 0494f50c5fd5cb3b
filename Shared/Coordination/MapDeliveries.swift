/// Which epoch of the shard map went to which worker, to notice a map that was lost on its way.
public struct MapDeliveries: Sendable {
    private var last: [UInt64: (epoch: UInt64, at: UInt64)] = [:]

    /// Makes a record of nothing.
    public init() {}

    /// A map was handed to the worker's connection at the monotonic time `now`.
    public mutating func sent(_ epoch: UInt64, to worker: UInt64, now: UInt64) { last[worker] = (epoch, now) }

    /// The map did not leave, or the worker is gone.
    public mutating func forget(_ worker: UInt64) { last[worker] = nil }

    /// Whether a worker whose beat carries an epoch shall get the current map again.
    ///
    /// - Parameters:
    ///   - worker: Incarnation.
    ///   - carried: Epoch of the last map that it has taken over.
    ///   - current: Epoch of the map.
    ///   - now: Monotonic microseconds.
    ///   - patience: How long a map may take until a beat tells that it has come.
    /// - Returns: Whether to send it.
    public func isDue(
        _ worker: UInt64,
        carrying carried: UInt64,
        current: UInt64,
        now: UInt64,
        patience: UInt64
    ) -> Bool {
        guard carried < current else { return false }
        guard let last = last[worker], last.epoch >= current else { return true }
        return now >= last.at + patience
    }
}
