import DocumentStore
import Matryoshka

extension Store {
    /// Reads what the shape names.
    func learntParts(of shape: CollectionShape) throws -> LearntParts {
        var parts = LearntParts()
        if shape.index.centroids != 0 {
            let centroids = try artefact(shape.index.centroids)
            parts.centroids = centroids.values
            parts.lists = centroids.rowCount
        }
        if shape.learntRotation != 0 { parts.rotation = try artefact(shape.learntRotation).values }
        return parts
    }
}
