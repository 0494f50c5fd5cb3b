import Matryoshka

extension FrontRequest {
    /// What can be told of a request that may be broken; each is empty where there is none.
    public struct Peek: Sendable, Hashable {
        /// The client's id.
        public var id: String
        /// The type, which may be none of ours.
        public var type: String
        /// The collection or alias, which may not exist.
        public var collection: String

        /// Nothing is known unless given.
        public init(id: String = "", type: String = "", collection: String = "") {
            self.id = id
            self.type = type
            self.collection = collection
        }

        /// It asks, or tries to ask, for a search.
        public var isSearch: Bool { type == FrontRequestType.search.rawValue }
    }

    /// Reads what stands in a header before its fault.
    public static func peek(header: [UInt8]) -> Peek {
        var parser = JSONParser(header, range: 0..<min(header.count, FrontLimits.headerBytesMax))
        var found = Peek()
        parser.skipSpace()
        try? parser.parseMembers { (key, parser) throws(JSONError) in
            guard case .string(let text) = try parser.parseValue(), text.utf8.count <= FrontLimits.idBytesMax else {
                return
            }
            switch key {
            case "id" where found.id.isEmpty: found.id = text
            case "type" where found.type.isEmpty: found.type = text
            case "collection" where found.collection.isEmpty: found.collection = text
            default: break
            }
        }
        return found
    }

    /// Reads a request and checks all that needs no collection.
    public static func decode(header: [UInt8], buffers: [[UInt8]]) throws(FrontError) -> FrontRequest {
        guard !header.isEmpty else { throw FrontError(.badFrame, field: "header", "the header is empty") }
        let reader = try HeaderReader(header: header, buffers: buffers)
        let id = try reader.string("id", bytesMax: FrontLimits.idBytesMax, mayBeEmpty: true) ?? ""
        let body: FrontRequestBody
        switch reader.type {
        case .hello:
            try reader.allow([])
            body = .hello
        case .status:
            try reader.allow([])
            body = .status
        case .cancel:
            try reader.allow(["target"])
            body = .cancel(target: try reader.required("target", bytesMax: FrontLimits.idBytesMax))
        case .search: body = .search(try SearchRequest(reader))
        case .encode: body = .encode(try EncodeRequest(reader))
        case .classify: body = .classify(try ClassifyRequest(reader))
        case .upsert: body = .upsert(try UpsertRequest(reader))
        case .delete: body = .delete(try DeleteRequest(reader))
        case .get: body = .get(try GetRequest(reader))
        case .collections: body = .collections(try CollectionsRequest(reader))
        }
        let deadline = try reader.integer("deadline_ms", in: 1...FrontLimits.deadlineMillisecondsMax)
        let trace = try reader.trace()
        let client = try reader.string("client", bytesMax: FrontLimits.idBytesMax, mayBeEmpty: true) ?? ""
        return FrontRequest(
            id: id,
            deadlineMilliseconds: deadline ?? reader.type.deadlineMillisecondsDefault,
            traceHigh: trace.high,
            traceLow: trace.low,
            client: client,
            body: body
        )
    }
}

extension FrontRequestType {
    /// Time that a request of this type has unless it says so.
    public var deadlineMillisecondsDefault: Int {
        switch self {
        case .search, .hello, .cancel, .status: FrontLimits.deadlineMillisecondsDefault
        case .encode, .classify, .upsert, .delete, .get, .collections: FrontLimits.writeDeadlineMillisecondsDefault
        }
    }
}

extension HeaderReader {
    /// Trace id of a W3C traceparent.
    fileprivate func trace() throws(FrontError) -> (high: UInt64, low: UInt64) {
        _ = try string("tracestate", bytesMax: 512, mayBeEmpty: true)
        guard let text = try string("traceparent") else { return (0, 0) }
        let units = Array(text.utf8)
        var words: [UInt64] = [0, 0]
        var isValid = units.count == 55 && !units.starts(with: [0x66, 0x66])
        for (index, unit) in units.enumerated() where isValid {
            if index == 2 || index == 35 || index == 52 {
                isValid = unit == 0x2D
            } else if let digit = hexDigit(unit), !(0x41...0x46).contains(unit) {
                if (3..<35).contains(index) {
                    words[(index - 3) / 16] = words[(index - 3) / 16] << 4 | UInt64(digit)
                }
            } else {
                isValid = false
            }
        }
        guard isValid, words != [0, 0] else {
            throw FrontError(
                .badHeader,
                field: "traceparent",
                "no W3C trace context",
                allowed: "00-<32 hex digits, not all 0>-<16 hex digits>-<2 hex digits>"
            )
        }
        return (words[0], words[1])
    }

