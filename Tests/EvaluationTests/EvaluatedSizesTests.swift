import Evaluation
import Testing

@Suite("Sizes to measure")
struct EvaluatedSizesTests {
    @Test("those trained at, and one between each two")
    func nesting() {
        let sizes = EvaluatedSizes(nesting: [8, 16, 32, 33], dimensions: 33)
        #expect(sizes.main == [8, 16, 32, 33])
        #expect(sizes.all == [8, 12, 16, 24, 32, 33])
        #expect(sizes.trained == [8, 16, 32, 33])
    }

    @Test("a model without nesting is measured at doubling sizes, none of which counts as trained but the full one")
    func rigid() {
        let sizes = EvaluatedSizes(nesting: [50], dimensions: 50)
        #expect(sizes.main == [8, 16, 32, 50])
        #expect(sizes.trained == [50])
        #expect(EvaluatedSizes(nesting: [4], dimensions: 4).all == [4])
    }

    @Test("nothing below the smallest legal size")
    func smallest() {
        #expect(EvaluatedSizes(nesting: [8, 16, 32], dimensions: 32, smallest: 16).main == [16, 32])
        #expect(EvaluatedSizes(nesting: [64], dimensions: 64, smallest: 24).main == [24, 48, 64])
    }

    @Test("what is asked for, and the full size")
    func chosen() {
        let sizes = EvaluatedSizes(chosen: [20, 10, 20], nesting: [10, 40], dimensions: 40)
        #expect(sizes.main == [10, 20, 40] && sizes.all == sizes.main && sizes.dimensions == 40)
    }
}
