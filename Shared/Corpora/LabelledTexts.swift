public import FoundationEssentials

/// Texts, and the label of each.
public struct LabelledTexts: Sendable, Hashable {
    /// In the order of the file.
    public var texts: [String] = []
    /// As many.
    public var labels: [String] = []

    /// Starts with none.
    public init() {}

    /// Number of texts.
    public var count: Int { texts.count }

    /// Adds a text.
    public mutating func append(_ text: String, label: String) {
        texts.append(text)
        labels.append(label)
    }

    /// Sets some apart: of the texts of each label the share that their hashes choose, in the file's order.
    ///
    /// - Parameter share: 0 to below 1.
    /// - Returns: Places of those that stay, and of those set apart.
    public func split(share: Double) -> (training: [Int], validation: [Int]) {
        var (training, validation): ([Int], [Int]) = ([], [])
        for place in texts.indices {
            let name = texts[place].isEmpty ? "\(place)" : texts[place]
            if Holdout.contains(name, share: share) { validation.append(place) } else { training.append(place) }
        }
        return (training, validation)
    }

    /// Those at some places.
    public func selecting(_ places: [Int]) -> LabelledTexts {
        var selected = LabelledTexts()
        for place in places { selected.append(texts[place], label: labels[place]) }
        return selected
    }
}

/// A file of labelled texts, and its parts where it says which are for what.
///
/// `.jsonl`: `{"text", "label"}` a line. `.tsv`: label and text a line. `.json`: an object with lists of
/// `[text, label]` under `train`, `val` and `test`, as CLINC150 is published, or one list of `{"text", "label"}`.
/// `.txt`: one label a line, for examples that are vectors.
public struct LabelledFile: Sendable {
    /// Everything that is not for validation or test.
    public var training = LabelledTexts()
    /// Nil where the file has no such part.
    public var validation: LabelledTexts?
    /// Nil where the file has no such part.
    public var test: LabelledTexts?
    /// Parts of the file that are not read, such as texts that belong to no label.
    public private(set) var ignoredParts: [String] = []

    /// Endings of files that are read.
    public static let endings = ["jsonl", "tsv", "json", "txt"]

    /// A label may be a number.
    private struct Label: Decodable {
        var text: String
        init(from decoder: any Decoder) throws {
            let value = try decoder.singleValueContainer()
            if let number = try? value.decode(Int.self) {
                text = String(number)
            } else {
                text = try value.decode(String.self)
            }
        }
    }

    private struct Item: Decodable {
        var text: String
        var label: String
        enum CodingKeys: CodingKey { case text, label, intent }
        init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: CodingKeys.self)
            text = try container.decode(String.self, forKey: .text)
            let key = container.contains(.label) ? CodingKeys.label : .intent
            label = try container.decode(Label.self, forKey: key).text
        }
    }

    /// Reads a file's bytes.
    ///
    /// - Parameters:
    ///   - data: The bytes.
    ///   - path: Its ending says what it is; for messages too.
    ///   - isTextFirst: Whether a `.tsv` file's first column is the text.
    /// - Throws: ``TextFileError``.
    public init(_ data: Data, path: String, isTextFirst: Bool = false) throws(TextFileError) {
        let ending = path.split(separator: ".").last.map { $0.lowercased() } ?? ""
        switch ending {
        case "jsonl", "ndjson": try readLines(data, path, Self.item)
        case "tsv":
            try readLines(data, path) { line in Self.columns(line, isTextFirst: isTextFirst) }
            // A label that nothing else has is most likely a text.
            if Set(training.labels).count * 2 > training.count, training.count > 20 {
                throw .malformed(
                    path: path,
                    line: nil,
                    problem: "it has \(Set(training.labels).count) labels for \(training.count) texts; which column "
                        + "is the label is said with --columns"
                )
            }
        case "txt": try readLines(data, path) { ("", $0) }
        case "json": try readObject(data, path)
        default:
            throw .malformed(
                path: path,
                line: nil,
                problem: "its ending is none of \(Self.endings.joined(separator: ", "))"
            )
        }
        guard training.count > 0 else { throw .malformed(path: path, line: nil, problem: "it has no labelled text") }
    }

    private static func item(_ line: String) -> (text: String, label: String)? {
        (try? JSONDecoder().decode(Item.self, from: Data(line.utf8))).map { ($0.text, $0.label) }
    }

    private static func columns(_ line: String, isTextFirst: Bool) -> (text: String, label: String)? {
        let columns = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
        guard columns.count == 2 else { return nil }
        return isTextFirst ? (columns[0], columns[1]) : (columns[1], columns[0])
    }

    private mutating func readLines(
        _ data: Data,
        _ path: String,
        _ read: (String) -> (text: String, label: String)?
    ) throws(TextFileError) {
        var number = 0
        for line in data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            number += 1
            let bytes = line.last == 13 ? line.dropLast() : line
            if bytes.isEmpty { continue }
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw .malformed(path: path, line: number, problem: "it is not UTF-8")
            }
            guard let (text, label) = read(text), !label.isEmpty else {
                throw .malformed(
                    path: path,
                    line: number,
                    problem: path.lowercased().hasSuffix("tsv")
                        ? "it is not a label and a text with one tab between them"
                        : "it is not a JSON object with a \"text\" and a \"label\""
                )
            }
            training.append(text, label: label)
        }
    }

    private mutating func readObject(_ data: Data, _ path: String) throws(TextFileError) {
        let decoder = JSONDecoder()
        if let items = try? decoder.decode([Item].self, from: data) {
            for item in items { training.append(item.text, label: item.label) }
            return
        }
        guard let parts = try? decoder.decode([String: [[String]]].self, from: data),
            parts.values.joined().allSatisfy({ $0.count == 2 })
        else {
            throw .malformed(
                path: path,
                line: nil,
                problem: "it is neither a list of objects with \"text\" and \"label\" nor an object with lists of "
                    + "[text, label] under \"train\", \"val\" and \"test\""
            )
        }
        func part(_ names: [String]) -> LabelledTexts? {
            guard let items = names.compactMap({ parts[$0] }).first, !items.isEmpty else { return nil }
            var part = LabelledTexts()
            for item in items { part.append(item[0], label: item[1]) }
            return part
        }
        let names = [["train"], ["val", "validation", "dev"], ["test"]]
        training = part(names[0]) ?? LabelledTexts()
        validation = part(names[1])
        test = part(names[2])
        ignoredParts = parts.keys.filter { !names.joined().contains($0) }.sorted()
    }
}
