import Matryoshka

// The records of the back protocol that travel as JSON. Keys that are not known are passed over, since both sides
// have agreed on a version at registration. A number above 2^63 - 1 is written as a string of its digits.

/// What numbers of the back protocol may be: sums of many of them still fit an Int.
enum BackLimits {
    static let countMax = 1 << 48
    static let creditMax = 1 << 20
    static let millisecondsMax = 86_400_000
    static let generationMax = UInt32(Int32.max)
}

/// A JSON object whose members are fetched by key and type.
struct RecordReader {
    private let members: JSONValue
    private let place: String

    init(_ payload: [UInt8]) throws(BackDecodeError) {
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue(parsing: payload)
        } catch {
            throw .badPayload("byte \(error.offset): \(error.message)")
        }
        try self.init(value, place: "payload")
    }

    init(_ value: JSONValue, place: String) throws(BackDecodeError) {
        guard case .object = value else { throw .badPayload("\(place) is no object") }
        members = value
        self.place = place
    }

    func string(_ key: String) throws(BackDecodeError) -> String {
        guard case .string(let value)? = members[key] else { throw wrong(key, "a string") }
        return value
    }

    func bool(_ key: String) throws(BackDecodeError) -> Bool {
        guard case .bool(let value)? = members[key] else { throw wrong(key, "true or false") }
        return value
    }

    /// A whole number that a receiver can add up and convert: a limit far below that of its type, where one is given.
    func integer<T: FixedWidthInteger>(_ key: String, max: T) throws(BackDecodeError) -> T {
        let number: T = try integer(key)
        guard number <= max else { throw wrong(key, "an integer from 0 to \(max)") }
        return number
    }

    func integer<T: FixedWidthInteger>(_ key: String) throws(BackDecodeError) -> T {
        if case .string(let digits)? = members[key], let number = UInt64(digits), let number = T(exactly: number) {
            return number
        }
        guard case .integer(let value)? = members[key], value >= 0, let number = T(exactly: value) else {
            throw wrong(key, "an integer from 0 to \(T.max)")
        }
        return number
    }

    func integers<T: FixedWidthInteger>(_ key: String) throws(BackDecodeError) -> [T] {
        guard case .array(let values)? = members[key] else { throw wrong(key, "a list") }
        var numbers: [T] = []
        numbers.reserveCapacity(values.count)
        for value in values {
            guard case .integer(let value) = value, value >= 0, let number = T(exactly: value) else {
                throw wrong(key, "integers from 0 to \(T.max)")
            }
            numbers.append(number)
        }
        return numbers
    }

    func word<T: RawRepresentable<String>>(_ key: String) throws(BackDecodeError) -> T {
        guard let value = T(rawValue: try string(key)) else { throw wrong(key, "a known word") }
        return value
    }

    func token(_ key: String) throws(BackDecodeError) -> ProcessToken {
        guard let token = ProcessToken(try string(key)) else { throw wrong(key, "32 lower-case hexadecimal digits") }
        return token
    }

    func records(_ key: String) throws(BackDecodeError) -> [RecordReader] {
        guard case .array(let values)? = members[key] else { throw wrong(key, "a list") }
        var records: [RecordReader] = []
        records.reserveCapacity(values.count)
        for value in values { records.append(try RecordReader(value, place: key)) }
        return records
    }

    func record(_ key: String) throws(BackDecodeError) -> RecordReader? {
        guard let value = members[key], value != .null else { return nil }
        return try RecordReader(value, place: key)
    }

    private func wrong(_ key: String, _ expected: String) -> BackDecodeError {
        .badPayload("\(place).\(key): \(expected) is expected")
    }
}

private func integer(_ value: some BinaryInteger) -> JSONValue {
    Int64(exactly: value).map { .integer($0) } ?? .string(String(value))
}

private func integers(_ values: [some BinaryInteger]) -> JSONValue { .array(values.map { integer($0) }) }

extension Register {
    var json: JSONValue {
        var members: [JSONValue.Member] = [
            .init("role", .string(role.rawValue)), .init("host", .string(host)), .init("pid", integer(pid)),
            .init("process", .string(process.description)), .init("build", .string(build)),
            .init("protocol_versions", integers(protocolVersions)),
            .init("capacity_bytes", integer(capacityBytes)), .init("credit", integer(credit)),
            .init("shards", .array(shards.map(\.json))),
        ]
        if let model { members.append(.init("model", model.json)) }
        if let classifier { members.append(.init("classifier", classifier.json)) }
        return .object(members)
    }

