import DocumentStore
import Matryoshka
import Shortlist
import WireProtocol
import WorkerRuntime

/// What a sample of rows teaches.
@Sendable func learn(
    _ subject: TrainCommand.Subject,
    _ shape: CollectionShape,
    _ sample: TrainingSample
) throws -> Artefact {
    switch subject {
    case .centroids:
        let dimensions =
            shape.index.coarseDimensions == 0
            ? min(64, shape.residentWidth) : shape.index.coarseDimensions
        let centroids = CoarseLists.trainCentroids(
            sample.vectors.span,
            width: sample.width,
            dimensions: dimensions,
            lists: shape.index.lists == 0 ? CoarseLists.standardCount(rows: sample.population) : shape.index.lists
        )
        guard !centroids.values.isEmpty else { throw LearningFailure(message: "all rows are zero in their heads") }
        return Artefact(
            subject: .centroids,
            rowCount: centroids.values.count / dimensions,
            columnCount: dimensions,
            values: centroids.values,
            learntFrom: sample.population,
            fit: centroids.meanCosine
        )
    case .rotation:
        throw LearningFailure(message: "rotations are not learnt")
    }
}

/// Why nothing was learnt.
struct LearningFailure: Error, CustomStringConvertible {
    var message: String
    var description: String { message }
}
