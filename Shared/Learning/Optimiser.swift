import Glibc

/// How parameters follow their gradients.
public struct Optimiser: Sendable, Hashable {
    /// The published rule.
    public enum Rule: Sendable, Hashable {
        /// Gradient descent with momentum: v ← momentum · v + g, w ← w − rate · v.
        case sgd(momentum: Float)
        /// Kingma and Ba 2015, with β = (0.9, 0.999) and ε = 1e-8.
        case adam
    }

    /// The published rule.
    public var rule: Rule
    /// Share of a parameter that each step takes away, times the rate; apart from the gradient, as in AdamW.
    public var weightDecay: Float

    /// Adam without weight decay, where nothing is said.
    public init(rule: Rule = .adam, weightDecay: Float = 0) {
        self.rule = rule
        self.weightDecay = weightDecay
    }

    static let decay: (first: Float, second: Float) = (0.9, 0.999)
    static let epsilon: Float = 1e-8

    /// What a step of Adam multiplies moments with, `steps` counted from 1: the rate over the first moment's bias, and
    /// one over the root of the second's.
    static func corrections(rate: Float, steps: Int) -> (size: Float, root: Float) {
        let biases = (1 - pow(Double(decay.first), Double(steps)), 1 - pow(Double(decay.second), Double(steps)))
        return (rate / Float(biases.0), Float(1 / biases.1.squareRoot()))
    }

    /// One step; the gradients are spent.
    ///
    /// A number whose gradient has been 0 in every step stays, weight decay aside.
    func step(_ parameters: inout Parameters, gradients: inout [Float], rate: Float) {
        precondition(gradients.count == parameters.values.count, "one gradient for each parameter")
        parameters.steps += 1
        let (size, root) = Self.corrections(rate: rate, steps: parameters.steps)
        let (keepFirst, keepSecond) = Self.decay
        let kept = 1 - rate * weightDecay
        let count = gradients.count
        let whole = count & ~7
        gradients.withUnsafeMutableBufferPointer { gradients in
            parameters.values.withUnsafeMutableBufferPointer { values in
                parameters.first.withUnsafeMutableBufferPointer { first in
                    parameters.second.withUnsafeMutableBufferPointer { second in
                        switch rule {
                        case .sgd(let momentum):
                            for i in stride(from: 0, to: whole, by: 8) {
                                let v = load(first, i) * momentum + load(gradients, i)
                                store(v, first, i)
                                store(load(values, i) * kept - v * rate, values, i)
                            }
                            for i in whole..<count {
                                first[i] = first[i] * momentum + gradients[i]
                                values[i] = values[i] * kept - first[i] * rate
                            }
                        case .adam:
                            for i in stride(from: 0, to: whole, by: 8) {
                                let gradient = load(gradients, i)
                                let m = load(first, i) * keepFirst + gradient * (1 - keepFirst)
                                let v = load(second, i) * keepSecond + gradient * gradient * (1 - keepSecond)
                                store(m, first, i)
                                store(v, second, i)
                                let change = m * size / (v.squareRoot() * root + Self.epsilon)
                                store(load(values, i) * kept - change, values, i)
                            }
                            for i in whole..<count {
                                let gradient = gradients[i]
                                first[i] = first[i] * keepFirst + gradient * (1 - keepFirst)
                                second[i] = second[i] * keepSecond + gradient * gradient * (1 - keepSecond)
                                let change = first[i] * size / (second[i].squareRoot() * root + Self.epsilon)
                                values[i] = values[i] * kept - change
                            }
                        }
                        gradients.update(repeating: 0)
                    }
                }
            }
        }
    }
}

/// Numbers under training, and what the optimiser remembers of their gradients.
struct Parameters: Sendable, Hashable {
    var values: [Float]
    /// Momentum, or Adam's first moment.
    var first: [Float]
    /// Adam's second moment.
    var second: [Float]
    var steps = 0

    init(_ values: [Float]) {
        self.values = values
        first = [Float](repeating: 0, count: values.count)
        second = first
    }

    /// Forgets all gradients.
    mutating func forget() { self = Parameters(values) }
}

/// The rate of each step: it rises in a line from 0 to the peak, and then falls.
public struct LearningRate: Sendable, Hashable {
    /// How it falls to 0 at the last step.
    public enum Decay: String, Sendable, Hashable, CaseIterable {
        case linear, cosine, none
    }

    /// The highest rate.
    public var peak: Float
    /// Share of all steps that go by before the peak, 0 to 1.
    public var warmUp: Float
    /// How it falls after the peak.
    public var decay: Decay

    /// A tenth of the steps to warm up, and a line down to 0, where nothing is said.
    public init(peak: Float, warmUp: Float = 0.1, decay: Decay = .linear) {
        self.peak = peak
        self.warmUp = warmUp
        self.decay = decay
    }

    /// The rate of a step, counted from 0.
    func rate(_ step: Int, of steps: Int) -> Float {
        let rising = max(1, Int(Float(steps) * warmUp))
        if step < rising { return peak * Float(step + 1) / Float(rising) }
        let left = Float(max(0, steps - step)) / Float(max(1, steps - rising))
        switch decay {
        case .linear: return peak * left
        case .cosine: return peak * (1 - cosf(.pi * left)) / 2
        case .none: return peak
        }
    }
}
