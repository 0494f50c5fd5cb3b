import Matryoshka
import Testing

@Suite("Confidence cascade")
struct ConfidenceCascadeTests {
    private let cascade = ConfidenceCascade(sizes: [8, 16, 64], thresholds: [0.5, 0.9])

    @Test("the first size that is surer than its threshold decides, an equal confidence does not")
    func decides() throws {
        let cascade = try #require(cascade)
        for (confidences, place) in [
            ([0.6, 0, 0], 0), ([0.5, 0.95, 0], 1), ([0.5, 0.9, 0], 2), ([0, 0, 0], 2),
        ] as [([Float], Int)] {
            #expect(cascade.deciding { confidences[$0] } == place)
        }
        var asked: [Int] = []
        _ = cascade.deciding {
            asked.append($0)
            return 0.95
        }
        #expect(asked == [0])
    }

    @Test("dimensions add up over the sizes that were asked")
    func cumulative() {
        #expect((0..<3).map { cascade?.cumulativeDimensions(at: $0) } == [8, 24, 88])
    }

    @Test("contradictions make no cascade")
    func contradictions() {
        #expect(ConfidenceCascade(sizes: [], thresholds: []) == nil)
        #expect(ConfidenceCascade(sizes: [0, 8], thresholds: [0.5]) == nil)
        #expect(ConfidenceCascade(sizes: [8, 8], thresholds: [0.5]) == nil)
        #expect(ConfidenceCascade(sizes: [8, 16], thresholds: []) == nil)
        #expect(ConfidenceCascade(sizes: [8, 16], thresholds: [1.5]) == nil)
        #expect(ConfidenceCascade(sizes: [8, 16], thresholds: [.nan]) == nil)
        #expect(cascade?.with(threshold: 0.25)?.thresholds == [0.25, 0.25])
        #expect(cascade?.with(threshold: -1) == nil)
    }
}