    init(json: RecordReader) throws(BackDecodeError) {
        self.init(
            role: try json.word("role"),
            host: try json.string("host"),
            pid: try json.integer("pid"),
            process: try json.token("process"),
            build: try json.string("build"),
            protocolVersions: try json.integers("protocol_versions"),
            capacityBytes: try json.integer("capacity_bytes", max: BackLimits.countMax),
            credit: try json.integer("credit", max: BackLimits.creditMax),
            shards: try ShardReport.list(json.records("shards"))
        )
        guard protocolVersions.count == 2, protocolVersions[0] <= protocolVersions[1] else {
            throw .badPayload("payload.protocol_versions: lowest and highest are expected")
        }
        if let model = try json.record("model") { self.model = try ModelReport(json: model) }
        if let classifier = try json.record("classifier") {
            self.classifier = try ClassifierReport(json: classifier)
        }
    }
}

extension ModelReport {
    fileprivate var json: JSONValue {
        .object([
            .init("id", .string(id)), .init("name", .string(name)), .init("dimensions", integer(dimensions)),
            .init("smallest_dimensions", integer(smallestDimensions)), .init("nesting", integers(nesting)),
        ])
    }

    fileprivate init(json: RecordReader) throws(BackDecodeError) {
        self.init(
            id: try json.string("id"),
            name: try json.string("name"),
            dimensions: try json.integer("dimensions"),
            smallestDimensions: try json.integer("smallest_dimensions"),
            nesting: try json.integers("nesting")
        )
    }
}

extension ClassifierReport {
    fileprivate var json: JSONValue {
        .object([
            .init("id", .string(id)), .init("sizes", integers(sizes)), .init("labels", integer(labels)),
        ])
    }

    fileprivate init(json: RecordReader) throws(BackDecodeError) {
        self.init(
            id: try json.string("id"),
            sizes: try json.integers("sizes"),
            labels: try json.integer("labels")
        )
    }
}

extension ShardReport {
    fileprivate var json: JSONValue {
        .object([
            .init("collection", integer(collection)), .init("generation", integer(generation)),
            .init("shard", integer(shard)), .init("state", .string(state.rawValue)), .init("rows", integer(rows)),
            .init("bytes", integer(bytes)), .init("applied", .string(applied)),
        ])
    }

    fileprivate static func list(_ records: [RecordReader]) throws(BackDecodeError) -> [ShardReport] {
        var reports: [ShardReport] = []
        reports.reserveCapacity(records.count)
        for json in records {
            reports.append(
                ShardReport(
                    collection: try json.integer("collection"),
                    generation: try json.integer("generation", max: BackLimits.generationMax),
                    shard: try json.integer("shard", max: UInt16(Slots.shardCount - 1)),
                    state: try json.word("state"),
                    rows: try json.integer("rows", max: BackLimits.countMax),
                    bytes: try json.integer("bytes", max: BackLimits.countMax),
                    applied: try json.string("applied")
                )
            )
        }
        return reports
    }
}

extension Registered {
    var json: JSONValue {
        .object([
            .init("incarnation", integer(incarnation)), .init("heartbeat_ms", integer(heartbeatMilliseconds)),
            .init("lease_ms", integer(leaseMilliseconds)), .init("coordinator", .string(coordinator)),
        ])
    }

    init(json: RecordReader) throws(BackDecodeError) {
        self.init(
            incarnation: try json.integer("incarnation", max: UInt64(Int64.max)),
            heartbeatMilliseconds: try json.integer("heartbeat_ms", max: BackLimits.millisecondsMax),
            leaseMilliseconds: try json.integer("lease_ms", max: BackLimits.millisecondsMax),
            coordinator: try json.string("coordinator")
        )
    }
}

extension Reject {
    var json: JSONValue { .object([.init("code", .string(code)), .init("message", .string(message))]) }

    init(json: RecordReader) throws(BackDecodeError) {
        self.init(code: try json.string("code"), message: try json.string("message"))
    }
}

extension Failed {
    var json: JSONValue { .object([.init("code", .string(code)), .init("message", .string(message))]) }

    init(json: RecordReader) throws(BackDecodeError) {
        self.init(code: try json.string("code"), message: try json.string("message"))
    }
}

extension Heartbeat {
    var json: JSONValue {
        .object([
            .init("in_flight", integer(inFlight)), .init("progress_age_ms", integer(progressAgeMilliseconds)),
            .init("resident_bytes", integer(residentBytes)), .init("answered", integer(answered)),
            .init("draining", .bool(draining)), .init("database_reachable", .bool(databaseReachable)),
            .init("shards", .array(shards.map(\.json))),
        ])
    }

    init(json: RecordReader) throws(BackDecodeError) {
        self.init(
            inFlight: try json.integer("in_flight", max: BackLimits.countMax),
            progressAgeMilliseconds: try json.integer("progress_age_ms", max: BackLimits.countMax),
            shards: try ShardReport.list(json.records("shards")),
            residentBytes: try json.integer("resident_bytes", max: BackLimits.countMax),
            answered: try json.integer("answered", max: UInt64(Int64.max)),
            draining: try json.bool("draining"),
            databaseReachable: try json.bool("database_reachable")
        )
    }
}

