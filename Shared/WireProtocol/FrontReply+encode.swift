import Matryoshka

extension FrontReply {
    /// Magic, header and buffers, to be sent behind the request's prefix.
    ///
    /// A reply of more than ``FrontLimits/replyBytesMax`` becomes the error TOO_LARGE.
    public func encode() -> [[UInt8]] {
        let encoded = encodeUnchecked()
        let bytes = encoded.reduce(0) { $0 + $1.count }
        if bytes <= FrontLimits.replyBytesMax { return encoded }
        let error = FrontError(
            .tooLarge,
            "the reply has \(bytes) bytes",
            allowed: "up to \(FrontLimits.replyBytesMax); ask for fewer hits or documents, or without payloads"
        )
        return FrontReply(id: id, body: .error(error)).encodeUnchecked()
    }

    private func encodeUnchecked() -> [[UInt8]] {
        switch body {
        case .object(let type, let json):
            var header = begin(type)
            if case .object(let members) = json {
                for member in members { header.member(member.key, member.value) }
            }
            return makeFrames(header, [])
        case .search(let reply):
            var header = begin(FrontReplyType.hits.rawValue)
            reply.writeHeader(&header)
            return makeFrames(header, reply.buffers())
        case .vectors(let dimensions, let values, let model):
            var header = begin(FrontReplyType.vectors.rawValue)
            header.member("model", model)
            header.member("dimensions", dimensions)
            return makeFrames(header, [.floats("vectors", values, width: dimensions)])
        case .labels(let reply):
            var header = begin(FrontReplyType.labels.rawValue)
            header.member("model", reply.model)
            header.member("classifier", reply.classifier)
            var lines = JSONWriter(reserving: reply.labels.count * 64)
            for label in reply.labels {
                lines.beginObject()
                if let text = label.label {
                    lines.member("label", text)
                } else {
                    lines.key("label")
                    lines.null()
                }
                lines.key("confidence")
                lines.number(label.confidence)
                lines.member("size", label.size)
                lines.endObject()
                lines.endLine()
            }
            return makeFrames(header, [.lines("labels", lines, count: reply.labels.count)])
        case .write(let reply):
            var header = begin(FrontReplyType.written.rawValue)
            reply.writeMembers(&header)
            return makeFrames(header, reply.failures.isEmpty ? [] : [reply.failureLines()])
        case .documents(let documents, let missing, let dimensions, let vectors):
            var header = begin(FrontReplyType.documents.rawValue)
            header.member("missing", .array(missing.map { .string($0) }))
            var lines = JSONWriter(reserving: documents.count * 256)
            for document in documents {
                document.write(&lines)
                lines.endLine()
            }
            var buffers: [NamedBuffer] = [.lines("documents", lines, count: documents.count)]
            if dimensions > 0 { buffers.append(.floats("vectors", vectors, width: dimensions)) }
            return makeFrames(header, buffers)
        case .error(let error):
            var header = begin(FrontReplyType.error.rawValue)
            error.writeMembers(&header)
            return makeFrames(header, [])
        }
    }

    private func begin(_ type: String) -> JSONWriter {
        var header = JSONWriter(reserving: 1_024)
        header.beginObject()
        header.member("type", type)
        header.member("id", id)
        return header
    }
}

extension FrontError {
    fileprivate func writeMembers(_ header: inout JSONWriter) {
        header.member("code", code.rawValue)
        if let field { header.member("field", field) }
        header.member("message", message)
        if let allowed { header.member("allowed", allowed) }
        header.member("retryable", code.isRetryable)
        if let retryAfterMilliseconds { header.member("retry_after_ms", retryAfterMilliseconds) }
        if let coverage { coverage.write(&header, isComplete: coverage.isComplete) }
    }
}

extension Coverage {
    fileprivate func write(_ header: inout JSONWriter, isComplete: Bool) {
        let timedOut = missing.count { $0.reason == .timedOut }
        header.key("coverage")
        header.beginObject()
        header.key("shards")
        header.beginObject()
        header.member("total", shardsTotal)
        header.member("ok", shardsOK)
        header.member("failed", max(0, shardsTotal - shardsOK - timedOut))
        header.member("timed_out", timedOut)
        header.endObject()
        header.member("rows_searched", rowsSearched)
        header.member("rows_total", rowsTotal)
        header.member("complete", isComplete)
        header.key("missing")
        header.beginArray()
        for entry in missing {
            header.beginObject()
            header.member("shard", entry.shard)
            header.member("reason", entry.reason.rawValue)
            header.endObject()
        }
        header.endArray()
        header.endObject()
    }
}

