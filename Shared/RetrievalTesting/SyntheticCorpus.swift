/// Vectors made from a seed: clustered, so that ranks mean something, with exact duplicates, so that scores tie.
public struct SyntheticCorpus: Sendable {
    /// Floats of each vector.
    public let dimensions: Int
    /// External ids, `doc-0`, `doc-1`, ….
    public let ids: [String]
    /// Row-major.
    public let vectors: [Float]

    /// Makes `rows` vectors; about every eighth repeats an earlier one.
    public init(rows: Int, dimensions: Int, seed: UInt64) {
        self.dimensions = dimensions
        ids = (0..<rows).map { "doc-\($0)" }
        var random = SeededGenerator(seed: seed)
        let centres = (0..<24).map { _ in (0..<dimensions).map { _ in random.centred() } }
        var values: [Float] = []
        values.reserveCapacity(rows * dimensions)
        for row in 0..<rows {
            if row > 0, random.next() % 8 == 0 {
                let earlier = Int(random.next() % UInt64(row))
                for place in earlier * dimensions..<(earlier + 1) * dimensions { values.append(values[place]) }
                continue
            }
            let centre = centres[Int(random.next() % 24)]
            for place in 0..<dimensions {
                // Later dimensions carry less, as they do in a Matryoshka embedding.
                let weight = 1 / (1 + Float(place) / 16)
                values.append((centre[place] + 1.2 * random.centred()) * weight)
            }
        }
        vectors = values
    }

    /// Documents.
    public var count: Int { ids.count }

    /// The vector of one document.
    public subscript(row: Int) -> [Float] { [Float](vectors[row * dimensions..<(row + 1) * dimensions]) }

    /// `count` queries near documents of the corpus; every fourth equals a document.
    public func queries(_ count: Int, seed: UInt64) -> [[Float]] {
        var random = SeededGenerator(seed: seed)
        return (0..<count).map { number in
            let row = self[Int(random.next() % UInt64(self.count))]
            return number % 4 == 3 ? row : row.map { $0 + 0.3 * random.centred() }
        }
    }
}

extension SeededGenerator {
    /// A float in −1 ..< 1.
    public mutating func centred() -> Float { Float(next() >> 40) / Float(1 << 23) - 1 }
}
