import Matryoshka
import Testing
import VectorMath

@Suite("Quantised vectors")
struct QuantisedVectorTests {
    @Test("the greatest magnitude becomes 127, halves go to the even code")
    func rounding() {
        let vector = QuantisedVector(head: [127, -127, 0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 0].span)
        #expect(vector.codes == [127, -127, 0, 2, 2, 0, -2, 126, 0])
        #expect(vector.scale == 1)
    }

    @Test(
        "a zero head, and one too small to invert, has zero codes and scale",
        arguments: [0, .leastNonzeroMagnitude, 1e-38, -3e-37]
    )
    func tooSmall(value: Float) {
        let vector = QuantisedVector(head: [value, value, 0].span)
        #expect(vector.codes == [0, 0, 0])
        #expect(vector.scale == 0)
    }

    @Test("the greatest floats still have codes")
    func greatest() {
        let vector = QuantisedVector(head: [Float.greatestFiniteMagnitude, 1, -Float.greatestFiniteMagnitude].span)
        #expect(vector.codes == [127, 0, -127])
    }

    @Test("a zero prefix scores 0 under cosine")
    func zeroPrefix() {
        let (left, right) = (QuantisedVector(head: [0, 0, 1].span), QuantisedVector(head: [1, 1, 1].span))
        #expect(left.score(row: right, dimensions: 2, similarity: .cosine) == 0)
        #expect(right.score(row: left, dimensions: 2, similarity: .cosine) == 0)
        #expect(left.score(row: right, dimensions: 3, similarity: .cosine) > 0.5)
    }
}