extension SearchReply {
    fileprivate func writeHeader(_ header: inout JSONWriter) {
        header.member("collection", collection)
        header.member("generation", generation)
        header.write(plan: plan.plan)
        header.member("resident_stages", plan.residentCount)
        header.member("index", index == .hnsw ? "approximate" : index.rawValue)
        header.member("exact", isProven ? "proven" : "not proven")
        // What was lost after the shortlist leaves every shard searched and the answer still not complete.
        coverage.write(&header, isComplete: coverage.isComplete && degraded.isEmpty)
        header.member("degraded", .array(degraded.map { .string($0) }))
        header.member("rescored_newer", rescoredNewer)
        header.member("gone", gone)
        header.key("timings")
        header.beginObject()
        header.member("total_us", timings.totalMicroseconds)
        header.member("queue_us", timings.queueMicroseconds)
        header.write(timings.encode, "encode")
        header.write(timings.shortlist, "shortlist")
        header.write(timings.rerank, "rerank")
        header.member("fetch_us", timings.fetchMicroseconds)
        header.member("merge_us", timings.mergeMicroseconds)
        header.endObject()
        header.member("trace_id", traceText(traceHigh, traceLow))
        header.key("counts")
        header.beginArray()
        for list in hits { header.integer(Int64(list.count)) }
        header.endArray()
    }

    fileprivate func buffers() -> [NamedBuffer] {
        let count = hits.reduce(0) { $0 + $1.count }
        var lines = JSONWriter(reserving: count * 96)
        for (query, list) in hits.enumerated() {
            for (rank, hit) in list.enumerated() {
                lines.beginObject()
                lines.member("query", query)
                lines.member("rank", rank)
                lines.member("id", hit.id)
                lines.key("score")
                lines.number(hit.score)
                if let scores = hit.scores {
                    lines.key("scores")
                    lines.beginArray()
                    for score in scores { lines.number(score) }
                    lines.endArray()
                }
                if let payload = hit.payload {
                    lines.key("payload")
                    lines.raw(payload)
                }
                lines.endObject()
                lines.endLine()
            }
        }
        var buffers: [NamedBuffer] = [.lines("hits", lines, count: count)]
        if columns {
            buffers.append(
                NamedBuffer(
                    name: "scores",
                    type: .float32,
                    shape: [count],
                    bytes: rawBytes(hits.flatMap { $0.map(\.score) })
                )
            )
            buffers.append(
                NamedBuffer(
                    name: "counts",
                    type: .unsigned32,
                    shape: [hits.count],
                    bytes: rawBytes(hits.map { UInt32($0.count) })
                )
            )
        }
        return buffers
    }
}

extension JSONWriter {
    fileprivate mutating func write(_ stage: SearchTimings.StageTiming?, _ name: String) {
        guard let stage else { return }
        key(name)
        beginObject()
        member("total_us", stage.totalMicroseconds)
        member("queue_us", stage.queueMicroseconds)
        member("compute_us", stage.computeMicroseconds)
        member("transport_us", stage.transportMicroseconds)
        endObject()
    }
}

extension WriteReply {
    fileprivate func writeMembers(_ header: inout JSONWriter) {
        header.member("applied", applied)
        header.member("failed", failures.count)
        header.member("state", state)
        // A string: a transaction id may be wider than the integers of JavaScript.
        header.member("token", String(token))
        header.member("replayed", replayed)
    }

    fileprivate func failureLines() -> NamedBuffer {
        var lines = JSONWriter(reserving: failures.count * 128)
        for failure in failures {
            lines.beginObject()
            lines.member("index", failure.index)
            failure.error.writeMembers(&lines)
            lines.endObject()
            lines.endLine()
        }
        return .lines("failures", lines, count: failures.count)
    }

    /// The reply as one text, for replies that are stored beside their idempotency key; ``init(storedText:)`` reads it.
    public var storedText: String {
        var writer = JSONWriter(reserving: 128)
        writer.beginObject()
        writeMembers(&writer)
        writer.endObject()
        writer.endLine()
        return String(decoding: writer.bytes + failureLines().bytes, as: UTF8.self)
    }
}

extension StoredDocument {
    fileprivate func write(_ lines: inout JSONWriter) {
        lines.beginObject()
        lines.member("id", id)
        if let text { lines.member("text", text) }
        if let payload {
            lines.key("payload")
            lines.raw(payload)
        }
        lines.member("version", version)
        lines.endObject()
    }
}