    fileprivate func collection() throws(FrontError) -> String {
        try required("collection", bytesMax: 63)
    }

    /// Hash of what the request asks for: members by key, without those that a retry may change, and buffers.
    fileprivate func bodyHash() -> String {
        let passing: Set<String> = ["id", "deadline_ms", "traceparent", "tracestate", "client", "idempotency_key"]
        let kept = members.filter { !passing.contains($0.key) && !$0.key.hasPrefix("x-") }
        var hash = FNV()
        hash.add(JSONValue.object(kept.sorted { $0.key < $1.key }).jsonBytes)
        for buffer in buffers { hash.add(buffer.bytes) }
        return hash.text
    }
}

/// FNV-1a with 128 bits.
struct FNV {
    private var state: UInt128 = 0x6C62_272E_07BB_0142_62B8_2175_6295_C58D

    mutating func add(_ bytes: [UInt8]) {
        let prime: UInt128 = 1 << 88 | 0x13B
        var state = state
        for byte in bytes { state = (state ^ UInt128(byte)) &* prime }
        self.state = state
    }

    var text: String {
        var digits: [UInt8] = []
        for shift in stride(from: 124, through: 0, by: -4) { digits.append(hexText[Int(state >> UInt128(shift) & 15)]) }
        return String(decoding: digits, as: UTF8.self)
    }
}

extension SearchRequest {
    fileprivate init(_ reader: HeaderReader) throws(FrontError) {
        for field in ["recall_target", "filter"] where reader[field] != nil && reader[field] != .null {
            throw FrontError(.unsupported, field: field, "\(field) has its place in the protocol and is not served")
        }
        try reader.allow(
            [
                "collection", "text", "texts", "plan", "k", "min_coverage", "with_payload", "explain", "columns",
                "model", "probes", "ef", "exact",
            ],
            buffers: ["vectors", "texts"]
        )
        let collection = try reader.collection()
        let query = try reader.querySource()
        let plan = try reader.plan()
        let isExact = try reader.bool("exact") ?? false
        if isExact, plan != nil {
            throw FrontError(
                .badPlan,
                field: "exact",
                "exact search has a plan of its own",
                allowed: "exact or plan, not both"
            )
        }
        let k = try reader.integer("k", in: 1...SearchLimits.hitsMax, else: .badPlan)
        if let k, let last = plan?.stages.last?.keep, k != last {
            throw FrontError(
                .badPlan,
                field: "k",
                "k is \(k) and the last stage keeps \(last)",
                allowed: "\(last), or leave k out beside a plan"
            )
        }
        self.init(
            collection: collection,
            query: query,
            plan: plan,
            k: k ?? plan?.stages.last?.keep ?? 10,
            minCoverage: try reader.share("min_coverage") ?? 1,
            withPayload: try reader.bool("with_payload") ?? false,
            explain: try reader.bool("explain") ?? false,
            columns: try reader.bool("columns") ?? false,
            model: try reader.string("model"),
            effort: SearchEffort(
                probes: try reader.integer("probes", in: 1...SearchEffort.effortMax),
                ef: try reader.integer("ef", in: 1...SearchEffort.effortMax)
            ),
            isExact: isExact
        )
        // Without a plan the standard one keeps at most 2,000 rows for fewer hits, which a full batch may.
        let widest = max(self.k, plan?.stages.map(\.keep).max() ?? 0)
        guard query.count * widest <= SearchLimits.batchRowsMax else {
            throw FrontError(
                .tooLarge,
                field: plan == nil ? "k" : "plan",
                "\(query.count) queries that keep \(widest) rows",
                allowed: "queries × widest keep up to \(SearchLimits.batchRowsMax)"
            )
        }
    }
}

