public import Matryoshka
internal import PostgreSQL

extension Store {
    /// External ids by internal id; rows that are gone are left out.
    public func externalIDs(_ shape: CollectionShape, ids: [Int64]) throws -> [Int64: String] {
        let result = try execute(
            "SELECT id, external_id FROM matryoshka.documents_\(shape.collection) WHERE id = ANY ($1)",
            [.int64s(ids)],
            isPrepared: true
        )
        var found: [Int64: String] = [:]
        for row in 0..<result.rowCount { found[result.int64(row, 0)] = result.text(row, 1) }
        return found
    }
}