extension ShardAssignments {
    var json: JSONValue {
        .object([
            .init("epoch", integer(epoch)),
            .init(
                "collections",
                .array(
                    collections.map { entry in
                        .object([.init("shape", entry.shape.json), .init("shards", integers(entry.shards))])
                    }
                )
            ),
        ])
    }

    init(json: RecordReader) throws(BackDecodeError) {
        self.init(epoch: try json.integer("epoch"), collections: [])
        for entry in try json.records("collections") {
            guard let shape = try entry.record("shape") else { throw .badPayload("collections.shape is missing") }
            collections.append(Assigned(shape: try WireShape(json: shape), shards: try entry.integers("shards")))
        }
    }
}

extension TrainCommand {
    var json: JSONValue { .object([.init("subject", .string(subject.rawValue)), .init("shape", shape.json)]) }

    init(json: RecordReader) throws(BackDecodeError) {
        guard let shape = try json.record("shape") else { throw .badPayload("payload.shape is missing") }
        self.init(subject: try json.word("subject"), shape: try WireShape(json: shape))
    }
}

extension Trained {
    var json: JSONValue {
        .object([
            .init("artefact", integer(artefact)), .init("rows", integer(rows)),
            .init("duration_ms", integer(milliseconds)),
        ])
    }

    init(json: RecordReader) throws(BackDecodeError) {
        self.init(
            artefact: try json.integer("artefact"),
            rows: try json.integer("rows", max: BackLimits.countMax),
            milliseconds: try json.integer("duration_ms", max: BackLimits.countMax)
        )
    }
}

extension CollectionIndex {
    fileprivate var json: JSONValue {
        .object([
            .init("kind", .string(kind.rawValue)), .init("lists", integer(lists)),
            .init("coarse_dimensions", integer(coarseDimensions)), .init("m", integer(links)),
            .init("ef_construction", integer(constructionEffort)), .init("centroids", integer(centroids)),
        ])
    }

    fileprivate init(json: RecordReader) throws(BackDecodeError) {
        self.init(
            kind: try json.word("kind"),
            lists: try json.integer("lists"),
            coarseDimensions: try json.integer("coarse_dimensions"),
            links: try json.integer("m"),
            constructionEffort: try json.integer("ef_construction"),
            centroids: try json.integer("centroids")
        )
    }
}

extension WireShape {
    fileprivate var json: JSONValue {
        .object([
            .init("collection", integer(collection)), .init("name", .string(name)), .init("model", .string(model)),
            .init("dimensions", integer(dimensions)), .init("smallest_dimensions", integer(smallestDimensions)),
            .init("matryoshka", .bool(isMatryoshka)), .init("similarity", .string(similarity.rawValue)),
            .init("stored_head_width", integer(storedHeadWidth)), .init("resident_width", integer(residentWidth)),
            .init("resident_precision", .string(residentPrecision.rawValue)),
            .init("resident_signs", .bool(holdsSigns)), .init("sign_seed", integer(signSeed)),
            .init("index", index.json),
            .init("rotation", .string(rotation.rawValue)), .init("learnt_rotation", integer(learntRotation)),
            .init("generation", integer(generation)),
        ])
    }

    fileprivate init(json: RecordReader) throws(BackDecodeError) {
        guard let index = try json.record("index") else { throw .badPayload("shape.index is missing") }
        self.init(
            CollectionShape(
                collection: try json.integer("collection"),
                name: try json.string("name"),
                model: try json.string("model"),
                dimensions: try json.integer("dimensions"),
                smallestDimensions: try json.integer("smallest_dimensions"),
                isMatryoshka: try json.bool("matryoshka"),
                similarity: try json.word("similarity"),
                storedHeadWidth: try json.integer("stored_head_width"),
                residentWidth: try json.integer("resident_width"),
                residentPrecision: try json.word("resident_precision"),
                holdsSigns: try json.bool("resident_signs"),
                signSeed: try json.integer("sign_seed"),
                index: try CollectionIndex(json: index),
                rotation: try json.word("rotation"),
                learntRotation: try json.integer("learnt_rotation"),
                generation: try json.integer("generation", max: BackLimits.generationMax)
            )
        )
        // A worker sizes its rows by these.
        guard smallestDimensions >= 1, smallestDimensions <= dimensions, storedHeadWidth <= dimensions,
            residentWidth >= 1, residentWidth <= storedHeadWidth, self.index.lists <= CollectionIndex.listsMax,
            self.index.coarseDimensions <= storedHeadWidth, self.index.links <= CollectionIndex.linksMax,
            !holdsSigns || shape.canHoldSigns
        else { throw .badPayload("shape of \(name) has impossible widths") }
    }
}
