import ArgumentParser
import CommandHelp
import Glibc
import ServiceRuntime
import WireProtocol

/// `mrl classify`.
struct ClassifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "classify",
        abstract: "Say which label texts have, and how few dimensions that took.",
        usage: "mrl classify [<options>] [<text> ...]",
        discussion: helpDiscussion(
            """
            Asks an encoder that has a classifier (encoder.classifier). It decides by the smallest size that is surer of
            its label than its threshold. Without a text, each line of standard input is one.
            """,
            examples: """
                mrl classify "freeze my bank account please"
                mrl classify --threshold 1 --json "what is the weather"
                mrl classify < texts.txt
                """
        )
    )

    @OptionGroup var front: FrontOptions
    @Argument(help: "One text to classify, its words joined by spaces.") var text: [String] = []
    @Option(help: "Id of a classifier; default: any that an encoder has.") var classifier: String?
    @Option(help: "One threshold for all sizes, 0 to 1, instead of those that the classifier learnt.")
    var threshold: Float?
    @Option(help: ArgumentHelp("Time for the answer.", valueName: "ms")) var deadline = 10_000
    @Flag(help: "Print a JSON object for each text.") var json = false

    func validate() throws {
        if let threshold, !(0...1).contains(threshold) { throw ValidationError("--threshold is from 0 to 1") }
    }

    func run() throws {
        let client = try front.client()
        if !text.isEmpty { return show(try labels([text.joined(separator: " ")], client)) }
        var isAtEnd = false
        while !isAtEnd {
            var texts: [String] = []
            while texts.count < FrontLimits.batchMax {
                guard let line = readLine() else {
                    isAtEnd = true
                    break
                }
                if !line.isEmpty { texts.append(line) }
            }
            if !texts.isEmpty { show(try labels(texts, client)) }
        }
    }

    private func labels(_ texts: [String], _ client: FrontClient) throws -> [(text: String, label: TextLabel)] {
        let request = ClassifyRequest(classifier: classifier, threshold: threshold, texts: texts)
        guard
            case .labels(let reply) = try client.call(.classify(request), deadlineMilliseconds: deadline),
            reply.labels.count == texts.count
        else { throw StartupFailure("the coordinator's answer is of another kind than the request") }
        return zip(texts, reply.labels).map { ($0, $1) }
    }

    private func show(_ found: [(text: String, label: TextLabel)]) {
        if json {
            for (text, label) in found {
                Output.json(
                    .object([
                        .init("text", .string(text)), .init("label", label.label.map { .string($0) } ?? .null),
                        .init("confidence", .number(Double(label.confidence))),
                        .init("size", .integer(Int64(label.size))),
                    ])
                )
            }
            return
        }
        var table = Table(["label", "confidence", "dimensions", "text"])
        for (text, label) in found {
            table.add([
                label.label ?? "(no known word)", fixed(100 * Double(label.confidence), 1) + "%", "\(label.size)",
                String(text.prefix(60)),
            ])
        }
        Output.line(table.text)
    }
}
