public import Matryoshka

/// What a search must answer, worked out in plain Swift from the written score formulas alone.
///
/// It imports no engine and follows the plan over all rows at once: its keeps are global, its order is score
/// descending, then id ascending. Codes and norms are worked out once per row, so that tens of thousands of rows
/// answer hundreds of queries.
public struct Oracle: Sendable {
    /// A row as the store holds it.
    public struct Row: Sendable, Hashable {
        /// Internal id.
        public var id: Int64
        /// Counts its changes.
        public var version: UInt32
        /// The full vector.
        public var vector: [Float]

        /// Makes a row.
        public init(id: Int64, version: UInt32 = 1, vector: [Float]) {
            self.id = id
            self.version = version
            self.vector = vector
        }
    }

    /// One hit that a search must return.
    public struct Hit: Sendable, Hashable {
        /// Internal id.
        public var id: Int64
        /// The row's version.
        public var version: UInt32
        /// Scores of all stages, in plan order.
        public var scores: [Float]
    }

    private struct Codes {
        var codes: [Int8]
        var scale: Float
    }

    private let storedHeadWidth: Int
    private let similarity: Similarity
    private let rotationSeed: UInt64?
    private var rows: [Row] = []
    private var places: [Int64: Int] = [:]
    /// Row-major, W codes per row.
    private var codes: [Int8] = []
    private var scales: [Float] = []
    /// By row, whether each rotated float is not negative.
    private var signs: [[Bool]] = []

    /// Makes an oracle over some rows.
    ///
    /// - Parameters:
    ///   - rows: Distinct ids, vectors of one size.
    ///   - storedHeadWidth: W, over which int8 scales are taken.
    ///   - similarity: How the collection compares.
    ///   - rotationSeed: Of the rotation whose signs are the rows' bits; nil where no bit stage runs.
    public init(rows: [Row] = [], storedHeadWidth: Int, similarity: Similarity, rotationSeed: UInt64? = nil) {
        self.rotationSeed = rotationSeed
        self.storedHeadWidth = storedHeadWidth
        self.similarity = similarity
        codes.reserveCapacity(rows.count * storedHeadWidth)
        for row in rows { upsert(row) }
    }

    /// Rows held.
    public var rowCount: Int { rows.count }

    /// All ids, in no order.
    public var ids: [Int64] { rows.map(\.id) }

    /// Writes a row; an older version than the held one is ignored.
    public mutating func upsert(_ row: Row) {
        let quantised = Self.quantise(row.vector[..<storedHeadWidth])
        if let place = places[row.id] {
            guard row.version >= rows[place].version else { return }
            rows[place] = row
            scales[place] = quantised.scale
            signs[place] = Self.signs(row, storedHeadWidth, rotationSeed)
            let start = place * storedHeadWidth
            codes.replaceSubrange(start..<start + storedHeadWidth, with: quantised.codes)
        } else {
            places[row.id] = rows.count
            rows.append(row)
            scales.append(quantised.scale)
            signs.append(Self.signs(row, storedHeadWidth, rotationSeed))
            codes += quantised.codes
        }
    }

    /// Takes a row out.
    public mutating func remove(id: Int64) {
        guard let place = places.removeValue(forKey: id) else { return }
        let last = rows.count - 1
        if place != last {
            rows[place] = rows[last]
            scales[place] = scales[last]
            signs[place] = signs[last]
            places[rows[place].id] = place
            for i in 0..<storedHeadWidth { codes[place * storedHeadWidth + i] = codes[last * storedHeadWidth + i] }
        }
        rows.removeLast()
        scales.removeLast()
        signs.removeLast()
        codes.removeLast(storedHeadWidth)
    }

    /// The hits of a plan, best first.
    public func hits(query: [Float], plan: ResolvedPlan) -> [Hit] {
        stages(query: query, steps: plan.steps).last ?? []
    }

