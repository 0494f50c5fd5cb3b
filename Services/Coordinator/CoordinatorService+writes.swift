import Coordination
import DocumentStore
import Logging
import Matryoshka
import ServiceRuntime
import WireProtocol
import ZeroMQ

extension CoordinatorService {
    func begin(_ request: UpsertRequest, _ key: UInt64) {
        do {
            let record = try resolve(request.collection)
            let shape = record.shape
            running[key]?.collection = shape.collection
            if let model = request.model, model != shape.model {
                throw FrontError(
                    .modelMismatch,
                    field: "model",
                    "the collection has another model",
                    allowed: shape.model
                )
            }
            guardWrite(key)
            var rows: [(index: Int, row: UpsertRow)] = []
            var failures = request.refused
            var texts: [(place: Int, text: String)] = []
            for document in request.documents {
                let index = document.index
                var vector: [Float]?
                if let at = document.vectorIndex {
                    guard request.width == shape.dimensions else {
                        throw FrontError(
                            .badDimension,
                            field: "vectors",
                            "the vectors have \(request.width) dimensions",
                            allowed: "\(shape.dimensions)"
                        )
                    }
                    let values = Array(request.vectors[at * request.width..<(at + 1) * request.width])
                    if let fault = VectorFault.find(in: values.span, dimensions: shape.dimensions) {
                        let isZero = !values.contains { !$0.isFinite } && fault != .nonFinite
                        let error = FrontError(
                            isZero ? .zeroVector : .nonFinite,
                            field: "vectors[\(at)]",
                            isZero ? "the vector is zero" : "the vector or its squared norm is not finite",
                            allowed: "finite numbers, not all zero"
                        )
                        if request.onError == .reject { throw error }
                        failures.append(RowFailure(index: index, error: error))
                        continue
                    }
                    vector = values
                } else if let text = document.text {
                    texts.append((rows.count, text))
                } else {
                    let error = FrontError(
                        .badHeader,
                        field: "documents[\(index)]",
                        "the document has neither a vector nor a text to encode",
                        allowed: "text or vector"
                    )
                    if request.onError == .reject { throw error }
                    failures.append(RowFailure(index: index, error: error))
                    continue
                }
                rows.append(
                    (
                        index,
                        UpsertRow(
                            externalID: document.id,
                            text: document.text,
                            payload: document.payload,
                            vector: vector
                        )
                    )
                )
            }
            encodeTexts(texts[...], rows, failures, request, shape, key)
        } catch let error as FrontError {
            fail(key, error)
        } catch {
            fail(key, FrontError(.internalError, "\(error)"))
        }
    }

    /// Encodes up to a batch of texts, then the rest, then writes.
    private func encodeTexts(
        _ texts: ArraySlice<(place: Int, text: String)>,
        _ rows: [(index: Int, row: UpsertRow)],
        _ failures: [RowFailure],
        _ request: UpsertRequest,
        _ shape: CollectionShape,
        _ key: UInt64
    ) {
        guard let entry = running[key] else { return }
        guard !texts.isEmpty else {
            commit(rows, failures, request, shape, key)
            return
        }
        guard let encoder = registry.encoder(of: shape.model) else {
            fail(
                key,
                FrontError(
                    .unavailable,
                    field: "documents",
                    "no encoder of the collection's model is running",
                    allowed: "send vectors, or start mrl-encoder",
                    retryAfterMilliseconds: 500
                )
            )
            return
        }
        let batch = texts.prefix(FrontLimits.batchMax)
        dispatch(
            BackMessage(
                header: BackHeader(type: .encode, traceHigh: entry.traceHigh, traceLow: entry.traceLow),
                body: .encode(EncodeCommand(role: request.role, isUrgent: false, texts: batch.map(\.text)))
            ),
            to: encoder.incarnation,
            owner: .texts(key) { [self] result in
                switch result {
                case .failure(let error): fail(key, error)
                case .success(let answer):
                    guard answer.dimensions == shape.dimensions,
                        answer.values.count == batch.count * shape.dimensions
                    else {
                        fail(key, FrontError(.modelMismatch, "the encoder's vectors do not fit the collection"))
                        return
                    }
                    var rows = rows
                    var failures = failures
                    var bad: Set<Int> = []
                    for (offset, (place, _)) in batch.enumerated() {
                        let vector = Array(
                            answer.values[offset * shape.dimensions..<(offset + 1) * shape.dimensions]
                        )
                        if vector.contains(where: { $0 != 0 }) {
                            rows[place].row.vector = vector
                        } else {
                            bad.insert(place)
                            failures.append(
                                RowFailure(
                                    index: rows[place].index,
                                    error: FrontError(
                                        .zeroVector,
                                        field: "documents[\(rows[place].index)].text",
                                        "the text has no token that the model knows",
                                        allowed: "a text with at least one known word"
                                    )
                                )
                            )
                        }
                    }
                    if let first = failures.last, !bad.isEmpty, request.onError == .reject {
                        fail(key, first.error)
                        return
                    }
                    // Rows without a vector after encoding are dropped when written.
                    encodeTexts(texts.dropFirst(batch.count), rows, failures, request, shape, key)
                }
            },
            deadline: entry.deadline
        )
    }