extension HeaderReader {
    fileprivate func querySource() throws(FrontError) -> QuerySource {
        let text = try string("text", bytesMax: FrontLimits.headerBytesMax)
        let texts = try strings("texts", bytesMax: FrontLimits.textBytesMax, countMax: FrontLimits.batchMax)
        let vectors = try buffer("vectors", .float32)
        guard (text == nil ? 0 : 1) + (texts == nil ? 0 : 1) + (vectors == nil ? 0 : 1) == 1 else {
            throw FrontError(
                .badHeader,
                field: "text",
                "a search has one of text, texts and the buffer vectors",
                allowed: "text, texts, or a buffer vectors"
            )
        }
        if let text { return .texts([text]) }
        if let texts { return .texts(texts) }
        let buffer = vectors!
        let width = buffer.shape[1]
        try check(count: buffer.shape[0], of: "vectors", max: SearchLimits.batchMax)
        guard (1...FrontLimits.dimensionsMax).contains(width) else {
            throw FrontError(
                .badDimension,
                field: "vectors",
                "vectors of \(width) floats",
                allowed: "1 to \(FrontLimits.dimensionsMax)"
            )
        }
        let values = buffer.numbers(Float.self)
        for index in 0..<buffer.shape[0] { try checkVector(values, row: index, width: width) }
        return .vectors(values: values, count: buffer.shape[0], width: width)
    }

    private func checkVector(_ values: [Float], row: Int, width: Int) throws(FrontError) {
        let norm = values.withUnsafeBufferPointer { all in
            var norm: Float = 0
            for value in all[(row * width)..<((row + 1) * width)] { norm += value * value }
            return norm
        }
        if norm > 0 && norm.isFinite { return }
        let vector = values[(row * width)..<((row + 1) * width)]
        if let index = vector.firstIndex(where: { !$0.isFinite }) {
            throw FrontError(
                .nonFinite,
                field: "vectors[\(row)]",
                "element \(index - row * width) is \(values[index])",
                allowed: "finite numbers"
            )
        }
        if norm == 0 {
            throw FrontError(
                .zeroVector,
                field: "vectors[\(row)]",
                vector.allSatisfy { $0 == 0 } ? "all elements are 0" : "the squared norm is 0 in float32",
                allowed: "vectors with a norm"
            )
        }
        throw FrontError(
            .nonFinite,
            field: "vectors[\(row)]",
            "the squared norm overflows float32",
            allowed: "vectors with a finite squared norm"
        )
    }

    fileprivate func share(_ key: String) throws(FrontError) -> Double? {
        let share: Double
        switch self[key] {
        case nil, .null: return nil
        case .integer(let value): share = Double(value)
        case .number(let value): share = value
        default: throw FrontError(.badHeader, field: key, "a number is expected", allowed: "0 to 1")
        }
        guard (0...1).contains(share) else {
            throw FrontError(.badHeader, field: key, "\(key) is \(share)", allowed: "0 to 1")
        }
        return share
    }

