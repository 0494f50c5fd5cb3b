import Matryoshka

extension FrontReply {
    /// Reads a reply as a client receives it, with or without the empty frame of a REQ.
    ///
    /// Keys that are not known are passed over: a newer server may say more.
    ///
    /// - Throws: ``FrontError`` with BAD_FRAME or BAD_HEADER where the frames are no reply of this protocol.
    public static func decode(_ frames: [[UInt8]]) throws(FrontError) -> FrontReply {
        let (header, buffers) = try FrontCodec.body(frames)
        let reader = try ReplyReader(header, buffers)
        let name = try reader.string("type")
        let id = try reader.string("id")
        guard let type = FrontReplyType(rawValue: name) else {
            return FrontReply(id: id, body: .object(type: name, json: reader.rest))
        }
        switch type {
        case .welcome, .cancelled, .collections, .status:
            return FrontReply(id: id, body: .object(type: name, json: reader.rest))
        case .hits: return FrontReply(id: id, body: .search(try SearchReply(reader)))
        case .vectors:
            let dimensions = try reader.integer("dimensions")
            return FrontReply(
                id: id,
                body: .vectors(
                    dimensions: dimensions,
                    values: try reader.vectors(width: dimensions),
                    model: try reader.string("model")
                )
            )
        case .labels:
            var labels: [TextLabel] = []
            for line in try reader.lines("labels") { labels.append(try TextLabel(ReplyReader(line))) }
            return FrontReply(
                id: id,
                body: .labels(
                    LabelsReply(
                        labels: labels,
                        classifier: try reader.string("classifier"),
                        model: try reader.string("model")
                    )
                )
            )
        case .written: return FrontReply(id: id, body: .write(try WriteReply(reader, reader.lines("failures"))))
        case .documents:
            var documents: [StoredDocument] = []
            for line in try reader.lines("documents") { documents.append(try StoredDocument(ReplyReader(line))) }
            let width = try reader.buffer("vectors")?.shape.last ?? 0
            return FrontReply(
                id: id,
                body: .documents(
                    documents,
                    missing: try reader.strings("missing"),
                    dimensions: width,
                    vectors: width == 0 ? [] : try reader.vectors(width: width)
                )
            )
        case .error: return FrontReply(id: id, body: .error(try FrontError(reader)))
        }
    }
}

/// Fetches the members of a reply by key and type.
private struct ReplyReader {
    let json: JSONValue
    private let buffers: [NamedBuffer]

    init(_ json: JSONValue) throws(FrontError) {
        guard case .object = json else { throw FrontError(.badHeader, "an object is expected in the reply") }
        self.json = json
        buffers = []
    }

    init(_ header: [UInt8], _ frames: [[UInt8]]) throws(FrontError) {
        json = try Self.parse(JSONParser(header), "header")
        guard case .object = json else { throw FrontError(.badHeader, field: "header", "the header is no object") }
        var entries: [JSONValue] = []
        if case .array(let list)? = json["buffers"] { entries = list }
        guard entries.count == frames.count else {
            throw FrontError(.badFrame, field: "buffers", "\(frames.count) buffers came")
        }
        var buffers: [NamedBuffer] = []
        for (entry, frame) in zip(entries, frames) {
            let reader = try ReplyReader(entry)
            // Buffers of a type that is not known stay out, as keys do.
            guard let type = BufferType(rawValue: try reader.string("dtype")) else { continue }
            let shape = try reader.integers("shape")
            guard shape.allSatisfy({ $0 >= 0 && $0 <= FrontLimits.replyBytesMax }),
                type == .jsonLines
                    || shape.reduce(4, { $0.multipliedReportingOverflow(by: $1).partialValue }) == frame.count
            else { throw FrontError(.badFrame, field: "buffers", "a buffer does not fill its shape") }
            buffers.append(
                NamedBuffer(name: try reader.string("name"), type: type, shape: shape, bytes: frame)
            )
        }
        self.buffers = buffers
    }

    /// Members without those that every reply has.
    var rest: JSONValue {
        guard case .object(let members) = json else { return json }
        return .object(members.filter { $0.key != "type" && $0.key != "id" && $0.key != "buffers" })
    }

    static func parse(_ parser: consuming JSONParser, _ place: String) throws(FrontError) -> JSONValue {
        do throws(JSONError) {
            return try parser.parseText()
        } catch {
            throw FrontError(.badHeader, field: place, "byte \(error.offset): \(error.message)")
        }
    }

    func buffer(_ name: String) throws(FrontError) -> NamedBuffer? { buffers.first { $0.name == name } }

    func lines(_ name: String) throws(FrontError) -> [JSONValue] {
        guard let buffer = try buffer(name) else { return [] }
        var values: [JSONValue] = []
        for (index, line) in buffer.lineRanges.enumerated() {
            values.append(try Self.parse(JSONParser(buffer.bytes, range: line), "\(name)[\(index)]"))
        }
        return values
    }

