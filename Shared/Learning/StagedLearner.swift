/// A learner that can leave what it has learnt of larger sizes alone.
protocol StagedLearner: Learner {
    /// Which sizes count, by their place in the nesting; all where nil.
    var active: Range<Int>? { get set }
    /// From here on only what makes single numbers of the vector learns, and nothing is remembered of past steps.
    mutating func beginStage()
}

/// Sequential Matryoshka learning: a large size and the next smaller one at a time, with what lies behind them frozen.
///
/// From SMEC (Zhang et al. 2025), SMRL: it goes from the full size to the smallest. Each stage takes an equal part of the epochs, one at least. A frozen number has no gradient and, as each stage
/// forgets the moments of the one before, is not moved by them either; the optimiser must not decay weights.
///
/// - Returns: What the last stage went through.
/// - Throws: ``CheckpointError``.
func runStages<L: StagedLearner>(
    _ learner: inout L,
    sizes: Int,
    _ settings: RunSettings,
    batch: Int,
    generator: inout SeededGenerator,
    task: String,
    monitor: TrainingMonitor
) throws(CheckpointError) -> TrainingHistory {
    let stages = max(1, sizes - 1)
    var settings = settings
    settings.epochs = max(1, settings.epochs / stages)
    let steps = learner.stepsPerEpoch(batch: batch) * settings.epochs
    var history = TrainingHistory()
    for stage in 0..<stages {
        learner.active = max(0, sizes - 2 - stage)..<sizes - stage
        if stage > 0 { learner.beginStage() }
        if let resumed = monitor.resumed, resumed.stage > stage { continue }
        var part = monitor
        if monitor.resumed?.stage != stage { part.resumed = nil }
        part.progress = { progress in
            var whole = progress
            whole.step += stage * steps
            whole.steps = stages * steps
            whole.epoch += stage * settings.epochs
            monitor.progress(whole)
        }
        history = try runEpochs(
            &learner,
            settings,
            batch: batch,
            generator: &generator,
            task: task,
            stage: stage,
            monitor: part
        )
    }
    learner.active = nil
    return history
}
