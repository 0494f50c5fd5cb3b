import Matryoshka
import VectorMath

/// The inverted lists of a collection: which list a row is in, and which lists a query looks into.
///
/// AdANNS (Rege and others, 2023, section 4.1).
///
/// Both follow from the vector and the centroids alone, so that every worker finds the same: a row is in the list whose
/// centroid has the highest int8 cosine with the dc-prefix of its stored head (proto-docs, "Scores"), a query looks into
/// the `probes` best ones; ties go to the lower number. A prefix of zeros has cosine 0 with all.
public final class CoarseLists: @unchecked Sendable {
    // Unchecked: the rows never change after init.
    /// Number of lists.
    public let count: Int
    /// dc, floats of a prefix that choose the list.
    public let dimensions: Int
    private let centroids: BlockedRows
    /// Vectors in one scan of the centroids.
    static let batch = 64

    /// Makes the lists of a generation.
    ///
    /// - Parameters:
    ///   - centroids: Row-major, one a list, `count * dimensions` floats.
    ///   - count: Number of lists, 1 or more.
    public init(centroids: [Float], count: Int) {
        let values = centroids
        precondition(count >= 1 && !values.isEmpty && values.count % count == 0, "centroids of one width")
        self.count = count
        dimensions = values.count / count
        let columns = PlacedColumns()
        self.centroids = BlockedRows(
            storedWidth: dimensions,
            width: dimensions,
            precision: .int8,
            similarity: .cosine,
            columns: columns
        )
        self.centroids.setCapacity(count)
        columns.setBlocks((count + RowColumns.blockRows - 1) / RowColumns.blockRows)
        for list in 0..<count {
            let centroid = values.span.extracting(list * dimensions..<(list + 1) * dimensions)
            if list % RowColumns.blockRows == 0 { self.centroids.clearBlock(list / RowColumns.blockRows) }
            self.centroids.write(centroid, at: list)
            columns.put(id: Int64(list), version: 0, at: list)
        }
    }

    /// The lists of some rows.
    ///
    /// - Parameters:
    ///   - vectors: Row-major stored heads, `width` floats each, of which the first dc are compared.
    ///   - width: W, at least dc.
    /// - Returns: By row.
    public func lists(of vectors: Span<Float>, width: Int) -> [UInt32] {
        nearest(vectors, width: width, keep: 1).map { $0[0] }
    }

    /// The lists that some queries look into.
    ///
    /// - Parameters:
    ///   - queries: Row-major stored heads, `width` floats each.
    ///   - width: W, at least dc.
    ///   - probes: Lists for each query, 1 or more.
    /// - Returns: By query, the nearest list first.
    public func probed(by queries: Span<Float>, width: Int, probes: Int) -> [[UInt32]] {
        nearest(queries, width: width, keep: min(probes, count))
    }

    private func nearest(_ vectors: Span<Float>, width: Int, keep: Int) -> [[UInt32]] {
        precondition(width >= dimensions && vectors.count % width == 0, "vectors of one width, dc at least")
        let total = vectors.count / width
        var found: [[UInt32]] = []
        found.reserveCapacity(total)
        let tables = TableList([centroids.columns])
        for first in stride(from: 0, to: total, by: Self.batch) {
            let size = min(Self.batch, total - first)
            let prepared = BlockQueries(
                heads: vectors.extracting(first * width..<(first + size) * width),
                count: size,
                storedWidth: width,
                dimensions: dimensions,
                precision: .int8,
                similarity: .cosine
            )
            let rankings = TopRows.ranked(queryCount: size, keep: keep, tables: tables, path: .current) {
                _,
                pass,
                best in
                prepared.scan(centroids, firstRow: 0, pass: pass, into: best)
            }
            for ranking in rankings { found.append(ranking.ids.map { UInt32($0) }) }
        }
        return found
    }

    // MARK: Training

    /// dc unless the collection has another: lists are chosen well by more dimensions than the rows of one are ranked
    /// by, and centroids are few.
    public static let standardDimensions = 128

    /// How many lists suit so many rows: the power of two near twice the square root.
    public static func standardCount(rows: Int) -> Int {
        let wanted = 2 * Double(max(1, rows)).squareRoot()
        var count = 16
        while Double(count) * 1.42 < wanted, count < CollectionIndex.listsMax { count *= 2 }
        return count
    }

    /// Rows for each list that training looks at; more change little.
    private static let rowsPerList = 64

    /// Learns centroids from a sample of rows.
    ///
    /// - Parameters:
    ///   - rows: Row-major, `width` floats each, finite.
    ///   - width: Floats of a row, at least `dimensions`.
    ///   - dimensions: dc.
    ///   - lists: Centroids wanted.
    /// - Returns: Row-major centroids, fewer than wanted where the sample has fewer rows; and the mean cosine of a row
    ///   with its centroid.
    public static func trainCentroids(
        _ rows: Span<Float>,
        width: Int,
        dimensions: Int,
        lists: Int
    ) -> (values: [Float], meanCosine: Double) {
        precondition(width >= dimensions && dimensions >= 1 && rows.count % width == 0, "rows of one width")
        let count = rows.count / width
        let used = min(count, max(lists, lists * rowsPerList))
        var prefixes: [Float] = []
        prefixes.reserveCapacity(used * dimensions)
        for index in 0..<used {
            // Spread over the whole sample.
            let row = index * count / used
            for i in row * width..<row * width + dimensions { prefixes.append(rows[i]) }
        }
        let found = sphericalKMeans(prefixes.span, width: dimensions, clusters: lists)
        return (found.centroids, found.meanCosine)
    }
}
