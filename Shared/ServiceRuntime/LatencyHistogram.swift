/// Counts of durations in logarithmic buckets with boundaries that never change, so that histograms of different
/// processes and minutes can be added.
///
/// Below 8 µs each microsecond has its bucket; above, each power of two is cut into 8 equal buckets: a quantile is
/// at most 12.5 % too high. The last bucket takes everything from 62.9 s on.
public struct LatencyHistogram: Sendable, Hashable, Codable {
    /// How many buckets there are.
    public static let bucketCount = 192

    /// Recorded durations per bucket; always ``bucketCount`` numbers.
    public private(set) var counts: [UInt64]

    /// Makes an empty histogram.
    public init() {
        counts = Array(repeating: 0, count: Self.bucketCount)
    }

    /// Takes over counts recorded elsewhere; nil where their number is not ``bucketCount``.
    public init?(counts: [UInt64]) {
        guard counts.count == Self.bucketCount else { return nil }
        self.counts = counts
    }

    /// Reads the array of counts.
    public init(from decoder: any Decoder) throws {
        let counts = try decoder.singleValueContainer().decode([UInt64].self)
        guard let histogram = LatencyHistogram(counts: counts) else {
            throw DecodingError.dataCorrupted(
                .init(
                    codingPath: decoder.codingPath,
                    debugDescription: "a histogram has \(Self.bucketCount) counts, this one \(counts.count)"
                )
            )
        }
        self = histogram
    }

    /// Writes the array of counts.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(counts)
    }

    /// The bucket of a duration.
    public static func bucket(ofMicroseconds duration: UInt64) -> Int {
        if duration < 8 { return Int(duration) }
        let power = 63 - duration.leadingZeroBitCount
        let bucket = (power - 2) * 8 + Int(duration >> UInt64(power - 3)) - 8
        return min(bucket, bucketCount - 1)
    }

    /// The largest duration that falls in the bucket; the last bucket is open and answers where it begins.
    public static func upperBoundMicroseconds(ofBucket bucket: Int) -> UInt64 {
        if bucket < 8 { return UInt64(bucket) }
        let shift = UInt64(bucket / 8 - 1)
        let begin = UInt64(bucket % 8 + 8) << shift
        return bucket == bucketCount - 1 ? begin : begin + (1 << shift) - 1
    }

    /// Counts one duration.
    public mutating func record(microseconds: UInt64) {
        counts[Self.bucket(ofMicroseconds: microseconds)] += 1
    }

    /// Adds the counts of another histogram.
    public mutating func merge(_ other: LatencyHistogram) {
        for bucket in counts.indices { counts[bucket] += other.counts[bucket] }
    }

    /// How many durations were recorded.
    public var count: UInt64 { counts.reduce(0, +) }

    /// The duration that a share `q` (0 to 1) of all stays at or below, in microseconds; nil when empty.
    public func quantileMicroseconds(_ q: Double) -> UInt64? {
        let total = count
        guard total > 0 else { return nil }
        let rank = max(1, UInt64((min(max(q, 0), 1) * Double(total)).rounded(.up)))
        var seen: UInt64 = 0
        for bucket in counts.indices {
            seen += counts[bucket]
            if seen >= rank { return Self.upperBoundMicroseconds(ofBucket: bucket) }
        }
        return Self.upperBoundMicroseconds(ofBucket: Self.bucketCount - 1)
    }
}
