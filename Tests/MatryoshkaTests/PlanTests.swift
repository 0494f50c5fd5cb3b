import Matryoshka
import Testing

@Suite("Plans")
struct PlanTests {
    private let space = PlanSpace(
        dimensions: 256,
        smallestDimensions: 8,
        residentWidth: 64,
        residentPrecision: .int8
    )

    private func resolved(_ stages: [(Int, Int, Precision?)], in space: PlanSpace? = nil) throws -> ResolvedPlan {
        let plan = Plan(stages: stages.map { Stage(dimensions: $0.0, keep: $0.1, precision: $0.2) })
        return try plan.resolved(in: space ?? self.space)
    }

    private func refusal(_ stages: [(Int, Int, Precision?)], in space: PlanSpace? = nil) -> PlanError? {
        #expect(throws: PlanError.self) { try resolved(stages, in: space) }
    }

    @Test("stages within the resident width are resident, the last one never")
    func placement() throws {
        let funnel = try resolved([(16, 200, nil), (32, 100, nil), (64, 50, nil), (128, 25, nil), (256, 10, nil)])
        #expect(funnel.residentCount == 3)
        #expect(funnel.steps.map(\.precision) == [.int8, .int8, .int8, .float32, .float32])
        #expect(funnel.k == 10)
        #expect(!funnel.isExhaustive)
        let narrow = try resolved([(16, 200, nil), (32, 10, nil)])
        #expect(narrow.residentCount == 1)
        #expect(narrow.steps[1].precision == .float32)
    }

    @Test("a plan that no head can start is exhaustive")
    func exhaustive() throws {
        #expect(try resolved([(256, 10, nil)]).isExhaustive)
        #expect(try resolved([(16, 10, nil)]).isExhaustive)
        #expect(try resolved([(65, 100, nil), (256, 10, nil)]).isExhaustive)
        #expect(try resolved([(16, 100, .float32), (256, 10, nil)]).isExhaustive)
        #expect(try resolved([(64, 100, nil), (256, 10, nil)]).residentCount == 1)
    }

    @Test("a rotation opens all sizes to all stages but the last, and the first of several must be resident")
    func rotated() throws {
        var space = space
        space.isMatryoshka = false
        space.smallestDimensions = 256
        #expect(refusal([(16, 100, nil), (256, 10, nil)], in: space)?.field == "plan[0].dimensions")
        #expect(Plan.standard(k: 10, in: space).stages.map(\.dimensions) == [256])
        space.isRotated = true
        let plan = try resolved([(1, 300, nil), (16, 100, nil), (128, 50, nil), (256, 10, nil)], in: space)
        #expect(plan.residentCount == 2)
        #expect(plan.steps.map(\.precision) == [.int8, .int8, .float32, .float32])
        #expect(Plan.standard(k: 10, in: space).stages.map(\.dimensions) == [64, 256])
        #expect(try resolved([(256, 10, nil)], in: space).isExhaustive)
        #expect(refusal([(16, 100, nil), (128, 10, nil)], in: space)?.field == "plan[1].dimensions")
        #expect(refusal([(16, 10, nil)], in: space)?.isUnsupported == false)
        for first: (Int, Int, Precision?) in [(65, 100, nil), (16, 100, .float16)] {
            #expect(refusal([first, (256, 10, nil)], in: space)?.isUnsupported == true)
        }
        // Every row that a stage in between scores is turned first, and that is bounded.
        _ = try resolved([(16, 65_536, nil), (255, 65_536, nil), (256, 10, nil)], in: space)
        space.dimensions = 2_048
        let wide = refusal([(16, 65_536, nil), (2_047, 65_536, nil), (2_048, 10, nil)], in: space)
        #expect(wide?.field == "plan[0].keep")
        space.dimensions = 256
        // A Matryoshka model keeps its own sizes.
        space.isMatryoshka = true
        space.smallestDimensions = 8
        #expect(try resolved([(16, 100, nil), (128, 10, nil)], in: space).residentCount == 1)
        #expect(refusal([(4, 100, nil), (256, 10, nil)], in: space)?.field == "plan[0].dimensions")
    }

    @Test("dimensions may repeat at a rising precision")
    func repeatedDimensions() throws {
        let plan = try resolved([(64, 100, nil), (64, 50, .float16), (64, 20, .float32), (256, 10, nil)])
        #expect(plan.residentCount == 1)
        #expect(plan.steps.map(\.precision) == [.int8, .float16, .float32, .float32])
        #expect(refusal([(64, 100, .float32), (64, 50, .float16)])?.field == "plan[1].dimensions")
        #expect(refusal([(64, 100, .float32), (64, 50, .float32)])?.field == "plan[1].dimensions")
    }

