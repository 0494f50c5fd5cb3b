import ArgumentParser
import CommandHelp
import Encoding
import Logging
import ServiceRuntime
import WireProtocol
import WorkerRuntime

struct EncoderCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mrl-encoder",
        abstract: "Turns texts into vectors for the coordinators it is connected to.",
        usage: "mrl-encoder [<options>]",
        discussion: helpDiscussion(
            """
            It serves one model directory, searches before imports, and knows no collections. Start as many as needed.
            """,
            examples: """
                mrl-encoder --encoder-model ~/models/debian
                MRL_ENCODER_MODEL=~/models/debian mrl-encoder --worker-threads 2
                mrl-encoder --config /etc/matryoshka.json
                mrl-encoder --coordinator-back tcp://127.0.0.1:7001,tcp://127.0.0.1:7002
                """
        ),
        version: WorkerProcess.version
    )

    @OptionGroup var options: WorkerOptions
    @Option(SettingKey.encoderModel.setting) var encoderModel: String?

    func run() {
        runProcess {
            var flags = options.flags
            flags[SettingKey.encoderModel.setting.name] = encoderModel
            let process = try WorkerProcess(.encoder, flags: flags)
            let encoder: any TextEncoder
            do {
                encoder = try loadEncoder(directory: try process.settings.required(.encoderModel))
            } catch let error as ModelError {
                throw StartupFailure("cannot load the model: \(error)")
            }
            let model = encoder.model
            process.log.info("loaded the model \(model.name)", metadata: ["dimensions": "\(model.dimensions)"])
            let desk = RequestDesk(
                threads: process.settings[.workerThreads],
                creditPerLink: process.creditPerLink,
                take: EncodeLanes.take
            ) { batch, desk in
                desk.answer(
                    encode(batch, with: encoder) {
                        desk.progressed()
                        // An import may take seconds; searches do not wait for its end.
                        guard !EncodeLanes.isUrgent(batch[0]) else { return }
                        let urgent = desk.takeBetween(EncodeLanes.takeUrgent)
                        if !urgent.isEmpty { desk.answer(encode(urgent, with: encoder, onBatch: {})) }
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
                )
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
            guard case .encode(let command) = request.message.body, command.isUrgent else { return false }
            if role == nil { role = command.role }
            return command.role == role
        }
    }

    static func isUrgent(_ request: WorkerRequest) -> Bool {
        if case .encode(let command) = request.message.body { command.isUrgent } else { false }
    }
}

/// Encodes requests of one role in one go.
func encode(_ batch: [WorkerRequest], with encoder: any TextEncoder, onBatch: () -> Void) -> [WorkerAnswer] {
    let start = ServiceProcess.monotonicMicroseconds()
    var texts: [String] = []
    var role = TextRole.query
    for request in batch {
        guard case .encode(let command) = request.message.body else { continue }
        texts.append(contentsOf: command.texts)
        role = command.role
    }
    let dimensions = encoder.model.dimensions
    let values = texts.isEmpty ? [] : encoder.encode(texts, role: role.rawValue, onBatch: onBatch)
    let spent = UInt32(clamping: ServiceProcess.monotonicMicroseconds() - start)
    var first = 0
    return batch.map { request in
        guard case .encode(let command) = request.message.body else {
            return request.failed("UNSUPPORTED", "an encoder serves no \(request.message.header.type)")
        }
        defer { first += command.texts.count * dimensions }
        return request.answer(
            .vectors(
                Vectors(
                    dimensions: dimensions,
                    values: Array(values[first..<first + command.texts.count * dimensions]),
                    queuedMicroseconds: request.queued(until: start),
                    computeMicroseconds: spent
                )
            )
        )
    }
}
