/// What turns examples into vectors, and learns from the gradients of these.
protocol Trunk {
    /// Examples that it reads.
    associatedtype Input

    /// Full size D of its vectors.
    var dimensions: Int { get }
    /// Floats from one vector to the next, D or more; those behind D are 0.
    var stride: Int { get }
    /// Whether a step changes anything.
    var isTrainable: Bool { get }
    /// What a step changes, and the optimiser's moments.
    var parameters: Parameters { get set }
    /// The vectors of the last ``forward(_:)``, row-major; rows beyond its examples are left from before.
    var outputs: [Float] { get }

    /// Makes the vectors of some examples, of one input after the other, and remembers what its gradient needs.
    mutating func forward(_ parts: [(input: Input, rows: [Int])])
    /// Takes dLoss/dOutputs of the last ``forward(_:)``; adds to what is pending.
    mutating func backward(_ gradients: [Float])
    /// One step; pending gradients are spent.
    mutating func step(_ optimiser: Optimiser, rate: Float)
    /// From here on only what makes single numbers of the vector learns, and nothing is remembered of past steps.
    mutating func beginStage()
}
