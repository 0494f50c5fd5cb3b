public import Matryoshka

// What clients and the coordinator say to each other. Normative: proto-docs/front-protocol.md.
// One ZeroMQ message = [routing prefix…]["MRL1"][JSON header][raw buffers…].

/// Error codes of the front protocol.
///
/// Codes may be added; clients treat an unknown one by its `retryable`.
public enum FrontErrorCode: String, Sendable, Hashable, CaseIterable {
    case badFrame = "BAD_FRAME"
    case unsupportedVersion = "UNSUPPORTED_VERSION"
    case badHeader = "BAD_HEADER"
    case tooLarge = "TOO_LARGE"
    case badDimension = "BAD_DIM"
    case badDtype = "BAD_DTYPE"
    case nonFinite = "NON_FINITE"
    case zeroVector = "ZERO_VECTOR"
    case badPlan = "BAD_PLAN"
    case unknownCollection = "UNKNOWN_COLLECTION"
    case notFound = "NOT_FOUND"
    case alreadyExists = "ALREADY_EXISTS"
    case conflict = "CONFLICT"
    case modelMismatch = "MODEL_MISMATCH"
    case forbidden = "FORBIDDEN"
    case unsupported = "UNSUPPORTED"
    case overloaded = "OVERLOADED"
    case deadlineExceeded = "DEADLINE_EXCEEDED"
    case unavailable = "UNAVAILABLE"
    case storeUnavailable = "STORE_UNAVAILABLE"
    case cancelled = "CANCELLED"
    case poison = "POISON"
    case internalError = "INTERNAL"

    /// The same request may succeed later.
    public var isRetryable: Bool {
        switch self {
        case .overloaded, .unavailable, .storeUnavailable, .deadlineExceeded: true
        default: false
        }
    }
}

/// Why a request was refused, as the client reads it.
public struct FrontError: Error, Sendable, Hashable {
    /// Code.
    public var code: FrontErrorCode
    /// Header key or place at fault, for example `plan[1].keep` or `vectors[3]`; nil where none.
    public var field: String?
    /// One sentence.
    public var message: String
    /// What is allowed there; nil where nothing helps.
    public var allowed: String?
    /// When to try again.
    public var retryAfterMilliseconds: Int?
    /// UNAVAILABLE carries what was covered.
    public var coverage: Coverage?

    /// Makes an error.
    public init(
        _ code: FrontErrorCode,
        field: String? = nil,
        _ message: String,
        allowed: String? = nil,
        retryAfterMilliseconds: Int? = nil,
        coverage: Coverage? = nil
    ) {
        self.code = code
        self.field = field
        self.message = message
        self.allowed = allowed
        self.retryAfterMilliseconds = retryAfterMilliseconds
        self.coverage = coverage
    }
}

/// What a search is about.
public enum QuerySource: Sendable, Hashable {
    /// Texts, to be encoded with role query.
    case texts([String])
    /// Row-major `[count][width]`, finite, none zero (checked by the decoder).
    case vectors(values: [Float], count: Int, width: Int)

    /// Queries.
    public var count: Int {
        switch self {
        case .texts(let texts): texts.count
        case .vectors(_, let count, _): count
        }
    }
}

/// `search`.
public struct SearchRequest: Sendable, Hashable {
    /// Collection or alias.
    public var collection: String
    /// Text or vectors.
    public var query: QuerySource
    /// Plan; nil for the standard one.
    public var plan: Plan?
    /// Hits; default 10, or the last keep where a plan is given.
    public var k: Int
    /// Least share of shards that must answer, 0 to 1; default 1.
    public var minCoverage: Double
    /// Hits carry payloads.
    public var withPayload: Bool
    /// Hits carry their score at each stage.
    public var explain: Bool
    /// Adds the columns `scores` (float32) and `counts` (uint32) beside the JSON lines.
    public var columns: Bool
    /// Model that the client's vectors are of; nil counts as the collection's.
    public var model: String?
    /// How hard to look through the collection's index.
    public var effort: SearchEffort
    /// The true best k by the full vectors, proven; stands in place of a plan.
    public var isExact: Bool

