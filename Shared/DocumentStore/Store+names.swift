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

extension Store {
    /// External ids of some rows that have vectors, as if drawn by lot.
    ///
    /// A slot comes from a hash, and the rows of the lowest slots are taken: the same rows give the same ids.
    ///
    /// - Parameters:
    ///   - shape: Collection.
    ///   - count: How many at most.
    /// - Returns: By rising slot.
    /// - Throws: ``StoreError``.
    public func sampleExternalIDs(_ shape: CollectionShape, count: Int) throws -> [String] {
        let result = try execute(
            """
            SELECT d.external_id
            FROM (SELECT slot, id FROM matryoshka.heads_\(shape.collection) ORDER BY slot, id LIMIT $1) AS h
                JOIN matryoshka.documents_\(shape.collection) AS d ON d.id = h.id
            ORDER BY h.slot, h.id
            """,
            [.int64(Int64(count))]
        )
        return (0..<result.rowCount).map { result.text($0, 0) }
    }
}
