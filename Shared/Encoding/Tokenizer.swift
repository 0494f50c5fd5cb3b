/// Cuts texts into ids, which are rows of a model's token table.
public protocol Tokenizer: Sendable {
    /// All ids are below it.
    var idCount: Int { get }

    /// The first `limit` ids of a text, without those that a model puts around it.
    func tokenize(_ text: String, limit: Int) -> [Int32]
}

extension Tokenizer {
    /// All ids of a text, without those that a model puts around it.
    public func tokenize(_ text: String) -> [Int32] { tokenize(text, limit: .max) }
}