    /// Makes a request.
    public init(
        collection: String,
        query: QuerySource,
        plan: Plan? = nil,
        k: Int = 10,
        minCoverage: Double = 1,
        withPayload: Bool = false,
        explain: Bool = false,
        columns: Bool = false,
        model: String? = nil,
        effort: SearchEffort = SearchEffort(),
        isExact: Bool = false
    ) {
        self.collection = collection
        self.query = query
        self.plan = plan
        self.k = k
        self.minCoverage = minCoverage
        self.withPayload = withPayload
        self.explain = explain
        self.columns = columns
        self.model = model
        self.effort = effort
        self.isExact = isExact
    }
}

/// `encode`.
public struct EncodeRequest: Sendable, Hashable {
    /// Collection whose model encodes; nil: any encoder.
    public var collection: String?
    /// Model id; nil: the collection's, or the only one.
    public var model: String?
    /// Role of all texts.
    public var role: TextRole
    /// At most 256.
    public var texts: [String]

    /// Makes a request.
    public init(collection: String? = nil, model: String? = nil, role: TextRole, texts: [String]) {
        self.collection = collection
        self.model = model
        self.role = role
        self.texts = texts
    }
}

/// `classify`.
public struct ClassifyRequest: Sendable, Hashable {
    /// Classifier id; nil: any.
    public var classifier: String?
    /// One threshold for all sizes, 0 to 1; nil: those that the classifier learnt.
    public var threshold: Float?
    /// At most 256.
    public var texts: [String]

    /// Makes a request.
    public init(classifier: String? = nil, threshold: Float? = nil, texts: [String]) {
        self.classifier = classifier
        self.threshold = threshold
        self.texts = texts
    }
}

/// When a write is answered.
public enum WriteWait: String, Sendable, Hashable, CaseIterable {
    /// Once it is committed.
    case durable
    /// Once every ready replica of the touched shards has applied it, or at the deadline.
    case searchable
}

/// One document of an `upsert`.
public struct UpsertDocument: Sendable, Hashable {
    /// External id, 1 to 512 bytes of UTF-8.
    public var id: String
    /// Text; encoded where no vector is given.
    public var text: String?
    /// Payload: JSON text of an object; nil for none.
    public var payload: String?
    /// Index into the request's vectors; nil: encode `text`.
    public var vectorIndex: Int?
    /// Place among the request's documents, as errors name it: `documents[index]`.
    public var index: Int

    /// Makes a document.
    public init(id: String, text: String?, payload: String?, vectorIndex: Int?, index: Int = 0) {
        self.id = id
        self.text = text
        self.payload = payload
        self.vectorIndex = vectorIndex
        self.index = index
    }
}

/// `upsert`.
public struct UpsertRequest: Sendable, Hashable {
    /// What one bad document does to the request.
    public enum OnError: String, Sendable, Hashable, CaseIterable {
        case reject
        case skip
    }
    /// Collection or alias.
    public var collection: String
    /// In order; the last of a repeated id wins.
    public var documents: [UpsertDocument]
    /// Documents that the decoder refused; empty unless `onError` is skip.
    public var refused: [RowFailure] = []
    /// Row-major `[count][width]`; unchecked: the server checks by document.
    public var vectors: [Float]
    /// Floats of each vector; 0 without vectors.
    public var width: Int
    /// Role for encoding; default document.
    public var role: TextRole
    /// Default durable.
    public var wait: WriteWait
    /// Default reject.
    public var onError: OnError
    /// At most 64 bytes.
    public var idempotencyKey: String?
    /// Model of the vectors; nil counts as the collection's.
    public var model: String?
    /// Hash of header and buffers, hex, where an idempotency key is given: over everything but the key, `id`,
    /// `deadline_ms` and keys that start with `x-`.
    public var bodyHash: String

    /// Makes a request.
    public init(
        collection: String,
        documents: [UpsertDocument],
        vectors: [Float] = [],
        width: Int = 0,
        role: TextRole = .document,
        wait: WriteWait = .durable,
        onError: OnError = .reject,
        idempotencyKey: String? = nil,
        model: String? = nil,
        bodyHash: String = ""
    ) {
        self.collection = collection
        self.documents = documents
        self.vectors = vectors
        self.width = width
        self.role = role
        self.wait = wait
        self.onError = onError
        self.idempotencyKey = idempotencyKey
        self.model = model
        self.bodyHash = bodyHash
    }
}

