public import Matryoshka
package import VectorMath

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// One graph over the heads of all shards that a worker holds of a collection (HNSW: Malkov and Yashunin 2016).
///
/// Searches, writes and the repair of what was removed go on at once, on any threads; none waits for another for
/// longer than a change of one list of links. Similarity while the graph is built is the resident score at the
/// resident width.
public final class HeadGraph: @unchecked Sendable {
    // Unchecked: `lock` guards what changes; the rows synchronise themselves.
    /// Calls its argument on the caller's thread, and on others that are free at once; returns when all have.
    public typealias Crew = @Sendable (_ work: @escaping @Sendable () -> Void) -> Void

    /// A row that waits to be linked, and the one that it replaces.
    struct Write {
        var node: UInt32
        var old: UInt32?
    }

    /// Rows a walk does not pay for.
    package static let fewRows = 2_000
    /// Fewer removed rows, or owners, than this are left until there are more.
    static let repairMin = 256
    /// So many rows are linked by several threads.
    private static let crewMin = 64

    package let rows: LinkedRows
    private let constructionEffort: Int
    private let levelFactor: Double
    private let crew: Crew
    private let needsRepair: @Sendable () -> Void
    private let lock = ThreadLock()
    private var live: [Int] = []
    private var freeOwners: [UInt16] = []
    private var liveCount = 0
    /// Rows of all shards, also those that no search can find yet.
    private var heldCount = 0
    private var dead: [UInt32] = []
    private var isRepairDue = false
    private var ownersLeaving: [UInt16] = []

    /// Makes an empty graph.
    ///
    /// - Parameters:
    ///   - shape: Widths, precision, similarity and the index' links and construction effort.
    ///   - crew: Links many rows at once; by default the caller's thread does.
    ///   - needsRepair: Called on a writer's thread when ``repair()`` should be called on another.
    public convenience init(
        shape: CollectionShape,
        crew: @escaping Crew = { $0() },
        needsRepair: @escaping @Sendable () -> Void = {}
    ) {
        self.init(shape: shape, path: .current, crew: crew, needsRepair: needsRepair)
    }

    package init(
        shape: CollectionShape,
        path: KernelPath,
        crew: @escaping Crew = { $0() },
        needsRepair: @escaping @Sendable () -> Void = {}
    ) {
        rows = LinkedRows(
            storedWidth: shape.storedHeadWidth,
            width: shape.residentWidth,
            precision: shape.residentPrecision,
            similarity: shape.similarity,
            links: shape.index.links,
            path: path
        )
        // A search that keeps fewer rows in view than a row has links cannot choose.
        constructionEffort = max(shape.index.constructionEffort, shape.index.links)
        levelFactor = 1 / log(Double(shape.index.links))
        self.crew = crew
        self.needsRepair = needsRepair
    }

    /// About what one row takes, with its share of rows that were removed and are not reclaimed yet.
    public static func bytesPerRow(_ shape: CollectionShape) -> Int {
        let node = LinkedRows.bytesPerNode(
            width: shape.residentWidth,
            precision: shape.residentPrecision,
            links: shape.index.links
        )
        // The mark of a walk's visits, and the share of the dead.
        return node + node / 16 + NodeDirectory.bytesPerRow + 1
    }

    /// Rows that searches can find.
    public var rowCount: Int { lock.withLock { liveCount } }

    /// The share that so many rows have in all the memory, removed rows and free room included.
    func bytes(rows count: Int) -> Int {
        let held = lock.withLock { heldCount }
        return held == 0 ? 0 : Int(Double(rows.byteCount) * Double(count) / Double(held))
    }

    // MARK: - Writing

    func makeOwner() -> UInt16 {
        lock.withLock {
            if let owner = freeOwners.popLast() { return owner }
            precondition(live.count < Int(UInt16.max), "more copies of shards than a graph can hold")
            live.append(0)
            return UInt16(live.count - 1)
        }
    }

    /// Writes a row that is not linked yet.
    func claim(id: Int64, version: UInt32, owner: UInt16, head: Span<Float>) -> UInt32 {
        lock.withLock { heldCount += 1 }
        // The level is a pure function of the id.
        let uniform = (Double(scrambled(id &* 3) >> 11) + 1) * 0x1p-53
        return rows.claim(
            id: id,
            version: version,
            owner: owner,
            level: Int(-log(uniform) * levelFactor),
            head: head
        )
    }

    /// Links rows of one owner, and lets searches find them in place of those that they replace.
    func link(_ writes: [Write], owner: UInt16) {
        let next = NextPiece(count: writes.count)
        @Sendable func work() {
            while let piece = next.take() {
                rows.visit { visit in
                    for write in writes[piece] {
                        visit.link(write.node, effort: constructionEffort)
                        // In this order no search finds both.
                        if let old = write.old { rows.set(.dead, of: old) }
                        rows.set(.live, of: write.node)
                    }
                }
            }
        }
        if writes.count < Self.crewMin { work() } else { crew(work) }
        lock.withLock {
            liveCount += writes.count
            live[Int(owner)] += writes.count
        }
        let old = writes.compactMap(\.old)
        if !old.isEmpty { kill(old, owner: owner, live: old.count) }
    }