    /// What each step leaves over, in its order, with the scores so far.
    public func stages(query: [Float], steps: [ResolvedPlan.Step]) -> [[Hit]] {
        var left = rows.indices.map { (place: $0, scores: [Float]()) }
        var stages: [[Hit]] = []
        for step in steps {
            let scores = scores(of: left.map(\.place), query: query, step: step)
            // Sorting numbers of rows, not the rows with their lists, keeps large collections quick.
            var order = [Int](left.indices)
            let ids = left.map { rows[$0.place].id }
            order.sort { ranksBefore(score: scores[$0], id: ids[$0], than: scores[$1], id: ids[$1]) }
            left = order.prefix(step.keep).map { (place: left[$0].place, scores: left[$0].scores + [scores[$0]]) }
            stages.append(left.map { Hit(id: rows[$0.place].id, version: rows[$0.place].version, scores: $0.scores) })
        }
        return stages
    }

    /// The score of one held row at one step; nil where it is not held.
    public func score(id: Int64, query: [Float], step: ResolvedPlan.Step) -> Float? {
        places[id].map { scores(of: [$0], query: query, step: step)[0] }
    }

    private func scores(of places: [Int], query: [Float], step: ResolvedPlan.Step) -> [Float] {
        switch step.precision {
        case .int8: residentScores(of: places, query: query, dimensions: step.dimensions)
        case .float16: floatScores(of: places, query: query, dimensions: step.dimensions, roundsRows: true)
        case .float32: floatScores(of: places, query: query, dimensions: step.dimensions, roundsRows: false)
        case .bit: bitScores(of: places, query: query, dimensions: step.dimensions)
        }
    }

    // MARK: int8

    private static func quantise(_ head: ArraySlice<Float>) -> Codes {
        var greatest: Float = 0
        for value in head where value.magnitude > greatest { greatest = value.magnitude }
        let inverse = 127 / greatest
        guard greatest > 0, inverse.isNormal else {
            return Codes(codes: [Int8](repeating: 0, count: head.count), scale: 0)
        }
        let codes = head.map { Int8(min(127, max(-127, ($0 * inverse).rounded(.toNearestOrEven)))) }
        return Codes(codes: codes, scale: greatest / 127)
    }

    private func residentScores(of places: [Int], query: [Float], dimensions: Int) -> [Float] {
        let prepared = Self.quantise(query[..<storedHeadWidth])
        let head = prepared.codes[..<dimensions].map(Int32.init)
        let queryNorm = head.reduce(0) { $0 + $1 * $1 }
        return head.withUnsafeBufferPointer { head in
            codes.withUnsafeBufferPointer { codes in
                places.map { place in
                    let start = place * storedHeadWidth
                    var dot: Int32 = 0
                    var norm: Int32 = 0
                    for i in 0..<dimensions {
                        let code = Int32(codes[start + i])
                        dot &+= head[i] &* code
                        norm &+= code &* code
                    }
                    switch similarity {
                    case .dot:
                        return (Float(dot) * prepared.scale) * scales[place]
                    case .cosine:
                        if queryNorm == 0 || norm == 0 { return 0 }
                        return Float(dot) / (Float(queryNorm).squareRoot() * Float(norm).squareRoot())
                    }
                }
            }
        }
    }

    // MARK: bit

    private static func signs(_ row: Row, _ width: Int, _ seed: UInt64?) -> [Bool] {
        seed.map { rotated(row.vector, width: width, words: (width + 63) / 64, seed: $0).map { $0 >= 0 } } ?? []
    }