    @Test("a collection in float32 holds float32 stages")
    func float32Residents() throws {
        var space = space
        space.residentPrecision = .float32
        let plan = try resolved([(32, 100, .float32), (64, 50, nil), (64, 10, nil)].dropLast(), in: space)
        #expect(plan.residentCount == 1)
        #expect(try resolved([(32, 100, nil), (64, 50, nil), (128, 10, nil)], in: space).residentCount == 2)
        #expect(refusal([(32, 100, .int8), (256, 10, nil)], in: space)?.field == "plan[0].precision")
    }

    @Test("every refusal names its place and what is allowed")
    func refusals() {
        #expect(refusal([])?.field == "plan")
        #expect(refusal([(Int, Int, Precision?)](repeating: (64, 10, nil), count: 17))?.field == "plan")
        #expect(refusal([(7, 10, nil)])?.field == "plan[0].dimensions")
        #expect(refusal([(7, 10, nil)])?.allowed == "8 to 256")
        #expect(refusal([(0, 10, nil)])?.field == "plan[0].dimensions")
        #expect(refusal([(-1, 10, nil)])?.field == "plan[0].dimensions")
        #expect(refusal([(32, 100, nil), (257, 10, nil)])?.field == "plan[1].dimensions")
        #expect(refusal([(32, 0, nil), (256, 0, nil)])?.field == "plan[0].keep")
        #expect(refusal([(32, 65_537, nil), (256, 10, nil)])?.field == "plan[0].keep")
        #expect(refusal([(32, 20_000, nil), (256, 10_001, nil)])?.field == "plan[1].keep")
        #expect(refusal([(32, 10, nil), (256, 20, nil)])?.field == "plan[1].keep")
        #expect(refusal([(64, 10, nil), (32, 10, nil)])?.field == "plan[1].dimensions")
        #expect(refusal([(256, 10, .int8)])?.field == "plan[0].precision")
        #expect(refusal([(128, 100, .int8), (256, 10, nil)])?.field == "plan[0].precision")
        let bit = refusal([(32, 100, .bit), (256, 10, nil)])
        #expect(bit?.field == "plan[0].precision")
        #expect(bit?.isUnsupported == true)
    }

    @Test("a bit stage is resident where bits are held, before all others but never last")
    func bits() throws {
        var space = space
        space.bitWidth = 128
        let plan = try resolved([(64, 900, .bit), (64, 100, nil), (256, 10, nil)], in: space)
        #expect(plan.residentCount == 2)
        #expect(plan.steps.map(\.precision) == [.bit, .int8, .float32])
        #expect(try resolved([(128, 900, .bit), (256, 10, nil)], in: space).residentCount == 1)
        #expect(refusal([(129, 900, .bit), (256, 10, nil)], in: space)?.field == "plan[0].precision")
        #expect(refusal([(64, 10, .bit)], in: space)?.field == "plan[0].precision")
        #expect(try resolved([(32, 900, nil), (64, 100, .bit), (256, 10, nil)], in: space).residentCount == 2)
        #expect(refusal([(64, 900, nil), (64, 100, .bit), (256, 10, nil)], in: space)?.field == "plan[1].dimensions")
    }

    @Test("a collection that holds sign bits allows them at up to its stored head's width, but beside no graph")
    func heldBits() {
        var shape = CollectionShape(
            collection: 1,
            name: "signs",
            model: "",
            dimensions: 256,
            smallestDimensions: 8,
            isMatryoshka: true,
            similarity: .cosine,
            storedHeadWidth: 128,
            residentWidth: 64,
            residentPrecision: .int8,
            generation: 1
        )
        #expect(shape.planSpace.bitWidth == 0)
        shape.holdsSigns = true
        #expect(shape.planSpace.bitWidth == 128)
        shape.index.kind = .ivf
        #expect(shape.planSpace.bitWidth == 128)
        shape.index.kind = .hnsw
        #expect(shape.planSpace.bitWidth == 0)
        shape.index.kind = .flat
        shape.storedHeadWidth = CollectionShape.signWidthMax + 1
        #expect(shape.planSpace.bitWidth == 0)
    }

    @Test("a model that is not Matryoshka allows its full size alone")
    func notMatryoshka() throws {
        var space = space
        space.isMatryoshka = false
        #expect(try resolved([(256, 10, nil)], in: space).isExhaustive)
        #expect(refusal([(64, 100, nil), (256, 10, nil)], in: space)?.field == "plan[0].dimensions")
        #expect(Plan.standard(k: 10, in: space).stages == [Stage(dimensions: 256, keep: 10)])
        space.residentWidth = 256
        #expect(Plan.standard(k: 10, in: space).stages == [Stage(dimensions: 256, keep: 10)])
    }

