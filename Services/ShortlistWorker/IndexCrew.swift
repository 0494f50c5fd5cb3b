import Matryoshka
import ServiceRuntime
import Shortlist
import WorkerRuntime

/// Threads that build the graphs of a worker and keep its indexes in order, beside those that search.
struct IndexCrew: Sendable {
    private let builders: ScanCrew
    private let keeper = SerialThread(name: "repair")

    /// So many threads build, of which the loading or following one is one; one more repairs.
    init(threads: Int) { builders = ScanCrew(ThreadPlacement(count: threads), name: "build") }

    /// An empty graph that is repaired when it asks for it.
    func makeGraph(_ shape: CollectionShape) -> HeadGraph {
        let place = Place<HeadGraph>()
        let graph = HeadGraph(
            shape: shape,
            crew: { [builders] in builders.together($0) },
            needsRepair: { [keeper] in keeper.async { place.index?.repair() } }
        )
        place.index = graph
        return graph
    }

    /// Lists without rows that are put in order when they ask for it.
    func makeLists(_ shape: CollectionShape, _ coarse: CoarseLists) -> InvertedLists {
        let place = Place<InvertedLists>()
        let lists = InvertedLists(shape: shape, coarse: coarse) { [keeper] in
            keeper.async { place.index?.putInOrder() }
        }
        place.index = lists
        return lists
    }

    /// An index lives as long as its shards do.
    private final class Place<Index: AnyObject>: @unchecked Sendable {
        // Unchecked: written once, before the index is known to anybody.
        weak var index: Index?
    }
}
