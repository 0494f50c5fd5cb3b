import Matryoshka

/// Lists longer than this travel as buffers, so that the header stays below its limit.
private let inlineBytesMax = 4_096

extension FrontRequestBody {
    /// The header's `type`.
    public var type: FrontRequestType {
        switch self {
        case .hello: .hello
        case .search: .search
        case .cancel: .cancel
        case .encode: .encode
        case .classify: .classify
        case .upsert: .upsert
        case .delete: .delete
        case .get: .get
        case .collections: .collections
        case .status: .status
        }
    }
}

extension FrontRequest {
    /// Magic, header and buffers, as a DEALER sends them.
    public func encode() -> [[UInt8]] {
        var header = JSONWriter(reserving: 256)
        var buffers: [NamedBuffer] = []
        header.beginObject()
        header.member("type", body.type.rawValue)
        if !id.isEmpty { header.member("id", id) }
        header.member("deadline_ms", deadlineMilliseconds)
        if traceHigh != 0 || traceLow != 0 {
            // The parent span is not kept; any that is not zero is legal.
            header.member("traceparent", "00-\(traceText(traceHigh, traceLow))-0000000000000001-01")
        }
        if !client.isEmpty { header.member("client", client) }
        switch body {
        case .hello, .status: break
        case .cancel(let target): header.member("target", target)
        case .search(let request): request.write(&header, &buffers)
        case .encode(let request): request.write(&header, &buffers)
        case .classify(let request): request.write(&header, &buffers)
        case .upsert(let request): request.write(&header, &buffers)
        case .delete(let request):
            header.member("collection", request.collection)
            header.write(strings: request.ids, "ids", &buffers)
            if request.wait != .durable { header.member("wait", request.wait.rawValue) }
            if let key = request.idempotencyKey { header.member("idempotency_key", key) }
        case .get(let request):
            header.member("collection", request.collection)
            header.write(strings: request.ids, "ids", &buffers)
            if request.withVector { header.member("with_vector", true) }
        case .collections(let request): request.write(&header)
        }
        return makeFrames(header, buffers)
    }
}

/// A trace id as 32 hex digits.
func traceText(_ high: UInt64, _ low: UInt64) -> String {
    var digits: [UInt8] = []
    digits.reserveCapacity(32)
    for word in [high, low] {
        for shift in stride(from: 60, through: 0, by: -4) { digits.append(hexText[Int(word >> UInt64(shift) & 15)]) }
    }
    return String(decoding: digits, as: UTF8.self)
}

extension JSONWriter {
    fileprivate mutating func write(strings: [String], _ key: String, _ buffers: inout [NamedBuffer]) {
        if strings.reduce(0, { $0 + $1.utf8.count + 3 }) <= inlineBytesMax {
            member(key, .array(strings.map { .string($0) }))
        } else {
            buffers.append(.strings(key, strings))
        }
    }

    mutating func write(plan: Plan) {
        key("plan")
        beginArray()
        for stage in plan.stages {
            beginArray()
            integer(Int64(stage.dimensions))
            integer(Int64(stage.keep))
            if let precision = stage.precision { string(precision.rawValue) }
            endArray()
        }
        endArray()
    }
}

extension SearchRequest {
    fileprivate func write(_ header: inout JSONWriter, _ buffers: inout [NamedBuffer]) {
        header.member("collection", collection)
        switch query {
        case .texts(let texts):
            if texts.count == 1, texts[0].utf8.count <= inlineBytesMax {
                header.member("text", texts[0])
            } else {
                header.write(strings: texts, "texts", &buffers)
            }
        case .vectors(let values, _, let width): buffers.append(.floats("vectors", values, width: width))
        }
        if let plan { header.write(plan: plan) }
        if plan == nil || plan?.stages.last?.keep != k { header.member("k", k) }
        if minCoverage != 1 {
            header.key("min_coverage")
            header.number(minCoverage)
        }
        if withPayload { header.member("with_payload", true) }
        if explain { header.member("explain", true) }
        if columns { header.member("columns", true) }
        if let model { header.member("model", model) }
        if let probes = effort.probes { header.member("probes", probes) }
        if let ef = effort.ef { header.member("ef", ef) }
        if isExact { header.member("exact", true) }
    }
}

