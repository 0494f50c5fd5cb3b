import Corpora
import FoundationEssentials
import Learning
import VectorMath

/// CLINC150: short requests, each with one of 150 intents, which belong to 10 domains.
struct IntentTexts {
    /// Texts with the numbers of their intents.
    struct Part {
        var texts: [String]
        var classes: [Int32]
    }

    let training: Part
    let validation: Part
    let test: Part
    /// Sorted.
    let labels: [String]
    /// The domain of each intent; nil for one that is in none.
    let domains: [Int?]

    /// Reads the files: label and text a line, and a JSON object with the intents of each domain.
    ///
    /// - Throws: ``StudyError``, or what a labelled file says.
    init(
        training: (path: String, bytes: Data),
        validation: (path: String, bytes: Data),
        test: (path: String, bytes: Data),
        domains: (path: String, bytes: Data)
    ) throws {
        func read(_ file: (path: String, bytes: Data)) throws -> LabelledTexts {
            try LabelledFile(file.bytes, path: file.path).training
        }
        let first = try read(training)
        let names = Set(first.labels).sorted()
        let numbers = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($1, Int32($0)) })
        func part(_ texts: LabelledTexts, _ path: String) throws -> Part {
            let classes = try texts.labels.map { label in
                guard let number = numbers[label] else {
                    throw StudyError.malformed(path: path, problem: "no training text has the label \(label)")
                }
                return number
            }
            return Part(texts: texts.texts, classes: classes)
        }
        self.training = try part(first, training.path)
        self.validation = try part(read(validation), validation.path)
        self.test = try part(read(test), test.path)
        labels = names
        guard let groups = try DataFolder.groups(of: domains.bytes, path: domains.path) else {
            throw StudyError.malformed(path: domains.path, problem: "it has no \"domains\" with lists of intents")
        }
        let order = Dictionary(uniqueKeysWithValues: Set(groups.values).sorted().enumerated().map { ($1, $0) })
        self.domains = names.map { name in groups[name].flatMap { order[$0] } }
    }
}

/// The texts' vectors, of a frozen encoder.
struct IntentVectors {
    let training: Labelled<Matrix>
    let validation: Labelled<Matrix>
    let test: Labelled<Matrix>
}
