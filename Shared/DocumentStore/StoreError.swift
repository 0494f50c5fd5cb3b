public import PostgreSQL

/// Why the store refused or failed.
public enum StoreError: Error, Sendable, Hashable, CustomStringConvertible {
    /// A value of the row's vector, or its squared norm as float32, is not finite.
    case nonFinite(index: Int)
    /// The squared norm of the row's vector is 0 as float32.
    case zeroVector(index: Int)
    /// The row's vector has another size than the collection.
    case wrongLength(index: Int, got: Int, expected: Int)
    /// The row has neither text nor vector.
    case nothingToStore(index: Int)
    /// The row's external id is not 1 to 512 bytes long, or a text holds what the database cannot store.
    case invalidDocument(index: Int?, message: String)
    /// No active collection has that name or number.
    case unknownCollection(String)
    /// A collection or alias has that name.
    case alreadyExists(String)
    /// The collection cannot be as asked.
    case invalidDefinition(String)
    /// No such model is registered.
    case unknownModel(String)
    /// The idempotency key was used with another body.
    case idempotencyConflict
    /// What was asked for has more bytes than the caller takes.
    case tooLarge(bytesMax: Int)
    /// The database's schema is not one that this build can use; the sentence says what to do.
    case schema(String)
    /// Everything else; look at ``PostgreSQLError/isConnectionLost`` and ``PostgreSQLError/isRetryable``.
    case database(PostgreSQLError)

    /// Make a new connection and try again later.
    public var isConnectionLost: Bool {
        if case .database(let error) = self { error.isConnectionLost } else { false }
    }

    /// A sentence for whoever sent the request.
    public var description: String {
        switch self {
        case .nonFinite(let index): "vectors[\(index)] or its norm is not finite"
        case .zeroVector(let index): "vectors[\(index)] is zero"
        case .wrongLength(let index, let got, let expected): "vectors[\(index)] has \(got) floats, not \(expected)"
        case .nothingToStore(let index): "document \(index) has neither text nor vector"
        case .invalidDocument(_, let message): message
        case .unknownCollection(let message), .alreadyExists(let message), .invalidDefinition(let message),
            .unknownModel(let message), .schema(let message):
            message
        case .idempotencyConflict: "the idempotency key was used before with another body"
        case .tooLarge(let bytesMax): "what was asked for has more than \(bytesMax) bytes"
        case .database(let error): error.description
        }
    }

    init(_ error: PostgreSQLError) {
        // DETAIL of our own errors: "row 3, got 5, expected 256".
        let numbers = (error.detail ?? "").split { !$0.isNumber }.compactMap { Int($0) }
        let index = numbers.first ?? 0
        self =
            switch error.sqlState {
            case "MR001": .wrongLength(index: index, got: numbers.dropFirst().first ?? 0, expected: numbers.last ?? 0)
            case "MR002": .nonFinite(index: index)
            case "MR003": .zeroVector(index: index)
            case "MR004": .nothingToStore(index: index)
            case "MR005": .invalidDocument(index: index, message: error.message)
            case "MR010": .unknownCollection(error.message)
            case "MR011": .alreadyExists(error.message)
            case "MR012": .invalidDefinition(error.message)
            case "MR013": .unknownModel(error.message)
            // JSON that jsonb does not take, or bytes that are not text in UTF-8.
            case "22P02", "22P05", "22021": .invalidDocument(index: nil, message: error.message)
            default: .database(error)
            }
    }
}
