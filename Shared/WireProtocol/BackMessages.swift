public import Matryoshka

// What coordinator and workers say to each other. Layouts: proto-docs/back-protocol.md.
// One ZeroMQ message = [header frame, payload frame]; on the coordinator's ROUTER a routing id stands before them.

/// Kinds of back messages, with their number on the wire.
public enum BackType: UInt8, Sendable, Hashable, CaseIterable {
    case register = 1
    case registered = 2
    case reject = 3
    case whoAreYou = 4
    case heartbeat = 5
    case map = 6
    case drain = 7
    case drained = 8
    case train = 9
    case trained = 10
    case search = 16
    case hits = 17
    case rerank = 18
    case scores = 19
    case fetch = 20
    case documents = 21
    case encode = 22
    case vectors = 23
    case cancel = 24
    case failed = 25
    case classify = 26
    case labels = 27
}

/// What a worker does.
public enum WorkerRole: String, Sendable, Hashable, CaseIterable, Codable {
    case encoder
    case shortlist
    case rerank
}

/// The fixed part of every back message.
public struct BackHeader: Sendable, Hashable {
    /// Kind of the message.
    public var type: BackType
    /// Coordinator's number of the request; echoed by the answer; 0 where there is none.
    public var request: UInt64
    /// Incarnation of the worker that sends or is addressed; 0 before REGISTERED.
    public var incarnation: UInt64
    /// Epoch of the shard map that the sender knows.
    public var epoch: UInt64
    /// Time left for the request, in microseconds; 0 where it has no deadline.
    public var deadlineMicroseconds: UInt64
    /// W3C trace id, high and low half.
    public var traceHigh: UInt64
    /// Low half of the trace id.
    public var traceLow: UInt64
    /// Collection that the message is about; 0 where none.
    public var collection: UInt32
    /// Resident generation of the collection.
    public var generation: UInt32

    /// Makes a header; all but the type default to 0.
    public init(
        type: BackType,
        request: UInt64 = 0,
        incarnation: UInt64 = 0,
        epoch: UInt64 = 0,
        deadlineMicroseconds: UInt64 = 0,
        traceHigh: UInt64 = 0,
        traceLow: UInt64 = 0,
        collection: UInt32 = 0,
        generation: UInt32 = 0
    ) {
        self.type = type
        self.request = request
        self.incarnation = incarnation
        self.epoch = epoch
        self.deadlineMicroseconds = deadlineMicroseconds
        self.traceHigh = traceHigh
        self.traceLow = traceLow
        self.collection = collection
        self.generation = generation
    }
}

/// 128 bits that a process draws once when it begins: what tells it from every other, whatever their names.
public struct ProcessToken: Sendable, Hashable, Codable, CustomStringConvertible {
    /// First half.
    public var high: UInt64
    /// Second half.
    public var low: UInt64

