public import Matryoshka
import VectorMath

/// All vectors of a collection in memory, searched exhaustively in float32: the measure of a model, without a server.
public struct DenseCollection: Sendable {
    /// Cosines that are closer count as tied.
    public static let tolerance: Float = 2e-6
    /// Scores that are held at a time: queries × rows of a block stay in a core's cache.
    private static let block = (queries: 64, rows: 2048)

    /// Full size D.
    public let dimensions: Int
    /// Row-major.
    private let vectors: [Float]

    /// What a plan found for one query.
    public struct Found: Sendable {
        /// Best first, as many as the last stage keeps.
        public var rows: [Int]
        /// Rank of the wanted row among all that the last stage scored, ties against it; nil where it was lost before.
        public var rank: Int?

        /// Puts both together.
        public init(rows: [Int], rank: Int?) {
            self.rows = rows
            self.rank = rank
        }
    }

    /// Makes a collection of `vectors.count / dimensions` rows.
    public init(vectors: [Float], dimensions: Int) {
        precondition(dimensions > 0 && vectors.count % dimensions == 0, "whole rows")
        self.vectors = vectors
        self.dimensions = dimensions
    }

    /// Number of rows.
    public var count: Int { vectors.count / dimensions }

    /// Rank of each query's wanted row by cosine over the first `size` dimensions; every tie counts against it.
    public func ranks(queries: [Float], targets: [Int], size: Int) -> [Int] {
        let rows = prefixes(size).rows
        let queries = Self.prefixes(of: queries, dimensions, size)
        let bars = targets.enumerated().map { query, row in
            (0..<size).reduce(Float(0)) { $0 + queries[query * size + $1] * rows[row * size + $1] } - Self.tolerance
        }
        var ranks = [Int](repeating: 0, count: targets.count)
        Self.forEachBlock(rows, queries, size) { firstQuery, firstRow, width, scores in
            for query in 0..<scores.count / width {
                var above: Int32 = 0
                let bar = bars[firstQuery + query]
                for row in 0..<width { above &+= scores[query * width + row] >= bar ? 1 : 0 }
                ranks[firstQuery + query] += Int(above)
            }
        }
        // The wanted row passed its own bar: its rank counts from 1.
        return ranks
    }

    /// The rows nearest to each query by cosine over the first `size` dimensions.
    ///
    /// - Parameters:
    ///   - queries: Row-major, of full size.
    ///   - size: 1 to D.
    ///   - keep: 1 or more; all rows where there are fewer.
    ///   - excluding: A row for each query that does not count, its own for example; nil for none.
    /// - Returns: Best first; of equal scores the earlier row.
    public func nearest(
        queries: [Float],
        size: Int,
        keep: Int,
        excluding: [Int]? = nil
    ) -> [[(item: Int, score: Float)]] {
        nearest(queries: queries, in: prefixes(size), keep: keep, excluding: excluding)
    }

    /// The first numbers of every row at unit length, ready to be scanned again and again.
    public struct Prefixes: Sendable {
        /// How many numbers of a row.
        public let size: Int
        fileprivate let rows: [Float]
    }

    /// Makes the rows' prefixes of a size of 1 to D.
    public func prefixes(_ size: Int) -> Prefixes {
        Prefixes(size: size, rows: Self.prefixes(of: vectors, dimensions, size))
    }

    /// The rows nearest to each query, over prefixes of this collection; else as
    /// ``nearest(queries:size:keep:excluding:)``.
    public func nearest(
        queries: [Float],
        in prefixes: Prefixes,
        keep: Int,
        excluding: [Int]? = nil
    ) -> [[(item: Int, score: Float)]] {
        let size = prefixes.size
        let short = Self.prefixes(of: queries, dimensions, size)
        var heaps = (0..<queries.count / dimensions).map { _ in BestRows(limit: keep) }
        Self.forEachBlock(prefixes.rows, short, size) { firstQuery, firstRow, width, scores in
            for query in 0..<scores.count / width {
                let excluded = excluding.map { $0[firstQuery + query] - firstRow } ?? -1
                for row in 0..<width where row != excluded {
                    let score = scores[query * width + row]
                    if score > heaps[firstQuery + query].bar {
                        heaps[firstQuery + query].insert(firstRow + row, score)
                    }
                }
            }
        }
        return heaps.map { $0.sorted() }
    }

