import Encoding
import Foundation

/// Where a run stands: enough to go on as if it had never stopped.
public struct TrainingCheckpoint: Sendable, Hashable {
    /// Names settings and data.
    var task: String
    /// Which of several runs on one learner it is, from 0.
    var stage: Int
    /// From 1; past the last one where the run is over.
    var epoch = 1
    /// Batches of this epoch that are done.
    var batchesDone = 0
    /// Steps since the beginning.
    var step = 0
    /// Sum of this epoch's losses so far.
    var lossSum = 0.0
    var smoothed = 0.0
    var history = TrainingHistory()
    /// As it was before this epoch's order was drawn.
    var generator: SeededGenerator
    var parameters: [Parameters]
    /// The best epoch's numbers; empty before the first epoch is over.
    var best: [[Float]] = []

    init(task: String, stage: Int, generator: SeededGenerator, learner parameters: [Parameters]) {
        self.task = task
        self.stage = stage
        self.generator = generator
        self.parameters = parameters
    }

    /// Steps done before it.
    public var stepsDone: Int { step }

    func fits(_ other: TrainingCheckpoint) -> Bool {
        let sizes = other.parameters.map(\.values.count)
        return parameters.map(\.values.count) == sizes && (best.isEmpty || best.map(\.count) == sizes)
    }

    private struct Numbers: Codable {
        var task: String
        var stage: Int
        var epoch: Int
        var batchesDone: Int
        var step: Int
        var lossSum: Double
        var smoothed: Double
        var history: TrainingHistory
        var generator: [UInt64]
        var optimiserSteps: [Int]
        var hasBest: Bool
    }

    private static let metadataKey = "checkpoint"

    /// The checkpoint as a safetensors file; what is not a tensor lies in its metadata.
    public var file: [UInt8] {
        let numbers = Numbers(
            task: task,
            stage: stage,
            epoch: epoch,
            batchesDone: batchesDone,
            step: step,
            lossSum: lossSum,
            smoothed: smoothed,
            history: history,
            generator: generator.state,
            optimiserSteps: parameters.map(\.steps),
            hasBest: !best.isEmpty
        )
        var tensors: [Safetensors.Tensor] = []
        func add(_ name: String, _ values: [Float]) {
            tensors.append(.init(name: name, shape: [values.count], values: values))
        }
        for (index, part) in parameters.enumerated() {
            add("values.\(index)", part.values)
            add("first.\(index)", part.first)
            add("second.\(index)", part.second)
        }
        for (index, values) in best.enumerated() { add("best.\(index)", values) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        // JSON has no infinity; a run that diverged is still to be looked at.
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf",
            negativeInfinity: "-inf",
            nan: "nan"
        )
        guard let json = try? encoder.encode(numbers) else { preconditionFailure("numbers are JSON") }
        return Safetensors.file(tensors, metadata: [Self.metadataKey: String(decoding: json, as: UTF8.self)])
    }

    /// Reads a checkpoint's file.
    ///
    /// - Throws: ``CheckpointError/malformed(reason:)``.
    public init(file: [UInt8]) throws(CheckpointError) {
        do {
            let tensors = try Safetensors(file, path: "the checkpoint")
            let decoder = JSONDecoder()
            decoder.nonConformingFloatDecodingStrategy = .convertFromString(
                positiveInfinity: "inf",
                negativeInfinity: "-inf",
                nan: "nan"
            )
            guard let json = tensors.metadata[Self.metadataKey],
                let numbers = try? decoder.decode(Numbers.self, from: Data(json.utf8)),
                let generator = SeededGenerator(state: numbers.generator)
            else { throw CheckpointError.malformed(reason: "it is not a checkpoint") }
            task = numbers.task
            stage = numbers.stage
            epoch = numbers.epoch
            batchesDone = numbers.batchesDone
            step = numbers.step
            lossSum = numbers.lossSum
            smoothed = numbers.smoothed
            history = numbers.history
            self.generator = generator
            parameters = []
            for (index, steps) in numbers.optimiserSteps.enumerated() {
                var part = Parameters(try tensors.floats("values.\(index)").values)
                part.first = try tensors.floats("first.\(index)").values
                part.second = try tensors.floats("second.\(index)").values
                part.steps = steps
                guard part.first.count == part.values.count, part.second.count == part.values.count else {
                    throw CheckpointError.malformed(reason: "its moments have other sizes than its numbers")
                }
                parameters.append(part)
                if numbers.hasBest { best.append(try tensors.floats("best.\(index)").values) }
            }
            guard epoch >= 1, batchesDone >= 0, step >= 0 else {
                throw CheckpointError.malformed(reason: "its counts are below zero")
            }
        } catch let error as CheckpointError {
            throw error
        } catch {
            throw .malformed(reason: "\(error)")
        }
    }
}

/// Why a run does not go on from a checkpoint.
public enum CheckpointError: Error, Sendable, Hashable, CustomStringConvertible {
    /// It was made with other settings or other data.
    case otherTask
    /// It is not what a run writes.
    case malformed(reason: String)

    /// One sentence.
    public var description: String {
        switch self {
        case .otherTask: "the checkpoint belongs to a run with other settings or other data: remove it to start anew"
        case .malformed(let reason): "the checkpoint cannot be read (\(reason)): remove it to start anew"
        }
    }
}
