public import DocumentStore
public import Logging
public import Matryoshka
public import PostgreSQL
import ServiceRuntime
public import WireProtocol

/// Rows that something is learnt from.
public struct TrainingSample: Sendable {
    /// Row-major.
    public var vectors: [Float]
    /// Floats of a row: W, or D where whole vectors were asked for.
    public var width: Int
    /// Rows of the collection, of which these are some.
    public var population: Int
    /// Rows of the sample.
    public var count: Int { width == 0 ? 0 : vectors.count / width }
    /// What the collection has learnt before.
    public var learnt: LearntParts
}

/// Answers TRAIN on a thread and a connection of its own, so that searches go on.
public final class Trainer: Sendable {
    /// Makes an artefact of a sample of rows; a heavy computation.
    public typealias Learning =
        @Sendable (TrainCommand.Subject, CollectionShape, TrainingSample) throws -> Artefact

    /// Floats of a sample of whole vectors, at most; a row for each dimension is needed in any case.
    private static let floatsMax = 1 << 26

    private let thread = SerialThread(name: "train")
    private let settings: ConnectionSettings
    private let rowsMax: Int
    private let learn: Learning
    private let log: Logger

    /// Makes a trainer that is idle.
    ///
    /// - Parameters:
    ///   - database: Where the rows are.
    ///   - rowsMax: Most rows of a sample.
    ///   - log: Tells what was learnt.
    ///   - learn: Makes an artefact of a sample; runs on the trainer's thread.
    public init(database: ConnectionSettings, rowsMax: Int = 262_144, log: Logger, learn: @escaping Learning) {
        var settings = database
        settings.statementTimeoutMilliseconds = 600_000
        self.settings = settings
        self.rowsMax = rowsMax
        self.log = log
        self.learn = learn
    }

    /// Begins with a TRAIN; its answer goes to the desk when it is done.
    public func train(_ request: WorkerRequest, _ command: TrainCommand, _ desk: RequestDesk) {
        thread.async { [self] in
            do {
                let trained = try train(command)
                desk.answer([request.answer(.trained(trained))])
            } catch {
                log.warning("cannot learn \(command.subject.rawValue) of \(command.shape.name): \(error)")
                desk.answer([request.failed("INTERNAL", "\(error)")])
            }
        }
    }

    private func train(_ command: TrainCommand) throws -> Trained {
        let start = ServiceProcess.monotonicMicroseconds()
        let shape = command.shape.shape
        let store = Store(try Connection(settings))
        let isFull = command.subject == .rotation || shape.learntRotation != 0
        let rows = isFull ? min(rowsMax, max(shape.dimensions, Self.floatsMax / shape.dimensions)) : rowsMax
        let (vectors, population) = try store.sampleVectors(shape, rows: rows, full: isFull)
        let sample = TrainingSample(
            vectors: vectors,
            width: isFull ? shape.dimensions : shape.storedHeadWidth,
            population: population,
            learnt: try store.learntParts(of: shape)
        )
        let artefact = try learn(command.subject, shape, sample)
        let number = try store.learn(artefact, collection: shape.collection, generation: shape.generation) ?? 0
        let milliseconds = Int(ServiceProcess.monotonicMicroseconds() - start) / 1000
        log.info(
            "learnt \(command.subject.rawValue) of \(shape.name)",
            metadata: [
                "rows": "\(sample.count)", "generation": "\(shape.generation)", "milliseconds": "\(milliseconds)",
            ]
        )
        return Trained(artefact: number, rows: sample.count, milliseconds: milliseconds)
    }
}