/// `delete`.
public struct DeleteRequest: Sendable, Hashable {
    /// Collection or alias.
    public var collection: String
    /// External ids.
    public var ids: [String]
    /// Default durable.
    public var wait: WriteWait
    /// At most 64 bytes.
    public var idempotencyKey: String?
    /// As in ``UpsertRequest/bodyHash``.
    public var bodyHash: String

    /// Makes a request.
    public init(
        collection: String,
        ids: [String],
        wait: WriteWait = .durable,
        idempotencyKey: String? = nil,
        bodyHash: String = ""
    ) {
        self.collection = collection
        self.ids = ids
        self.wait = wait
        self.idempotencyKey = idempotencyKey
        self.bodyHash = bodyHash
    }
}

/// `get`.
public struct GetRequest: Sendable, Hashable {
    /// Collection or alias.
    public var collection: String
    /// External ids, at most 1,000.
    public var ids: [String]
    /// Reply has a `vectors` buffer.
    public var withVector: Bool

    /// Makes a request.
    public init(collection: String, ids: [String], withVector: Bool = false) {
        self.collection = collection
        self.ids = ids
        self.withVector = withVector
    }
}

/// `collections`, by `action`.
public enum CollectionsRequest: Sendable, Hashable {
    case list
    /// `dimensions` may be nil where a model is named or an encoder is registered.
    case create(CreateCollection)
    case drop(name: String)
    /// Points an alias at a collection, atomically; `collection` nil removes it.
    case alias(name: String, collection: String?)
    /// Changes what shortlist workers hold while the collection serves.
    case configure(name: String, ResidencyChange)
}

/// What `collections` / `create` asks for.
public struct CreateCollection: Sendable, Hashable {
    /// Name: 1 to 63 of a–z, 0–9, `-`, `_`, starting with a letter.
    public var name: String
    /// Full size; nil: the model's.
    public var dimensions: Int?
    /// Smallest legal size; nil: the model's, or `dimensions`.
    public var smallestDimensions: Int?
    /// Default: true where a smallest size is known.
    public var isMatryoshka: Bool?
    /// Default cosine.
    public var similarity: Similarity
    /// Model id; nil: the registered encoder's when its size fits, or none.
    public var model: String?
    /// W; default min(D, 128).
    public var storedHeadWidth: Int?
    /// Change of basis; default none.
    public var rotation: Rotation
    /// How shortlist workers hold it.
    public var residency: ResidencyChange

    /// Makes a description.
    public init(
        name: String,
        dimensions: Int? = nil,
        smallestDimensions: Int? = nil,
        isMatryoshka: Bool? = nil,
        similarity: Similarity = .cosine,
        model: String? = nil,
        storedHeadWidth: Int? = nil,
        rotation: Rotation = .none,
        residency: ResidencyChange = ResidencyChange()
    ) {
        self.name = name
        self.dimensions = dimensions
        self.smallestDimensions = smallestDimensions
        self.isMatryoshka = isMatryoshka
        self.similarity = similarity
        self.model = model
        self.storedHeadWidth = storedHeadWidth
        self.rotation = rotation
        self.residency = residency
    }
}

/// What a request asks for.
public enum FrontRequestBody: Sendable, Hashable {
    case hello
    case search(SearchRequest)
    /// Cancels the client's own request of that id.
    case cancel(target: String)
    case encode(EncodeRequest)
    case classify(ClassifyRequest)
    case upsert(UpsertRequest)
    case delete(DeleteRequest)
    case get(GetRequest)
    case collections(CollectionsRequest)
    case status

    /// Sending it a second time changes nothing that the first did not: reads, and writes with an idempotency key.
    public var isSafeToRepeat: Bool {
        switch self {
        case .hello, .search, .encode, .classify, .get, .status, .collections(.list): true
        case .upsert(let request): request.idempotencyKey != nil || request.documents.isEmpty
        case .delete(let request): request.idempotencyKey != nil
        case .cancel, .collections: false
        }
    }
}

