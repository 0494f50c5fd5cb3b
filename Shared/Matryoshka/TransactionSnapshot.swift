/// A PostgreSQL `pg_snapshot`: which transactions a reader has seen.
public struct TransactionSnapshot: Sendable, Hashable, CustomStringConvertible {
    /// Every transaction below is finished.
    public var xmin: UInt64
    /// Every transaction from here on was not started or not finished.
    public var xmax: UInt64
    /// Transactions in progress, ascending, in `xmin..<xmax`.
    public var inProgress: [UInt64]

    /// Makes a snapshot.
    public init(xmin: UInt64, xmax: UInt64, inProgress: [UInt64]) {
        self.xmin = xmin
        self.xmax = xmax
        self.inProgress = inProgress
    }

    /// Reads PostgreSQL's text form `xmin:xmax:a,b,c`; nil where it is not one.
    public init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3, let xmin = UInt64(parts[0]), let xmax = UInt64(parts[1]) else { return nil }
        var inProgress: [UInt64] = []
        for part in parts[2].split(separator: ",") {
            guard let xid = UInt64(part) else { return nil }
            inProgress.append(xid)
        }
        self.init(xmin: xmin, xmax: xmax, inProgress: inProgress)
    }

    /// Whether what `transaction` wrote is visible in this snapshot, given that it committed before it was taken.
    public func includes(_ transaction: UInt64) -> Bool {
        if transaction < xmin { return true }
        if transaction >= xmax { return false }
        return !inProgress.contains(transaction)
    }

    /// Description.
    public var description: String {
        "\(xmin):\(xmax):" + inProgress.map(String.init).joined(separator: ",")
    }
}