    fileprivate func plan() throws(FrontError) -> Plan? {
        guard let value = self["plan"], value != .null else { return nil }
        let form = "a list of [dimensions, keep] or [dimensions, keep, precision]"
        guard case .array(let items) = value else {
            throw FrontError(.badPlan, field: "plan", "a plan is a list", allowed: form)
        }
        guard (1...SearchLimits.stagesMax).contains(items.count) else {
            throw FrontError(
                .badPlan,
                field: "plan",
                "a plan has \(items.count) stages",
                allowed: "1 to \(SearchLimits.stagesMax) stages"
            )
        }
        var stages: [Stage] = []
        for (index, item) in items.enumerated() {
            var parts: [JSONValue?] = [nil, nil, nil]
            switch item {
            case .array(let values):
                guard (2...3).contains(values.count) else {
                    throw FrontError(.badPlan, field: "plan[\(index)]", "\(values.count) parts", allowed: form)
                }
                for (part, value) in values.enumerated() { parts[part] = value }
            case .object(let members):
                let keys = ["dimensions", "keep", "precision"]
                for member in members {
                    guard let part = keys.firstIndex(of: member.key) else {
                        throw FrontError(
                            .badPlan,
                            field: "plan[\(index)].\(member.key.prefix(64))",
                            "key \(quoted(member.key)) is unknown",
                            allowed: keys.joined(separator: ", ")
                        )
                    }
                    parts[part] = member.value
                }
            default: throw FrontError(.badPlan, field: "plan[\(index)]", "no stage", allowed: form)
            }
            let isLast = index == items.count - 1
            stages.append(
                Stage(
                    dimensions: try number(parts[0], "plan[\(index)].dimensions", max: FrontLimits.dimensionsMax),
                    keep: try number(
                        parts[1],
                        "plan[\(index)].keep",
                        max: isLast ? SearchLimits.hitsMax : SearchLimits.keepMax
                    ),
                    precision: try precision(parts[2], "plan[\(index)].precision")
                )
            )
        }
        return Plan(stages: stages)
    }

    private func number(_ value: JSONValue?, _ field: String, max: Int) throws(FrontError) -> Int {
        guard case .integer(let number)? = value, number >= 1, number <= max else {
            let got = value.map { $0.jsonText.prefix(32) } ?? "missing"
            throw FrontError(.badPlan, field: field, "the number is \(got)", allowed: "an integer from 1 to \(max)")
        }
        return Int(number)
    }

    private func precision(_ value: JSONValue?, _ field: String) throws(FrontError) -> Precision? {
        guard let value, value != .null else { return nil }
        guard case .string(let text) = value, let precision = Precision(rawValue: text) else {
            throw FrontError(
                .badPlan,
                field: field,
                "precision \(value.jsonText.prefix(64)) is unknown",
                allowed: "bit, int8, float16, float32"
            )
        }
        return precision
    }
}

extension EncodeRequest {
    fileprivate init(_ reader: HeaderReader) throws(FrontError) {
        try reader.allow(["collection", "model", "role", "text", "texts"], buffers: ["texts"])
        let texts = try reader.someTexts()
        guard let role = try reader.word("role", TextRole.self) else {
            throw FrontError(.badHeader, field: "role", "role is missing", allowed: "query, document")
        }
        self.init(
            collection: try reader.string("collection", bytesMax: 63),
            model: try reader.string("model"),
            role: role,
            texts: texts
        )
    }
}

extension ClassifyRequest {
    fileprivate init(_ reader: HeaderReader) throws(FrontError) {
        try reader.allow(["classifier", "threshold", "text", "texts"], buffers: ["texts"])
        self.init(
            classifier: try reader.string("classifier"),
            threshold: try reader.share("threshold").map { Float($0) },
            texts: try reader.someTexts()
        )
    }
}

extension HeaderReader {
    /// One `text`, or `texts`.
    fileprivate func someTexts() throws(FrontError) -> [String] {
        let text = try string("text", bytesMax: FrontLimits.headerBytesMax)
        let texts = try strings("texts", bytesMax: FrontLimits.textBytesMax, countMax: FrontLimits.batchMax)
        guard (text == nil) != (texts == nil) else {
            throw FrontError(.badHeader, field: "texts", "one of text and texts is expected", allowed: "text, texts")
        }
        return texts ?? [text!]
    }
}

