import Encoding
import Evaluation
import Learning
import Matryoshka
import VectorMath

/// A nested model of 512 dimensions on Debian: every choice of short list, funnels, and coarser numbers.
struct AdaptiveRetrieval: Experiment {
    static let dimensions = 512
    static let sizes = [8, 16, 32, 64, 128, 256, 512]
    static let keeps = [25, 50, 100, 200, 400]
    /// Documents that the best ten of full search are compared with.
    static let best = 10

    private static let epochs = 6
    private var nesting: Nesting { .doubling(from: 8, to: Self.dimensions) }

    let name = "debian-mrl-512"
    let title = "Debian, one nested model of 512 dimensions"
    let needs: [StudyData] = [.debian]
    let isSeeded = true
    var recipe: String {
        StaticRecipe.text(nesting, epochs: Self.epochs) + ", grid \(Self.sizes) \(Self.keeps), funnels, int8, bit"
    }
    let cost = 110.0

    /// Every pair of a first and a last size, with every length of list between.
    static let grid: [[Stage]] = sizes.dropLast().flatMap { first in
        keeps.flatMap { keep in
            sizes.filter { $0 > first }.map {
                [Stage(dimensions: first, keep: keep), Stage(dimensions: $0, keep: best)]
            }
        }
    }

    /// The paper's: each step halves the list and doubles the size, and the last one takes all dimensions.
    static let paperFunnel = funnel([(16, 200), (32, 100), (64, 50), (128, 25), (256, 10), (512, 10)])
    /// From 32 dimensions, with longer lists.
    static let wideFunnel = funnel([(32, 400), (64, 200), (128, 100), (256, 50), (512, 10)])
    /// What the first funnel is compared with.
    static let paperPair = funnel([(16, 200), (512, 10)])
    /// The point that is claimed.
    static let claimed = funnel([(32, 400), (512, 10)])

    private static func funnel(_ stages: [(Int, Int)]) -> [Stage] {
        stages.map { Stage(dimensions: $0.0, keep: $0.1) }
    }

    /// As `(32,400)(512,10)`.
    static func text(_ plan: [Stage]) -> String { plan.map { "(\($0.dimensions),\($0.keep))" }.joined() }

    func measure(_ library: StudyLibrary, seed: Int, progress: @escaping (Double) -> Void) throws -> Figures {
        let data = try library.knownItems(.debian)
        var figures = Figures()
        let settings = StaticRecipe.settings(nesting, epochs: Self.epochs, seed: seed)
        let (trained, _) = try StaticRecipe.train(.matryoshka, settings, data) { progress(0.6 * $0) }
        let documents = trained.vectors(of: data.documents, size: Self.dimensions)
        let queries = trained.vectors(of: data.queries, size: Self.dimensions)
        figures["rows"] = Double(documents.rows)
        let search = KnownItemSearch(documents: documents, queries: queries, targets: data.targets)
        for size in Self.sizes { figures["mrr", size] = search.reciprocalRank(size) }
        measurePlans(documents, queries, data.targets, search.collection, &figures) { progress(0.65 + 0.25 * $0) }
        measureCodes(documents, queries, data.targets, &figures) { progress(0.9 + 0.1 * $0) }
        return figures
    }

    private func measurePlans(
        _ documents: Matrix,
        _ queries: Matrix,
        _ targets: [Int],
        _ collection: DenseCollection,
        _ figures: inout Figures,
        progress: (Double) -> Void
    ) {
        let truth = collection.nearest(queries: queries.values, size: Self.dimensions, keep: Self.best)
            .map { $0.map(\.item) }
        let plans = Self.grid + [Self.paperFunnel, Self.wideFunnel]
        for (number, first) in Self.sizes.dropLast().enumerated() {
            let lists = Shortlists(
                documents: documents.values,
                queries: queries.values,
                targets: targets,
                dimensions: Self.dimensions,
                first: first,
                keep: Self.keeps.max() ?? 1,
                sizes: Self.sizes.filter { $0 > first }
            )
            for plan in plans where plan[0].dimensions == first {
                let found = lists.found(plan)
                figures["mrr " + Self.text(plan)] = 100 * Metrics.meanReciprocalRank(found.map(\.rank), at: 10)
                guard plan.last?.dimensions == Self.dimensions else { continue }
                figures["recall " + Self.text(plan)] =
                    100 * Metrics.recall(found: found.map(\.rows), truth: truth, at: Self.best)
            }
            progress(Double(number + 1) / Double(Self.sizes.count - 1))
        }
    }

    /// Prefixes as int8 codes on both sides, and as signs of the documents under the query's floats.
    private func measureCodes(
        _ documents: Matrix,
        _ queries: Matrix,
        _ targets: [Int],
        _ figures: inout Figures,
        progress: (Double) -> Void
    ) {
        func codes(_ vectors: Matrix) -> Matrix {
            var codes: [Float] = []
            codes.reserveCapacity(vectors.values.count)
            for row in 0..<vectors.rows {
                let range = row * vectors.columns..<(row + 1) * vectors.columns
                codes += QuantisedVector(head: vectors.values.span.extracting(range)).codes.map { Float($0) }
            }
            return Matrix(values: codes, columns: vectors.columns)
        }
        for (number, size) in Self.sizes.enumerated() {
            let (short, asked) = (documents.prefixes(size), queries.prefixes(size))
            let int8 = KnownItemSearch(documents: codes(short), queries: codes(asked), targets: targets)
            figures["int8", size] = int8.reciprocalRank(size)
            let signs = Matrix(values: short.values.map { $0 < 0 ? -1 : 1 }, columns: size)
            let bits = KnownItemSearch(documents: signs, queries: asked, targets: targets)
            figures["bit", size] = bits.reciprocalRank(size)
            progress(Double(number + 1) / Double(Self.sizes.count))
        }
    }
}