    /// Takes rows out, `live` of which searches could find.
    func kill(_ nodes: [UInt32], owner: UInt16, live count: Int) {
        for node in nodes { rows.set(.dead, of: node) }
        let isDue = lock.withLock {
            liveCount -= count
            live[Int(owner)] -= count
            heldCount -= nodes.count
            dead += nodes
            let isDue = !isRepairDue && dead.count > max(Self.repairMin, liveCount / 16)
            isRepairDue = isRepairDue || isDue
            return isDue
        }
        if isDue { needsRepair() }
    }

    /// Takes all rows of an owner out, and the owner.
    func letGo(owner: UInt16, nodes: [UInt32], live count: Int) {
        kill(nodes, owner: owner, live: count)
        // Its number is free once no node has it, which owners without rows must not wait for others to bring about.
        let isDue = lock.withLock {
            ownersLeaving.append(owner)
            let isDue = !isRepairDue && ownersLeaving.count > Self.repairMin
            isRepairDue = isRepairDue || isDue
            return isDue
        }
        if isDue { needsRepair() }
    }

    // MARK: - Repair

    /// Leads all links round rows that were removed, and gives their memory to new ones; one thread at a time.
    ///
    /// Other threads go on meanwhile.
    public func repair() {
        let (doomed, owners) = lock.withLock {
            defer {
                dead = []
                ownersLeaving = []
                isRepairDue = false
            }
            return (dead, ownersLeaving)
        }
        guard !doomed.isEmpty else { return lock.withLock { freeOwners += owners } }
        for node in doomed { rows.set(.doomed, of: node) }
        // Whoever was about to link to one of them has done so.
        rows.waitForVisitors()
        let limit = rows.limit
        var entry: (node: UInt32, level: Int)?
        for start in stride(from: 0, to: limit, by: 64) {
            rows.visit { visit in
                for node in start..<min(limit, start + 64) {
                    visit.repair(node, effort: constructionEffort)
                    if let level = visit.level(of: node), level > entry?.level ?? -1 { entry = (node, level) }
                }
            }
        }
        rows.replaceEntry(entry?.node)
        // Whoever could still reach one of them has left.
        rows.waitForVisitors()
        for node in doomed { rows.reclaim(node) }
        rows.giveBack()
        lock.withLock { freeOwners += owners }
    }

    // MARK: - Searching

    /// Finds, for each query, about the best rows of some shards by the first step; no more than all are scored.
    ///
    /// Few rows, or a search for a large share of them, are scored exhaustively, and exactly.
    ///
    /// - Parameters:
    ///   - shards: Whose rows are answers, with the owners that the graph knows them by.
    ///   - queries: Row-major, `queryCount` stored heads of W floats, finite.
    ///   - queryCount: Number of queries.
    ///   - steps: The resident steps of a plan, at least one; the first one's keep bounds the answer, all are scored.
    ///   - ef: Rows that a walk keeps in view; never fewer than the first keep.
    /// - Returns: By query, at most `steps[0].keep` rows, best first by the first step, ties by id.
    public func search(
        shards: [(shard: UInt16, owner: UInt16)],
        queries: Span<Float>,
        queryCount: Int,
        steps: [ResolvedPlan.Step],
        ef: Int?
    ) -> [ShortlistColumns] {
        precondition(!steps.isEmpty, "a shortlist needs a step")
        precondition(queries.count == queryCount * rows.storedWidth, "queries of another width")
        let size = Int(shards.map(\.owner).max() ?? 0) + 1
        var wanted = [UInt8](repeating: 0, count: size)
        var numbers = [UInt16](repeating: 0, count: size)
        for (shard, owner) in shards {
            wanted[Int(owner)] = 1
            numbers[Int(owner)] = shard
        }
        let (all, some) = lock.withLock { (liveCount, shards.reduce(0) { $0 + live[Int($1.owner)] }) }
        let view = max(steps[0].keep, ef ?? 0)
        let isWalk = paysWalk(view: view, wanted: some, all: all)
        return (0..<queryCount).map { query in
            let head = queries.extracting(query * rows.storedWidth..<(query + 1) * rows.storedWidth)
            let (hits, scores) = rows.visit {
                $0.search(head: head, steps: steps, ef: isWalk ? view : nil, wanted: wanted)
            }
            var columns = ShortlistColumns()
            columns.ids = hits.map(\.id)
            columns.versions = hits.map(\.version)
            columns.shards = hits.map { numbers[Int($0.owner)] }
            columns.scores = scores
            return columns
        }
    }

    /// A walk scores some rows at random for each row in view, of which only the wanted count; a scan all in turn.
    private func paysWalk(view: Int, wanted: Int, all: Int) -> Bool {
        wanted > Self.fewRows && Double(view) * 32 * Double(all) / Double(wanted) < Double(wanted + all / 8)
    }
}

/// Deals out the rows of a bulk load.
private final class NextPiece: @unchecked Sendable {
    // Unchecked: guarded by the lock.
    private static let size = 32
    private let lock = ThreadLock()
    private let count: Int
    private var next = 0

    init(count: Int) { self.count = count }

    func take() -> Range<Int>? {
        lock.withLock {
            guard next < count else { return nil }
            defer { next = min(count, next + Self.size) }
            return next..<min(count, next + Self.size)
        }
    }
}
