import FoundationEssentials
import Testing

@testable import ServiceRuntime

@Suite("Latency histogram")
struct LatencyHistogramTests {
    @Test("its buckets cover all durations without gap or overlap")
    func buckets() {
        for bucket in 0..<LatencyHistogram.bucketCount - 1 {
            let last = LatencyHistogram.upperBoundMicroseconds(ofBucket: bucket)
            #expect(LatencyHistogram.bucket(ofMicroseconds: last) == bucket)
            #expect(LatencyHistogram.bucket(ofMicroseconds: last + 1) == bucket + 1)
        }
        #expect(LatencyHistogram.bucket(ofMicroseconds: 0) == 0)
        #expect(LatencyHistogram.bucket(ofMicroseconds: .max) == LatencyHistogram.bucketCount - 1)
        #expect(LatencyHistogram.upperBoundMicroseconds(ofBucket: LatencyHistogram.bucketCount - 1) == 62_914_560)
    }

    @Test("its quantiles are never too low and at most 12.5 % too high", arguments: [0.0, 0.5, 0.9, 0.99, 0.999, 1.0])
    func quantiles(q: Double) throws {
        var histogram = LatencyHistogram()
        let durations = (1...10_000).map { UInt64($0 * $0 / 7) }
        for duration in durations { histogram.record(microseconds: duration) }
        let exact = durations[max(0, Int((q * 10_000).rounded(.up)) - 1)]
        let estimate = try #require(histogram.quantileMicroseconds(q))
        #expect(estimate >= exact)
        #expect(Double(estimate) <= Double(exact) * 1.125)
        #expect(histogram.count == 10_000)
    }

    @Test("it is empty at first and then has no quantile")
    func empty() {
        #expect(LatencyHistogram().quantileMicroseconds(0.5) == nil)
        #expect(LatencyHistogram().count == 0)
    }

    @Test("two merged are as if all was recorded in one")
    func merge() {
        var (all, left, right) = (LatencyHistogram(), LatencyHistogram(), LatencyHistogram())
        for duration in UInt64(0)..<5_000 {
            all.record(microseconds: duration)
            if duration % 3 == 0 { left.record(microseconds: duration) } else { right.record(microseconds: duration) }
        }
        left.merge(right)
        #expect(left == all)
    }

    @Test("it survives coding, and counts of another length are refused")
    func coding() throws {
        var histogram = LatencyHistogram()
        histogram.record(microseconds: 1_234)
        let data = try JSONEncoder().encode(histogram)
        #expect(try JSONDecoder().decode(LatencyHistogram.self, from: data) == histogram)
        #expect(LatencyHistogram(counts: histogram.counts) == histogram)
        #expect(LatencyHistogram(counts: [1, 2]) == nil)
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode(LatencyHistogram.self, from: Data("[1,2]".utf8))
        }
    }
}
