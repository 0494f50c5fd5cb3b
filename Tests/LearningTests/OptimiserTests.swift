import Testing

@testable import Learning

@Suite("Optimiser")
struct OptimiserTests {
    /// Eleven numbers: whole lanes and a rest.
    private let start = (0..<11).map { Float($0) - 5 }

    @Test("steps with momentum as its rule says")
    func momentum() {
        var parameters = Parameters(start)
        let optimiser = Optimiser(rule: .sgd(momentum: 0.5))
        var gradients = start.map { $0 * 2 }
        optimiser.step(&parameters, gradients: &gradients, rate: 0.1)
        #expect(gradients.allSatisfy { $0 == 0 })
        gradients = [Float](repeating: 1, count: 11)
        optimiser.step(&parameters, gradients: &gradients, rate: 0.1)
        for (value, start) in zip(parameters.values, start) {
            let (first, second) = (2 * start, start + 1)
            #expect(abs(value - (start - 0.1 * first - 0.1 * second)) < 1e-5)
        }
    }

    @Test("steps with Adam by the rate against the sign first, however large the gradient")
    func adam() {
        var parameters = Parameters(start)
        var gradients = start.map { $0 * 1000 }
        Optimiser().step(&parameters, gradients: &gradients, rate: 0.5)
        for (value, start) in zip(parameters.values, start) {
            #expect(abs(value - (start - (start == 0 ? 0 : 0.5 * (start > 0 ? 1 : -1)))) < 1e-4)
        }
    }

    @Test("decays weights apart from the gradient")
    func decay() {
        var parameters = Parameters(start)
        var gradients = [Float](repeating: 0, count: 11)
        Optimiser(weightDecay: 0.1).step(&parameters, gradients: &gradients, rate: 0.5)
        for (value, start) in zip(parameters.values, start) { #expect(abs(value - start * 0.95) < 1e-6) }
    }

    @Test("warms up in a line and decays to almost nothing", arguments: LearningRate.Decay.allCases)
    func schedule(decay: LearningRate.Decay) {
        let rate = LearningRate(peak: 2, warmUp: 0.2, decay: decay)
        let rates = (0..<100).map { rate.rate($0, of: 100) }
        #expect(abs(rates[0] - 0.1) < 1e-6)
        #expect(abs(rates[9] - 1) < 1e-6)
        #expect(rates[19] == 2)
        for (earlier, later) in zip(rates[20...], rates[21...]) { #expect(later <= earlier) }
        switch decay {
        case .linear: #expect(abs(rates[60] - 1) < 1e-6)
        case .cosine: #expect(abs(rates[60] - 1) < 1e-5 && rates[40] > 1.6)
        case .none: #expect(rates[99] == 2)
        }
        if decay != .none { #expect(rates[99] < 0.03) }
    }

    @Test("takes a nesting that ascends, with weights above 0, spaced by doubling or evenly")
    func nesting() {
        #expect(Nesting.doubling(from: 8, to: 384).sizes == [8, 16, 32, 64, 128, 256, 384])
        #expect(Nesting.doubling(from: 8, to: 8).sizes == [8])
        #expect(Nesting.uniform(from: 8, to: 2048, count: 11).sizes.prefix(3) == [8, 212, 416])
        #expect(Nesting.uniform(from: 1, to: 4, count: 4).sizes == [1, 2, 3, 4])
        #expect(Nesting(sizes: [4, 4]) == nil)
        #expect(Nesting(sizes: [0, 4]) == nil)
        #expect(Nesting(sizes: []) == nil)
        #expect(Nesting(sizes: [2, 4], weights: [1]) == nil)
        #expect(Nesting(sizes: [2, 4], weights: [1, 0]) == nil)
        #expect(Nesting(sizes: [2, 4], weights: [2, 1])?.blocks == [0..<2, 2..<4])
    }
}
