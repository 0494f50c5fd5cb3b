import RetrievalTesting
import Testing

@testable import VectorMath

@Suite("Principal axes")
struct PrincipalAxesTests {
    private func axes(_ rows: [Float], _ width: Int) -> (axes: [Float], shares: [Double])? {
        principalAxes(of: rows.span, width: width)
    }

    @Test("they are orthogonal, and the first ones hold the most of the rows' energy")
    func energy() throws {
        let width = 40
        var random = SeededGenerator(seed: 1)
        // Rows lie near a plane that is no coordinate plane.
        let plane = (0..<2).map { _ in (0..<width).map { _ in random.centred() } }
        let rows = (0..<3_000).map { _ in
            let (a, b) = (3 * random.centred(), random.centred())
            return (0..<width).map { a * plane[0][$0] + b * plane[1][$0] + 0.01 * random.centred() }
        }
        let learnt = try #require(axes(rows.flatMap { $0 }, width))
        #expect(orthogonalityError(of: learnt.axes, width: width) < 1e-5)
        #expect(learnt.shares[0] + learnt.shares[1] > 0.99)
        #expect(abs(learnt.shares.reduce(0, +) - 1) < 1e-4)
        #expect(zip(learnt.shares, learnt.shares.dropFirst()).allSatisfy { $0 >= $1 })
    }

    @Test("fewer rows than dimensions still give a whole orthogonal matrix, no row none")
    func fewRows() throws {
        var random = SeededGenerator(seed: 2)
        let few = try #require(axes(random.vector(16) + random.vector(16), 16))
        #expect(orthogonalityError(of: few.axes, width: 16) < 1e-5)
        #expect(axes([Float](repeating: 0, count: 32), 16) == nil)
        #expect(axes([], 16) == nil)
    }

    @Test("a matrix that is not orthogonal is told apart")
    func notOrthogonal() {
        var matrix = [Float](repeating: 0, count: 16)
        for i in 0..<4 { matrix[i * 5] = 1 }
        #expect(orthogonalityError(of: matrix, width: 4) < 1e-12)
        matrix[1] = 0.25
        #expect(orthogonalityError(of: matrix, width: 4) > 0.25)
        #expect(BoundSpace(axes: matrix, shares: [1, 0, 0, 0], dimensions: 4, learntFrom: 1) == nil)
    }

    @Test(
        "levels go through all dimensions in steps of 32",
        arguments: [1, 31, 32, 33, 64, 100, 256, 512, 768, 2048, 65_535]
    )
    func levels(dimensions: Int) {
        for shares in [
            [Double](repeating: 1 / Double(dimensions), count: dimensions),
            [1] + [Double](repeating: 0, count: dimensions - 1),
        ] {
            let levels = BoundSpace.levels(dimensions, shares)
            #expect(levels.first?.lowerBound == 0 && levels.last?.upperBound == dimensions)
            #expect(levels.count <= 32)
            #expect(
                zip(levels, levels.dropFirst()).allSatisfy { $0.upperBound == $1.lowerBound && $1.lowerBound % 32 == 0 }
            )
        }
    }
}
