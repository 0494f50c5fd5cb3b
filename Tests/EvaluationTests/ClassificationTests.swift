import Evaluation
import Matryoshka
import Testing

/// A sequence that shuffles the same way every time.
private struct Steps: RandomNumberGenerator {
    var state: UInt64 = 1
    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state
    }
}

@Suite("Thresholds of cascades")
struct CascadeCalibrationTests {
    // Five examples of class 0; a 1 is a mistake.
    private let predictions = SizePredictions(
        sizes: [8, 16, 32],
        truth: [0, 0, 0, 0, 0],
        labels: [[0, 0, 1, 1, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 1]],
        confidences: [[0.9, 0.8, 0.4, 0.3, 0.35], [0.9, 0.5, 0.8, 0.6, 0.7], [1, 1, 1, 1, 1]]
    )
    private let grid: [Float] = [0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]

    @Test("each pair of sizes is taken by itself, and the smallest of the best thresholds wins")
    func greedy() {
        let cascade = CascadeCalibration.greedy(on: predictions, grid: grid)
        // 8 or 16: at 0.4 the first two stay, the others go to 16, of which the third and fifth are right: 4 of 5, and so
        // up to 0.7; at 0.8 and above the second is lost. 16 or 32: at 0.6 only the first, third and fifth stay: all right.
        #expect(cascade.thresholds == [0.4, 0.6])
        let outcome = cascade.outcome(on: predictions)
        #expect(outcome.accuracy == 1)
        #expect(outcome.shares == [0.4, 0.4, 0.2])
        #expect(abs(outcome.finalDimensions - (2 * 8 + 2 * 16 + 32) / 5.0) < 1e-12)
        #expect(abs(outcome.cumulativeDimensions - (2 * 8 + 2 * 24 + 56) / 5.0) < 1e-12)
    }

    @Test("one threshold for all is chosen by the whole cascade")
    func global() {
        // At 0.6 and 0.7 the first two stay at 8, the third at 16; the fourth goes on, and the fifth only at 0.7.
        #expect(CascadeCalibration.global(on: predictions, grid: grid).thresholds == [0.6, 0.6])
    }

    @Test("the grid is the reference's")
    func grid100() {
        #expect(CascadeCalibration.grid.count == 100)
        #expect(CascadeCalibration.grid.first == 0.1 && CascadeCalibration.grid.last == 1)
        #expect(abs(CascadeCalibration.grid[11] - 0.2) < 1e-6)
    }

    @Test("what is reported was not learnt from")
    func splits() {
        var seen: [(learnt: Int, reported: Int)] = []
        var generator = Steps()
        let outcomes = CascadeCalibration.outcomes(predictions, splits: 4, heldOut: 0.4, using: &generator) { part in
            seen.append((part.count, predictions.count - part.count))
            return CascadeCalibration.greedy(on: part)
        }
        #expect(outcomes.count == 4)
        #expect(seen.allSatisfy { $0 == (2, 3) })
        #expect(outcomes.allSatisfy { abs($0.shares.reduce(0, +) - 1) < 1e-12 })
    }
}

@Suite("Reports over sizes")
struct SizeReportTests {
    private let predictions = SizePredictions(
        sizes: [8, 16, 32],
        truth: [0, 0, 1, 2, 2],
        labels: [[0, 1, 1, 0, 2], [1, 1, 1, 1, 1], [1, 0, 1, 0, 1]],
        confidences: [[Float]](repeating: [Float](repeating: 1, count: 5), count: 3)
    )

    @Test("an oracle takes the first size that is right, and the full one where none is")
    func oracle() {
        let oracle = OracleRouting(predictions)
        #expect(oracle.firstRight == [0.6, 0, 0.2])
        #expect(abs(oracle.accuracy - 0.8) < 1e-12)
        #expect(abs(oracle.dimensions - (3 * 8 + 32 + 32) / 5.0) < 1e-12)
        #expect(abs(oracle.gain - 0.4) < 1e-12)
        // Votes: 1, 1, 1, 0, 1.
        #expect(abs(oracle.majorityAccuracy - 0.2) < 1e-12)
    }

    @Test("disagreement is symmetric, and says what the next size mends and spoils")
    func disagreement() {
        let found = SizeDisagreement(predictions)
        #expect(found.shares[0][0] == 0)
        #expect(found.shares[0][1] == found.shares[1][0])
        #expect(abs(found.shares[0][1] - 0.6) < 1e-12)
        #expect(found.mended == [0, 0.2])
        #expect(found.spoilt == [0.4, 0])
    }

    @Test("a class that loses and gains is told from one that only gains")
    func trends() {
        let trends = ClassTrends(predictions, classes: 4)
        #expect(trends.accuracies == [[0.5, 0, 0.5], [1, 1, 1], [0.5, 0, 0], []])
        #expect(trends.trends == [.fallingThenRising, .level, .falling, nil])
        #expect(trends.counts == [.fallingThenRising: 1, .level: 1, .falling: 1])
        #expect(ClassTrends(predictions, classes: 4, tolerance: 0.5).trends == [.level, .level, .level, nil])
    }

    @Test("a mistake within the group is none; the reject group counts where it is asked for")
    func superclasses() {
        // Classes 0 and 1 are a group; 2 is in none.
        let found = SuperclassAccuracy(predictions, groups: [0, 0, nil])
        #expect(found.grouped == [1, 1, 1])
        #expect(found.withReject == [0.8, 0.6, 0.6])
        #expect(SuperclassAccuracy(predictions, groups: [nil, nil, nil]).grouped == [0, 0, 0])
    }

    @Test("the interval of five equal values is a point, of one value unknown")
    func intervals() throws {
        #expect(MeanInterval([2, 2, 2, 2, 2]).halfWidth == 0)
        #expect(MeanInterval([2]).halfWidth == nil && MeanInterval([]).mean == 0)
        let found = MeanInterval([1, 2, 3, 4, 5])
        #expect(found.mean == 3)
        // t(4) · √(2.5 / 5)
        #expect(abs(try #require(found.halfWidth) - 2.776 * 0.5.squareRoot()) < 1e-9)
    }
}

@Suite("Nearest class mean")
struct NearestClassMeanTests {
    @Test("means are of unit prefixes: a long example weighs as much as a short one")
    func means() {
        // Class 5 points to x, class 9 to y with one long example askew.
        let vectors: [Float] = [1, 0, 7, 1, 0.1, 0, 0, 1, 0, 0, 1, 0, 30, 30, 0]
        let found = NearestClassMean(vectors: vectors, dimensions: 3, labels: [5, 5, 9, 9, 9], size: 2)
        #expect(found.labels(of: [1, 0.4, 100, 0.5, 1, -100]) == [5, 9])
    }

    @Test("draws as many examples of each class as asked for, or all")
    func shots() {
        var generator = Steps()
        let labels = [0, 1, 0, 1, 0, 2]
        let drawn = NearestClassMean.drawShots(2, of: labels, using: &generator)
        #expect(drawn.map { labels[$0] }.sorted() == [0, 0, 1, 1, 2])
        #expect(Set(drawn).count == drawn.count)
    }

    @Test("neighbours leave out the row that is excluded")
    func excluded() {
        let collection = DenseCollection(vectors: [1, 0, 0.9, 0.1, 0, 1], dimensions: 2)
        #expect(collection.nearest(queries: [1, 0], size: 2, keep: 2).map { $0.map(\.item) } == [[0, 1]])
        #expect(
            collection.nearest(queries: [1, 0], size: 2, keep: 2, excluding: [0]).map { $0.map(\.item) } == [[1, 2]]
        )
    }
}
