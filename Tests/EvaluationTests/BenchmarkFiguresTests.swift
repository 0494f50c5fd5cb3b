import Evaluation
import Testing

@Suite("Recall of searches")
struct RecallTests {
    @Test("mean, fifth percentile and minimum over queries")
    func summary() {
        let recall = Recall(ofQueries: (1...100).map { Double($0) / 100 })
        #expect(abs(recall.mean - 0.505) < 1e-12)
        #expect(recall.fifthPercentile == 0.05)
        #expect(recall.minimum == 0.01)
        #expect(Recall(ofQueries: [1, 0.5]).fifthPercentile == 0.5)
        #expect(Recall(ofQueries: []).mean == 0)
    }

    @Test("a row that ties with the last true neighbour counts, a repeated one once, one beyond k not at all")
    func ties() {
        let scores: [Float] = [0.9, 0.8, 0.7, 0.7, 0.6]
        func share(_ found: [Int]) -> Double {
            Recall.share(found: found, k: 3, bar: 0.7, tolerance: 1e-6) { scores[$0] }
        }
        #expect(share([0, 1, 3]) == 1)
        #expect(share([0, 1, 4]) == 2.0 / 3)
        #expect(share([0, 0, 0]) == 1.0 / 3)
        #expect(share([4, 4, 4, 0]) == 0)
    }
}

@Suite("Pareto front")
struct ParetoFrontTests {
    private let front = ParetoFront([
        .init(recall: 0.90, rate: 1_000), .init(recall: 0.95, rate: 800), .init(recall: 0.94, rate: 500),
        .init(recall: 0.99, rate: 200), .init(recall: 0.99, rate: 150),
    ])

    @Test("keeps what nothing beats in both")
    func points() {
        #expect(front.points.map(\.recall) == [0.90, 0.95, 0.99])
        #expect(front.points.map(\.rate) == [1_000, 800, 200])
    }

    @Test("interpolates the logarithm of the rate between settings")
    func interpolation() throws {
        #expect(abs(try #require(front.rate(atRecall: 0.97)) - 400) < 1e-6)
        #expect(front.rate(atRecall: 0.95) == 800)
        #expect(front.rate(atRecall: 0.5) == 1_000)
    }

    @Test("promises nothing beyond what was reached")
    func beyond() {
        #expect(front.rate(atRecall: 0.995) == nil)
        #expect(ParetoFront([]).rate(atRecall: 0) == nil)
    }
}

@Suite("Line plot")
struct LinePlotTests {
    private let svg = LinePlot(
        title: "R & A",
        xLabel: "recall",
        yLabel: "queries/s",
        xRange: 0.8...1,
        series: [
            .init(name: "ours <flat>", points: [(0.8, 100), (0.9, 10), (1, 1)], isEmphasised: true),
            .init(name: "beyond", points: [(0.5, 10_000), (0.9, .infinity)]),
        ]
    ).svg

    @Test("one decade is as long as the next, and recall runs left to right")
    func scale() {
        // 534 wide from 76, 416 high from 44.
        #expect(svg.contains("<polyline points=\"76,44 343,252 610,460\""))
    }

    @Test("labels are escaped, axes named, decades told")
    func labels() {
        #expect(svg.contains(">R &amp; A</text>"))
        #expect(svg.contains(">ours &lt;flat&gt;</text>"))
        for label in ["recall", "queries/s", "1", "10", "100", "0.8", "0.9"] {
            #expect(svg.contains(">\(label)</text>"))
        }
    }

