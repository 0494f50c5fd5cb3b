/// The mean of repeated measurements and how far the true one may lie from it.
public struct MeanInterval: Sendable, Hashable {
    /// Arithmetic mean; 0 of no values.
    public let mean: Double
    /// Half the width of the 95 % interval by Student's t; nil of fewer than two values.
    public let halfWidth: Double?
    /// Measurements.
    public let count: Int

    /// 97.5 % points of Student's t for 1 to 30 degrees of freedom.
    private static let student = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
        2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    ]

    /// Sums measurements up.
    public init(_ values: [Double]) {
        count = values.count
        let mean = values.isEmpty ? 0 : values.reduce(0, +) / Double(values.count)
        self.mean = mean
        guard values.count > 1 else {
            halfWidth = nil
            return
        }
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count - 1)
        // Beyond the table the normal distribution is near enough.
        let factor = values.count - 1 <= Self.student.count ? Self.student[values.count - 2] : 1.96
        halfWidth = factor * (variance / Double(values.count)).squareRoot()
    }
}
