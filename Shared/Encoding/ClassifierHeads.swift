import Glibc
import VectorMath

/// Softmax classifiers over prefixes of one vector, one for each size.
///
/// They are those of Matryoshka representation learning (Kusupati et al. 2022, §3): which label a text has can be asked
/// of the smallest prefix first, and a larger one needs the same vector only.
public struct ClassifierHeads: Sendable, Hashable {
    /// How the heads of different sizes belong together.
    public enum Form: String, Sendable, Hashable, Codable {
        /// MRL: each size has its own matrix and bias.
        case separate = "mrl"
        /// MRL-E: size m takes the first m columns of one matrix, and the one bias.
        case shared = "mrl-e"
    }

    /// Trained sizes M, ascending.
    public let nesting: [Int]
    /// Names of the classes, in the order of the probabilities.
    public let labels: [String]
    /// How the heads of different sizes belong together.
    public let form: Form
    /// Labels × size each, row-major, one matrix for each size or one for all.
    public let weights: [[Float]]
    /// One number for each label, one row for each size or one for all.
    public let biases: [[Float]]

    /// Makes heads; nil where the parts contradict each other.
    ///
    /// - Parameters:
    ///   - nesting: Sizes M, ascending, 1 or more.
    ///   - labels: Two or more, each once.
    ///   - form: ``Form/separate`` has one matrix and bias for each size, ``Form/shared`` one of the last size.
    ///   - weights: Labels × size, row-major.
    ///   - biases: As many as `weights`, one number for each label.
    public init?(nesting: [Int], labels: [String], form: Form, weights: [[Float]], biases: [[Float]]) {
        let widths = form == .separate ? nesting : Array(nesting.suffix(1))
        guard let first = nesting.first, first > 0, zip(nesting, nesting.dropFirst()).allSatisfy({ $0 < $1 }),
            labels.count >= 2, Set(labels).count == labels.count,
            weights.map(\.count) == widths.map({ $0 * labels.count }),
            biases.map(\.count) == widths.map({ _ in labels.count })
        else { return nil }
        self.nesting = nesting
        self.labels = labels
        self.form = form
        self.weights = weights
        self.biases = biases
    }

    /// Full size D.
    public var dimensions: Int { nesting[nesting.count - 1] }

    /// Whether there is a head for a size: one of M, and with a shared matrix any from the smallest of M to D.
    public func canPredict(at size: Int) -> Bool {
        form == .separate ? nesting.contains(size) : (nesting[0]...dimensions).contains(size)
    }

    /// Logits of some vectors at one size.
    ///
    /// - Parameters:
    ///   - features: Row-major, not normalised by prefix.
    ///   - size: One that ``canPredict(at:)`` allows.
    ///   - stride: Floats of a row of `features`, at least `size`; D where nil.
    /// - Returns: Rows × labels, row-major.
    public func logits(of features: [Float], size: Int, stride: Int? = nil) -> [Float] {
        precondition(canPredict(at: size), "there is no head for \(size) dimensions")
        let stride = stride ?? dimensions
        precondition(stride >= size && features.count % stride == 0, "whole rows that hold \(size) dimensions")
        let head = form == .separate ? nesting.firstIndex(of: size)! : 0
        let matrix = weights[head]
        let rows = features.count / stride
        // Each row starts at the bias, and the product is added.
        var result: [Float] = []
        result.reserveCapacity(rows * labels.count)
        for _ in 0..<rows { result += biases[head] }
        var span = result.mutableSpan
        BLAS.sgemm(
            transposeB: true,
            rows: rows,
            columns: labels.count,
            inner: size,
            features.span,
            strideA: stride,
            matrix.span,
            strideB: form == .separate ? size : dimensions,
            beta: 1,
            &span
        )
        return result
    }

    /// Probabilities of the labels for some vectors at one size; arguments as for ``logits(of:size:stride:)``.
    ///
    /// - Returns: Rows × labels, row-major; each row sums to 1.
    public func probabilities(of features: [Float], size: Int, stride: Int? = nil) -> [Float] {
        var values = logits(of: features, size: size, stride: stride)
        let count = labels.count
        values.withUnsafeMutableBufferPointer { values in
            for start in Swift.stride(from: 0, to: values.count, by: count) {
                var top = values[start]
                for j in start..<start + count { top = max(top, values[j]) }
                var sum: Float = 0
                for j in start..<start + count {
                    values[j] = expf(values[j] - top)
                    sum += values[j]
                }
                for j in start..<start + count { values[j] /= sum }
            }
        }
        return values
    }

    /// The most probable label of each vector at one size, the first one where several are equal.
    ///
    /// - Returns: By row: the label's index and its probability.
    public func predictions(of features: [Float], size: Int, stride: Int? = nil) -> [(label: Int, confidence: Float)] {
        let all = probabilities(of: features, size: size, stride: stride)
        return Swift.stride(from: 0, to: all.count, by: labels.count).map { start in
            var best = 0
            for j in 1..<labels.count where all[start + j] > all[start + best] { best = j }
            return (best, all[start + best])
        }
    }
}
