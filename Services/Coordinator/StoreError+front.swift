import DocumentStore
import PostgreSQL
import WireProtocol

extension StoreError {
    /// What the database refused, as a client reads it.
    var frontError: FrontError {
        switch self {
        case .nonFinite(let index): FrontError(.nonFinite, field: "vectors[\(index)]", description)
        case .zeroVector(let index): FrontError(.zeroVector, field: "vectors[\(index)]", description)
        case .wrongLength(let index, _, let expected):
            FrontError(.badDimension, field: "vectors[\(index)]", description, allowed: "\(expected)")
        case .nothingToStore(let index): FrontError(.badHeader, field: "documents[\(index)]", description)
        case .invalidDocument(let index, _):
            FrontError(.badHeader, field: index.map { "documents[\($0)]" } ?? "documents", description)
        case .unknownCollection: FrontError(.unknownCollection, field: "collection", description)
        case .alreadyExists: FrontError(.alreadyExists, field: "name", description)
        case .invalidDefinition: FrontError(.badHeader, description)
        case .unknownModel: FrontError(.modelMismatch, field: "model", description)
        case .idempotencyConflict: FrontError(.conflict, field: "idempotency_key", description)
        case .tooLarge(let bytesMax):
            FrontError(
                .tooLarge,
                field: "ids",
                "the documents have more than \(bytesMax) bytes",
                allowed: "up to \(bytesMax) bytes in a reply; ask for fewer"
            )
        case .schema: FrontError(.storeUnavailable, description)
        case .database(let error) where error.isDiskFull:
            FrontError(
                .storeUnavailable,
                "the database's disk is full, and nothing was changed; try again once there is room",
                retryAfterMilliseconds: 5000
            )
        case .database(let error):
            error.isConnectionLost || error.isRetryable
                ? FrontError(
                    .storeUnavailable,
                    "the database could not finish this; try again",
                    retryAfterMilliseconds: 500
                ) : FrontError(.internalError, "the database refused: \(error)")
        }
    }
}

extension FrontError {
    /// No answer came from the database in time; `consequence` says what that means for the request.
    static func databaseIsSilent(_ consequence: String) -> FrontError {
        FrontError(
            .storeUnavailable,
            "the database did not answer within the deadline; \(consequence)",
            retryAfterMilliseconds: 1000
        )
    }
}
