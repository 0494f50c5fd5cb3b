import Corpora
import Encoding
import Learning
import ServiceRuntime
import VectorMath

/// Vectors of the parts of labelled data.
struct LabelledVectors {
    var training: Labelled<Matrix>
    var validation: Labelled<Matrix>?
    var test: Labelled<Matrix>?

    /// Encodes the texts as those of requests are.
    ///
    /// - Throws: ``StartupFailure`` where nothing is left to train on.
    init(_ data: LabelledParts, encodedBy frozen: FrozenVectors) throws {
        func made(_ part: LabelledTexts, _ label: String) throws -> Labelled<Matrix>? {
            guard part.count > 0 else { return nil }
            let matrix = try frozen.encode(part.texts, role: "query", label: label)
            return Self.known(matrix, data.classes(part), label)
        }
        guard let training = try made(data.training, "encoding training texts") else {
            throw StartupFailure("there is no training text with a token that the model knows")
        }
        self.training = training
        validation = try made(data.validation, "encoding validation texts")
        test = try made(data.test, "encoding test texts")
    }

    /// Reads vectors that were made elsewhere.
    ///
    /// - Parameters:
    ///   - data: Whose labels they have.
    ///   - path: Vectors of the first file.
    ///   - validationPath: Vectors of a validation file.
    ///   - testPath: Vectors of the test part.
    ///   - model: What they are to come from; nil where nobody says.
    /// - Throws: ``StartupFailure`` where they do not fit.
    init(
        _ data: LabelledParts,
        vectors path: String,
        validation validationPath: String? = nil,
        test testPath: String? = nil,
        model: ModelDescription? = nil
    ) throws {
        func matrix(_ path: String, _ count: Int) throws -> Matrix {
            let matrix = try FrozenVectors.read(path)
            guard matrix.rows == count else {
                throw StartupFailure("\(path) has \(grouped(matrix.rows)) vectors for \(grouped(count)) labels")
            }
            if let model, model.dimensions != matrix.columns {
                throw StartupFailure(
                    "\(path) has \(matrix.columns) dimensions, the model \(model.name) makes \(model.dimensions)"
                )
            }
            return matrix
        }
        let all = try matrix(path, data.trainingPlaces.count + data.validationPlaces.count)
        var held = data.validationPlaces.isEmpty ? nil : all.selecting(data.validationPlaces)
        if let validationPath { held = try matrix(validationPath, data.validation.count) }
        let tested = try testPath.map { try matrix($0, data.test.count) }
        for part in [held, tested].compactMap({ $0 }) where part.columns != all.columns {
            throw StartupFailure("the vectors of the parts have \(all.columns) and \(part.columns) dimensions")
        }
        guard let training = Self.known(all.selecting(data.trainingPlaces), data.classes(data.training), path) else {
            throw StartupFailure("\(path): all vectors are zero")
        }
        self.training = training
        validation = held.flatMap { Self.known($0, data.classes(data.validation), "validation vectors") }
        test = tested.flatMap { Self.known($0, data.classes(data.test), "test vectors") }
    }

    /// Leaves out vectors of zeros: a text without a known token gets no label.
    static func known(_ matrix: Matrix, _ classes: [Int32], _ part: String) -> Labelled<Matrix>? {
        let kept = (0..<matrix.rows).filter { row in
            matrix.values[row * matrix.columns..<(row + 1) * matrix.columns].contains { $0 != 0 }
        }
        if kept.count < matrix.rows {
            Output.note("\(part): \(grouped(matrix.rows - kept.count)) have no known token and are left out")
        }
        return kept.isEmpty ? nil : Labelled(matrix.selecting(kept), labels: kept.map { classes[$0] })
    }
}