    /// The first `words` times 64 numbers of the rotated head.
    private static func rotated(_ vector: [Float], width: Int, words: Int, seed: UInt64) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        var all: [Float] = []
        for word in 0..<words {
            var x = (word * 64..<word * 64 + 64).map { $0 < width ? vector[$0] : 0 }
            for _ in 0..<3 {
                let flips = generator.next()
                for i in 0..<64 where flips >> UInt64(i) & 1 == 1 { x[i] = -x[i] }
                for half in [1, 2, 4, 8, 16, 32] {
                    let before = x
                    for i in 0..<64 {
                        x[i] = i & half == 0 ? before[i] + before[i + half] : before[i - half] - before[i]
                    }
                }
            }
            all += x
        }
        return all
    }

    private func bitScores(of places: [Int], query: [Float], dimensions: Int) -> [Float] {
        guard let rotationSeed else { preconditionFailure("a bit stage for an oracle without a rotation") }
        let words = (dimensions + 63) / 64
        let turned = Self.rotated(query, width: storedHeadWidth, words: words, seed: rotationSeed)
        let greatest = turned.reduce(0) { max($0, $1.magnitude) }
        let inverse = 15 / greatest
        let isZero = greatest == 0 || !inverse.isNormal
        let codes = turned.map { isZero ? 0 : Int(min(15, max(-15, ($0 * inverse).rounded(.toNearestOrEven)))) }
        return places.map { place in
            let row = rows[place].vector
            var sum = 0
            for (code, isSet) in zip(codes, signs[place]) { sum += isSet ? code : -code }
            return similarity == .cosine ? Float(sum) : Float(sum) * Self.dot(row, row, storedHeadWidth).squareRoot()
        }
    }

    // MARK: float

    private func floatScores(of places: [Int], query: [Float], dimensions: Int, roundsRows: Bool) -> [Float] {
        let queryNorm = similarity == .cosine ? Self.dot(query, query, dimensions) : 0
        return places.map { place in
            let row = roundsRows ? Self.roundedToHalf(rows[place].vector) : rows[place].vector
            let dot = Self.dot(query, row, dimensions)
            guard similarity == .cosine else { return dot }
            let norm = Self.dot(row, row, dimensions)
            if queryNorm == 0 || norm == 0 { return 0 }
            return dot / (queryNorm.squareRoot() * norm.squareRoot())
        }
    }

    /// All inverted lists by falling int8 cosine of their centroid with the stored head's prefix, then by number.
    public static func lists(near vector: [Float], storedHeadWidth: Int, _ centroids: [[Float]]) -> [Int] {
        let head = quantise(vector[..<storedHeadWidth]).codes.map(Int32.init)
        let scores = centroids.map { centroid -> Float in
            let codes = quantise(centroid[...]).codes.map(Int32.init)
            let norms = (head[..<codes.count].reduce(0) { $0 + $1 * $1 }, codes.reduce(0) { $0 + $1 * $1 })
            if norms.0 == 0 || norms.1 == 0 { return 0 }
            let dot = zip(head, codes).reduce(0) { $0 + $1.0 * $1.1 }
            return Float(dot) / (Float(norms.0).squareRoot() * Float(norms.1).squareRoot())
        }
        return centroids.indices.sorted { scores[$0] != scores[$1] ? scores[$0] > scores[$1] : $0 < $1 }
    }

    /// Sixteen lanes with fused multiply-add, a missing tail as 0 · 0, then 16 → 8 → 4 → 2 → 1.
    public static func dot(_ left: [Float], _ right: [Float], _ count: Int) -> Float {
        withUnsafeTemporaryAllocation(of: Float.self, capacity: 16) { lanes in
            lanes.initialize(repeating: 0)
            left.withUnsafeBufferPointer { left in
                right.withUnsafeBufferPointer { right in
                    for i in 0..<count { lanes[i & 15] = lanes[i & 15].addingProduct(left[i], right[i]) }
                }
            }
            if count % 16 != 0 {
                for lane in count % 16..<16 { lanes[lane] = lanes[lane].addingProduct(0, 0) }
            }
            var half = 8
            while half > 0 {
                for lane in 0..<half { lanes[lane] += lanes[lane + half] }
                half /= 2
            }
            return lanes[0]
        }
    }

    private static func roundedToHalf(_ values: [Float]) -> [Float] {
        #if arch(x86_64) && os(macOS)
        preconditionFailure("this platform has no Float16")
        #else
        values.map { Float(Float16($0)) }
        #endif
    }
}
