import Matryoshka
import ServiceRuntime
import Shortlist
import WorkerRuntime

/// Threads that build and repair the graphs of a worker, beside those that search.
struct GraphCrew: Sendable {
    private let builders: ScanCrew
    private let repairer = SerialThread(name: "repair")

    /// So many threads build, of which the loading or following one is one; one more repairs.
    init(threads: Int) { builders = ScanCrew(ThreadPlacement(count: threads), name: "build") }

    /// An empty graph that is repaired when it asks for it.
    func makeGraph(_ shape: CollectionShape) -> HeadGraph {
        let place = Place()
        let graph = HeadGraph(
            shape: shape,
            crew: { [builders] in builders.together($0) },
            needsRepair: { [repairer] in repairer.async { place.graph?.repair() } }
        )
        place.graph = graph
        return graph
    }

    /// A graph lives as long as its shards do.
    private final class Place: @unchecked Sendable {
        // Unchecked: written once, before the graph is known to anybody.
        weak var graph: HeadGraph?
    }
}
