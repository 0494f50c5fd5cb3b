import Foundation

/// A trained classifier: an adapter where there is one, and heads on what it makes of an encoder's unit vectors.
public struct FeatureClassifier: Sendable, Hashable {
    /// Applied before the heads; nil where these take the encoder's vectors as they are.
    public let adapter: FeatureAdapter?
    /// One for each size.
    public let heads: ClassifierHeads
    /// Id of the model whose vectors it takes; nil where it was trained on vectors from elsewhere.
    public let encoder: String?
    /// How it came about.
    public let training: TrainingRecord?

    /// Makes a classifier; nil where the adapter does not make vectors of the heads' full size.
    public init?(adapter: FeatureAdapter?, heads: ClassifierHeads, encoder: String?, training: TrainingRecord?) {
        guard adapter == nil || adapter?.outputs == heads.dimensions else { return nil }
        self.adapter = adapter
        self.heads = heads
        self.encoder = encoder
        self.training = training
    }

    /// Width of the vectors that it takes.
    public var inputs: Int { adapter?.inputs ?? heads.dimensions }

    /// What the heads see of an encoder's vectors, row-major both.
    public func features(of vectors: [Float]) -> [Float] { adapter?.outputs(of: vectors) ?? vectors }
}

/// A classifier on disk: `classifier.json` and `classifier.safetensors`.
///
/// Tensors are float32: `adapter.<i>.weight` (outputs × inputs) and `adapter.<i>.bias` for each layer of the adapter;
/// `heads.<m>.weight` (labels × m) and `heads.<m>.bias` for each size of MRL, `heads.weight` (labels × D) and
/// `heads.bias` of MRL-E.
public enum ClassifierDirectory {
    static let configurationName = "classifier.json"
    static let tensorsName = "classifier.safetensors"
    static let formatTag = "matryoshka-classifier-1"

    private struct Configuration: Codable {
        struct Layer: Codable {
            var activation: FeatureAdapter.Activation
            var residual: Bool
        }
        var format: String
        var heads: ClassifierHeads.Form
        var nesting: [Int]
        var labels: [String]
        var encoder: String?
        var adapter: [Layer]
        var training: TrainingRecord?
    }

    /// Whether a classifier lies there.
    public static func exists(_ directory: String) -> Bool {
        [configurationName, tensorsName].allSatisfy {
            FileManager.default.fileExists(atPath: directory + "/" + $0)
        }
    }

    /// Writes a classifier into a directory, which is made where there is none.
    ///
    /// - Throws: What the file system says.
    public static func write(to directory: String, _ classifier: FeatureClassifier) throws {
        let heads = classifier.heads
        var tensors = (classifier.adapter?.layers ?? []).enumerated().flatMap { $1.tensors("adapter.\($0)") }
        for (index, weights) in heads.weights.enumerated() {
            let width = weights.count / heads.labels.count
            let name = heads.form == .separate ? "heads.\(width)" : "heads"
            tensors += [
                .init(name: name + ".weight", shape: [heads.labels.count, width], values: weights),
                .init(name: name + ".bias", shape: [heads.labels.count], values: heads.biases[index]),
            ]
        }
        let configuration = Configuration(
            format: formatTag,
            heads: heads.form,
            nesting: heads.nesting,
            labels: heads.labels,
            encoder: classifier.encoder,
            adapter: (classifier.adapter?.layers ?? []).map {
                .init(activation: $0.activation, residual: $0.isResidual)
            },
            training: classifier.training
        )
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        let folder = URL(fileURLWithPath: directory)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Data(Safetensors.file(tensors))
            .write(to: folder.appendingPathComponent(tensorsName), options: .atomic)
        try encoder.encode(configuration)
            .write(to: folder.appendingPathComponent(configurationName), options: .atomic)
    }

