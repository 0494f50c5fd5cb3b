/// Numbers the rows of several tables through, and finds them again.
package struct TableList {
    /// By table, the number of its first row.
    package let firstRows: [Int]
    /// Rows of all tables.
    package let rowCount: Int

    package init(_ counts: [Int]) {
        var (firstRows, rowCount) = ([Int](), 0)
        for count in counts {
            firstRows.append(rowCount)
            rowCount += count
        }
        self.firstRows = firstRows
        self.rowCount = rowCount
    }

    package func place(of row: Int) -> (table: Int, position: Int) {
        // The last table that starts at or before the row; empty ones start there too but come earlier.
        var (low, length) = (0, firstRows.count)
        while length > 1 {
            let half = length / 2
            if firstRows[low + half] <= row { low += half }
            length -= half
        }
        return (low, row - firstRows[low])
    }
}
