import Testing

@testable import RerankWorker

@Suite("What exact searches are prepared with")
struct BoundsKeeperTests {
    @Test(
        "is learnt anew when few rows have become many, and never from the same sample again",
        arguments: [64, 256, 1_536, 2_048]
    )
    func learntAnew(dimensions: Int) {
        let wanted = BoundsKeeper.sampleRows(dimensions: dimensions)
        #expect(wanted >= BoundsKeeper.rowsMin)
        // Every step-th row of very many is at least as many as wanted.
        #expect(!BoundsKeeper.isOutgrown(learntFrom: wanted, wanted: wanted, rowCount: 100_000_000))
        let few = wanted / 4
        #expect(BoundsKeeper.isOutgrown(learntFrom: few, wanted: wanted, rowCount: 5 * few))
        #expect(!BoundsKeeper.isOutgrown(learntFrom: few, wanted: wanted, rowCount: 3 * few))
    }
}
