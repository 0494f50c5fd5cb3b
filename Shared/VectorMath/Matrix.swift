/// Rows of floats of one width, one after the other.
public struct Matrix: Sendable, Hashable {
    /// Floats of a row, 1 or more.
    public let columns: Int
    /// Row-major, ``rows`` × ``columns``.
    public let values: [Float]

    /// Makes a matrix of `values.count / columns` rows.
    public init(values: [Float], columns: Int) {
        precondition(columns > 0 && values.count % columns == 0, "whole rows of one number or more")
        self.columns = columns
        self.values = values
    }

    /// Number of rows.
    public var rows: Int { values.count / columns }

    /// Some of the rows, in the order given.
    public func selecting(_ rows: some Sequence<Int>) -> Matrix {
        var selected: [Float] = []
        for row in rows { selected += values[row * columns..<(row + 1) * columns] }
        return Matrix(values: selected, columns: columns)
    }

    /// The first `size` numbers of each row.
    public func prefixes(_ size: Int) -> Matrix {
        precondition((1...columns).contains(size), "a prefix of 1 to \(columns)")
        guard size < columns else { return self }
        var prefixes: [Float] = []
        prefixes.reserveCapacity(rows * size)
        for row in 0..<rows { prefixes += values[row * columns..<row * columns + size] }
        return Matrix(values: prefixes, columns: size)
    }

    /// Each row at unit length; a row of zeros stays.
    public var unitRows: Matrix {
        var units = values
        units.withUnsafeMutableBufferPointer { units in
            for start in stride(from: 0, to: units.count, by: columns) {
                var norm: Float = 0
                for i in start..<start + columns { norm += units[i] * units[i] }
                guard norm > 0 else { continue }
                let factor = 1 / norm.squareRoot()
                for i in start..<start + columns { units[i] *= factor }
            }
        }
        return Matrix(values: units, columns: columns)
    }
}