    /// Makes a token of its halves.
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Reads 32 lower-case hexadecimal digits; nil where it is anything else.
    public init?(_ text: String) {
        let isHex = text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
        guard isHex, text.utf8.count == 32, let high = UInt64(text.prefix(16), radix: 16),
            let low = UInt64(text.suffix(16), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }

    /// A new one, from the system's generator.
    public static func random() -> ProcessToken {
        ProcessToken(high: .random(in: .min ... .max), low: .random(in: .min ... .max))
    }

    /// 32 hexadecimal digits.
    public var description: String {
        [high, low].map { half in
            let digits = String(half, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }
}

/// REGISTER (worker → coordinator), JSON.
public struct Register: Sendable, Hashable, Codable {
    /// What the worker does.
    public var role: WorkerRole
    /// Host and process id, for people.
    public var host: String
    /// Operating system process id.
    public var pid: Int32
    /// Which process it is.
    public var process: ProcessToken
    /// Version of the build.
    public var build: String
    /// Lowest and highest back protocol version that it speaks.
    public var protocolVersions: [Int]
    /// Bytes of rows that it may hold.
    ///
    /// Shortlist shards are placed up to 95 % of it, and leave what outgrows it. 0 for encoders.
    public var capacityBytes: Int
    /// Requests that it takes unanswered from this coordinator.
    public var credit: Int
    /// Shards that it already holds (after a coordinator restarted).
    public var shards: [ShardReport]
    /// Encoders: the model that they serve.
    public var model: ModelReport?
    /// Encoders: the classifier that they serve beside it, where there is one.
    public var classifier: ClassifierReport?

    /// Makes a registration.
    public init(
        role: WorkerRole,
        host: String,
        pid: Int32,
        process: ProcessToken,
        build: String,
        protocolVersions: [Int] = [1, 1],
        capacityBytes: Int,
        credit: Int,
        shards: [ShardReport] = [],
        model: ModelReport? = nil,
        classifier: ClassifierReport? = nil
    ) {
        self.role = role
        self.host = host
        self.pid = pid
        self.process = process
        self.build = build
        self.protocolVersions = protocolVersions
        self.capacityBytes = capacityBytes
        self.credit = credit
        self.shards = shards
        self.model = model
        self.classifier = classifier
    }
}

/// The classifier that an encoder serves.
public struct ClassifierReport: Sendable, Hashable, Codable {
    /// Hash of the classifier's directory.
    public var id: String
    /// Sizes that it asks, ascending.
    public var sizes: [Int]
    /// How many labels it tells apart.
    public var labels: Int

    /// Makes a report.
    public init(id: String, sizes: [Int], labels: Int) {
        self.id = id
        self.sizes = sizes
        self.labels = labels
    }
}

/// The model that an encoder serves.
public struct ModelReport: Sendable, Hashable, Codable {
    /// Hash of the model directory.
    public var id: String
    /// Name for people.
    public var name: String
    /// Full size.
    public var dimensions: Int
    /// Smallest trained size.
    public var smallestDimensions: Int
    /// Sizes that it was trained for, ascending.
    public var nesting: [Int]

    /// Makes a report.
    public init(id: String, name: String, dimensions: Int, smallestDimensions: Int, nesting: [Int]) {
        self.id = id
        self.name = name
        self.dimensions = dimensions
        self.smallestDimensions = smallestDimensions
        self.nesting = nesting
    }
}

/// Where one replica of a logical shard stands.
public enum ShardState: String, Sendable, Hashable, Codable {
    case loading
    case catchingUp = "catching_up"
    case ready
    case draining
}

/// One replica of a logical shard as its worker reports it.
public struct ShardReport: Sendable, Hashable, Codable {
    /// Collection.
    public var collection: UInt32
    /// Resident generation.
    public var generation: UInt32
    /// Logical shard.
    public var shard: UInt16
    /// Where it stands.
    public var state: ShardState
    /// Rows that are held.
    public var rows: Int
    /// Bytes that they take.
    public var bytes: Int
    /// `pg_snapshot` text of what has been applied; empty while loading.
    public var applied: String

    /// Makes a report.
    public init(
        collection: UInt32,
        generation: UInt32,
        shard: UInt16,
        state: ShardState,
        rows: Int,
        bytes: Int,
        applied: String
    ) {
        self.collection = collection
        self.generation = generation
        self.shard = shard
        self.state = state
        self.rows = rows
        self.bytes = bytes
        self.applied = applied
    }
}

/// REGISTERED (coordinator → worker), JSON.
public struct Registered: Sendable, Hashable, Codable {
    /// Incarnation that the worker carries from now on.
    public var incarnation: UInt64
    /// Beat every so many milliseconds.
    public var heartbeatMilliseconds: Int
    /// Without a beat for so long, the coordinator counts the worker as dead.
    public var leaseMilliseconds: Int
    /// Name of the coordinator.
    public var coordinator: String

    /// Makes an answer.
    public init(incarnation: UInt64, heartbeatMilliseconds: Int, leaseMilliseconds: Int, coordinator: String) {
        self.incarnation = incarnation
        self.heartbeatMilliseconds = heartbeatMilliseconds
        self.leaseMilliseconds = leaseMilliseconds
        self.coordinator = coordinator
    }
}

/// REJECT (coordinator → worker), JSON: the worker exits.
public struct Reject: Sendable, Hashable, Codable {
    /// `FENCED`, `UNKNOWN_INCARNATION`, `UNSUPPORTED_VERSION` or `MODEL_MISMATCH`.
    public var code: String
    /// One sentence.
    public var message: String

    /// Makes a rejection.
    public init(code: String, message: String) {
        self.code = code
        self.message = message
    }
}

/// HEARTBEAT (worker → coordinator, answered with an empty HEARTBEAT), JSON.
public struct Heartbeat: Sendable, Hashable, Codable {
    /// Requests received and not answered.
    public var inFlight: Int
    /// Milliseconds since the compute thread last finished something or was idle.
    public var progressAgeMilliseconds: Int
    /// All shards that the worker holds.
    public var shards: [ShardReport]
    /// Bytes of rows held.
    public var residentBytes: Int
    /// Requests answered since the start.
    public var answered: UInt64
    /// The worker was asked to stop and wants its shards moved.
    public var draining: Bool
    /// The worker's database can be reached.
    public var databaseReachable: Bool

    /// Makes a beat.
    public init(
        inFlight: Int,
        progressAgeMilliseconds: Int,
        shards: [ShardReport],
        residentBytes: Int,
        answered: UInt64,
        draining: Bool,
        databaseReachable: Bool
    ) {
        self.inFlight = inFlight
        self.progressAgeMilliseconds = progressAgeMilliseconds
        self.shards = shards
        self.residentBytes = residentBytes
        self.answered = answered
        self.draining = draining
        self.databaseReachable = databaseReachable
    }
}

/// MAP (coordinator → worker), JSON: all that this worker shall hold.
///
/// A shard that is not listed is let go.
public struct ShardAssignments: Sendable, Hashable {
    /// One collection at one generation.
    public struct Assigned: Sendable, Hashable {
        /// What to hold.
        public var shape: WireShape
        /// Logical shards of it.
        public var shards: [UInt16]

        /// Makes an entry.
        public init(shape: WireShape, shards: [UInt16]) {
            self.shape = shape
            self.shards = shards
        }
    }

    /// Epoch of the map; a lower one than the last seen is ignored.
    public var epoch: UInt64
    /// Entries; the same collection stands twice while its generation changes.
    public var collections: [Assigned]

    /// Makes a map.
    public init(epoch: UInt64, collections: [Assigned]) {
        self.epoch = epoch
        self.collections = collections
    }
}

/// ``CollectionShape`` as JSON carries it.
public struct WireShape: Sendable, Hashable {
    /// Number of the collection.
    public var collection: UInt32
    /// Name.
    public var name: String
    /// Model id; empty where none is bound.
    public var model: String
    /// Full size D.
    public var dimensions: Int
    /// Smallest legal size.
    public var smallestDimensions: Int
    /// Prefixes are legal.
    public var isMatryoshka: Bool
    /// How vectors are compared.
    public var similarity: Similarity
    /// W.
    public var storedHeadWidth: Int
    /// H.
    public var residentWidth: Int
    /// int8 or float32.
    public var residentPrecision: Precision
    /// Sign bits are held beside.
    public var holdsSigns: Bool
    /// Starts the rotation that they are the signs of.
    public var signSeed: UInt64
    /// How rows are found.
    public var index: CollectionIndex
    /// Change of basis.
    public var rotation: Rotation
    /// Number of the rotation in the store; 0: none.
    public var learntRotation: UInt32
    /// Resident generation.
    public var generation: UInt32

    /// Copies a shape.
    public init(_ shape: CollectionShape) {
        collection = shape.collection
        name = shape.name
        model = shape.model
        dimensions = shape.dimensions
        smallestDimensions = shape.smallestDimensions
        isMatryoshka = shape.isMatryoshka
        similarity = shape.similarity
        storedHeadWidth = shape.storedHeadWidth
        residentWidth = shape.residentWidth
        residentPrecision = shape.residentPrecision
        holdsSigns = shape.holdsSigns
        signSeed = shape.signSeed
        index = shape.index
        rotation = shape.rotation
        learntRotation = shape.learntRotation
        generation = shape.generation
    }

    /// The shape.
    public var shape: CollectionShape {
        CollectionShape(
            collection: collection,
            name: name,
            model: model,
            dimensions: dimensions,
            smallestDimensions: smallestDimensions,
            isMatryoshka: isMatryoshka,
            similarity: similarity,
            storedHeadWidth: storedHeadWidth,
            residentWidth: residentWidth,
            residentPrecision: residentPrecision,
            holdsSigns: holdsSigns,
            signSeed: signSeed,
            index: index,
            rotation: rotation,
            learntRotation: learntRotation,
            generation: generation
        )
    }
}

/// TRAIN (leader → one worker), JSON: learn from the collection's rows and put what was learnt into the store.
public struct TrainCommand: Sendable, Hashable {
    /// What there is to learn.
    public enum Subject: String, Sendable, Hashable, CaseIterable, Codable {
        /// Centroids of the inverted lists of ``shape``.
        case centroids
        /// The rotation of the collection.
        case rotation
    }
    /// What to learn.
    public var subject: Subject
    /// The collection at the generation that waits for it.
    public var shape: WireShape

    /// Makes a command.
    public init(subject: Subject, shape: WireShape) {
        self.subject = subject
        self.shape = shape
    }
}

/// TRAINED (worker → leader), JSON: answer to TRAIN.
public struct Trained: Sendable, Hashable, Codable {
    /// Number of what was learnt, in the store.
    public var artefact: UInt32
    /// Rows that it was learnt from.
    public var rows: Int
    /// Time it took.
    public var milliseconds: Int

    /// Makes an answer.
    public init(artefact: UInt32, rows: Int, milliseconds: Int) {
        self.artefact = artefact
        self.rows = rows
        self.milliseconds = milliseconds
    }
}

/// SEARCH (coordinator → shortlist worker, or rerank worker for an exhaustive first stage), binary.
public struct SearchCommand: Sendable, Hashable {
    /// Resident stages with their keeps; for an exhaustive scan exactly one float stage.
    public var steps: [ResolvedPlan.Step]
    /// Logical shards to search here, ascending, each once.
    public var shards: [UInt16]
    /// Queries.
    public var queryCount: Int
    /// Floats of each query: W at a shortlist worker, D at a rerank worker.
    public var width: Int
    /// Row-major `[queryCount][width]`.
    public var queries: [Float]
    /// Lists or rows to look through where the collection has an index.
    public var effort: SearchEffort
    /// The best rows by the full vector, to be proven without scoring every row at full size where that is possible.
    public var isExact: Bool
    /// A filter expression; must be empty: a worker that cannot apply one answers UNSUPPORTED.
    public var filter: [UInt8]

    /// Makes a command.
    public init(
        steps: [ResolvedPlan.Step],
        shards: [UInt16],
        queryCount: Int,
        width: Int,
        queries: [Float],
        effort: SearchEffort = SearchEffort(),
        isExact: Bool = false,
        filter: [UInt8] = []
    ) {
        self.steps = steps
        self.shards = shards
        self.queryCount = queryCount
        self.width = width
        self.queries = queries
        self.effort = effort
        self.isExact = isExact
        self.filter = filter
    }
}

/// What became of one shard of a SEARCH.
public struct ShardAnswer: Sendable, Hashable {
    /// Outcome.
    public enum Status: UInt8, Sendable, Hashable {
        case searched = 0
        /// The worker does not hold the shard, or not at this generation.
        case notHere = 1
    }
    /// Logical shard.
    public var shard: UInt16
    /// Outcome.
    public var status: Status
    /// Rows searched.
    public var rows: UInt32
    /// xmax of the applied snapshot.
    public var appliedXmax: UInt64

    /// Makes an answer.
    public init(shard: UInt16, status: Status, rows: UInt32, appliedXmax: UInt64) {
        self.shard = shard
        self.status = status
        self.rows = rows
        self.appliedXmax = appliedXmax
    }
}

/// A list of rows with their scores, as columns: the shape that both engines and the wire share.
public struct CandidateColumns: Sendable, Hashable {
    /// Internal ids.
    public var ids: [Int64]
    /// Row versions.
    public var versions: [UInt32]
    /// Logical shards.
    public var shards: [UInt16]
    /// `scores[stage][row]`.
    public var scores: [[Float]]

    /// Makes columns of equal length.
    public init(ids: [Int64] = [], versions: [UInt32] = [], shards: [UInt16] = [], scores: [[Float]] = []) {
        self.ids = ids
        self.versions = versions
        self.shards = shards
        self.scores = scores
    }

    /// Rows.
    public var count: Int { ids.count }
}

/// HITS (worker → coordinator), binary: answer to SEARCH.
public struct Hits: Sendable, Hashable {
    /// One entry for each shard that was asked.
    public var shards: [ShardAnswer]
    /// By query: the best `keep` of the first step over all shards together, best first, with all steps' scores.
    public var results: [CandidateColumns]
    /// Microseconds from receipt to the start of the scan.
    public var queuedMicroseconds: UInt32
    /// Microseconds of the scan.
    public var computeMicroseconds: UInt32

    /// Makes hits.
    public init(
        shards: [ShardAnswer],
        results: [CandidateColumns],
        queuedMicroseconds: UInt32,
        computeMicroseconds: UInt32
    ) {
        self.shards = shards
        self.results = results
        self.queuedMicroseconds = queuedMicroseconds
        self.computeMicroseconds = computeMicroseconds
    }
}

/// RERANK (coordinator → rerank worker), binary.
public struct RerankCommand: Sendable, Hashable {
    /// The whole plan.
    public var plan: ResolvedPlan
    /// First step that is to be scored; the ones before came with HITS.
    public var firstStep: Int
    /// Every candidate of every query is in this message: the worker applies the keeps itself and answers with the
    /// final hits alone, their external ids, and (if asked) payloads.
    public var isWhole: Bool
    /// Whole answers carry payloads.
    public var withPayload: Bool
    /// Queries.
    public var queryCount: Int
    /// Floats of each query: D.
    public var width: Int
    /// Row-major `[queryCount][width]`.
    public var queries: [Float]
    /// By query; `scores` holds the known steps (0 ..< firstStep).
    public var candidates: [CandidateColumns]
    /// Number in the store of the rotation that all steps but the last are scored in; 0: none.
    public var rotation: UInt32

    /// Makes a command.
    public init(
        plan: ResolvedPlan,
        firstStep: Int,
        isWhole: Bool,
        withPayload: Bool,
        queryCount: Int,
        width: Int,
        queries: [Float],
        candidates: [CandidateColumns],
        rotation: UInt32 = 0
    ) {
        self.rotation = rotation
        self.plan = plan
        self.firstStep = firstStep
        self.isWhole = isWhole
        self.withPayload = withPayload
        self.queryCount = queryCount
        self.width = width
        self.queries = queries
        self.candidates = candidates
    }
}

/// A document as FETCH and whole reranks return it.
public struct FetchedDocument: Sendable, Hashable {
    /// Internal id.
    public var id: Int64
    /// External id.
    public var externalID: String
    /// Payload as JSON text; nil where not asked or absent.
    public var payload: String?

    /// Makes a document.
    public init(id: Int64, externalID: String, payload: String?) {
        self.id = id
        self.externalID = externalID
        self.payload = payload
    }
}

/// SCORES (rerank worker → coordinator), binary: answer to RERANK.
public struct Scores: Sendable, Hashable {
    /// By query: rows with scores of **all** steps of the plan (known ones echoed, or rescored where the row is newer).
    ///
    /// Whole: final hits, best first. Otherwise: every row that was sent, less gone and skipped ones.
    public var results: [CandidateColumns]
    /// By query, for whole answers: documents of the final hits in the same order; else empty.
    public var documents: [[FetchedDocument]]
    /// Rows that no longer exist.
    public var gone: UInt32
    /// Rows scored from a newer version than the shortlist saw.
    public var rescoredNewer: UInt32
    /// Rows that could not be read (database down); ids of all queries.
    public var skipped: [Int64]
    /// Rows read from PostgreSQL for this answer.
    public var fetchedRows: UInt32
    /// Microseconds from receipt to start.
    public var queuedMicroseconds: UInt32
    /// Microseconds of the scoring, reads included.
    public var computeMicroseconds: UInt32

    /// Makes scores.
    public init(
        results: [CandidateColumns],
        documents: [[FetchedDocument]],
        gone: UInt32,
        rescoredNewer: UInt32,
        skipped: [Int64],
        fetchedRows: UInt32,
        queuedMicroseconds: UInt32,
        computeMicroseconds: UInt32
    ) {
        self.results = results
        self.documents = documents
        self.gone = gone
        self.rescoredNewer = rescoredNewer
        self.skipped = skipped
        self.fetchedRows = fetchedRows
        self.queuedMicroseconds = queuedMicroseconds
        self.computeMicroseconds = computeMicroseconds
    }
}

/// FETCH (coordinator → rerank worker), binary: external ids and payloads of final hits.
public struct FetchCommand: Sendable, Hashable {
    /// Internal ids.
    public var ids: [Int64]
    /// Shard of each.
    public var shards: [UInt16]
    /// Payloads too.
    public var withPayload: Bool

    /// Makes a command.
    public init(ids: [Int64], shards: [UInt16], withPayload: Bool) {
        self.ids = ids
        self.shards = shards
        self.withPayload = withPayload
    }
}

/// DOCUMENTS (rerank worker → coordinator), binary: answer to FETCH; rows that are gone are left out.
public struct Documents: Sendable, Hashable {
    /// In the order asked.
    public var documents: [FetchedDocument]

    /// Makes an answer.
    public init(documents: [FetchedDocument]) { self.documents = documents }
}

/// What a text is, since prompts differ.
public enum TextRole: String, Sendable, Hashable, CaseIterable, Codable {
    case query
    case document
}

/// ENCODE (coordinator → encoder), binary.
public struct EncodeCommand: Sendable, Hashable {
    /// Role of every text.
    public var role: TextRole
    /// False: the ingest lane, served when no search waits.
    public var isUrgent: Bool
    /// UTF-8 texts.
    public var texts: [String]

    /// Makes a command.
    public init(role: TextRole, isUrgent: Bool, texts: [String]) {
        self.role = role
        self.isUrgent = isUrgent
        self.texts = texts
    }
}

/// VECTORS (encoder → coordinator), binary: answer to ENCODE.
public struct Vectors: Sendable, Hashable {
    /// Full size D.
    public var dimensions: Int
    /// Row-major `[texts][D]`; a row of zeros where a text has no known token.
    public var values: [Float]
    /// Microseconds from receipt to start.
    public var queuedMicroseconds: UInt32
    /// Microseconds of the encoding.
    public var computeMicroseconds: UInt32

    /// Makes vectors.
    public init(dimensions: Int, values: [Float], queuedMicroseconds: UInt32, computeMicroseconds: UInt32) {
        self.dimensions = dimensions
        self.values = values
        self.queuedMicroseconds = queuedMicroseconds
        self.computeMicroseconds = computeMicroseconds
    }
}

/// CLASSIFY (coordinator → encoder), binary.
public struct ClassifyCommand: Sendable, Hashable {
    /// One threshold for all sizes; nil: the learnt ones.
    public var threshold: Float?
    /// UTF-8 texts.
    public var texts: [String]

    /// Makes a command.
    public init(threshold: Float?, texts: [String]) {
        self.threshold = threshold
        self.texts = texts
    }
}

/// LABELS (encoder → coordinator), binary: answer to CLASSIFY.
public struct Labels: Sendable, Hashable {
    /// In the order of the texts.
    public var labels: [TextLabel]
    /// Microseconds from receipt to start.
    public var queuedMicroseconds: UInt32
    /// Microseconds of encoding and classifying.
    public var computeMicroseconds: UInt32

    /// Makes labels.
    public init(labels: [TextLabel], queuedMicroseconds: UInt32, computeMicroseconds: UInt32) {
        self.labels = labels
        self.queuedMicroseconds = queuedMicroseconds
        self.computeMicroseconds = computeMicroseconds
    }
}

/// FAILED (worker → coordinator), JSON: the request was not served.
public struct Failed: Sendable, Hashable, Codable {
    /// A code of the front protocol.
    public var code: String
    /// One sentence.
    public var message: String

    /// Makes a failure.
    public init(code: String, message: String) {
        self.code = code
        self.message = message
    }
}

/// The part of a back message after its header.
public enum BackBody: Sendable, Hashable {
    case register(Register)
    case registered(Registered)
    case reject(Reject)
    case whoAreYou
    case heartbeat(Heartbeat)
    /// The coordinator's answer to a beat.
    case heartbeatReply
    case map(ShardAssignments)
    /// Coordinator → worker: stop taking work once what was sent is answered.
    case drain
    /// Worker → coordinator: all is answered, the worker exits.
    case drained
    case train(TrainCommand)
    case trained(Trained)
    case search(SearchCommand)
    case hits(Hits)
    case rerank(RerankCommand)
    case scores(Scores)
    case fetch(FetchCommand)
    case documents(Documents)
    case encode(EncodeCommand)
    case vectors(Vectors)
    case cancel
    case failed(Failed)
    case classify(ClassifyCommand)
    case labels(Labels)
}

/// A header with its body.
public struct BackMessage: Sendable, Hashable {
    /// The fixed part; `header.type` fits `body`.
    public var header: BackHeader
    /// The rest.
    public var body: BackBody

    /// Makes a message.
    public init(header: BackHeader, body: BackBody) {
        self.header = header
        self.body = body
    }
}