    func vectors(width: Int) throws(FrontError) -> [Float] {
        guard let buffer = try buffer("vectors"), buffer.type == .float32, buffer.shape.last == width else {
            throw FrontError(.badFrame, field: "vectors", "no buffer vectors of \(width) floats a row")
        }
        return buffer.numbers(Float.self)
    }

    func string(_ key: String) throws(FrontError) -> String {
        guard let text = try optionalString(key) else { throw wrong(key) }
        return text
    }

    func optionalString(_ key: String) throws(FrontError) -> String? {
        switch json[key] {
        case .string(let text)?: return text
        case nil, .null?: return nil
        default: throw wrong(key)
        }
    }

    func strings(_ key: String) throws(FrontError) -> [String] {
        guard case .array(let values)? = json[key] else { throw wrong(key) }
        var strings: [String] = []
        for value in values {
            guard case .string(let text) = value else { throw wrong(key) }
            strings.append(text)
        }
        return strings
    }

    func integer(_ key: String) throws(FrontError) -> Int {
        guard case .integer(let value)? = json[key] else { throw wrong(key) }
        return Int(value)
    }

    func integers(_ key: String) throws(FrontError) -> [Int] {
        guard case .array(let values)? = json[key] else { throw wrong(key) }
        var integers: [Int] = []
        for value in values {
            guard case .integer(let value) = value else { throw wrong(key) }
            integers.append(Int(value))
        }
        return integers
    }

    func bool(_ key: String) throws(FrontError) -> Bool {
        guard case .bool(let value)? = json[key] else { throw wrong(key) }
        return value
    }

    func float(_ value: JSONValue?, _ key: String) throws(FrontError) -> Float {
        switch value {
        case .number(let value)?: return Float(value)
        case .integer(let value)?: return Float(value)
        case .null?: return .nan
        default: throw wrong(key)
        }
    }

    func object(_ key: String) throws(FrontError) -> ReplyReader? {
        guard let value = json[key], value != .null else { return nil }
        return try ReplyReader(value)
    }

    func objects(_ key: String) throws(FrontError) -> [ReplyReader] {
        guard case .array(let values)? = json[key] else { throw wrong(key) }
        var objects: [ReplyReader] = []
        for value in values { objects.append(try ReplyReader(value)) }
        return objects
    }

    func text(_ key: String) -> String? { json[key]?.jsonText }

    func wrong(_ key: String) -> FrontError {
        FrontError(.badHeader, field: key, "the reply's \(key) is missing or of another type")
    }
}

extension FrontError {
    fileprivate init(_ reader: ReplyReader) throws(FrontError) {
        let word = try reader.string("code")
        // An error of a newer server keeps its text and what it says of retrying.
        let known = FrontErrorCode(rawValue: word)
        let fallback: FrontErrorCode = try reader.bool("retryable") ? .unavailable : .internalError
        self.init(
            known ?? fallback,
            field: try reader.optionalString("field"),
            (known == nil ? word + ": " : "") + (try reader.string("message")),
            allowed: try reader.optionalString("allowed"),
            retryAfterMilliseconds: reader.json["retry_after_ms"] == nil ? nil : try reader.integer("retry_after_ms")
        )
        if let coverage = try reader.object("coverage") { self.coverage = try Coverage(coverage) }
    }
}

extension Coverage {
    fileprivate init(_ reader: ReplyReader) throws(FrontError) {
        guard let shards = try reader.object("shards") else { throw reader.wrong("shards") }
        self.init(
            shardsTotal: try shards.integer("total"),
            shardsOK: try shards.integer("ok"),
            missing: [],
            rowsSearched: try reader.integer("rows_searched"),
            rowsTotal: try reader.integer("rows_total")
        )
        for entry in try reader.objects("missing") {
            guard let shard = UInt16(exactly: try entry.integer("shard")) else { throw entry.wrong("shard") }
            missing.append((shard, Reason(rawValue: try entry.string("reason")) ?? .failed))
        }
    }
}

extension SearchReply {
    fileprivate init(_ reader: ReplyReader) throws(FrontError) {
        guard let coverage = try reader.object("coverage"), let timings = try reader.object("timings") else {
            throw reader.wrong("coverage")
        }
        let trace = try reader.string("trace_id")
        guard trace.utf8.count == 32, let high = UInt64(trace.prefix(16), radix: 16),
            let low = UInt64(trace.suffix(16), radix: 16),
            let generation = UInt32(exactly: try reader.integer("generation"))
        else { throw reader.wrong("trace_id") }
        let word = try reader.string("index")
        guard let index = word == "approximate" ? .hnsw : CollectionIndex.Kind(rawValue: word) else {
            throw reader.wrong("index")
        }
        self.init(
            hits: try Self.hits(reader),
            plan: try Self.plan(reader),
            coverage: try Coverage(coverage),
            degraded: try reader.strings("degraded"),
            collection: try reader.string("collection"),
            generation: generation,
            index: index,
            isProven: try reader.string("exact") == "proven",
            rescoredNewer: try reader.integer("rescored_newer"),
            gone: try reader.integer("gone"),
            timings: try SearchTimings(timings),
            columns: try reader.buffer("scores") != nil,
            traceHigh: high,
            traceLow: low
        )
    }