    @Test(
        "the standard plan shortlists 40 times k within its bounds, never fewer than k",
        arguments: [(1, 400), (10, 400), (20, 800), (50, 2000), (100, 2000), (2000, 2000), (5000, 5000)]
    )
    func standard(k: Int, keep: Int) throws {
        let plan = Plan.standard(k: k, in: space)
        #expect(plan.stages == [Stage(dimensions: 64, keep: keep), Stage(dimensions: 256, keep: k)])
        #expect(try plan.resolved(in: space).residentCount == 1)
    }

    @Test("the standard plan follows the resident width")
    func standardWidths() {
        var space = space
        space.residentWidth = 128
        #expect(Plan.standard(k: 10, in: space).stages[0].dimensions == 64)
        space.residentWidth = 16
        #expect(Plan.standard(k: 10, in: space).stages[0].dimensions == 16)
        space.smallestDimensions = 32
        #expect(Plan.standard(k: 10, in: space).stages == [Stage(dimensions: 256, keep: 10)])
        space = PlanSpace(dimensions: 64, smallestDimensions: 64, residentWidth: 64, residentPrecision: .int8)
        #expect(Plan.standard(k: 10, in: space).stages == [Stage(dimensions: 64, keep: 10)])
    }

    @Test("a resolved plan reads as it is written")
    func text() throws {
        #expect(try resolved([(16, 200, nil), (256, 10, nil)]).plan.description == "(16,200,int8) (256,10,float32)")
    }
}

@Suite("Candidates")
struct CandidateTests {
    private func candidate(_ id: Int64, _ scores: Float...) -> Candidate {
        Candidate(id: id, version: 1, shard: 0, scores: scores)
    }

    @Test("the lower id wins a tie, minus zero ties with zero, NaN comes last")
    func order() {
        let rows = [
            candidate(4, .nan), candidate(3, 0), candidate(1, -0.0), candidate(2, -1), candidate(0, -.infinity),
        ]
        #expect(rows.best(5, atStage: 0).map(\.id) == [1, 3, 2, 0, 4])
        #expect(rows.reversed().best(2, atStage: 0).map(\.id) == [1, 3])
        #expect(ranksBefore(score: .nan, id: 1, than: .nan, id: 2))
        #expect(!ranksBefore(score: .nan, id: 2, than: .nan, id: 1))
        #expect(!ranksBefore(score: 1, id: 1, than: 1, id: 1))
    }

    @Test("a funnel keeps the best of each stage among what the stage before kept")
    func funnel() {
        let rows = [candidate(1, 9, 1, 9), candidate(2, 8, 5, 1), candidate(3, 7, 4, 2), candidate(4, 1, 9, 9)]
        let steps = [(8, 3), (16, 2), (32, 1)].map {
            ResolvedPlan.Step(dimensions: $0.0, keep: $0.1, precision: .float32)
        }
        #expect(rows.funnelled(steps, stages: 0..<1).map(\.id) == [1, 2, 3])
        #expect(rows.funnelled(steps, stages: 0..<2).map(\.id) == [2, 3])
        #expect(rows.funnelled(steps, stages: 0..<3).map(\.id) == [3])
        #expect(rows.funnelled(steps, stages: 1..<2).map(\.id) == [4, 2])
    }
}

@Suite("Slots and snapshots")
struct SlotTests {
    @Test("the shards' slot ranges cover all slots once")
    func slots() {
        var next = 0
        for shard in 0..<UInt16(Slots.shardCount) {
            let range = Slots.slots(ofShard: shard)
            #expect(Int(range.lowerBound) == next)
            #expect(Slots.shard(ofSlot: range.lowerBound) == shard)
            #expect(Slots.shard(ofSlot: range.upperBound) == shard)
            next = Int(range.upperBound) + 1
        }
        #expect(next == Slots.count)
    }

    @Test("a snapshot reads PostgreSQL's form and knows what it includes")
    func snapshots() throws {
        let snapshot = try #require(TransactionSnapshot("10:20:12,15"))
        #expect(snapshot.description == "10:20:12,15")
        #expect((9...21).filter { snapshot.includes($0) } == [9, 10, 11, 13, 14, 16, 17, 18, 19])
        #expect(try #require(TransactionSnapshot("10:10:")).inProgress.isEmpty)
        for bad in ["", "10", "10:20", "a:20:", "10:20:x", "10:20:1:2"] { #expect(TransactionSnapshot(bad) == nil) }
    }
}