extension UpsertRequest {
    fileprivate init(_ reader: HeaderReader) throws(FrontError) {
        try reader.allow(
            ["collection", "documents", "role", "wait", "on_error", "idempotency_key", "model"],
            buffers: ["documents", "vectors"]
        )
        let vectors = try reader.buffer("vectors", .float32)
        if let vectors, !(1...FrontLimits.dimensionsMax).contains(vectors.shape[1]) {
            throw FrontError(
                .badDimension,
                field: "vectors",
                "vectors of \(vectors.shape[1]) floats",
                allowed: "1 to \(FrontLimits.dimensionsMax)"
            )
        }
        self.init(
            collection: try reader.collection(),
            documents: [],
            vectors: vectors?.numbers(Float.self) ?? [],
            width: vectors?.shape[1] ?? 0,
            role: try reader.word("role", TextRole.self) ?? .document,
            wait: try reader.word("wait", WriteWait.self) ?? .durable,
            onError: try reader.word("on_error", OnError.self) ?? .reject,
            idempotencyKey: try reader.string("idempotency_key", bytesMax: FrontLimits.idBytesMax),
            model: try reader.string("model")
        )
        if idempotencyKey != nil { bodyHash = reader.bodyHash() }

        var drafts: [Result<DocumentDraft, FrontError>] = []
        if let buffer = try reader.buffer("documents", .jsonLines) {
            guard reader["documents"] == nil else {
                throw FrontError(.badHeader, field: "documents", "documents stand in the header and in a buffer")
            }
            let lines = buffer.lineRanges
            try check(count: lines.count, reader)
            drafts.reserveCapacity(lines.count)
            for (index, line) in lines.enumerated() {
                drafts.append(DocumentDraft.read("documents[\(index)]", JSONParser(buffer.bytes, range: line)))
            }
        } else {
            guard case .array(let items)? = reader["documents"] else {
                throw FrontError(
                    .badHeader,
                    field: "documents",
                    "documents are missing",
                    allowed: "a buffer documents of JSON lines, or a list in the header"
                )
            }
            try check(count: items.count, reader)
            for (index, item) in items.enumerated() {
                drafts.append(DocumentDraft.read("documents[\(index)]", JSONParser(item.jsonBytes)))
            }
        }
        try take(drafts, rows: vectors?.shape[0] ?? 0)
    }

    /// No documents at all are a wait for what others have written.
    private func check(count: Int, _ reader: HeaderReader) throws(FrontError) {
        if count == 0, wait == .searchable { return }
        try reader.check(count: count, of: "documents", max: FrontLimits.writeMax)
    }

    /// Gives each document its vector: the row that it names, or the row of its place where none names one.
    private mutating func take(
        _ drafts: [Result<DocumentDraft, FrontError>],
        rows: Int
    ) throws(FrontError) {
        let naming = drafts.contains { if case .success(let draft) = $0 { draft.vector != nil } else { false } }
        guard naming || rows == 0 || rows == drafts.count else {
            throw FrontError(
                .badHeader,
                field: "vectors",
                "\(rows) vectors for \(drafts.count) documents",
                allowed: "one row for each document, or a key \"vector\" that names the row"
            )
        }
        documents.reserveCapacity(drafts.count)
        for (index, draft) in drafts.enumerated() {
            do throws(FrontError) {
                let draft = try draft.get()
                let vector = draft.vector ?? (naming || rows == 0 ? nil : index)
                if let vector, vector >= rows {
                    throw FrontError(
                        .badHeader,
                        field: "documents[\(index)].vector",
                        "vector \(vector) of \(rows)",
                        allowed: rows == 0 ? "a buffer vectors is missing" : "0 to \(rows - 1)"
                    )
                }
                guard vector != nil || draft.text != nil else {
                    throw FrontError(
                        .badHeader,
                        field: "documents[\(index)].text",
                        "a document has a text, a vector or both"
                    )
                }
                documents.append(
                    UpsertDocument(
                        id: draft.id,
                        text: draft.text,
                        payload: draft.payload,
                        vectorIndex: vector,
                        index: index
                    )
                )
            } catch {
                guard onError == .skip else { throw error }
                refused.append(RowFailure(index: index, error: error))
            }
        }
    }
}

/// One line of `documents` before it has its vector.
private struct DocumentDraft {
    var id = ""
    var text: String?
    var payload: String?
    var vector: Int?

    static func read(_ place: String, _ parser: consuming JSONParser) -> Result<DocumentDraft, FrontError> {
        do throws(FrontError) {
            return .success(try DocumentDraft(place, parser))
        } catch {
            return .failure(error)
        }
    }