/// A request that passed the decoder.
public struct FrontRequest: Sendable, Hashable {
    /// Client's id, at most 64 bytes; echoed; empty where none was given.
    public var id: String
    /// Time that the client allows, 1 to 60,000 ms; default 1,000 (writes and administration: 10,000).
    public var deadlineMilliseconds: Int
    /// W3C traceparent's trace id; 0 where none was given.
    public var traceHigh: UInt64
    /// Low half.
    public var traceLow: UInt64
    /// Who asks, for idempotency where no CURVE key tells; at most 64 bytes, empty where none was given.
    public var client: String
    /// What is asked.
    public var body: FrontRequestBody

    /// Makes a request.
    public init(
        id: String,
        deadlineMilliseconds: Int,
        traceHigh: UInt64 = 0,
        traceLow: UInt64 = 0,
        client: String = "",
        body: FrontRequestBody
    ) {
        self.id = id
        self.deadlineMilliseconds = deadlineMilliseconds
        self.traceHigh = traceHigh
        self.traceLow = traceLow
        self.client = client
        self.body = body
    }
}

/// One hit of a reply.
public struct Hit: Sendable, Hashable {
    /// External id.
    public var id: String
    /// Score at the last stage.
    public var score: Float
    /// Score at each stage, if explained.
    public var scores: [Float]?
    /// JSON text, if asked.
    public var payload: String?

    /// Makes a hit.
    public init(id: String, score: Float, scores: [Float]? = nil, payload: String? = nil) {
        self.id = id
        self.score = score
        self.scores = scores
        self.payload = payload
    }
}

/// Where the time of a search went, in microseconds.
public struct SearchTimings: Sendable, Hashable {
    /// From receipt to reply.
    public var totalMicroseconds: Int
    /// Waiting in the coordinator for a worker's credit.
    public var queueMicroseconds: Int
    /// Encoder, as the coordinator saw it (0 for vectors), with its own queue and compute.
    public var encode: StageTiming?
    /// Shortlist (or exhaustive scan): slowest worker.
    public var shortlist: StageTiming?
    /// Rerank: slowest worker.
    public var rerank: StageTiming?
    /// Payload and id fetch where it was a step of its own.
    public var fetchMicroseconds: Int
    /// Merging in the coordinator.
    public var mergeMicroseconds: Int

    /// One remote step.
    public struct StageTiming: Sendable, Hashable {
        /// From send to last answer.
        public var totalMicroseconds: Int
        /// Worker's queue.
        public var queueMicroseconds: Int
        /// Worker's compute.
        public var computeMicroseconds: Int
        /// The rest: transport and waking up.
        public var transportMicroseconds: Int { max(0, totalMicroseconds - queueMicroseconds - computeMicroseconds) }

        /// Makes a timing.
        public init(totalMicroseconds: Int, queueMicroseconds: Int, computeMicroseconds: Int) {
            self.totalMicroseconds = totalMicroseconds
            self.queueMicroseconds = queueMicroseconds
            self.computeMicroseconds = computeMicroseconds
        }
    }

    /// Makes timings of zero.
    public init() {
        totalMicroseconds = 0
        queueMicroseconds = 0
        fetchMicroseconds = 0
        mergeMicroseconds = 0
    }
}

/// Answer to `search`.
public struct SearchReply: Sendable, Hashable {
    /// By query.
    public var hits: [[Hit]]
    /// The plan that ran.
    public var plan: ResolvedPlan
    /// What was searched.
    public var coverage: Coverage
    /// Reasons, for example `timeout`, `rerank_skipped`; empty when nothing was lost.
    public var degraded: [String]
    /// Collection that answered (an alias resolved).
    public var collection: String
    /// Resident generation.
    public var generation: UInt32
    /// Index that the first stage went through; flat for an exhaustive scan.
    public var index: CollectionIndex.Kind
    /// The hits are the true best k by the full vectors over all rows.
    public var isProven: Bool
    /// Rows rescored from a newer version, rows that vanished.
    public var rescoredNewer: Int
    /// Rows that vanished between the stages.
    public var gone: Int
    /// Times.
    public var timings: SearchTimings
    /// As requested: `scores` and `counts` columns.
    public var columns: Bool
    /// Trace id.
    public var traceHigh: UInt64
    /// Low half.
    public var traceLow: UInt64

