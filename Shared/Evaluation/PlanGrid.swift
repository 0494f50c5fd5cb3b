public import Matryoshka

/// Plans whose quality and cost are to be compared: single shots, adaptive retrieval by (Ds, K, Dr), and funnels.
public struct PlanGrid: Sendable, Hashable {
    /// What kind of plan it is.
    public enum Kind: String, Sendable, Hashable, CaseIterable, Codable {
        /// All rows by some dimensions, and no more.
        case singleShot = "single shot"
        /// K rows by Ds dimensions, of these the best by Dr.
        case adaptive
        /// Dimensions double and rows halve from stage to stage.
        case funnel
        /// All rows by all dimensions.
        case full = "full search"
    }

    /// A plan of the grid.
    public struct Entry: Sendable, Hashable {
        /// What kind of plan it is.
        public var kind: Kind
        /// Its stages; the last one keeps the hits.
        public var plan: Plan

        /// Makes an entry.
        public init(kind: Kind, plan: Plan) {
            self.kind = kind
            self.plan = plan
        }
    }

    /// Single shots by rising size, then the grid, then funnels, then the full search.
    public let entries: [Entry]

    /// Lays the grid out.
    ///
    /// - Parameters:
    ///   - sizes: Of the single shots, and Dr of the rest, ascending; the last one is the full size.
    ///   - first: Ds; those that are not below the full size are left out.
    ///   - keeps: K; those of fewer than `hits` rows, and those of all rows and more, are left out.
    ///   - hits: What the last stage keeps, 1 or more.
    ///   - rows: Of the collection.
    ///   - rerank: Dr; all sizes where nil.
    public init(sizes: [Int], first: [Int], keeps: [Int], hits: Int, rows: Int, rerank: [Int]? = nil) {
        precondition(!sizes.isEmpty && hits >= 1, "a full size, and a hit")
        let full = sizes[sizes.count - 1]
        func plan(_ stages: [(Int, Int)]) -> Plan {
            Plan(stages: stages.map { Stage(dimensions: $0.0, keep: $0.1) })
        }
        let first = Set(first).filter { $0 < full }.sorted()
        let keeps = Set(keeps).filter { $0 >= hits && $0 < rows }.sorted()
        let rerank = Set(rerank ?? sizes).filter { $0 <= full }.sorted()
        var entries = sizes.dropLast().map { Entry(kind: .singleShot, plan: plan([($0, hits)])) }
        for scanned in first {
            for keep in keeps {
                for scored in rerank where scored > scanned {
                    entries.append(Entry(kind: .adaptive, plan: plan([(scanned, keep), (scored, hits)])))
                }
            }
        }
        for scanned in first {
            for keep in keeps {
                let stages = Self.funnel(from: scanned, keep: keep, to: full, hits: hits)
                if stages.count > 2 { entries.append(Entry(kind: .funnel, plan: plan(stages))) }
            }
        }
        self.entries = entries + [Entry(kind: .full, plan: plan([(full, hits)]))]
    }

    /// Stages of which each has twice the dimensions and half the rows of the one before, the last one all dimensions.
    static func funnel(from size: Int, keep: Int, to full: Int, hits: Int) -> [(Int, Int)] {
        var stages = [(size, keep)]
        var (size, keep) = (size * 2, keep / 2)
        while size < full {
            stages.append((size, max(hits, keep)))
            (size, keep) = (size * 2, keep / 2)
        }
        return stages + [(full, hits)]
    }
}
