public import VectorMath

/// Where a study finds its data; what is nil is left out, and the claims that need it are skipped.
public struct StudySources {
    /// Turns texts into vectors with a frozen transformer.
    public struct Encoder {
        /// Which model it is.
        public var id: String
        /// A row for each text; takes the texts, their role (`query` or `document`), and a name for a line of progress.
        public var encode: (_ texts: [String], _ role: String, _ label: String) throws -> Matrix

        /// Makes one.
        public init(
            id: String,
            encode: @escaping (_ texts: [String], _ role: String, _ label: String) throws -> Matrix
        ) {
            self.id = id
            self.encode = encode
        }
    }

    /// Debian's descriptions as a corpus, JSON lines.
    public var debian: String?
    /// Folder with WordNet's `data.*` files.
    public var wordNet: String?
    /// Folder with `train.tsv`, `val.tsv`, `test.tsv` (label and text) and `meta.json` (`domains`).
    public var clinc150: String?
    /// Folder with `docs.jsonl`, `queries.jsonl` and `qrels.tsv` (query, document, grade).
    public var cranfield: String?
    /// The frozen transformer.
    public var encoder: Encoder?
    /// Why something is nil, for the report.
    public var absences: [StudyData: String] = [:]

    /// Starts with nothing.
    public init() {}
}
