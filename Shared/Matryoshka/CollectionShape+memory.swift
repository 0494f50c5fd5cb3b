extension CollectionShape {
    /// About what a row takes on a shortlist worker, its links included, for whoever places shards.
    ///
    /// The engines know it to the byte and are held to this by a test.
    public var shortlistBytesPerRow: Int {
        let numbers = residentPrecision == .int8 ? residentWidth : residentWidth * 4
        switch index.kind {
        case .flat, .ivf:
            // Padded codes, a factor, id, version and presence; in lists the shard and the place by id too.
            let row = (numbers + 3) / 4 * 4 + 4 + 13 + signBytesPerRow + (index.kind == .ivf ? 11 : 0)
            return row + (row + 31) / 32
        case .hnsw:
            // Codes in whole vectors, what is known of the row, 2 M links below and M for one row in M above.
            let links = index.links
            let node = (numbers + 31) / 32 * 32 + 24 + 8 * links + 4 * links / (links - 1) + 1
            // A sixteenth of removed rows, the place by id, and a mark for walks.
            return node + node / 16 + 10
        }
    }

    private var signBytesPerRow: Int {
        holdsSigns ? (storedHeadWidth + 63) / 64 * 8 + (similarity == .dot ? 4 : 0) : 0
    }
}
