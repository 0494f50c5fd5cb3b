import ArgumentParser
import CommandHelp
import Encoding
import Logging
import Matryoshka
import ServiceRuntime
import VectorMath
import WireProtocol
import WorkerRuntime

struct EncoderCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mrl-encoder",
        abstract: "Turns texts into vectors, and labels, for the coordinators it is connected to.",
        usage: "mrl-encoder [<options>]",
        discussion: helpDiscussion(
            """
            It serves one model directory, searches before imports, and knows no collections. Start as many as needed.
            With a classifier directory it also says which label a text has, asking the smallest size first.
            """,
            examples: """
                mrl-encoder --encoder-model ~/models/debian
                MRL_ENCODER_MODEL=~/models/debian mrl-encoder --worker-threads 2
                mrl-encoder --encoder-model ~/models/debian --encoder-classifier ~/intents
                mrl-encoder --encoder-model ~/models/minilm --encoder-precision bfloat16
                mrl-encoder --config /etc/matryoshka.json
                mrl-encoder --coordinator-back tcp://127.0.0.1:7001,tcp://127.0.0.1:7002
                """
        ),
        version: WorkerProcess.version
    )

    @OptionGroup var options: WorkerOptions
    @Option(SettingKey.encoderModel.setting) var encoderModel: String?
    @Option(SettingKey.encoderClassifier.setting) var encoderClassifier: String?
    @Option(SettingKey.encoderPrecision.setting) var encoderPrecision: String?

    func run() {
        runProcess {
            var flags = options.flags
            flags[SettingKey.encoderModel.setting.name] = encoderModel
            flags[SettingKey.encoderClassifier.setting.name] = encoderClassifier
            flags[SettingKey.encoderPrecision.setting.name] = encoderPrecision
            let process = try WorkerProcess(.encoder, flags: flags)
            let encoder: any TextEncoder
            var classifier: CascadeClassifier?
            do {
                encoder = try loadEncoder(
                    directory: try process.settings.required(.encoderModel),
                    precision: LinearPrecision(rawValue: process.settings[.encoderPrecision]) ?? .float32
                )
                if let directory = process.settings[.encoderClassifier] {
                    classifier = try CascadeClassifier(directory: directory, for: encoder.model)
                }
            } catch let error as ModelError {
                throw StartupFailure("cannot load the model: \(error)")
            }
            let model = encoder.model
            process.log.info(
                "loaded the model \(model.name)",
                metadata: [
                    "dimensions": "\(model.dimensions)", "precision": "\(process.settings[.encoderPrecision])",
                ]
            )
            let desk = RequestDesk(
                threads: try process.threads(),
                creditPerLink: process.creditPerLink,
                take: EncodeLanes.take
            ) { [classifier] batch, desk in
                desk.answer(
                    encode(batch, with: encoder, classifier) {
                        desk.progressed()
                        // An import may take seconds; searches do not wait for its end.
                        guard !EncodeLanes.isUrgent(batch[0]) else { return }
                        let urgent = desk.takeBetween(EncodeLanes.takeUrgent)
                        if !urgent.isEmpty { desk.answer(encode(urgent, with: encoder, classifier, onBatch: {})) }
                    }
                )
            }
            try process.run(
                desk: desk,
                model: ModelReport(
                    id: model.id,
                    name: model.name,
                    dimensions: model.dimensions,
                    smallestDimensions: model.smallestDimensions,
                    nesting: model.nesting
                ),
                classifier: classifier.map {
                    ClassifierReport(id: $0.id, sizes: $0.cascade.sizes, labels: $0.labelCount)
                }
            )
        }
    }
}

/// Which requests are encoded next.
enum EncodeLanes {
    /// Urgent requests in one batch; between two requests of the ingest lane searches get their turn.
    static let urgentMax = 64

    /// All urgent ones of the first one's role, or else one of the ingest lane.
    @Sendable static func take(from queue: inout RequestQueue, now: UInt64) -> [WorkerRequest] {
        let urgent = takeUrgent(from: &queue, now: now)
        return urgent.isEmpty ? queue.take(limit: 1, now: now) : urgent
    }

    /// All urgent ones of the first one's role.
    @Sendable static func takeUrgent(from queue: inout RequestQueue, now: UInt64) -> [WorkerRequest] {
        var role: TextRole?
        return queue.take(limit: urgentMax, now: now) { request in
            guard let work = request.textWork, work.isUrgent else { return false }
            if role == nil { role = work.role }
            return work.role == role
        }
    }

    static func isUrgent(_ request: WorkerRequest) -> Bool { request.textWork?.isUrgent ?? false }
}

extension WorkerRequest {
    /// Texts to be encoded; nil where the request is none for an encoder.
    ///
    /// Texts to be classified are as urgent as searches.
    fileprivate var textWork: (texts: [String], role: TextRole, isUrgent: Bool)? {
        switch message.body {
        case .encode(let command): (command.texts, command.role, command.isUrgent)
        case .classify(let command): (command.texts, .query, true)
        default: nil
        }
    }
}

/// Encodes requests of one role in one go, and classifies what is to be classified.
func encode(
    _ batch: [WorkerRequest],
    with encoder: any TextEncoder,
    _ classifier: CascadeClassifier?,
    onBatch: () -> Void
) -> [WorkerAnswer] {
    let start = ServiceProcess.monotonicMicroseconds()
    var texts: [String] = []
    var role = TextRole.query
    for request in batch {
        guard let work = request.textWork else { continue }
        texts.append(contentsOf: work.texts)
        role = work.role
    }
    let dimensions = encoder.model.dimensions
    let values = texts.isEmpty ? [] : encoder.encode(texts, role: role.rawValue, onBatch: onBatch)
    let spent = UInt32(clamping: ServiceProcess.monotonicMicroseconds() - start)
    var first = 0
    return batch.map { request in
        guard let work = request.textWork else {
            return request.failed("UNSUPPORTED", "an encoder serves no \(request.message.header.type)")
        }
        let count = work.texts.count * dimensions
        let own = Array(values[first..<first + count])
        first += count
        guard case .classify(let command) = request.message.body else {
            return request.answer(
                .vectors(
                    Vectors(
                        dimensions: dimensions,
                        values: own,
                        queuedMicroseconds: request.queued(until: start),
                        computeMicroseconds: spent
                    )
                )
            )
        }
        guard let classifier else { return request.failed("UNSUPPORTED", "this encoder has no classifier") }
        let labels = classifier.labels(of: own, threshold: command.threshold)
        return request.answer(
            .labels(
                Labels(
                    labels: labels.map { TextLabel(label: $0.label, confidence: $0.confidence, size: $0.size) },
                    queuedMicroseconds: request.queued(until: start),
                    computeMicroseconds: UInt32(clamping: ServiceProcess.monotonicMicroseconds() - start)
                )
            )
        )
    }
}
