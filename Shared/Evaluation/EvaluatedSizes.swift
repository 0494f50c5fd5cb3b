/// Sizes that a model is measured at: those that it was trained at, and sizes between them.
public struct EvaluatedSizes: Sendable, Hashable {
    /// Ascending, the last one the full size: those trained at, or doubling ones of a model without nesting, or the
    /// ones asked for.
    public let main: [Int]
    /// The main ones and those between, ascending.
    public let all: [Int]
    /// Sizes that the model was trained at.
    public let trained: Set<Int>

    /// The sizes of a nesting, and one midway between each two of them.
    ///
    /// - Parameters:
    ///   - nesting: Sizes trained at, ascending; a model that has its full size alone is measured at doubling ones.
    ///   - dimensions: The full size.
    ///   - smallest: Nothing below it is measured.
    public init(nesting: [Int], dimensions: Int, smallest: Int = 8) {
        var main = nesting.filter { $0 < dimensions && $0 >= smallest }
        if main.isEmpty {
            var size = max(1, min(smallest, dimensions))
            while size < dimensions {
                main.append(size)
                size *= 2
            }
        }
        main.append(dimensions)
        let between = zip(main, main.dropFirst()).filter { $1 - $0 > 1 }.map { ($0 + $1) / 2 }
        self.main = main
        all = (main + between).sorted()
        trained = Set(nesting)
    }

    /// The sizes that somebody asks for; the full size is added where it is missing.
    ///
    /// - Parameters:
    ///   - chosen: Each of 1 to `dimensions`.
    ///   - nesting: Sizes trained at.
    ///   - dimensions: The full size.
    public init(chosen: [Int], nesting: [Int], dimensions: Int) {
        precondition(chosen.allSatisfy { (1...dimensions).contains($0) }, "sizes of 1 to \(dimensions)")
        main = Set(chosen + [dimensions]).sorted()
        all = main
        trained = Set(nesting)
    }

    /// The full size.
    public var dimensions: Int { main[main.count - 1] }
}
