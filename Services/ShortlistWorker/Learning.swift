import DocumentStore
import Matryoshka
import Shortlist
import VectorMath
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
            ? min(CoarseLists.standardDimensions, shape.storedHeadWidth) : shape.index.coarseDimensions
        var (vectors, width) = (sample.vectors, sample.width)
        if shape.learntRotation != 0 {
            guard let rotation = VectorRotation(axes: sample.learnt.rotation, dimensions: width) else {
                throw LearningFailure(message: "rotation \(shape.learntRotation) is of another size")
            }
            width = shape.storedHeadWidth
            vectors = rotation.rotated(rows: vectors, first: width)
        }
        let centroids = CoarseLists.trainCentroids(
            vectors.span,
            width: width,
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
        guard let learnt = principalAxes(of: sample.vectors.span, width: sample.width) else {
            throw LearningFailure(message: "all rows are zero")
        }
        return Artefact(
            subject: .rotation,
            rowCount: sample.width,
            columnCount: sample.width,
            values: learnt.axes,
            learntFrom: sample.population,
            // How much of the rows' energy the heads hold.
            fit: learnt.shares.prefix(shape.storedHeadWidth).reduce(0, +)
        )
    }
}

/// Why nothing was learnt.
struct LearningFailure: Error, CustomStringConvertible {
    var message: String
    var description: String { message }
}
