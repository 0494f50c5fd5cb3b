import Foundation
public import Matryoshka

/// A classifier over an encoder's vectors that asks its smallest head first, and a larger one where that is not sure.
public struct CascadeClassifier: Sendable {
    /// What it says of one vector.
    public struct Answer: Sendable, Hashable {
        /// Nil for a vector of zeros: the text has no token that the model knows.
        public var label: String?
        /// Probability of the label at ``size``; 0 without one.
        public var confidence: Float
        /// The size that decided.
        public var size: Int
    }

    /// SHA-256 over the classifier's files.
    public let id: String
    /// Which sizes are asked, and when one decides.
    public let cascade: ConfidenceCascade
    private let classifier: FeatureClassifier

    /// Makes one; nil where a size of the cascade has no head.
    public init?(_ classifier: FeatureClassifier, cascade: ConfidenceCascade, id: String) {
        guard cascade.sizes.allSatisfy(classifier.heads.canPredict) else { return nil }
        self.classifier = classifier
        self.cascade = cascade
        self.id = id
    }

    /// Loads a classifier directory; without a file `cascade.json` the full size decides everything.
    ///
    /// - Throws: ``ModelError``, also where the classifier takes the vectors of another model.
    public init(directory: String, for model: ModelDescription) throws(ModelError) {
        let classifier = try ClassifierDirectory.load(directory)
        if let encoder = classifier.encoder, encoder != model.id {
            throw .unsupported(
                path: directory,
                reason: "it was trained on vectors of the model \(encoder), this is \(model.name), \(model.id)"
            )
        }
        guard classifier.inputs == model.dimensions else {
            throw .unsupported(
                path: directory,
                reason: "it takes \(classifier.inputs) dimensions, the model \(model.name) makes \(model.dimensions)"
            )
        }
        let cascade = try CascadeFile.load(directory)
        guard
            let made = Self(
                classifier,
                cascade: cascade ?? ConfidenceCascade(sizes: [classifier.heads.dimensions], thresholds: [])!,
                id: Self.identity(directory)
            )
        else {
            throw .malformed(
                path: directory + "/" + CascadeFile.name,
                reason: "there are heads for \(classifier.heads.nesting), not for all of \(cascade?.sizes ?? [])"
            )
        }
        self = made
    }

    /// How many labels it tells apart.
    public var labelCount: Int { classifier.heads.labels.count }

    /// Labels of vectors.
    ///
    /// - Parameters:
    ///   - vectors: Row-major, of the model's full size.
    ///   - threshold: One for all sizes, 0 to 1; nil: the cascade's own.
    /// - Returns: One for each row.
    public func labels(of vectors: [Float], threshold: Float? = nil) -> [Answer] {
        let width = classifier.inputs
        let dimensions = classifier.heads.dimensions
        let cascade = threshold.flatMap { self.cascade.with(threshold: $0) } ?? self.cascade
        let rows = vectors.count / width
        var answers = [Answer](repeating: Answer(label: nil, confidence: 0, size: cascade.sizes[0]), count: rows)
        var open = (0..<rows).filter { row in vectors[row * width..<(row + 1) * width].contains { $0 != 0 } }
        var features = classifier.features(of: open.flatMap { vectors[$0 * width..<($0 + 1) * width] })
        for (place, size) in cascade.sizes.enumerated() where !open.isEmpty {
            let found = classifier.heads.predictions(of: features, size: size)
            var unsure: [Int] = []
            for (index, answer) in found.enumerated() {
                if place < cascade.thresholds.count, answer.confidence <= cascade.thresholds[place] {
                    unsure.append(index)
                } else {
                    answers[open[index]] = Answer(
                        label: classifier.heads.labels[answer.label],
                        confidence: answer.confidence,
                        size: size
                    )
                }
            }
            features = unsure.flatMap { features[$0 * dimensions..<($0 + 1) * dimensions] }
            open = unsure.map { open[$0] }
        }
        return answers
    }

    private static func identity(_ directory: String) -> String {
        let names = [ClassifierDirectory.configurationName, ClassifierDirectory.tensorsName, CascadeFile.name]
        let lines = names.map { name in
            let bytes = FileManager.default.contents(atPath: directory + "/" + name).map { [UInt8]($0) } ?? []
            return "\(name) \(bytes.count) \(SHA256.hexadecimal(bytes))\n"
        }
        return SHA256.hexadecimal(Array(lines.joined().utf8))
    }
}

/// The thresholds that a classifier learnt, beside it in its directory: `cascade.json`.
public enum CascadeFile {
    static let name = "cascade.json"
    private static let formatTag = "matryoshka-cascade-1"

    private struct Content: Codable {
        var format: String
        var sizes: [Int]
        var thresholds: [Float]
    }

    /// Writes a cascade into a classifier's directory; an older one is replaced.
    ///
    /// - Throws: What the file system says.
    public static func write(_ cascade: ConfidenceCascade, to directory: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try encoder.encode(Content(format: formatTag, sizes: cascade.sizes, thresholds: cascade.thresholds))
            .write(to: URL(fileURLWithPath: directory).appendingPathComponent(name), options: .atomic)
    }

    /// Reads it; nil where there is none.
    ///
    /// - Throws: ``ModelError``.
    public static func load(_ directory: String) throws(ModelError) -> ConfidenceCascade? {
        let path = directory + "/" + name
        guard let data = FileManager.default.contents(atPath: path) else { return nil }
        let content: Content = try decodeJSON([UInt8](data), path: path)
        guard content.format == formatTag else {
            throw .unsupported(path: path, reason: "format is \"\(content.format)\", this build reads \"\(formatTag)\"")
        }
        guard let cascade = ConfidenceCascade(sizes: content.sizes, thresholds: content.thresholds) else {
            throw .malformed(
                path: path,
                reason: "sizes must ascend, with a threshold from 0 to 1 for each but the last"
            )
        }
        return cascade
    }
}
