import Foundation
import VectorMath

/// A frozen encoder, and an adapter that makes another model's vectors of what it says.
struct AdaptedEncoder: TextEncoder {
    private static let textsInBatch = 256

    let model: ModelDescription
    let base: any TextEncoder
    let adapter: VectorAdapter

    func encode(_ texts: [String], role: String, onBatch: () -> Void) -> [Float] {
        adapter.vectors(of: base.encode(texts, role: role, onBatch: onBatch))
    }
}

/// `config.json` of a model directory whose texts go through a frozen encoder first.
///
/// `model.safetensors` holds `adapter.<i>.weight` (outputs × inputs) and `adapter.<i>.bias` for each dense step. The
/// frozen encoder lies in the folder `base`, or that is a symbolic link to it. Its path says nothing of the model, its
/// id does.
public struct AdapterConfiguration: Sendable, Hashable, Codable {
    /// Value of `kind`.
    public static let kind = "adapter"
    /// The folder of the frozen encoder.
    public static let baseFolder = "base"

    /// The frozen encoder.
    public struct Base: Sendable, Hashable, Codable {
        /// Id of the model.
        public var id: String
        /// For people.
        public var name: String
        /// Width of its vectors.
        public var dimensions: Int

        /// Names a model.
        public init(_ model: ModelDescription) {
            id = model.id
            name = model.name
            dimensions = model.dimensions
        }
    }

    struct Step: Sendable, Hashable, Codable {
        enum Kind: String, Sendable, Codable {
            case dense, normalise
        }
        var kind: Kind
        /// Of a dense step.
        var activation: FeatureAdapter.Activation?
        var residual: Bool?
    }

    var format: String
    var kind: String
    /// For people.
    public var name: String
    /// Full size D.
    public var dimensions: Int
    /// Smallest legal size.
    public var smallestDimensions: Int
    /// Trained sizes, ascending, the last one D.
    public var nesting: [Int]
    /// `cosine`.
    public var metric: String
    /// What is done to the full vector before a prefix is cut: `unit` length.
    public var preNormalisation: String
    /// The encoder whose vectors are adapted; nil where these were made elsewhere.
    public var base: Base?
    var steps: [Step]
    /// How it came about.
    public var training: TrainingRecord?

    enum CodingKeys: String, CodingKey {
        case format, kind, name, dimensions, nesting, metric, base, steps, training
        case smallestDimensions = "smallest_dimensions"
        case preNormalisation = "pre_normalisation"
    }

    /// Makes the configuration of an adapter's model.
    public init(name: String, nesting: [Int], base: Base?, adapter: VectorAdapter, training: TrainingRecord?) {
        format = ModelConfiguration.formatTag
        kind = Self.kind
        self.name = name
        dimensions = adapter.outputs
        smallestDimensions = nesting.first ?? adapter.outputs
        self.nesting = nesting
        metric = ModelConfiguration.metrics[0]
        preNormalisation = ModelConfiguration.preNormalisations[0]
        self.base = base
        steps = adapter.steps.flatMap { step -> [Step] in
            switch step {
            case .normalise: [Step(kind: .normalise)]
            case .dense(let adapter):
                adapter.layers.map { Step(kind: .dense, activation: $0.activation, residual: $0.isResidual) }
            }
        }
        self.training = training
    }

    func check(path: String) throws(ModelError) {
        guard format == ModelConfiguration.formatTag else {
            throw .unsupported(
                path: path,
                reason: "format is \"\(format)\", this build reads \"\(ModelConfiguration.formatTag)\""
            )
        }
        try ModelConfiguration.check(path: path, dimensions, smallestDimensions, nesting, metric, preNormalisation)
    }
}

/// An adapter on disk, and what it says of itself.
public struct AdapterDirectory: Sendable {
    /// Id of the model.
    public let id: String
    /// `config.json`.
    public let configuration: AdapterConfiguration
    /// What it does to vectors.
    public let adapter: VectorAdapter

    /// Reads an adapter alone, without the encoder under it.
    ///
    /// - Throws: ``ModelError``.
    public init(_ directory: String) throws(ModelError) {
        var files = try ModelFiles(directory: directory)
        try self.init(&files)
    }

    init(_ files: inout ModelFiles) throws(ModelError) {
        let names = ModelDirectory.adapterFileNames
        let hint = "an adapter's directory holds " + names.joined(separator: ", ")
        let path = files.path(names[0])
        configuration = try decodeJSON([UInt8](try files.contents(names[0], hint: hint)), path: path)
        try configuration.check(path: path)
        let tensorsPath = files.path(names[1])
        let tensors = try Safetensors(try files.contents(names[1], hint: hint), path: tensorsPath)
        var steps: [VectorAdapter.Step] = []
        var count = 0
        for step in configuration.steps {
            guard step.kind == .dense else {
                steps.append(.normalise)
                continue
            }
            let layer = try FeatureAdapter.Layer(
                tensors,
                "adapter.\(count)",
                step.activation ?? .none,
                isResidual: step.residual ?? false,
                path: tensorsPath
            )
            guard let dense = FeatureAdapter(layers: [layer]) else { preconditionFailure("one layer is an adapter") }
            steps.append(.dense(dense))
            count += 1
        }
        guard let adapter = VectorAdapter(steps: steps), adapter.outputs == configuration.dimensions,
            configuration.base.map({ $0.dimensions == adapter.inputs }) ?? true
        else {
            throw .malformed(
                path: tensorsPath,
                reason: "its layers do not lead from the base's \(configuration.base?.dimensions ?? 0) dimensions to "
                    + "\(configuration.dimensions)"
            )
        }
        self.adapter = adapter
        id = files.identity
    }

    /// Loads the encoder under it too.
    func encoder(directory: String, precision: LinearPrecision) throws(ModelError) -> AdaptedEncoder {
        let path = directory + "/" + AdapterConfiguration.baseFolder
        guard let base = configuration.base else {
            throw .unsupported(
                path: directory,
                reason: "it adapts vectors that were made elsewhere, and has no encoder for texts"
            )
        }
        guard FileManager.default.fileExists(atPath: path) else {
            throw .missing(path: path, hint: "it holds, or is a link to, the model \(base.name), \(base.id)")
        }
        let encoder = try loadEncoder(directory: path, precision: precision)
        guard encoder.model.id == base.id else {
            throw .unsupported(
                path: path,
                reason: "it is the model \(encoder.model.id), the adapter was trained on \(base.name), \(base.id)"
            )
        }
        return AdaptedEncoder(
            model: ModelDescription(
                id: id,
                name: configuration.name,
                dimensions: configuration.dimensions,
                smallestDimensions: configuration.smallestDimensions,
                nesting: configuration.nesting
            ),
            base: encoder,
            adapter: adapter
        )
    }
}
