import Encoding
import Evaluation
import Learning
import Matryoshka
import ServiceRuntime
import VectorMath

/// What the heads of a classifier can do, and what its cascades save.
struct ClassifierReport: Encodable {
    struct Size: Encodable {
        var size: Int
        var accuracy: Double
    }

    struct Cascade: Encodable {
        var rule: String
        var sizes: [Int]
        var thresholds: [Float]
        var accuracy: Double
        var finalDimensions: Double
        var cumulativeDimensions: Double
        /// Of the examples, by the size that decided.
        var shares: [Double]
        var isServed: Bool

        enum CodingKeys: String, CodingKey {
            case rule, sizes, thresholds, accuracy, shares
            case finalDimensions = "final_dimensions"
            case cumulativeDimensions = "cumulative_dimensions"
            case isServed = "served"
        }
    }

    struct Network: Encodable {
        var id: String
        var directory: String
        var record: TrainingRecord?
        /// What is reported on, and how much of it.
        var part: String
        var examples: Int
        /// What the thresholds were learnt from.
        var heldOut: Int
        var sizes: [Size]
        var cascades: [Cascade]

        enum CodingKeys: String, CodingKey {
            case id, directory, record, part, examples, sizes, cascades
            case heldOut = "held_out"
        }
    }

    var labels: Int
    var costs: TrainingCosts
    /// The model that was trained with the heads.
    var model: String?
    var networks: [Network] = []

    init(labels: Int, costs: TrainingCosts) {
        self.labels = labels
        self.costs = costs
    }

    /// Writes a classifier with the thresholds that it learns, and measures both.
    ///
    /// - Parameters:
    ///   - classifier: What was trained.
    ///   - directory: Where it goes.
    ///   - sizes: Those that it is asked at.
    ///   - rule: Whose thresholds are written.
    ///   - validation: Thresholds are learnt from it; from the half of it where there is no test part.
    ///   - test: What is reported on.
    ///   - encoder: The model whose vectors it takes.
    /// - Throws: ``StartupFailure`` where nothing is left to learn thresholds from, or what the file system says.
    mutating func add(
        _ classifier: FeatureClassifier,
        directory: String,
        sizes: [Int],
        rule: TrainClassifierCommand.Rule,
        validation: Labelled<Matrix>?,
        test: Labelled<Matrix>?,
        encoder: ModelDescription?
    ) throws {
        guard let validation else { throw StartupFailure("no validation text has a token that the model knows") }
        var held = SizePredictions(classifier, sizes, validation)
        var reported = test.map { SizePredictions(classifier, sizes, $0) }
        if reported == nil {
            // Files tend to be sorted by label.
            let places = held.truth.indices
            reported = held.restricted(to: places.filter { $0 % 2 == 1 })
            held = held.restricted(to: places.filter { $0 % 2 == 0 })
        }
        guard let reported else { preconditionFailure("one of the two") }
        let made: [(rule: TrainClassifierCommand.Rule, cascade: ConfidenceCascade)] = [
            (.greedy, CascadeCalibration.greedy(on: held)), (.global, CascadeCalibration.global(on: held)),
        ]
        try ClassifierDirectory.write(to: directory, classifier)
        for (name, cascade) in made where name == rule { try CascadeFile.write(cascade, to: directory) }
        // As an encoder will: what does not load is to be known now.
        let model =
            encoder
            ?? ModelDescription(
                id: "",
                name: "",
                dimensions: classifier.inputs,
                smallestDimensions: classifier.inputs,
                nesting: [classifier.inputs]
            )
        let served: CascadeClassifier
        do {
            served = try CascadeClassifier(directory: directory, for: model)
        } catch {
            throw StartupFailure("\(error)")
        }
        networks.append(
            Network(
                id: served.id,
                directory: directory,
                record: classifier.training,
                part: test == nil ? "half of the validation part" : "test part",
                examples: reported.count,
                heldOut: held.count,
                sizes: sizes.enumerated().map { Size(size: $1, accuracy: reported.accuracy($0)) },
                cascades: sizes.count == 1
                    ? []
                    : made.map { name, cascade in
                        let outcome = cascade.outcome(on: reported)
                        return Cascade(
                            rule: name.rawValue,
                            sizes: cascade.sizes,
                            thresholds: cascade.thresholds,
                            accuracy: outcome.accuracy,
                            finalDimensions: outcome.finalDimensions,
                            cumulativeDimensions: outcome.cumulativeDimensions,
                            shares: outcome.shares,
                            isServed: name == rule
                        )
                    }
            )
        )
    }

    /// For a terminal.
    var text: String {
        var lines: [String] = []
        if let model { lines.append("model in \(model)") }
        for network in networks {
            lines.append("classifier \(network.id.prefix(16)) of \(labels) labels in \(network.directory)")
            lines.append("accuracy on \(grouped(network.examples)) texts, the \(network.part):")
            var table = Table(["dimensions", "accuracy %"])
            for size in network.sizes { table.add(["\(size.size)", fixed(size.accuracy * 100, 2)]) }
            lines.append(table.text)
            guard !network.cascades.isEmpty else { continue }
            lines.append(
                "thresholds learnt on \(grouped(network.heldOut)) other texts, the smallest sure size decides:"
            )
            var cascades = Table(["thresholds", "accuracy %", "expected dimensions", "with all heads asked", "served"])
            for cascade in network.cascades {
                cascades.add([
                    cascade.rule, fixed(cascade.accuracy * 100, 2), fixed(cascade.finalDimensions, 1),
                    fixed(cascade.cumulativeDimensions, 1), cascade.isServed ? "yes" : "",
                ])
            }
            lines.append(cascades.text)
            for cascade in network.cascades where cascade.isServed {
                let shares = zip(cascade.sizes, cascade.shares).map { "\($0) \(fixed($1 * 100, 1)) %" }
                lines.append("decided by: " + shares.joined(separator: ", "))
            }
        }
        return lines.joined(separator: "\n")
    }
}

extension SizePredictions {
    /// What a classifier says of labelled vectors at some of its sizes.
    init(_ classifier: FeatureClassifier, _ sizes: [Int], _ examples: Labelled<Matrix>) {
        let input = examples.input.prefixes(min(classifier.inputs, examples.input.columns))
        let features = classifier.features(of: input.values)
        let found = sizes.map { classifier.heads.predictions(of: features, size: $0) }
        self.init(
            sizes: sizes,
            truth: examples.labels.map(Int.init),
            labels: found.map { $0.map(\.label) },
            confidences: found.map { $0.map(\.confidence) }
        )
    }
}