    private init(_ place: String, _ parser: consuming JSONParser) throws(FrontError) {
        var fault: FrontError?
        var draft = DocumentDraft()
        var seen: Set<String> = []
        parser.skipSpace()
        do throws(JSONError) {
            try parser.parseMembers { (key, parser) throws(JSONError) in
                if !seen.insert(key).inserted { throw parser.failure("key \(quoted(key)) is repeated") }
                let first = parser.position
                parser.sawNUL = false
                let value = try parser.parseValue()
                if fault == nil {
                    fault = draft.take(key, value, sawNUL: parser.sawNUL, place)
                    // The text as it came: numbers keep all their digits.
                    if draft.payload != nil, key == "payload" {
                        draft.payload = try parser.string(first..<parser.position)
                    }
                }
            }
            try parser.finish()
        } catch {
            throw FrontError(.badHeader, field: place, "byte \(error.offset): \(error.message)")
        }
        if let fault { throw fault }
        try checkText(draft.id, "\(place).id", bytesMax: FrontLimits.documentIDBytesMax)
        if let text = draft.text { try checkText(text, "\(place).text", bytesMax: FrontLimits.textBytesMax) }
        if let payload = draft.payload, payload.utf8.count > FrontLimits.payloadBytesMax {
            throw FrontError(
                .tooLarge,
                field: "\(place).payload",
                "\(payload.utf8.count) bytes",
                allowed: "up to \(FrontLimits.payloadBytesMax) bytes"
            )
        }
        self = draft
    }

    private init() {}

    private mutating func take(_ key: String, _ value: JSONValue, sawNUL: Bool, _ place: String) -> FrontError? {
        let field = "\(place).\(key.prefix(64))"
        switch (key, value) {
        case ("id", .string(let value)): id = value
        case ("text", .string(let value)): text = value
        case ("text", .null), ("payload", .null), ("vector", .null): break
        case ("payload", .object):
            guard !sawNUL else { return FrontError(.badHeader, field: field, "U+0000 cannot be stored") }
            payload = ""
        case ("vector", .integer(let row)) where row >= 0: vector = Int(row)
        case ("id", _), ("text", _): return FrontError(.badHeader, field: field, "a string is expected")
        case ("payload", _): return FrontError(.badHeader, field: field, "a JSON object is expected")
        case ("vector", _):
            return FrontError(.badHeader, field: field, "the number of a row of the buffer vectors is expected")
        default:
            if key.hasPrefix("x-") { return nil }
            return FrontError(
                .badHeader,
                field: field,
                "key \(quoted(key)) is unknown",
                allowed: "id, text, payload, vector"
            )
        }
        return nil
    }
}

extension DeleteRequest {
    fileprivate init(_ reader: HeaderReader) throws(FrontError) {
        try reader.allow(["collection", "ids", "wait", "idempotency_key"], buffers: ["ids"])
        self.init(
            collection: try reader.collection(),
            ids: try reader.ids(max: FrontLimits.writeMax),
            wait: try reader.word("wait", WriteWait.self) ?? .durable,
            idempotencyKey: try reader.string("idempotency_key", bytesMax: FrontLimits.idBytesMax)
        )
        if idempotencyKey != nil { bodyHash = reader.bodyHash() }
    }
}

extension GetRequest {
    fileprivate init(_ reader: HeaderReader) throws(FrontError) {
        try reader.allow(["collection", "ids", "with_vector"], buffers: ["ids"])
        self.init(
            collection: try reader.collection(),
            ids: try reader.ids(max: FrontLimits.getMax),
            withVector: try reader.bool("with_vector") ?? false
        )
    }
}

extension HeaderReader {
    fileprivate func ids(max: Int) throws(FrontError) -> [String] {
        guard let ids = try strings("ids", bytesMax: FrontLimits.documentIDBytesMax, countMax: max) else {
            throw FrontError(.badHeader, field: "ids", "ids are missing", allowed: "1 to \(max) ids")
        }
        return ids
    }

