public import Matryoshka

/// How a cascade did on examples that it was not made from.
public struct CascadeOutcome: Sendable, Hashable {
    /// Share of right answers.
    public let accuracy: Double
    /// Mean size that decided: the paper's expected dimensions.
    public let finalDimensions: Double
    /// Mean dimensions of all heads that were evaluated on the way.
    public let cumulativeDimensions: Double
    /// Share of the examples that each size decided.
    public let shares: [Double]
}

extension ConfidenceCascade {
    /// Runs the cascade; `predictions` has its sizes.
    public func outcome(on predictions: SizePredictions) -> CascadeOutcome {
        precondition(predictions.sizes == sizes, "predictions at the cascade's sizes")
        var decided = [Int](repeating: 0, count: sizes.count)
        var right = 0
        for example in predictions.truth.indices {
            let place = deciding { predictions.confidences[$0][example] }
            decided[place] += 1
            if predictions.isRight(place, example) { right += 1 }
        }
        let total = Double(max(1, predictions.count))
        func mean(_ dimensions: (Int) -> Int) -> Double {
            Double(sizes.indices.reduce(0) { $0 + decided[$1] * dimensions($1) }) / total
        }
        return CascadeOutcome(
            accuracy: Double(right) / total,
            finalDimensions: mean { sizes[$0] },
            cumulativeDimensions: mean(cumulativeDimensions),
            shares: decided.map { Double($0) / total }
        )
    }
}

/// Learns thresholds of cascades.
///
/// What is learnt here has to be reported on other examples.
public enum CascadeCalibration {
    /// 100 thresholds from 0.1 to 1, evenly spread.
    public static let grid: [Float] = (0..<100).map { 0.1 + 0.9 * Float($0) / 99 }

    /// Takes each two neighbouring sizes by themselves: the smallest threshold at which using the smaller one where it is
    /// surer than that, and the larger one elsewhere, has the best accuracy.
    ///
    /// - Parameters:
    ///   - heldOut: Examples that are not reported on.
    ///   - grid: Thresholds to try, ascending, 0 to 1.
    /// - Returns: A cascade of all sizes.
    public static func greedy(on heldOut: SizePredictions, grid: [Float] = grid) -> ConfidenceCascade {
        let thresholds = heldOut.sizes.indices.dropLast().map { place in
            smallestBest(grid) { threshold in
                heldOut.truth.indices.count { example in
                    heldOut.isRight(heldOut.confidences[place][example] > threshold ? place : place + 1, example)
                }
            }
        }
        return cascade(heldOut.sizes, thresholds)
    }

    /// One threshold for all sizes: the smallest at which the whole cascade has the best accuracy; parameters as for
    /// ``greedy(on:grid:)``.
    public static func global(on heldOut: SizePredictions, grid: [Float] = grid) -> ConfidenceCascade {
        let threshold = smallestBest(grid) { threshold in
            let tried = cascade(heldOut.sizes, [Float](repeating: threshold, count: heldOut.sizes.count - 1))
            return heldOut.truth.indices.count { example in
                heldOut.isRight(tried.deciding { heldOut.confidences[$0][example] }, example)
            }
        }
        return cascade(heldOut.sizes, [Float](repeating: threshold, count: heldOut.sizes.count - 1))
    }

    /// Learns on one part of the examples and reports on the other, so many times.
    ///
    /// - Parameters:
    ///   - predictions: Examples that the classifier was not trained on.
    ///   - splits: How many times they are divided anew.
    ///   - heldOut: Share of them that is learnt from, more than 0 and less than 1.
    ///   - generator: Divides.
    ///   - learn: Makes a cascade of the held-out part.
    /// - Returns: What each cascade did on the other part.
    public static func outcomes(
        _ predictions: SizePredictions,
        splits: Int,
        heldOut: Double,
        using generator: inout some RandomNumberGenerator,
        learn: (SizePredictions) -> ConfidenceCascade
    ) -> [CascadeOutcome] {
        let first = min(max(1, Int(heldOut * Double(predictions.count))), predictions.count - 1)
        precondition(predictions.count > 1 && splits > 0, "two parts, and a split")
        return (0..<splits).map { _ in
            let order = Array(0..<predictions.count).shuffled(using: &generator)
            return learn(predictions.restricted(to: Array(order[..<first])))
                .outcome(on: predictions.restricted(to: Array(order[first...])))
        }
    }

    private static func cascade(_ sizes: [Int], _ thresholds: [Float]) -> ConfidenceCascade {
        guard let made = ConfidenceCascade(sizes: sizes, thresholds: thresholds) else {
            preconditionFailure("thresholds of a grid are from 0 to 1")
        }
        return made
    }

    private static func smallestBest(_ grid: [Float], _ right: (Float) -> Int) -> Float {
        precondition(!grid.isEmpty && zip(grid, grid.dropFirst()).allSatisfy { $0 < $1 }, "the grid ascends")
        var best = (threshold: grid[0], right: -1)
        for threshold in grid {
            let count = right(threshold)
            if count > best.right { best = (threshold, count) }
        }
        return best.threshold
    }
}
