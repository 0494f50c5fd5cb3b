import CVectorKernels
package import Matryoshka

/// Resident heads row by row, with the links of a navigable graph between them.
///
/// Safe from any number of threads. graph.h has the rules: what is removed is first marked ``State/dead``, then
/// ``State/doomed``, and reclaimed when nothing leads to it and ``waitForVisitors()`` has returned.
package final class LinkedRows: @unchecked Sendable {
    // Unchecked: the C functions synchronise; walkers are lent to one thread at a time under the lock.
    /// What a node is to searches and to new links.
    package enum State: Int32 {
        case pending = 1
        case live = 2
        case dead = 3
        case doomed = 4
    }

    package struct Node {
        package var id: Int64
        package var version: UInt32
        package var owner: UInt16
        /// Written, and not linked yet.
        package var isPending: Bool
    }

    package let storedWidth: Int
    package let width: Int
    package let precision: Precision
    package let similarity: Similarity
    private let graph: OpaquePointer
    private let path: KernelPath
    private let lock = ThreadLock()
    private var walkers: [OpaquePointer] = []

    package init(
        storedWidth: Int,
        width: Int,
        precision: Precision,
        similarity: Similarity,
        links: Int,
        path: KernelPath = .current
    ) {
        precondition(width >= 1 && width <= storedWidth, "a resident width from 1 to the stored head's")
        precondition(precision == .int8 || precision == .float32, "resident rows are int8 or float32")
        precondition(links >= 2 && links <= CollectionIndex.linksMax, "links of a row")
        self.storedWidth = storedWidth
        self.width = width
        self.precision = precision
        self.similarity = similarity
        self.path = path
        graph = mrl_graph_make(
            path.checkedNumber,
            storedWidth,
            width,
            precision == .float32,
            similarity == .cosine,
            UInt32(links)
        )
    }

    deinit {
        for walker in walkers { mrl_walker_free(walker) }
        mrl_graph_free(graph)
    }

    /// Bytes of a node and its links on all layers.
    package static func bytesPerNode(width: Int, precision: Precision, links: Int) -> Int {
        mrl_graph_node_bytes(width, precision == .float32, UInt32(links))
    }

    /// Nodes are numbered below it.
    package var limit: UInt32 { mrl_graph_limit(graph) }

    /// Runs `body` in the graph: no node that it can reach is reclaimed meanwhile.
    package func visit<Result>(_ body: (Visit) -> Result) -> Result {
        let side = mrl_graph_enter(graph)
        let walker = lock.withLock { walkers.popLast() } ?? mrl_walker_make()!
        defer {
            lock.withLock { walkers.append(walker) }
            mrl_graph_leave(graph, side)
        }
        return body(Visit(rows: self, graph: graph, walker: walker))
    }

    /// Returns when all have left who are in the graph now; one thread at a time, from outside.
    package func waitForVisitors() { mrl_graph_wait(graph) }

    /// Writes a row that no search gives and nothing leads to yet.
    package func claim(id: Int64, version: UInt32, owner: UInt16, level: Int, head: Span<Float>) -> UInt32 {
        precondition(head.count == storedWidth, "a head of another width")
        let node = head.withUnsafeBufferPointer {
            mrl_graph_claim(graph, id, version, owner, UInt8(min(level, Int(MRL_GRAPH_LEVEL_MAX))), $0.baseAddress)
        }
        precondition(node != UInt32.max, "more rows than a graph can hold")
        return node
    }

    /// A node that is not reclaimed yet.
    package func node(_ number: UInt32) -> Node {
        let node = mrl_graph_node(graph, number)
        return Node(
            id: node.id,
            version: node.version,
            owner: node.owner,
            isPending: node.state == State.pending.rawValue
        )
    }

    package func set(_ state: State, of node: UInt32) { mrl_graph_set_state(graph, node, state.rawValue) }

    package func set(version: UInt32, of node: UInt32) { mrl_graph_set_version(graph, node, version) }

    /// Whether the node's row is what `head` would be held as.
    package func holds(_ head: Span<Float>, at node: UInt32) -> Bool {
        head.withUnsafeBufferPointer { mrl_graph_holds(graph, node, $0.baseAddress) }
    }

    /// Gives the way in to `node` where it is doomed.
    package func replaceEntry(_ node: UInt32?) { mrl_graph_replace_entry(graph, node ?? UInt32.max) }

    /// Frees a doomed node.
    package func reclaim(_ node: UInt32) { mrl_graph_reclaim(graph, node) }

    /// Gives the system memory that only free nodes take.
    package func giveBack() { mrl_graph_give_back(graph) }

    /// What nodes and links take.
    package var byteCount: Int { mrl_graph_bytes(graph) }

    /// Somebody in the graph, with scratch of their own.
    package struct Visit {
        let rows: LinkedRows
        let graph: OpaquePointer
        let walker: OpaquePointer

        /// Makes links to and from a node.
        package func link(_ node: UInt32, effort: Int) { mrl_graph_link(graph, walker, node, UInt32(effort)) }

        /// Replaces links to doomed nodes.
        package func repair(_ node: UInt32, effort: Int) { mrl_graph_repair(graph, walker, node, UInt32(effort)) }

        /// The layer and whether the node may be the way in; nil where it is dead or free.
        package func level(of node: UInt32) -> Int? {
            let found = mrl_graph_node(graph, node)
            return found.state == State.live.rawValue ? Int(found.level) : nil
        }

        /// The best rows of wanted owners, by the first of `steps`, ties by id, with the scores of all steps.
        ///
        /// `ef`: how many a walk keeps in view; nil: all rows are scored.
        package func search(
            head: Span<Float>,
            steps: [ResolvedPlan.Step],
            ef: Int?,
            wanted: [UInt8]
        ) -> (hits: [Hit], scores: [[Float]]) {
            let keep = UInt32(steps[0].keep)
            let query = Query(head, rows)
            let room = min(steps[0].keep, Int(rows.limit))
            guard room > 0 else { return ([], steps.map { _ in [] }) }
            let hits = [mrl_graph_hit](unsafeUninitializedCapacity: room) { out, count in
                query.withStep(steps[0].dimensions) { query in
                    wanted.withUnsafeBufferPointer { wanted in
                        var filter = mrl_graph_filter(wanted: wanted.baseAddress, wanted_count: wanted.count)
                        count =
                            if let ef {
                                mrl_graph_search(
                                    graph,
                                    walker,
                                    query,
                                    UInt32(ef),
                                    min(keep, UInt32(room)),
                                    &filter,
                                    out.baseAddress
                                )
                            } else {
                                mrl_graph_scan(graph, query, UInt32(room), &filter, out.baseAddress)
                            }
                    }
                }
            }
            var scores = [hits.map(\.score)]
            for step in steps.dropFirst() {
                scores.append(
                    [Float](unsafeUninitializedCapacity: hits.count) { out, count in
                        count = hits.count
                        query.withStep(step.dimensions) {
                            mrl_graph_score(graph, $0, hits, hits.count, out.baseAddress)
                        }
                    }
                )
            }
            return (hits.map { Hit(id: $0.id, version: $0.version, owner: $0.owner) }, scores)
        }
    }

    /// A row that was found.
    package struct Hit {
        package var id: Int64
        package var version: UInt32
        package var owner: UInt16
    }

    /// A query in the form of the rows.
    private struct Query {
        private let quantised: QuantisedVector?
        private let codes: [Int8]
        private let values: [Float]
        private let similarity: Similarity
        private let path: KernelPath

        init(_ head: Span<Float>, _ rows: LinkedRows) {
            precondition(head.count == rows.storedWidth, "queries of another width")
            similarity = rows.similarity
            path = rows.path
            if rows.precision == .int8 {
                let quantised = QuantisedVector(head: head)
                // The kernels read up to a multiple of 32.
                codes = quantised.codes + [Int8](repeating: 0, count: 32)
                self.quantised = quantised
                values = []
            } else {
                values = head.withUnsafeBufferPointer { [Float]($0) }
                quantised = nil
                codes = []
            }
        }

        func withStep(_ dimensions: Int, _ body: (UnsafePointer<mrl_graph_query>) -> Void) {
            if let quantised {
                let factor = quantised.factor(dimensions: dimensions, similarity: similarity)
                codes.withUnsafeBytes {
                    var query = mrl_graph_query(values: $0.baseAddress, factor: factor, dimensions: dimensions, salt: 0)
                    body(&query)
                }
            } else {
                let prefix = values.span.extracting(first: dimensions)
                let factor = similarity == .cosine ? floatDot(prefix, prefix, path: path).squareRoot() : 0
                values.withUnsafeBytes {
                    var query = mrl_graph_query(values: $0.baseAddress, factor: factor, dimensions: dimensions, salt: 0)
                    body(&query)
                }
            }
        }
    }
}
