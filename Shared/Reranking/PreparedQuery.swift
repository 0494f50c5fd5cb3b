public import Matryoshka
public import VectorMath

/// A query as rerank workers use it: the full vector and the codes of its head.
public struct PreparedQuery: Sendable {
    /// The full vector.
    public let vector: [Float]
    /// How the collection compares.
    public let similarity: Similarity
    let head: QuantisedVector
    private let rotation: BitRotation?
    private let turned: Turned?

    /// The query in the basis of a rotated collection, made when a step first asks for it: the last never does.
    private final class Turned: Sendable {
        let basis: VectorRotation
        private let make: @Sendable () -> PreparedQuery
        private let lock = ThreadLock()
        // Guarded by the lock.
        nonisolated(unsafe) private var made: PreparedQuery?

        init(_ basis: VectorRotation, _ make: @escaping @Sendable () -> PreparedQuery) {
            self.basis = basis
            self.make = make
        }

        var query: PreparedQuery {
            lock.withLock {
                if let made { return made }
                let query = make()
                made = query
                return query
            }
        }
    }

    /// Prepares a query of full size.
    ///
    /// - Parameters:
    ///   - vector: D floats, finite.
    ///   - storedHeadWidth: W, over which the codes' scale is taken.
    ///   - similarity: How the collection compares.
    ///   - rotation: Of the stored head; nil where no bit stage is served.
    ///   - basis: What all steps but the last of a plan are scored in; nil where the collection has none.
    public init(
        vector: Span<Float>,
        storedHeadWidth: Int,
        similarity: Similarity,
        rotation: BitRotation? = nil,
        basis: VectorRotation? = nil
    ) {
        precondition(rotation.map { $0.width == storedHeadWidth } ?? true, "a rotation of another width")
        self.rotation = rotation
        self.vector = vector.withUnsafeBufferPointer { [Float]($0) }
        self.similarity = similarity
        head = QuantisedVector(head: vector.extracting(first: storedHeadWidth))
        let whole = self.vector
        turned = basis.map { basis in
            Turned(basis) {
                let coordinates = basis.rotated(whole.span, first: basis.dimensions)
                return PreparedQuery(
                    vector: coordinates.span,
                    storedHeadWidth: storedHeadWidth,
                    similarity: similarity,
                    rotation: rotation
                )
            }
        }
    }

    /// Scores rows of full size at one step of a plan, given by their addresses.
    func scores(
        of rows: [UnsafePointer<Float>],
        plan: ResolvedPlan,
        step number: Int,
        path: KernelPath
    ) -> [Float] {
        let step = plan.steps[number]
        guard let turned, number < plan.steps.count - 1 else { return scores(of: rows, step: step, path: path) }
        let width = step.precision < .float16 ? head.codes.count : step.dimensions
        var coordinates: [Float] = []
        coordinates.reserveCapacity(rows.count * width)
        for row in rows {
            coordinates += turned.basis.rotated(
                UnsafeBufferPointer(start: row, count: vector.count).span,
                first: width
            )
        }
        return coordinates.withUnsafeBufferPointer { coordinates in
            let addresses = rows.indices.map { coordinates.baseAddress! + $0 * width }
            return turned.query.scores(of: addresses, step: step, path: path)
        }
    }

    /// Prepares a query of full size to a collection, see ``init(vector:storedHeadWidth:similarity:rotation:basis:)``.
    public init(vector: Span<Float>, shape: CollectionShape, basis: VectorRotation? = nil) {
        self.init(
            vector: vector,
            storedHeadWidth: shape.storedHeadWidth,
            similarity: shape.similarity,
            rotation: BitRotation(of: shape),
            basis: basis
        )
    }

    /// Scores rows of full size at one step, given by their addresses.
    private func scores(of rows: [UnsafePointer<Float>], step: ResolvedPlan.Step, path: KernelPath) -> [Float] {
        let width = head.codes.count
        if step.precision == .bit {
            guard let rotation else { preconditionFailure("a bit step for a query without a rotation") }
            let codes = rotation.codes(of: vector.span.extracting(first: width), dimensions: step.dimensions)
            return rows.map { row in
                let head = UnsafeBufferPointer(start: row, count: width).span
                return bitScore(
                    codes: codes,
                    bits: rotation.bits(of: head),
                    rowRoot: similarity == .dot ? floatDot(head, head).squareRoot() : 0,
                    similarity: similarity
                )
            }
        }
        if step.precision == .int8 {
            return rows.map { row in
                let codes = QuantisedVector(head: UnsafeBufferPointer(start: row, count: width).span)
                return head.score(row: codes, dimensions: step.dimensions, similarity: similarity)
            }
        }
        return FloatQuery(
            vector.span,
            dimensions: step.dimensions,
            isHalf: step.precision == .float16,
            similarity: similarity,
            path: path
        ).scores(of: rows)
    }
}

/// Scores one vector that no shard holds, for example a row read from the store.
///
/// - Parameters:
///   - vector: D floats, finite.
///   - query: What it is compared with.
///   - plan: The plan that runs.
///   - steps: Which of its steps to score.
/// - Returns: One score per step of `steps`.
public func scoreVector(
    _ vector: Span<Float>,
    query: PreparedQuery,
    plan: ResolvedPlan,
    steps: Range<Int>
) -> [Float] {
    precondition(vector.count == query.vector.count, "a vector of another size")
    return vector.withUnsafeBufferPointer { vector in
        steps.map { query.scores(of: [vector.baseAddress!], plan: plan, step: $0, path: .current)[0] }
    }
}
