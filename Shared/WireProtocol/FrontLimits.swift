import Matryoshka

/// Kinds of requests: the values of the header's `type`.
public enum FrontRequestType: String, Sendable, Hashable, CaseIterable {
    case hello
    case search
    case cancel
    case encode
    case classify
    case upsert
    case delete
    case get
    case collections
    case status
}

/// Kinds of replies: the values of the header's `type`.
public enum FrontReplyType: String, Sendable, Hashable, CaseIterable {
    /// Answers `hello`.
    case welcome
    /// Answers `search`.
    case hits
    /// Answers `cancel`.
    case cancelled
    /// Answers `encode`.
    case vectors
    /// Answers `classify`.
    case labels
    /// Answers `upsert` and `delete`.
    case written
    /// Answers `get`.
    case documents
    /// Answers `collections`.
    case collections
    /// Answers `status`.
    case status
    /// Answers any request that was not served.
    case error
}

/// The limits of the front protocol, beside those of ``SearchLimits``; `hello` tells them.
public enum FrontLimits {
    /// Bytes of a request's header.
    public static let headerBytesMax = 16_384
    /// Buffers of a request.
    public static let buffersMax = 8
    /// Bytes of all buffers of a request together.
    public static let requestBytesMax = 32 * 1_048_576
    /// Bytes of a reply.
    public static let replyBytesMax = 8 * 1_048_576
    /// Frames before the magic.
    public static let prefixFramesMax = 4
    /// Bytes of a request id, and of an idempotency key.
    public static let idBytesMax = 64
    /// Bytes of a document's id.
    public static let documentIDBytesMax = 512
    /// Bytes of a text.
    public static let textBytesMax = 1_048_576
    /// Bytes of a payload.
    public static let payloadBytesMax = 1_048_576
    /// Texts of an `encode` or `classify`, and queries of a `search`.
    public static let batchMax = SearchLimits.batchMax
    /// Documents of an `upsert`, and ids of a `delete`.
    public static let writeMax = 10_000
    /// Ids of a `get`.
    public static let getMax = 1_000
    /// Milliseconds that a request may take.
    public static let deadlineMillisecondsMax = 60_000
    /// Milliseconds for a search, unless it says so.
    public static let deadlineMillisecondsDefault = 1_000
    /// Milliseconds for writes and administration, unless they say so.
    public static let writeDeadlineMillisecondsDefault = 10_000
    /// Floats of a vector.
    public static let dimensionsMax = 65_535

    /// All limits as `hello` tells them.
    public static var json: JSONValue {
        let limits: [(String, Int)] = [
            ("header_bytes_max", headerBytesMax), ("buffers_max", buffersMax),
            ("request_bytes_max", requestBytesMax), ("reply_bytes_max", replyBytesMax), ("id_bytes_max", idBytesMax),
            ("document_id_bytes_max", documentIDBytesMax), ("text_bytes_max", textBytesMax),
            ("payload_bytes_max", payloadBytesMax), ("batch_max", batchMax),
            ("batch_rows_max", SearchLimits.batchRowsMax), ("keep_max", SearchLimits.keepMax),
            ("k_max", SearchLimits.hitsMax), ("stages_max", SearchLimits.stagesMax), ("write_max", writeMax),
            ("get_max", getMax), ("deadline_ms_max", deadlineMillisecondsMax),
            ("deadline_ms_default", deadlineMillisecondsDefault),
            ("write_deadline_ms_default", writeDeadlineMillisecondsDefault),
        ]
        return .object(limits.map { .init($0.0, .integer(Int64($0.1))) })
    }
}