    /// Loads a classifier.
    ///
    /// - Throws: ``ModelError``, naming the file and what is wrong with it.
    public static func load(_ directory: String) throws(ModelError) -> FeatureClassifier {
        func bytes(_ path: String) throws(ModelError) -> [UInt8] {
            guard let data = FileManager.default.contents(atPath: path) else {
                throw .missing(path: path, hint: "a classifier is made by `mrl train classifier`")
            }
            return [UInt8](data)
        }
        let path = directory + "/" + configurationName
        let configuration: Configuration = try decodeJSON(try bytes(path), path: path)
        guard configuration.format == formatTag else {
            throw .unsupported(
                path: path,
                reason: "format is \"\(configuration.format)\", this build reads \"\(formatTag)\""
            )
        }
        let tensorsPath = directory + "/" + tensorsName
        let file = try Safetensors(try bytes(tensorsPath), path: tensorsPath)
        var layers: [FeatureAdapter.Layer] = []
        for (index, layer) in configuration.adapter.enumerated() {
            layers.append(
                try .init(file, "adapter.\(index)", layer.activation, isResidual: layer.residual, path: tensorsPath)
            )
        }
        let adapter = FeatureAdapter(layers: layers)
        guard layers.isEmpty || adapter != nil else {
            throw .malformed(
                path: tensorsPath,
                reason: "a layer of the adapter does not take what the one before makes"
            )
        }
        var weights: [[Float]] = []
        var biases: [[Float]] = []
        let names =
            configuration.heads == .separate
            ? configuration.nesting.map { ("heads.\($0)", $0) } : [("heads", configuration.nesting.last ?? 0)]
        for (name, width) in names {
            let (shape, values) = try file.floats(name + ".weight")
            guard shape == [configuration.labels.count, width] else {
                throw .malformed(
                    path: tensorsPath,
                    reason: "\(name).weight is \(shape), labels and nesting ask for "
                        + "\([configuration.labels.count, width])"
                )
            }
            let bias = try file.floats(name + ".bias").values
            guard (values + bias).allSatisfy(\.isFinite) else {
                throw .malformed(path: tensorsPath, reason: "\(name) holds numbers that are not finite")
            }
            weights.append(values)
            biases.append(bias)
        }
        guard
            let heads = ClassifierHeads(
                nesting: configuration.nesting,
                labels: configuration.labels,
                form: configuration.heads,
                weights: weights,
                biases: biases
            )
        else {
            throw .malformed(
                path: path,
                reason: "nesting must ascend from 1 or more, labels be two or more, each once, with a bias each"
            )
        }
        guard
            let classifier = FeatureClassifier(
                adapter: adapter,
                heads: heads,
                encoder: configuration.encoder,
                training: configuration.training
            )
        else {
            throw .malformed(
                path: tensorsPath,
                reason: "the adapter makes \(adapter?.outputs ?? 0) dimensions, the heads take \(heads.dimensions)"
            )
        }
        return classifier
    }
}

extension FeatureAdapter.Layer {
    /// How a layer lies in a file.
    func tensors(_ name: String) -> [Safetensors.Tensor] {
        [
            .init(name: name + ".weight", shape: [outputs, inputs], values: weights),
            .init(name: name + ".bias", shape: [outputs], values: bias),
        ]
    }

    /// Reads a layer out of a file.
    init(
        _ file: Safetensors,
        _ name: String,
        _ activation: FeatureAdapter.Activation,
        isResidual: Bool,
        path: String
    ) throws(ModelError) {
        let (shape, weights) = try file.floats(name + ".weight")
        let bias = try file.floats(name + ".bias").values
        guard shape.count == 2,
            let layer = Self(
                inputs: shape[1],
                outputs: shape[0],
                weights: weights,
                bias: bias,
                activation: activation,
                isResidual: isResidual
            )
        else { throw .malformed(path: path, reason: "\(name) is \(shape) with a bias of \(bias.count)") }
        guard (weights + bias).allSatisfy(\.isFinite) else {
            throw .malformed(path: path, reason: "\(name) holds numbers that are not finite")
        }
        self = layer
    }
}
