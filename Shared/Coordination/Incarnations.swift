/// The incarnations that a coordinator gives to workers, and what it knows of all others.
///
/// Numbers come in blocks that PostgreSQL has reserved for one coordinator alone.
public struct Incarnations: Sendable {
    /// Where a number that a worker brings comes from.
    public enum Standing: Sendable, Hashable {
        /// The worker brings none.
        case none
        /// It may have been given by this coordinator or another.
        case given
        /// It is reserved for this coordinator, which has not given it to anybody.
        case neverGiven
        /// It is above all that this coordinator knows to be reserved: PostgreSQL knows whether another has reserved it.
        case unheardOf
    }

    /// Numbers of a block.
    public static let blockCount = 1000
    private static let lowCount = 100

    private var left: Range<UInt64>
    private var reservedEnd: UInt64

    /// Begins with a block.
    public init(_ block: Range<UInt64>) {
        left = block
        reservedEnd = block.upperBound
    }

    /// A new block should be reserved.
    public var isLow: Bool { left.count < Self.lowCount }

    /// A number that nobody has; nil where all are given.
    public mutating func next() -> UInt64? { left.popFirst() }

    /// Takes a block in that was reserved; where enough is left it is passed over.
    public mutating func add(_ block: Range<UInt64>) {
        heard(reservedEnd: block.upperBound)
        if isLow { left = block }
    }

    /// All numbers below `end` are reserved, by whomever.
    public mutating func heard(reservedEnd end: UInt64) { reservedEnd = max(reservedEnd, end) }

    /// Whether one coordinator has given both, so that the higher one was given later.
    ///
    /// Between blocks the order tells nothing. All blocks have ``blockCount`` numbers, from 1 on.
    static func areOfOneBlock(_ first: UInt64, _ second: UInt64) -> Bool {
        first > 0 && second > 0 && (first - 1) / UInt64(blockCount) == (second - 1) / UInt64(blockCount)
    }

    /// Where the number comes from; 0: the worker brings none.
    public func standing(of number: UInt64) -> Standing {
        if number == 0 { return .none }
        if number >= reservedEnd { return .unheardOf }
        return left.contains(number) ? .neverGiven : .given
    }
}