    private func commit(
        _ rows: [(index: Int, row: UpsertRow)],
        _ failures: [RowFailure],
        _ request: UpsertRequest,
        _ shape: CollectionShape,
        _ key: UInt64
    ) {
        let good = rows.map(\.row).filter { $0.vector != nil }
        let identity = running[key]?.identity ?? ""
        let idempotency = request.idempotencyKey.map {
            IdempotencyKey(client: identity, key: $0, bodyHash: request.bodyHash)
        }
        let failures = failures.sorted { $0.index < $1.index }
        let isBarrier = request.documents.isEmpty && request.refused.isEmpty
        write(key, shape, wait: request.wait, failures: failures, isBarrier: isBarrier) { store in
            let outcome = try store.upsert(
                collection: shape.collection,
                rows: good,
                idempotency: idempotency,
                reply: {
                    WriteReply(
                        applied: $0.applied,
                        failures: failures,
                        state: "durable",
                        token: $0.token,
                        replayed: false
                    )
                    .storedText
                }
            )
            return (outcome, failures)
        }
    }

    func begin(_ request: DeleteRequest, _ key: UInt64) {
        do {
            let shape = try resolve(request.collection).shape
            running[key]?.collection = shape.collection
            guardWrite(key)
            let identity = running[key]?.identity ?? ""
            let idempotency = request.idempotencyKey.map {
                IdempotencyKey(client: identity, key: $0, bodyHash: request.bodyHash)
            }
            write(key, shape, wait: request.wait, failures: []) { store in
                let outcome = try store.delete(
                    collection: shape.collection,
                    externalIDs: request.ids,
                    idempotency: idempotency,
                    reply: {
                        WriteReply(
                            applied: $0.applied,
                            failures: Self.unknown($0.unknown, of: request.ids),
                            state: "durable",
                            token: $0.token,
                            replayed: false
                        ).storedText
                    }
                )
                let failures = Self.unknown(outcome.unknown, of: request.ids)
                return (outcome, failures)
            }
        } catch {
            fail(key, error)
        }
    }

    /// Ids are compared by their bytes: Swift takes "é" and "e" with a combining accent for the same.
    private static func unknown(_ unknown: [String], of ids: [String]) -> [RowFailure] {
        let bytes = Set(unknown.map { Array($0.utf8) })
        return ids.enumerated().filter { bytes.contains(Array($0.element.utf8)) }.map {
            RowFailure(
                index: $0.offset,
                error: FrontError(.notFound, field: "ids[\($0.offset)]", "there is no document \($0.element)")
            )
        }
    }

    /// A write that is not confirmed in time is told apart by how far it has come.
    private func guardWrite(_ key: UInt64) {
        guardDeadline(key) { [self] in
            guard let passage = running[key]?.passage else {
                return FrontError(.deadlineExceeded, "no encoder answered within the deadline; nothing was written")
            }
            return passage.close()
                ? .databaseIsSilent(Self.outcomeUnknown)
                : .databaseIsSilent("the write was not sent, nothing was written")
        }
    }

    private static let outcomeUnknown =
        "it is unknown whether the write was applied; to send it again is safe with an idempotency key"