    private static func hits(_ reader: ReplyReader) throws(FrontError) -> [[Hit]] {
        let counts = try reader.integers("counts")
        guard counts.count <= SearchLimits.batchMax else { throw reader.wrong("counts") }
        var hits: [[Hit]] = Array(repeating: [], count: counts.count)
        for line in try reader.lines("hits") {
            let line = try ReplyReader(line)
            let query = try line.integer("query")
            guard hits.indices.contains(query), try line.integer("rank") == hits[query].count else {
                throw line.wrong("rank")
            }
            var hit = Hit(
                id: try line.string("id"),
                score: try line.float(line.json["score"], "score"),
                payload: line.text("payload")
            )
            if case .array(let values)? = line.json["scores"] {
                var scores: [Float] = []
                for value in values { scores.append(try line.float(value, "scores")) }
                hit.scores = scores
            }
            hits[query].append(hit)
        }
        guard hits.map(\.count) == counts else { throw reader.wrong("counts") }
        return hits
    }

    private static func plan(_ reader: ReplyReader) throws(FrontError) -> ResolvedPlan {
        guard case .array(let stages)? = reader.json["plan"], !stages.isEmpty else { throw reader.wrong("plan") }
        var steps: [ResolvedPlan.Step] = []
        for stage in stages {
            guard case .array(let parts) = stage, parts.count == 3, case .integer(let dimensions) = parts[0],
                case .integer(let keep) = parts[1], case .string(let word) = parts[2],
                let precision = Precision(rawValue: word)
            else { throw reader.wrong("plan") }
            steps.append(.init(dimensions: Int(dimensions), keep: Int(keep), precision: precision))
        }
        return ResolvedPlan(steps: steps, residentCount: try reader.integer("resident_stages"))
    }
}

extension SearchTimings {
    fileprivate init(_ reader: ReplyReader) throws(FrontError) {
        self.init()
        totalMicroseconds = try reader.integer("total_us")
        queueMicroseconds = try reader.integer("queue_us")
        encode = try StageTiming(reader.object("encode"))
        shortlist = try StageTiming(reader.object("shortlist"))
        rerank = try StageTiming(reader.object("rerank"))
        fetchMicroseconds = try reader.integer("fetch_us")
        mergeMicroseconds = try reader.integer("merge_us")
    }
}

extension SearchTimings.StageTiming {
    fileprivate init?(_ reader: ReplyReader?) throws(FrontError) {
        guard let reader else { return nil }
        self.init(
            totalMicroseconds: try reader.integer("total_us"),
            queueMicroseconds: try reader.integer("queue_us"),
            computeMicroseconds: try reader.integer("compute_us")
        )
    }
}

extension TextLabel {
    fileprivate init(_ reader: ReplyReader) throws(FrontError) {
        self.init(
            label: try reader.optionalString("label"),
            confidence: try reader.float(reader.json["confidence"], "confidence"),
            size: try reader.integer("size")
        )
    }
}

extension WriteReply {
    fileprivate init(_ reader: ReplyReader, _ lines: [JSONValue]) throws(FrontError) {
        guard let token = UInt64(try reader.string("token")) else { throw reader.wrong("token") }
        self.init(
            applied: try reader.integer("applied"),
            failures: [],
            state: try reader.string("state"),
            token: token,
            replayed: try reader.bool("replayed")
        )
        for line in lines {
            let line = try ReplyReader(line)
            failures.append(RowFailure(index: try line.integer("index"), error: try FrontError(line)))
        }
    }

    /// Reads what ``storedText`` wrote; nil where it is no such text.
    public init?(storedText: String) {
        let buffer = NamedBuffer(name: "reply", type: .jsonLines, shape: [], bytes: Array(storedText.utf8))
        var lines: [JSONValue] = []
        for range in buffer.lineRanges {
            var parser = JSONParser(buffer.bytes, range: range)
            guard let line = try? parser.parseText() else { return nil }
            lines.append(line)
        }
        guard let first = lines.first, let reader = try? ReplyReader(first),
            let reply = try? WriteReply(reader, Array(lines.dropFirst()))
        else { return nil }
        self = reply
    }
}

extension StoredDocument {
    fileprivate init(_ reader: ReplyReader) throws(FrontError) {
        guard let version = UInt32(exactly: try reader.integer("version")) else { throw reader.wrong("version") }
        self.init(
            id: try reader.string("id"),
            text: try reader.optionalString("text"),
            payload: reader.text("payload"),
            version: version
        )
    }
}