    /// Makes a reply.
    public init(
        hits: [[Hit]],
        plan: ResolvedPlan,
        coverage: Coverage,
        degraded: [String],
        collection: String,
        generation: UInt32,
        index: CollectionIndex.Kind = .flat,
        isProven: Bool = false,
        rescoredNewer: Int,
        gone: Int,
        timings: SearchTimings,
        columns: Bool,
        traceHigh: UInt64,
        traceLow: UInt64
    ) {
        self.hits = hits
        self.plan = plan
        self.coverage = coverage
        self.degraded = degraded
        self.collection = collection
        self.generation = generation
        self.index = index
        self.isProven = isProven
        self.rescoredNewer = rescoredNewer
        self.gone = gone
        self.timings = timings
        self.columns = columns
        self.traceHigh = traceHigh
        self.traceLow = traceLow
    }
}

/// What a classifier says of one text.
public struct TextLabel: Sendable, Hashable {
    /// Nil where the text has no token that the model knows: nothing speaks for any label.
    public var label: String?
    /// Probability of the label at that size; 0 without one.
    public var confidence: Float
    /// The size that decided.
    public var size: Int

    /// Makes a label.
    public init(label: String?, confidence: Float, size: Int) {
        self.label = label
        self.confidence = confidence
        self.size = size
    }
}

/// Answer to `classify`.
public struct LabelsReply: Sendable, Hashable {
    /// In the order of the texts.
    public var labels: [TextLabel]
    /// Classifier that answered.
    public var classifier: String
    /// Model whose vectors it took.
    public var model: String

    /// Makes a reply.
    public init(labels: [TextLabel], classifier: String, model: String) {
        self.labels = labels
        self.classifier = classifier
        self.model = model
    }
}

/// What became of one document of a write.
public struct RowFailure: Sendable, Hashable {
    /// Index in the request.
    public var index: Int
    /// Error.
    public var error: FrontError

    /// Makes a failure.
    public init(index: Int, error: FrontError) {
        self.index = index
        self.error = error
    }
}

/// Answer to `upsert` and `delete`.
public struct WriteReply: Sendable, Hashable {
    /// Rows written or deleted.
    public var applied: Int
    /// Rows skipped with their errors (`on_error: skip`), or unknown ids of a delete.
    public var failures: [RowFailure]
    /// `searchable`, `durable` (not waited), or `durable, not searchable`.
    public var state: String
    /// Transaction of the write.
    public var token: UInt64
    /// A stored reply was returned.
    public var replayed: Bool

    /// Makes a reply.
    public init(applied: Int, failures: [RowFailure], state: String, token: UInt64, replayed: Bool) {
        self.applied = applied
        self.failures = failures
        self.state = state
        self.token = token
        self.replayed = replayed
    }
}

/// A document as `get` returns it.
public struct StoredDocument: Sendable, Hashable {
    /// External id.
    public var id: String
    /// Text.
    public var text: String?
    /// JSON text.
    public var payload: String?
    /// Row version.
    public var version: UInt32

    /// Makes a document.
    public init(id: String, text: String?, payload: String?, version: UInt32) {
        self.id = id
        self.text = text
        self.payload = payload
        self.version = version
    }
}

/// Any answer of the coordinator.
public enum FrontReplyBody: Sendable, Hashable {
    /// `json` members are merged into the header: used by hello, status, collections, cancel (small, rare).
    case object(type: String, json: JSONValue)
    case search(SearchReply)
    case vectors(dimensions: Int, values: [Float], model: String)
    case labels(LabelsReply)
    case write(WriteReply)
    /// `vectors` row-major in the order of `documents`; `missing`: ids that do not exist.
    case documents([StoredDocument], missing: [String], dimensions: Int, vectors: [Float])
    case error(FrontError)
}

/// A reply with the id of its request.
public struct FrontReply: Sendable, Hashable {
    /// Client's id.
    public var id: String
    /// Answer.
    public var body: FrontReplyBody

    /// Makes a reply.
    public init(id: String, body: FrontReplyBody) {
        self.id = id
        self.body = body
    }
}
