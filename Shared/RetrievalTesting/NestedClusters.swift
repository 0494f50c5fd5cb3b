#if canImport(Glibc)
import Glibc
#endif

/// Unit vectors shaped like Matryoshka embeddings, made from a seed row by row: the benchmark's synthetic data.
///
/// A tree of 16 superclasses, 1,000 classes and 20,000 leaves gives each row three centres and a deviation of its own;
/// each level has its own size and its own fall-off over the dimensions. All random numbers are integers made by
/// hashing (seed, stream, index), so that any row can be made alone and in any language; float sums agree to about
/// 1e-7. Labels play no part in recall, so there are none.
public struct NestedClusters: Sendable {
    /// How large the levels are, and how fast they fall off.
    public struct Profile: Sendable, Hashable {
        /// Name in tables.
        public let name: String
        /// Standard deviation of a whole level: superclass, class, leaf, row.
        let deviations: [Float]
        /// Exponent by which a level's variance falls with the dimension.
        let decays: [Float]

        /// Small prefixes tell almost everything.
        public static let a = Profile(
            name: "A",
            deviations: [0.50, 0.85, 0.30, 0.60],
            decays: [2.0, 2.1, 1.2, 0.8]
        )
        /// Harder: more of a row is its own, and it lies in later dimensions.
        public static let h = Profile(
            name: "H",
            deviations: [0.40, 0.55, 0.30, 0.75],
            decays: [1.5, 1.6, 1.1, 0.9]
        )
    }

    /// Rows that are searched, or rows that search.
    public enum Split: UInt64, Sendable {
        case base = 0
        case query = 1
    }

    static let leafCount = 20_000
    static let leavesPerClass = 20
    static let superclassCount: UInt64 = 16

    /// Floats of each vector.
    public let dimensions: Int
    private let seed: UInt64
    /// Row-major, by leaf: the sum of its three centres.
    private let centres: [Float]
    /// By dimension, the standard deviation of a row about its leaf.
    private let rowDeviations: [Float]

    /// Prepares the centres: 20,000 × `dimensions` floats.
    public init(profile: Profile, dimensions: Int, seed: UInt64) {
        precondition(dimensions > 0, "a vector has a dimension")
        self.dimensions = dimensions
        self.seed = seed
        let scales = (0..<4).map { Self.scales(profile, level: $0, dimensions) }
        rowDeviations = scales[3]
        centres = [Float](unsafeUninitializedCapacity: Self.leafCount * dimensions) { out, count in
            for leaf in 0..<Self.leafCount {
                let nodes = Self.nodes(ofLeaf: leaf, seed: seed)
                let keys = [
                    Self.key(seed, stream: 0, UInt64(nodes.superclass)), Self.key(seed, stream: 1, UInt64(nodes.class)),
                    Self.key(seed, stream: 2, UInt64(leaf)),
                ]
                for j in 0..<dimensions {
                    var sum: Float = 0
                    for level in 0..<3 { sum += scales[level][j] * Self.gaussian(keys[level], j) }
                    out[leaf * dimensions + j] = sum
                }
            }
            count = Self.leafCount * dimensions
        }
    }

    /// The leaf that a row belongs to.
    public func leaf(of row: Int, in split: Split) -> Int {
        Int(Self.key(seed, stream: 20 + split.rawValue, UInt64(row)) % UInt64(Self.leafCount))
    }

    /// Makes one row of unit length into `out`, which holds `dimensions` floats.
    public func make(_ row: Int, of split: Split, into out: UnsafeMutablePointer<Float>) {
        let key = Self.key(seed, stream: 3 + split.rawValue, UInt64(row))
        let start = leaf(of: row, in: split) * dimensions
        centres.withUnsafeBufferPointer { centres in
            rowDeviations.withUnsafeBufferPointer { deviations in
                var norm: Float = 0
                for j in 0..<dimensions {
                    let value = centres[start + j] + deviations[j] * Self.gaussian(key, j)
                    out[j] = value
                    norm += value * value
                }
                let factor = 1 / norm.squareRoot()
                for j in 0..<dimensions { out[j] *= factor }
            }
        }
    }

    /// One row.
    public func vector(_ row: Int, of split: Split) -> [Float] {
        [Float](unsafeUninitializedCapacity: dimensions) { out, count in
            make(row, of: split, into: out.baseAddress!)
            count = dimensions
        }
    }

    // MARK: integers

    /// splitmix64: one step and its finaliser.
    static func mix(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    static func key(_ seed: UInt64, stream: UInt64, _ index: UInt64) -> UInt64 {
        mix(mix(mix(seed) ^ (stream &* 0xD6E8_FEB8_6659_FD93)) ^ (index &* 0xA076_1D64_78BD_642F))
    }

    /// The sum of four 16-bit numbers about 0: Irwin-Hall, close to a Gaussian of deviation 37837.227.
    static func centredSum(_ key: UInt64, _ element: Int) -> Int32 {
        let hash = mix(key &+ UInt64(element))
        let sum = (hash & 0xFFFF) + ((hash >> 16) & 0xFFFF) + ((hash >> 32) & 0xFFFF) + (hash >> 48)
        return Int32(truncatingIfNeeded: sum) - 131_070
    }

    private static func gaussian(_ key: UInt64, _ element: Int) -> Float {
        Float(centredSum(key, element)) / 37_837.227
    }

    static func nodes(ofLeaf leaf: Int, seed: UInt64) -> (class: Int, superclass: Int) {
        let number = leaf / leavesPerClass
        return (number, Int(key(seed, stream: 10, UInt64(number)) % superclassCount))
    }

    // MARK: levels

    /// Dimensions 0–7, 8–15, 16–31, 32–63, … share a variance.
    private static func blockStart(_ dimension: Int) -> Int {
        dimension < 8 ? 0 : 1 << (Int.bitWidth - 1 - dimension.leadingZeroBitCount)
    }

    private static func scales(_ profile: Profile, level: Int, _ dimensions: Int) -> [Float] {
        let weights = (0..<dimensions).map { pow(Double(blockStart($0) + 8), -Double(profile.decays[level])) }
        let total = weights.reduce(0, +)
        return weights.map { Float(Double(profile.deviations[level]) * ($0 / total).squareRoot()) }
    }
}