    private func write(
        _ key: UInt64,
        _ shape: CollectionShape,
        wait: WriteWait,
        failures: [RowFailure],
        isBarrier: Bool = false,
        _ job: @escaping @Sendable (Store) throws -> (WriteOutcome, [RowFailure])
    ) {
        let passage = WritePassage()
        running[key]?.passage = passage
        let queued = writes.run(
            { store in
                guard passage.begin() else { throw WriteAbandoned() }
                let result = try job(store)
                // A hint that makes followers look at once; its loss costs one poll interval.
                try? store.notifyWritten(collection: shape.collection)
                return result
            },
            then: { [self] result in
                guard let entry = running[key] else { return }
                switch result {
                case .failure(let error):
                    fail(key, storeError(error, after: passage, outcome: Self.outcomeUnknown))
                case .success(let (outcome, failures)):
                    if let text = outcome.replayedReply, var stored = WriteReply(storedText: text) {
                        stored.replayed = true
                        finish(key, .write(stored))
                        return
                    }
                    let reply = WriteReply(
                        applied: outcome.applied,
                        failures: failures,
                        state: "durable",
                        token: outcome.token,
                        replayed: false
                    )
                    // What others have written may be in any shard.
                    let touched = isBarrier ? Set(0..<UInt16(Slots.shardCount)) : outcome.touchedShards
                    guard wait == .searchable, !touched.isEmpty else {
                        finish(key, .write(reply))
                        return
                    }
                    dropGuard(key)
                    waitReplies[key] = reply
                    waits.add(
                        key,
                        transaction: outcome.token,
                        shards: touched,
                        holdings: [
                            Holding(collection: shape.collection, generation: shape.generation, role: .shortlist),
                            Holding(collection: shape.collection, generation: 0, role: .rerank),
                        ],
                        deadline: entry.deadline > 50_000 ? entry.deadline - 50_000 : 0
                    )
                    settleWaits()
                }
            }
        )
        if !queued {
            fail(key, FrontError(.overloaded, "too many writes wait for the database", retryAfterMilliseconds: 200))
        }
    }

    func settleWaits() {
        guard !waits.isEmpty else { return }
        for (key, isSearchable) in waits.settle(directory, now: now) {
            guard var reply = waitReplies.removeValue(forKey: key) else { continue }
            reply.state = isSearchable ? "searchable" : "durable, not searchable"
            finish(key, .write(reply))
        }
    }

    func begin(_ request: GetRequest, _ key: UInt64) {
        do {
            let shape = try resolve(request.collection).shape
            running[key]?.collection = shape.collection
            guardDeadline(key) { .databaseIsSilent("try again") }
            let queued = reads.run(
                {
                    // A reply could not hold more, and nobody shall fill our memory with what cannot be sent.
                    try $0.get(
                        shape,
                        externalIDs: request.ids,
                        withVector: request.withVector,
                        bytesMax: FrontLimits.replyBytesMax
                    )
                },
                then: { [self] result in
                    switch result {
                    case .failure(let error): fail(key, storeError(error))
                    case .success(let found):
                        var byID: [[UInt8]: DocumentStore.StoredDocument] = [:]
                        for document in found { byID[Array(document.externalID.utf8)] = document }
                        let ordered = request.ids.compactMap { byID[Array($0.utf8)] }
                        var vectors: [Float] = []
                        if request.withVector {
                            for document in ordered {
                                vectors += document.vector ?? Array(repeating: 0, count: shape.dimensions)
                            }
                        }
                        finish(
                            key,
                            .documents(
                                ordered.map {
                                    WireProtocol.StoredDocument(
                                        id: $0.externalID,
                                        text: $0.text,
                                        payload: $0.payload,
                                        version: $0.version
                                    )
                                },
                                missing: request.ids.filter { byID[Array($0.utf8)] == nil },
                                dimensions: request.withVector ? shape.dimensions : 0,
                                vectors: vectors
                            )
                        )
                    }
                }
            )
            if !queued { fail(key, FrontError(.overloaded, "too many reads wait", retryAfterMilliseconds: 200)) }
        } catch {
            fail(key, error)
        }
    }

    /// What the database said of a write or a change, as a client reads it.
    ///
    /// `outcome` is said where the database was lost while it had it.
    func storeError(_ error: any Error, after passage: WritePassage, outcome: String) -> FrontError {
        guard error.isDatabaseAway, passage.close() else { return storeError(error) }
        return FrontError(
            .storeUnavailable,
            "the database was lost meanwhile: \(outcome)",
            retryAfterMilliseconds: 1000
        )
    }

    /// What the database said, as a client reads it.
    func storeError(_ error: any Error) -> FrontError {
        if error.isDatabaseAway {
            return FrontError(
                .storeUnavailable,
                "the database cannot be reached; nothing was written, try again",
                retryAfterMilliseconds: 1000
            )
        }
        return (error as? StoreError)?.frontError ?? FrontError(.internalError, "the database refused: \(error)")
    }
}