    /// A name that a collection or an alias may get.
    fileprivate func name() throws(FrontError) -> String {
        let name = try required("name", bytesMax: 63)
        let isLegal = name.utf8.enumerated().allSatisfy { index, unit in
            (0x61...0x7A).contains(unit)
                || index > 0 && ((0x30...0x39).contains(unit) || unit == 0x2D || unit == 0x5F)
        }
        guard isLegal else {
            throw FrontError(
                .badHeader,
                field: "name",
                "name is \(quoted(name))",
                allowed: "1 to 63 of a–z, 0–9, - and _, a letter first"
            )
        }
        return name
    }

    fileprivate func residency() throws(FrontError) -> ResidencyChange {
        ResidencyChange(
            width: try integer("resident_width", in: 1...FrontLimits.dimensionsMax),
            precision: try residentPrecision(),
            holdsSigns: try bool("resident_signs"),
            index: try word("index", CollectionIndex.Kind.self),
            lists: try integer("lists", in: 1...CollectionIndex.listsMax),
            coarseDimensions: try integer("coarse_dimensions", in: 1...FrontLimits.dimensionsMax),
            links: try integer("m", in: 2...CollectionIndex.linksMax),
            constructionEffort: try integer("ef_construction", in: 2...CollectionIndex.constructionEffortMax),
            retrains: try bool("retrain")
        )
    }

    private func residentPrecision() throws(FrontError) -> Precision? {
        let precision = try word("resident_precision", Precision.self)
        if let precision, precision != .int8, precision != .float32 {
            throw FrontError(
                .unsupported,
                field: "resident_precision",
                "\(precision.rawValue) is not held by shortlist workers",
                allowed: "int8, float32"
            )
        }
        return precision
    }
}

extension ResidencyChange {
    /// Members of a header that make a change.
    static let keys = [
        "resident_width", "resident_precision", "resident_signs", "index", "lists", "coarse_dimensions", "m",
        "ef_construction", "retrain",
    ]
}

/// What `collections` may do.
enum CollectionsAction: String, CaseIterable {
    case list
    case create
    case drop
    case alias
    case configure
}

extension CollectionsRequest {
    fileprivate init(_ reader: HeaderReader) throws(FrontError) {
        let sizes = 1...FrontLimits.dimensionsMax
        switch try reader.word("action", CollectionsAction.self) {
        case nil:
            throw FrontError(
                .badHeader,
                field: "action",
                "action is missing",
                allowed: CollectionsAction.allCases.map(\.rawValue).joined(separator: ", ")
            )
        case .list:
            try reader.allow(["action"])
            self = .list
        case .create:
            try reader.allow(
                [
                    "action", "name", "dimensions", "smallest_dimensions", "matryoshka", "similarity", "model",
                    "stored_head_width", "rotation",
                ] + ResidencyChange.keys
            )
            self = .create(
                CreateCollection(
                    name: try reader.name(),
                    dimensions: try reader.integer("dimensions", in: sizes),
                    smallestDimensions: try reader.integer("smallest_dimensions", in: sizes),
                    isMatryoshka: try reader.bool("matryoshka"),
                    similarity: try reader.word("similarity", Similarity.self) ?? .cosine,
                    model: try reader.string("model"),
                    storedHeadWidth: try reader.integer("stored_head_width", in: sizes),
                    rotation: try reader.word("rotation", Rotation.self) ?? .none,
                    residency: try reader.residency()
                )
            )
        case .drop:
            try reader.allow(["action", "name"])
            self = .drop(name: try reader.name())
        case .alias:
            try reader.allow(["action", "name", "collection"])
            guard reader["collection"] != nil else {
                throw FrontError(
                    .badHeader,
                    field: "collection",
                    "collection is missing",
                    allowed: "a collection's name, or null to remove the alias"
                )
            }
            self = .alias(name: try reader.name(), collection: try reader.string("collection", bytesMax: 63))
        case .configure:
            try reader.allow(["action", "name"] + ResidencyChange.keys)
            let change = try reader.residency()
            guard change != ResidencyChange() else {
                throw FrontError(
                    .badHeader,
                    field: "resident_width",
                    "nothing is to be changed",
                    allowed: "one or more of \(ResidencyChange.keys.joined(separator: ", "))"
                )
            }
            self = .configure(name: try reader.name(), change)
        }
    }
}