extension EncodeRequest {
    fileprivate func write(_ header: inout JSONWriter, _ buffers: inout [NamedBuffer]) {
        if let collection { header.member("collection", collection) }
        if let model { header.member("model", model) }
        header.member("role", role.rawValue)
        header.write(strings: texts, "texts", &buffers)
    }
}

extension ClassifyRequest {
    fileprivate func write(_ header: inout JSONWriter, _ buffers: inout [NamedBuffer]) {
        if let classifier { header.member("classifier", classifier) }
        if let threshold {
            header.key("threshold")
            header.number(threshold)
        }
        header.write(strings: texts, "texts", &buffers)
    }
}

extension UpsertRequest {
    fileprivate func write(_ header: inout JSONWriter, _ buffers: inout [NamedBuffer]) {
        header.member("collection", collection)
        if role != .document { header.member("role", role.rawValue) }
        if wait != .durable { header.member("wait", wait.rawValue) }
        if onError != .reject { header.member("on_error", onError.rawValue) }
        if let idempotencyKey { header.member("idempotency_key", idempotencyKey) }
        if let model { header.member("model", model) }
        let rows = width == 0 ? 0 : vectors.count / width
        let isByPlace =
            rows == documents.count && documents.enumerated().allSatisfy { $0.element.vectorIndex == $0.offset }
        var lines = JSONWriter(reserving: documents.count * 128)
        for document in documents {
            lines.beginObject()
            lines.member("id", document.id)
            if let text = document.text { lines.member("text", text) }
            if let payload = document.payload {
                lines.key("payload")
                lines.raw(payload)
            }
            if !isByPlace, let vector = document.vectorIndex { lines.member("vector", vector) }
            lines.endObject()
            lines.endLine()
        }
        buffers.append(.lines("documents", lines, count: documents.count))
        if rows > 0 { buffers.append(.floats("vectors", vectors, width: width)) }
    }
}

extension CollectionsRequest {
    fileprivate func write(_ header: inout JSONWriter) {
        switch self {
        case .list: header.member("action", CollectionsAction.list.rawValue)
        case .create(let collection):
            header.member("action", CollectionsAction.create.rawValue)
            header.member("name", collection.name)
            if let size = collection.dimensions { header.member("dimensions", size) }
            if let size = collection.smallestDimensions { header.member("smallest_dimensions", size) }
            if let isMatryoshka = collection.isMatryoshka { header.member("matryoshka", isMatryoshka) }
            if collection.similarity != .cosine { header.member("similarity", collection.similarity.rawValue) }
            if let model = collection.model { header.member("model", model) }
            if let width = collection.storedHeadWidth { header.member("stored_head_width", width) }
            if collection.rotation != .none { header.member("rotation", collection.rotation.rawValue) }
            collection.residency.write(&header)
        case .drop(let name):
            header.member("action", CollectionsAction.drop.rawValue)
            header.member("name", name)
        case .alias(let name, let collection):
            header.member("action", CollectionsAction.alias.rawValue)
            header.member("name", name)
            header.member("collection", collection.map { .string($0) } ?? JSONValue.null)
        case .configure(let name, let change):
            header.member("action", CollectionsAction.configure.rawValue)
            header.member("name", name)
            change.write(&header)
        }
    }
}

extension ResidencyChange {
    fileprivate func write(_ header: inout JSONWriter) {
        if let width { header.member("resident_width", width) }
        if let precision { header.member("resident_precision", precision.rawValue) }
        if let holdsSigns { header.member("resident_signs", holdsSigns) }
        if let index { header.member("index", index.rawValue) }
        if let lists { header.member("lists", lists) }
        if let coarseDimensions { header.member("coarse_dimensions", coarseDimensions) }
        if let links { header.member("m", links) }
        if let constructionEffort { header.member("ef_construction", constructionEffort) }
        if let retrains { header.member("retrain", retrains) }
    }
}
