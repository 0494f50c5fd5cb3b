/// How long and how fast a run learns.
public struct RunSettings: Sendable, Hashable {
    /// Passes over the examples, at most.
    public var epochs: Int
    /// Examples in a batch.
    public var batch: Int
    /// The rate of each step.
    public var rate: LearningRate
    /// Epochs without a lower validation loss after which a run ends, and the one with the lowest is kept; nil: all epochs
    /// run, and the last is kept, as without validation.
    public var patience: Int?
    /// Start of the random numbers: the same gives the same model, bit for bit, on one kind of processor.
    public var seed: UInt64

    /// Makes settings; two epochs of patience, as one rise may be chance.
    public init(epochs: Int, batch: Int, rate: LearningRate, patience: Int? = 2, seed: UInt64 = 1) {
        self.epochs = epochs
        self.batch = batch
        self.rate = rate
        self.patience = patience
        self.seed = seed
    }
}

/// How far a run is.
public struct TrainingProgress: Sendable {
    /// Steps done.
    public var step: Int
    /// Steps of the run.
    public var steps: Int
    /// Epoch under way, from 1.
    public var epoch: Int
    /// Loss of the last batches, smoothed.
    public var loss: Double
    /// Whether heads are fitted to what a run before has taught.
    public var isProbe = false
}

/// What a run went through.
public struct TrainingHistory: Sendable, Hashable, Codable {
    /// Epoch whose numbers were kept, from 1: the one with the lowest validation loss where a run has patience, else the
    /// last.
    public var bestEpoch = 0
    /// Mean training loss of each epoch that ran.
    public var trainingLoss: [Double] = []
    /// Validation loss after each epoch that ran; empty without validation examples.
    public var validationLoss: [Double] = []
}

/// Who looks on at a run.
public struct TrainingMonitor {
    /// Called after every step.
    public var progress: (TrainingProgress) -> Void = { _ in }
    /// Steps from one checkpoint to the next, beside one after each epoch; none are made where nil.
    public var checkpointSteps: Int?
    /// Takes the checkpoints.
    public var checkpoint: (TrainingCheckpoint) -> Void = { _ in }
    /// Where the run goes on; at its beginning where nil.
    public var resumed: TrainingCheckpoint?

    /// One that does not look.
    public init() {}
}

/// What learns step by step.
protocol Learner {
    /// Examples to learn from.
    var exampleCount: Int { get }
    /// Everything that a step changes.
    var parameters: [Parameters] { get set }

    /// Steps of an epoch, at most.
    func stepsPerEpoch(batch: Int) -> Int
    /// The examples of each step of an epoch.
    func batches(of size: Int, using generator: inout SeededGenerator) -> [[Int]]
    /// One step; `draws` is the step's own source of random numbers.
    ///
    /// - Returns: The batch's loss before it.
    mutating func step(_ batch: [Int], rate: Float, draws: inout SeededGenerator) -> Double
    /// Mean loss of examples that are not learnt from; nil where there are none.
    mutating func validationLoss() -> Double?
}

/// Runs a learner through its epochs and leaves it with the best epoch's numbers.
///
/// A checkpoint holds all that the steps after it depend on, so a run that goes on from one ends with the same bits as
/// one that was never interrupted.
///
/// - Parameters:
///   - learner: At its beginning, drawn from the seed.
///   - settings: How long and how fast.
///   - batch: Examples in a batch; the settings' number, or less where there are not so many.
///   - generator: The source of the epochs' order.
///   - task: Names settings and data: a checkpoint of another task is refused.
///   - stage: Which of several runs on one learner it is, from 0.
///   - monitor: Looks on.
/// - Returns: What the run went through.
/// - Throws: ``CheckpointError``.
func runEpochs<L: Learner>(
    _ learner: inout L,
    _ settings: RunSettings,
    batch: Int,
    generator: inout SeededGenerator,
    task: String,
    stage: Int = 0,
    monitor: TrainingMonitor
) throws(CheckpointError) -> TrainingHistory {
    let steps = learner.stepsPerEpoch(batch: batch) * settings.epochs
    var position = TrainingCheckpoint(task: task, stage: stage, generator: generator, learner: learner.parameters)
    if let resumed = monitor.resumed {
        guard resumed.task == task, resumed.stage == stage else { throw .otherTask }
        guard resumed.fits(position) else { throw .malformed(reason: "its tensors have other sizes") }
        position = resumed
        learner.parameters = resumed.parameters
        generator = resumed.generator
    }
    func emit(_ learner: L) {
        position.parameters = learner.parameters
        monitor.checkpoint(position)
    }
    /// Whether validation lets the run go on.
    func hasPatience(_ history: TrainingHistory) -> Bool {
        guard let patience = settings.patience, !history.validationLoss.isEmpty else { return true }
        return history.validationLoss.count - history.bestEpoch < patience
    }
    while position.epoch <= settings.epochs, hasPatience(position.history) {
        position.generator = generator
        let batches = learner.batches(of: batch, using: &generator)
        while position.batchesDone < batches.count {
            var draws = SeededGenerator(seed: settings.seed &+ UInt64(position.step + 1) &* 0x9E37_79B9_7F4A_7C15)
            let rate = settings.rate.rate(position.step, of: steps)
            let value = learner.step(batches[position.batchesDone], rate: rate, draws: &draws)
            position.smoothed = position.step == 0 ? value : position.smoothed * 0.9 + value * 0.1
            position.step += 1
            position.batchesDone += 1
            position.lossSum += value
            monitor.progress(
                TrainingProgress(step: position.step, steps: steps, epoch: position.epoch, loss: position.smoothed)
            )
            if let every = monitor.checkpointSteps, position.step % every == 0 { emit(learner) }
        }
        position.history.trainingLoss.append(position.lossSum / Double(max(1, batches.count)))
        let validation = learner.validationLoss()
        if let validation { position.history.validationLoss.append(validation) }
        if validation == nil || settings.patience == nil || position.history.validationLoss.min() == validation {
            position.best = learner.parameters.map(\.values)
            position.history.bestEpoch = position.epoch
        }
        position.epoch += 1
        position.batchesDone = 0
        position.lossSum = 0
        position.generator = generator
        if monitor.checkpointSteps != nil { emit(learner) }
    }
    for index in position.best.indices { learner.parameters[index].values = position.best[index] }
    return position.history
}
