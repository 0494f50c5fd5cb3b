/// apt's package lists, read into a corpus.
///
/// `Packages` gives name, source, section and the short text; `Translation-en` gives the long one, found by
/// `Description-md5`. Several suites and architectures may be added; the first package of a name wins.
public struct DebianLists: Sendable {
    private struct Package {
        var name: String
        var source: String
        var section: String
        var short: String
        var digest: String
    }

    private var packages: [Package] = []
    private var names: Set<String> = []
    private var texts: [String: (short: String, long: String)] = [:]

    /// Starts with nothing.
    public init() {}

    /// Packages so far.
    public var packageCount: Int { packages.count }
    /// Descriptions so far.
    public var descriptionCount: Int { texts.count }

    /// Adds a `Packages` list.
    public mutating func addPackages(_ bytes: [UInt8]) {
        Self.forEachStanza(bytes) { stanza in
            guard let name = stanza["Package"].map(Self.text), !name.isEmpty, names.insert(name).inserted else {
                return
            }
            // `Source: name (version)` where the versions differ.
            let source = stanza["Source"].map { Self.text($0.prefix { $0 != UInt8(ascii: " ") }) }
            packages.append(
                Package(
                    name: name,
                    source: source ?? name,
                    section: stanza["Section"].map(Self.text) ?? "",
                    short: stanza["Description"].map { Self.description($0).short } ?? "",
                    digest: stanza["Description-md5"].map(Self.text) ?? ""
                )
            )
        }
    }

    /// Adds a `Translation-en` list.
    public mutating func addTranslations(_ bytes: [UInt8]) {
        Self.forEachStanza(bytes) { stanza in
            guard let digest = stanza["Description-md5"].map(Self.text), let value = stanza["Description-en"],
                texts[digest] == nil
            else { return }
            texts[digest] = Self.description(value)
        }
    }

    /// The packages that have a long text, sorted by name.
    public func corpus() -> Corpus {
        let documents = packages.compactMap { package -> CorpusDocument? in
            guard let text = texts[package.digest], !text.long.isEmpty else { return nil }
            return CorpusDocument(
                name: package.name,
                source: package.source,
                section: package.section,
                short: package.short.isEmpty ? text.short : package.short,
                long: text.long
            )
        }
        return Corpus(documents: documents.sorted { $0.name < $1.name })
    }

    private static func text(_ bytes: ArraySlice<UInt8>) -> String { String(decoding: bytes, as: UTF8.self) }

    /// The first line is the short text; the others lose their leading space, and ` .`, a blank line, goes.
    private static func description(_ value: ArraySlice<UInt8>) -> (short: String, long: String) {
        let lines = value.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let rest = lines.dropFirst().map { $0.drop { $0 == UInt8(ascii: " ") } }
            .filter { !$0.isEmpty && !$0.elementsEqual(".".utf8) }
        return (text(lines.first ?? []), text(ArraySlice(rest.joined(separator: [UInt8(ascii: "\n")]))))
    }

    /// Calls back with the fields of each stanza that we read; continuation lines stay in their value.
    private static func forEachStanza(_ bytes: [UInt8], _ body: ([String: ArraySlice<UInt8>]) -> Void) {
        let wanted = ["Package", "Source", "Section", "Description", "Description-md5", "Description-en"]
            .map { (name: $0, bytes: Array($0.utf8)) }
        let (newline, colon) = (UInt8(ascii: "\n"), UInt8(ascii: ":"))
        var fields: [String: ArraySlice<UInt8>] = [:]
        var at = 0
        bytes.withUnsafeBufferPointer { raw in
            func lineEnd(_ from: Int) -> Int {
                var end = from
                while end < raw.count, raw[end] != newline { end += 1 }
                return end
            }
            while at < raw.count {
                var end = lineEnd(at)
                if end == at {
                    if !fields.isEmpty { body(fields) }
                    fields.removeAll(keepingCapacity: true)
                    at = end + 1
                    continue
                }
                let start = at
                // The value goes on over lines that begin with a space or a tab.
                while end + 1 < raw.count, raw[end + 1] == 32 || raw[end + 1] == 9 { end = lineEnd(end + 1) }
                at = end + 1
                for field in wanted where raw[start] == field.bytes[0] {
                    let valueStart = start + field.bytes.count
                    guard valueStart < end, raw[valueStart] == colon,
                        field.bytes.indices.allSatisfy({ raw[start + $0] == field.bytes[$0] })
                    else { continue }
                    fields[field.name] = bytes[(valueStart + 1)..<end].drop { $0 == 32 }
                    break
                }
            }
        }
        if !fields.isEmpty { body(fields) }
    }
}
