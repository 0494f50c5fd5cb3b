/// One document of a corpus: what a package is called, where it belongs, and what it says of itself.
public struct CorpusDocument: Sendable, Hashable, Codable {
    /// Unique in the corpus; the external id of the document.
    public var name: String
    /// What it was made from; documents of one source are kept on one side of the split.
    public var source: String
    /// A coarse label.
    public var section: String
    /// One line.
    public var short: String
    /// Everything else, lines apart by `\n`; empty where there is none.
    public var long: String

    /// Makes a document.
    public init(name: String, source: String, section: String, short: String, long: String) {
        self.name = name
        self.source = source
        self.section = section
        self.short = short
        self.long = long
    }
}

/// Which part of a corpus a document belongs to: 85 % train, 5 % validation, 10 % test, whole sources at a time.
public enum CorpusPart: String, Sendable, Hashable, CaseIterable {
    case train
    case validation
    case test

    /// The part of a source.
    ///
    /// It depends on the name alone, so a corpus may grow without moving what it held.
    public init(source: String) {
        switch stableHash(source) % 100 {
        case ..<85: self = .train
        case ..<90: self = .validation
        default: self = .test
        }
    }
}

/// A hash that is the same in every process and on every machine (FNV-1a, then mixed).
func stableHash(_ text: String) -> UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
    hash = (hash ^ hash >> 33) &* 0xFF51_AFD7_ED55_8CCD
    hash = (hash ^ hash >> 33) &* 0xC4CE_B9FE_1A85_EC53
    return hash ^ hash >> 33
}
