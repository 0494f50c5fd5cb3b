/// Numbers the rows of several tables, and finds them again.
package struct TableList {
    /// By table, its positions.
    package let counts: [Int]
    /// Positions of all tables.
    package let rowCount: Int
    /// Rows that are there.
    package let liveCount: Int
    private let shift: Int

    package init(_ columns: [RowColumns]) {
        counts = columns.map(\.count)
        rowCount = counts.reduce(0, +)
        liveCount = columns.reduce(0) { $0 + $1.liveCount }
        // All tables get the numbers of the longest one, so that a row's table is found by a shift.
        shift = Int.bitWidth - (counts.max() ?? 0).leadingZeroBitCount
        precondition(counts.count << shift <= Int(UInt32.max), "too many rows in one scan")
    }

    /// The number of a table's first row.
    package func firstRow(_ table: Int) -> Int { table << shift }

    /// Where a row is.
    package func place(of row: UInt32) -> (table: Int, position: Int) {
        (Int(row) >> shift, Int(row) & (1 << shift - 1))
    }
}