    /// Runs a plan: the first stage over all rows, each later one over what the stage before kept.
    public func search(queries: [Float], targets: [Int], plan: [Stage]) -> [Found] {
        precondition(!plan.isEmpty, "a plan has a stage")
        // Rows tied with the wanted one but ranked below it must be there to count against it.
        let keep = plan.count == 1 ? plan[0].keep * 2 + 64 : plan[0].keep
        let first = nearest(queries: queries, size: plan[0].dimensions, keep: keep)
        return targets.indices.map { query in
            let vector = queries[query * dimensions..<(query + 1) * dimensions]
            var scored = first[query]
            for stage in plan.dropFirst() {
                scored = rescored(scored, by: vector, stage.dimensions)
                if stage != plan[plan.count - 1] { scored.removeLast(max(0, scored.count - stage.keep)) }
            }
            return Found(
                rows: scored.prefix(plan[plan.count - 1].keep).map(\.item),
                rank: Metrics.pessimisticRank(of: targets[query], among: scored, tolerance: Self.tolerance)
            )
        }
    }

    /// Runs a plan for one query over prefixes of its first stage's size.
    ///
    /// - Parameters:
    ///   - query: D numbers.
    ///   - plan: One stage or more.
    ///   - prefixes: Of this collection.
    ///   - excluding: A row that does not count.
    /// - Returns: What the last stage keeps, best first.
    public func search(_ query: [Float], plan: Plan, in prefixes: Prefixes, excluding: Int? = nil) -> [Int] {
        let stages = plan.stages
        precondition(stages[0].dimensions == prefixes.size, "prefixes of the first stage's size")
        var scored = nearest(
            queries: query,
            in: prefixes,
            keep: stages[0].keep,
            excluding: excluding.map { [$0] }
        )[0]
        for stage in stages.dropFirst() {
            scored = rescored(scored, by: query[...], stage.dimensions)
            scored.removeLast(max(0, scored.count - stage.keep))
        }
        return scored.map(\.item)
    }

    private func rescored(
        _ candidates: [(item: Int, score: Float)],
        by query: ArraySlice<Float>,
        _ size: Int
    ) -> [(item: Int, score: Float)] {
        let scores = cosines(query, rows: candidates.map(\.item), sizes: [size])[0]
        return zip(candidates, scores).map { ($0.item, $1) }.sorted { ($0.score, $1.item) > ($1.score, $0.item) }
    }

    /// Cosines of one query with some rows over several prefixes, in one pass over each row.
    ///
    /// - Parameters:
    ///   - query: D numbers.
    ///   - rows: Any.
    ///   - sizes: Ascending, 1 to D.
    /// - Returns: By size, then by row; 0 where a prefix is zero.
    public func cosines(_ query: ArraySlice<Float>, rows: [Int], sizes: [Int]) -> [[Float]] {
        precondition(query.count == dimensions && sizes.allSatisfy { (1...dimensions).contains($0) }, "whole vectors")
        let segments = zip([0] + sizes, sizes).map { $0..<$1 }
        var scores = sizes.map { _ in [Float](repeating: 0, count: rows.count) }
        query.withUnsafeBufferPointer { query in
            vectors.withUnsafeBufferPointer { vectors in
                let norms = segments.reduce(into: [Float]()) { norms, segment in
                    norms.append((norms.last ?? 0) + Self.products(query.baseAddress!, query.baseAddress!, segment).dot)
                }
                for (place, row) in rows.enumerated() {
                    var (dot, square): (Float, Float) = (0, 0)
                    for (number, segment) in segments.enumerated() {
                        let part = Self.products(query.baseAddress!, vectors.baseAddress! + row * dimensions, segment)
                        dot += part.dot
                        square += part.square
                        let norm = norms[number] * square
                        if norm > 0 { scores[number][place] = dot / norm.squareRoot() }
                    }
                }
            }
        }
        return scores
    }