    @Test("sizes on a logarithmic axis stand at equal distances, with the intervals of their values")
    func sizes() {
        var plot = LinePlot(
            title: "",
            xLabel: "dimensions",
            yLabel: "points",
            xRange: 8...32,
            series: [.init(name: "mrl", points: [(8, -1), (16, 1), (32, 3)], spreads: [0, 0.5, 0])]
        )
        plot.xScale = .logarithmic
        plot.yScale = .linear
        plot.xTicks = [8, 16, 32]
        // From -1 to 3.5: 4.5 units of 416 high, downwards.
        #expect(plot.svg.contains("<polyline points=\"76,460 343,275.111 610,90.222\""))
        #expect(plot.svg.contains("<line x1=\"343\" y1=\"228.889\" x2=\"343\" y2=\"321.333\""))
        for label in [">8<", ">16<", ">32<", ">-1<", ">3<"] { #expect(plot.svg.contains(label)) }
    }

    @Test("points outside the axes are left out")
    func outside() {
        #expect(svg.components(separatedBy: "<polyline").count == 2)
        #expect(svg.contains(">beyond</text>"))
    }
}

extension String {
    fileprivate func components(separatedBy part: String) -> [Substring] { split(separator: part) }
}

@Suite("Capacity plan")
struct CapacityPlanTests {
    private func demand(_ documents: Double, rate: Double = 1_000, latency: Double = 20) -> CapacityPlan.Demand {
        CapacityPlan.Demand(
            documents: documents,
            dimensions: 768,
            residentWidth: 64,
            scanDimensions: 64,
            keep: 200,
            queriesPerSecond: rate,
            latencyMilliseconds: latency
        )
    }
    private let machine = CapacityPlan.Machine(cores: 32, memoryBytes: 256e9, pricePerHour: 2)
    private let rates = CapacityPlan.Rates(
        scanBytesPerSecond: 10e9,
        batchedNanosecondsPerRow: 0.1,
        batchedNanosecondsPerDimension: 0.001,
        utilisation: 0.5
    )

    @Test("memory is documents times what a row takes")
    func memory() throws {
        let plan = try #require(CapacityPlan(demand(1e9, rate: 1, latency: 1_000), on: machine, rates: rates))
        #expect(plan.headBytes == 1e9 * (64 + 16))
        #expect(plan.vectorBytes == 1e9 * (768 * 4 + 60))
        #expect(plan.bound == .memory)
        #expect(plan.machines == 13)
    }

    @Test("sign bits add to the memory, and a scan of them has rates of its own")
    func signs() throws {
        var signs = demand(1e7, rate: 100, latency: 1_000)
        (signs.signBits, signs.scansSigns) = (128, true)
        let plan = try #require(CapacityPlan(signs, on: machine, rates: rates))
        #expect(plan.headBytes == 1e7 * (64 + 16 + 16))
        // 10^7 rows · (0.31 + 64 · 0.005) ns · 100/s at half of the time.
        #expect(abs(plan.throughputCores - 1.26) < 1e-9)
    }

    @Test("AMX makes batches cheaper, and single scans no faster than the memory")
    func kernels() throws {
        let demand = demand(1e8, latency: 1_000)
        let plans = try CapacityPlan.Kernels.allCases.map {
            try #require(CapacityPlan(demand, on: machine, rates: CapacityPlan.Rates(kernels: $0)))
        }
        #expect(plans[1].throughputCores < plans[0].throughputCores)
        #expect(plans[1].latencyCores >= 1.5 * 1e8 * 64 / 11e9)
    }

    @Test("the rate asked for decides where queries are many")
    func throughput() throws {
        let plan = try #require(CapacityPlan(demand(1e7, rate: 50_000, latency: 1_000), on: machine, rates: rates))
        // 10^7 rows · 0.164 ns · 50,000/s at half of the time.
        #expect(abs(plan.throughputCores - 164) < 1e-6)
        #expect(plan.bound == .throughput)
        #expect(plan.sustainedPerSecond >= 50_000)
    }

    @Test("the latency decides where queries are few")
    func latency() throws {
        let plan = try #require(CapacityPlan(demand(1e8, rate: 1, latency: 20), on: machine, rates: rates))
        #expect(plan.latencyCores > plan.throughputCores)
        #expect(plan.bound == .latency)
        #expect(plan.latencyMilliseconds <= 20)
    }

    @Test("cost is the machines' price over the queries they answer")
    func cost() throws {
        let plan = try #require(CapacityPlan(demand(1e7), on: machine, rates: rates))
        #expect(abs(plan.costPerMillion - Double(plan.machines) * 2 / 3600 / 1_000 * 1e6) < 1e-9)
    }

    @Test("a latency below that of the hops is refused")
    func impossible() {
        #expect(CapacityPlan(demand(1e6, latency: 0.5), on: machine, rates: rates) == nil)
    }
}
