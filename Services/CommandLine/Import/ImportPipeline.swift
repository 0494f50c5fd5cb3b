import DocumentStore
import Matryoshka
import ServiceRuntime
import WireProtocol

/// Encodes documents through the front socket and hands them to the database, both at the same time and in order.
final class ImportPipeline {
    /// A batch on its way to the encoder.
    private struct Batch {
        var documents: [ImportedDocument]
        /// Where the source goes on after it.
        var offset: Int
        var vectors: [Float]?
        var dimensions = 0
        var attempts = 0
    }

    /// Texts of one `encode`.
    static let encodeBatch = 256
    private static let encodeBytes = 16 << 20
    /// `encode` requests under way: enough to keep one encoder busy while answers travel.
    private static let window = 8
    /// Rows of one transaction.
    private static let storeBatch = 4_096
    private static let attemptsMax = 50

    private let client: FrontClient
    private let collection: String
    private let writer: (_ rows: [UpsertRow], _ offset: Int) throws -> Void
    private let isCancelled: () -> Bool

    private var waiting: [UInt64: Int] = [:]
    private var batches: [Int: Batch] = [:]
    private var firstBatch = 0
    private var nextBatch = 0
    private var rows: [UpsertRow] = []
    private var rowsOffset = 0
    /// Documents without a word that the model knows.
    private(set) var unknownText: [String] = []
    /// Documents without text.
    private(set) var emptyText: [String] = []

    /// Makes a pipeline.
    ///
    /// - Parameters:
    ///   - client: Encodes.
    ///   - collection: Whose model encodes.
    ///   - isCancelled: Asked often; once true, what is under way is finished and nothing more is read.
    ///   - writer: Takes the rows of one transaction and the offset after them.
    init(
        client: FrontClient,
        collection: String,
        isCancelled: @escaping () -> Bool,
        writer: @escaping (_ rows: [UpsertRow], _ offset: Int) throws -> Void
    ) {
        self.client = client
        self.collection = collection
        self.isCancelled = isCancelled
        self.writer = writer
    }

    /// Runs until `next` gives nothing more, or it is cancelled.
    ///
    /// - Parameters:
    ///   - next: The next document, or nil.
    ///   - offset: Where the source goes on after the last one given.
    /// - Throws: What encoding, writing or the source throws.
    func run(next: () throws -> ImportedDocument?, offset: () -> Int) throws {
        var isAtEnd = false
        while true {
            while !isAtEnd, waiting.count < Self.window, batches.count < 4 * Self.window {
                if isCancelled() {
                    isAtEnd = true
                    break
                }
                var documents: [ImportedDocument] = []
                var bytes = 0
                while documents.count < Self.encodeBatch, bytes < Self.encodeBytes {
                    guard let document = try next() else {
                        isAtEnd = true
                        break
                    }
                    bytes += document.text.utf8.count
                    if document.text.isEmpty { emptyText.append(document.id) } else { documents.append(document) }
                }
                batches[nextBatch] = Batch(documents: documents, offset: offset())
                nextBatch += 1
                if documents.isEmpty { batches[nextBatch - 1]!.vectors = [] } else { try send(nextBatch - 1) }
            }
            if !waiting.isEmpty { try take(client.next()) }
            try store()
            if isAtEnd, waiting.isEmpty, batches.isEmpty { break }
        }
        try flush()
    }

    private func send(_ number: Int) throws {
        let request = EncodeRequest(
            collection: collection,
            role: .document,
            texts: batches[number]!.documents.map(\.text)
        )
        waiting[try client.send(.encode(request), deadlineMilliseconds: 30_000)] = number
    }

    private func take(_ completion: FrontClient.Completion) throws {
        guard let number = waiting.removeValue(forKey: completion.ticket) else { return }
        switch completion.body {
        case .vectors(let dimensions, let values, _):
            guard values.count == dimensions * batches[number]!.documents.count else {
                throw StartupFailure("the encoder answered with another number of vectors than of texts")
            }
            batches[number]!.vectors = values
            batches[number]!.dimensions = dimensions
        case .error(let error) where error.code.isRetryable && batches[number]!.attempts < Self.attemptsMax:
            batches[number]!.attempts += 1
            // The encoder may be starting again; the pipeline is empty meanwhile, so waiting here costs nothing.
            pause(milliseconds: min(1_000, max(error.retryAfterMilliseconds ?? 0, 20 * batches[number]!.attempts)))
            try send(number)
        case .error(let error): throw error.asFailure
        default: throw StartupFailure("the coordinator's answer is of another kind than the request")
        }
    }

    /// Moves encoded batches into rows, in order.
    private func store() throws {
        while let batch = batches[firstBatch], let vectors = batch.vectors {
            batches[firstBatch] = nil
            firstBatch += 1
            for (place, document) in batch.documents.enumerated() {
                let vector = Array(vectors[place * batch.dimensions..<(place + 1) * batch.dimensions])
                guard vector.contains(where: { $0 != 0 }) else {
                    unknownText.append(document.id)
                    continue
                }
                rows.append(
                    UpsertRow(
                        externalID: document.id,
                        text: document.text,
                        payload: document.payload,
                        vector: vector
                    )
                )
            }
            rowsOffset = batch.offset
            if rows.count >= Self.storeBatch { try flush() }
        }
    }

    private func flush() throws {
        guard !rows.isEmpty else { return }
        try writer(rows, rowsOffset)
        rows.removeAll(keepingCapacity: true)
    }
}

/// Writes batches on a thread of its own, so that encoding goes on meanwhile; at most one batch waits.
final class BatchWriter: @unchecked Sendable {
    // @unchecked: the fields are under the lock; the store is used by the thread alone between `init` and `finish`.
    private let lock = Lock()
    private let changed: Condition
    private let thread = SerialThread(name: "import-store")
    private let write: @Sendable (_ rows: [UpsertRow], _ offset: Int) throws -> Void
    private var underWay = 0
    private var writtenRows = 0
    private var failure: StartupFailure?

    init(_ write: @escaping @Sendable (_ rows: [UpsertRow], _ offset: Int) throws -> Void) {
        self.write = write
        changed = Condition(lock)
    }

    /// Rows committed so far.
    var written: Int { lock.withLock { writtenRows } }

    /// Hands over a batch; waits while one waits already.
    func submit(_ rows: [UpsertRow], _ offset: Int) throws {
        try waitUntil(underWayAtMost: 1)
        lock.withLock { underWay += 1 }
        thread.async { [self] in
            var problem: StartupFailure?
            if lock.withLock({ failure == nil }) {
                do { try write(rows, offset) } catch { problem = StartupFailure("\(error)") }
            }
            lock.withLock {
                underWay -= 1
                if failure == nil { failure = problem }
                if failure == nil { writtenRows += rows.count }
                changed.broadcast()
            }
        }
    }

    /// Waits for the last batch.
    func finish() throws {
        try waitUntil(underWayAtMost: 0)
        thread.stop()
    }

    private func waitUntil(underWayAtMost limit: Int) throws {
        let problem = lock.withLock {
            while underWay > limit { changed.wait() }
            return failure
        }
        if let problem { throw problem }
    }
}