    /// Dot product of two vectors over some of their numbers, and that of the second with itself.
    private static func products(
        _ query: UnsafePointer<Float>,
        _ row: UnsafePointer<Float>,
        _ range: Range<Int>
    ) -> (dot: Float, square: Float) {
        var (dots, squares) = (SIMD8<Float>(), SIMD8<Float>())
        var d = range.lowerBound
        while d + 8 <= range.upperBound {
            let q = UnsafeRawPointer(query + d).loadUnaligned(as: SIMD8<Float>.self)
            let r = UnsafeRawPointer(row + d).loadUnaligned(as: SIMD8<Float>.self)
            dots += q * r
            squares += r * r
            d += 8
        }
        var (dot, square) = (dots.sum(), squares.sum())
        while d < range.upperBound {
            dot += query[d] * row[d]
            square += row[d] * row[d]
            d += 1
        }
        return (dot, square)
    }

    /// The first `size` numbers of each row, at unit length.
    static func prefixes(of matrix: [Float], _ dimensions: Int, _ size: Int) -> [Float] {
        let rows = matrix.count / dimensions
        return [Float](unsafeUninitializedCapacity: rows * size) { out, count in
            matrix.withUnsafeBufferPointer { matrix in
                for row in 0..<rows {
                    var sum: Float = 0
                    for d in 0..<size { sum += matrix[row * dimensions + d] * matrix[row * dimensions + d] }
                    let factor = sum > 0 ? 1 / sum.squareRoot() : 0
                    for d in 0..<size { out[row * size + d] = matrix[row * dimensions + d] * factor }
                }
            }
            count = rows * size
        }
    }

    private static func forEachBlock(
        _ rows: [Float],
        _ queries: [Float],
        _ size: Int,
        _ body: (_ firstQuery: Int, _ firstRow: Int, _ width: Int, _ scores: UnsafeBufferPointer<Float>) -> Void
    ) {
        let (queryCount, rowCount) = (queries.count / size, rows.count / size)
        for firstRow in stride(from: 0, to: rowCount, by: block.rows) {
            let width = min(block.rows, rowCount - firstRow)
            for firstQuery in stride(from: 0, to: queryCount, by: block.queries) {
                let height = min(block.queries, queryCount - firstQuery)
                var scores = [Float](repeating: 0, count: height * width)
                var out = scores.mutableSpan
                BLAS.sgemm(
                    transposeB: true,
                    rows: height,
                    columns: width,
                    inner: size,
                    queries.span.extracting((firstQuery * size)...),
                    rows.span.extracting((firstRow * size)...),
                    &out
                )
                scores.withUnsafeBufferPointer { body(firstQuery, firstRow, width, $0) }
            }
        }
    }
}

/// The best rows so far; of equal scores the earlier row stays.
private struct BestRows {
    let limit: Int
    /// A score must be above it to enter.
    private(set) var bar = -Float.infinity
    /// The worst on top.
    private var heap: [(item: Int, score: Float)] = []

    init(limit: Int) { self.limit = limit }

    private func isWorse(_ left: Int, _ right: Int) -> Bool {
        (heap[left].score, heap[right].item) < (heap[right].score, heap[left].item)
    }

    mutating func insert(_ item: Int, _ score: Float) {
        if heap.count < limit {
            heap.append((item, score))
            var child = heap.count - 1
            while child > 0, isWorse(child, (child - 1) / 2) {
                heap.swapAt(child, (child - 1) / 2)
                child = (child - 1) / 2
            }
        } else {
            heap[0] = (item, score)
            var parent = 0
            while true {
                var child = 2 * parent + 1
                guard child < heap.count else { break }
                if child + 1 < heap.count, isWorse(child + 1, child) { child += 1 }
                guard isWorse(child, parent) else { break }
                heap.swapAt(parent, child)
                parent = child
            }
        }
        if heap.count == limit { bar = heap[0].score }
    }

    func sorted() -> [(item: Int, score: Float)] {
        heap.sorted { ($0.score, $1.item) > ($1.score, $0.item) }
    }
}
