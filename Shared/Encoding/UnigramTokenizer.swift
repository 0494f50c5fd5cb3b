/// Cuts texts into the pieces of a ``UnigramModel``, after what a `tokenizer.json` does to them first.
struct UnigramTokenizer: Tokenizer {
    let idCount: Int
    private let model: UnigramModel
    private let normaliser: TextNormaliser
    private let splitter: TextSplitter
    private let written: AddedTokenFinder
    private let normalised: AddedTokenFinder

    init(model: UnigramModel, normaliser: TextNormaliser, splitter: TextSplitter, added: [AddedToken]) {
        self.model = model
        self.normaliser = normaliser
        self.splitter = splitter
        written = AddedTokenFinder(added.filter { !$0.isNormalised })
        normalised = AddedTokenFinder(added.filter(\.isNormalised)) { normaliser.apply($0).text }
        idCount = max(model.count, (added.map { Int($0.id) + 1 }).max() ?? 0)
    }

    func tokenize(_ text: String, limit: Int) -> [Int32] {
        var ids: [Int32] = []
        let bytes = Array(text.utf8)
        for part in written.parts(of: bytes) {
            switch part {
            case .token(let id): ids.append(id)
            case .text(let range):
                let (text, keepsStart) = normaliser.apply(String(decoding: bytes[range], as: UTF8.self))
                append(text, startsText: keepsStart && range.lowerBound == 0, limit: limit, to: &ids)
            }
            if ids.count >= limit { break }
        }
        return Array(ids.prefix(limit))
    }

    private func append(_ text: String, startsText: Bool, limit: Int, to ids: inout [Int32]) {
        let bytes = Array(text.utf8)
        for part in normalised.parts(of: bytes) {
            switch part {
            case .token(let id): ids.append(id)
            case .text(let range):
                let text = String(decoding: bytes[range], as: UTF8.self)
                for stretch in splitter.split(text, startsText: startsText && range.lowerBound == 0) {
                    model.append(stretch.bytes.span, to: &ids)
                    if ids.count >= limit { return }
                }
            }
        }
    }
}
