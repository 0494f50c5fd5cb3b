/// How shortlist workers find rows by their heads.
public struct CollectionIndex: Sendable, Hashable {
    /// Kind of index.
    public enum Kind: String, Sendable, Hashable, CaseIterable, Codable {
        /// Every row is scanned.
        case flat
        /// Inverted lists over prefixes (AdANNS: Rege et al. 2023, §4.1): the rows of the lists probed are scanned.
        case ivf
        /// A graph over the rows of each worker (Malkov and Yashunin 2016); its answers are approximate.
        case hnsw
    }

    /// Kind of index.
    public var kind: Kind
    /// ivf: number of lists, 1 to 65,536.
    ///
    /// 0: the trainer chooses by the number of rows.
    public var lists: Int
    /// ivf: dc, length of the prefix that chooses the lists; at most the stored head width.
    ///
    /// 0: min(64, H).
    public var coarseDimensions: Int
    /// hnsw: M, links of a row on the upper layers; twice as many on the lowest.
    public var links: Int
    /// hnsw: efConstruction, rows that an insertion keeps in view.
    public var constructionEffort: Int
    /// ivf: number of the centroids in the store; 0 until they are trained.
    public var centroids: UInt32

    /// Makes a description; the flat one by default.
    public init(
        kind: Kind = .flat,
        lists: Int = 0,
        coarseDimensions: Int = 0,
        links: Int = 16,
        constructionEffort: Int = 100,
        centroids: UInt32 = 0
    ) {
        self.kind = kind
        self.lists = lists
        self.coarseDimensions = coarseDimensions
        self.links = links
        self.constructionEffort = constructionEffort
        self.centroids = centroids
    }

    /// Every row is scanned.
    public static let flat = CollectionIndex()
    /// Most lists that an index may have.
    public static let listsMax = 65_536
    /// Most links that a row of a graph may have.
    public static let linksMax = 128
    /// Most rows that an insertion into a graph may keep in view.
    public static let constructionEffortMax = 2_000
    /// What the index learns from rows is there.
    public var isTrained: Bool { kind != .ivf || centroids != 0 }
}

/// How shortlist workers shall hold a collection; nil leaves a thing as it is, or to its default.
public struct ResidencyChange: Sendable, Hashable {
    /// H; default min(W, 64).
    public var width: Int?
    /// Default int8.
    public var precision: Precision?
    /// Hold sign bits for stages of precision bit; default false.
    public var holdsSigns: Bool?
    /// Default flat.
    public var index: CollectionIndex.Kind?
    /// See ``CollectionIndex/lists``.
    public var lists: Int?
    /// See ``CollectionIndex/coarseDimensions``.
    public var coarseDimensions: Int?
    /// See ``CollectionIndex/links``.
    public var links: Int?
    /// See ``CollectionIndex/constructionEffort``.
    public var constructionEffort: Int?
    /// Learn the index anew from the rows as they are now.
    public var retrains: Bool?

    /// Makes a change.
    public init(
        width: Int? = nil,
        precision: Precision? = nil,
        holdsSigns: Bool? = nil,
        index: CollectionIndex.Kind? = nil,
        lists: Int? = nil,
        coarseDimensions: Int? = nil,
        links: Int? = nil,
        constructionEffort: Int? = nil,
        retrains: Bool? = nil
    ) {
        self.retrains = retrains
        self.width = width
        self.precision = precision
        self.holdsSigns = holdsSigns
        self.index = index
        self.lists = lists
        self.coarseDimensions = coarseDimensions
        self.links = links
        self.constructionEffort = constructionEffort
    }

    /// What comes of it over `before`; what an index has learnt is kept where nothing about the index changes.
    public func applied(to before: CollectionShape) -> CollectionShape {
        var next = before
        next.residentWidth = width ?? before.residentWidth
        next.residentPrecision = precision ?? before.residentPrecision
        next.holdsSigns = holdsSigns ?? before.holdsSigns
        next.index.kind = index ?? before.index.kind
        next.index.lists = lists ?? before.index.lists
        next.index.coarseDimensions = coarseDimensions ?? before.index.coarseDimensions
        next.index.links = links ?? before.index.links
        next.index.constructionEffort = constructionEffort ?? before.index.constructionEffort
        if next.index != before.index || retrains == true { next.index.centroids = 0 }
        return next
    }
}

/// How hard one search looks through an index; each is passed over by indexes that have no use for it.
public struct SearchEffort: Sendable, Hashable {
    /// Most that a search may ask for, of either.
    public static let effortMax = 65_536

    /// ivf: lists that are scanned, 1 to 65,536; nil: one in 32.
    public var probes: Int?
    /// hnsw: efSearch, rows kept in view, 1 to 65,536, never less than the first stage's keep; nil: that keep.
    public var ef: Int?

    /// Makes an effort.
    public init(probes: Int? = nil, ef: Int? = nil) {
        self.probes = probes
        self.ef = ef
    }

    /// Lists to scan of so many.
    public func probes(of lists: Int) -> Int { min(lists, probes ?? max(1, lists / 32)) }
}

/// An orthogonal change of basis that a collection learns from its rows.
public enum Rotation: String, Sendable, Hashable, CaseIterable, Codable {
    /// Vectors are searched as they are.
    case none
    /// Uncentred principal components first: makes prefixes of vectors that are not Matryoshka worth comparing.
    case pca
}
